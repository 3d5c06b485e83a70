//! When something really was: the one rule by which the journal finds a time and everybody shows it.
//!
//! **Within a boot the monotonic clock decides.** It never jumps; so of each boot one wall time is enough, and that is what its clock said
//! when it was at its best, and of those the last time: as it is known now. A jump moves no event, whether the clock woke up in 1970, was
//! put right by the network, or was put back an hour. What differs from that by no more than [`JUMP_MS`] is left as it was stamped: the two
//! clocks are not read at one moment.
//!
//! **Between boots the log's order decides.** Of a boot whose clock was never set nobody knows when it was, but it lies between
//! the boots before and behind it in the log. Who looks for a time is given what may be of it, and passes over nothing that may.

use lamppost_event::{BootId, ClockQuality, Now, WallTime};

/// What a clock may be put right by without being said to jump, ms.
pub(crate) const JUMP_MS: i64 = 1_000;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times {
    /// In the log's order.
    boots: Vec<Boot>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Boot {
    id: BootId,
    /// What its clocks said when the wall clock was at its best, the last time; `None` if it was never set.
    best: Option<Now>,
}

/// The wall time at the boot, by what the clocks said at some moment of it, ms.
const fn began_ms(now: &Now) -> i64 {
    now.wall.0.saturating_sub_unsigned(now.monotonic.0)
}

impl Times {
    /// Takes in what the clocks said at a moment. Boots have to come in the log's order.
    pub fn learn(&mut self, now: &Now) {
        let index = self.boots.iter().rposition(|boot| boot.id == now.boot);
        let index = index.unwrap_or_else(|| {
            self.boots.push(Boot { id: now.boot, best: None });
            self.boots.len() - 1
        });
        let Some(boot) = self.boots.get_mut(index).filter(|_| now.quality != ClockQuality::Unset) else { return };
        if boot.best.is_none_or(|best| (now.quality, now.monotonic) >= (best.quality, best.monotonic)) {
            boot.best = Some(*now);
        }
    }

    /// What the clocks said in that boot when the wall clock was at its best, the last time; `None` if it was never set.
    #[must_use]
    pub fn best(&self, boot: BootId) -> Option<Now> {
        self.boots.iter().find(|known| known.id == boot)?.best
    }

    /// When that was by the clock as it is known now. `None` if the clock of that boot was never set.
    #[must_use]
    pub fn of(&self, now: &Now) -> Option<WallTime> {
        let is_set = now.quality != ClockQuality::Unset;
        let Some(best) = self.best(now.boot) else {
            // With no better clock of that boot, a time stays as it is if it was a right one.
            return is_set.then_some(now.wall);
        };
        let time = began_ms(&best).saturating_add_unsigned(now.monotonic.0);
        let as_stamped = is_set && now.wall.0.abs_diff(time) <= JUMP_MS.unsigned_abs();
        Some(if as_stamped { now.wall } else { WallTime(time) })
    }

    /// The earliest and the latest that it may have been: twice the same if that is known.
    #[must_use]
    pub fn between(&self, now: &Now) -> (WallTime, WallTime) {
        if let Some(time) = self.of(now) {
            return (time, time);
        }
        let index = self.boots.iter().position(|boot| boot.id == now.boot);
        let (before, behind) = index.map_or((&[][..], &[][..]), |index| self.boots.split_at(index));
        let earliest = before.iter().rev().find_map(|boot| boot.best).map_or(i64::MIN, |best| best.wall.0);
        let latest = behind.iter().find_map(|boot| boot.best).map_or(i64::MAX, |best| began_ms(&best));
        (WallTime(earliest), WallTime(latest.max(earliest)))
    }
}

/// Whether the first and the last frame of a segment tell all that its frames know of the clocks: it is one boot's, whose clock is as good
/// at the end as it can be, or as good as in the beginning.
pub(crate) fn is_told_by_its_ends(first: &Now, last: &Now) -> bool {
    first.boot == last.boot && (last.quality == ClockQuality::Synced || first.quality == last.quality)
}

/// Whether two moments are of one clock: neither another boot nor a jump lies between them, and it is as good as it was.
pub(crate) fn is_one_clock(one: &Now, other: &Now) -> bool {
    let apart_ms = began_ms(one).abs_diff(began_ms(other));
    one.boot == other.boot && one.quality == other.quality && apart_ms <= JUMP_MS.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use lamppost_event::Monotonic;

    use super::*;
    use ClockQuality::{Holdover, Synced, Unset};

    fn now(boot: u64, monotonic: u64, wall: i64, quality: ClockQuality) -> Now {
        Now { wall: WallTime(wall), monotonic: Monotonic(monotonic), boot: BootId(boot), quality }
    }

    fn times(nows: &[Now]) -> Times {
        let mut times = Times::default();
        nows.iter().for_each(|now| times.learn(now));
        times
    }

    #[test]
    fn the_best_clock_of_a_boot_counts_and_of_those_the_last() {
        let jumps = [now(1, 0, 5, Unset), now(1, 10_000, 7_200_000, Holdover), now(1, 20_000, 4_000_000, Synced)];
        let late = [now(1, 30_000, 9_010_000, Synced), now(1, 40_000, 50_000_000, Holdover)];
        let known = times(&[jumps.as_slice(), &late].concat());
        for (moment, wall) in jumps.iter().zip([8_980_000, 8_990_000, 9_000_000]) {
            assert_eq!(known.of(moment), Some(WallTime(wall)), "{moment:?}");
        }
        assert_eq!(known.of(&late[1]), Some(WallTime(9_020_000)), "a worse clock's jump moves nothing");
        assert_eq!(times(&jumps[..1]).of(&jumps[0]), None);
        assert_eq!(
            Times::default().of(&late[0]),
            Some(WallTime(9_010_000)),
            "a right clock of a boot that is not known"
        );
    }

    #[test]
    fn what_is_no_jump_is_left_as_it_was_stamped() {
        let known = times(&[now(1, 30_000, 1_000_700, Synced)]);
        assert_eq!(known.of(&now(1, 20_000, 990_000, Synced)), Some(WallTime(990_000)));
        assert_eq!(known.of(&now(1, 20_000, 989_000, Synced)), Some(WallTime(990_700)));
        assert_eq!(
            known.of(&now(1, 20_000, 990_000, Unset)),
            Some(WallTime(990_700)),
            "what no set clock stamped is not"
        );
    }

    #[test]
    fn a_boot_without_a_clock_lies_between_its_neighbours() {
        let known = times(&[
            now(1, 50_000, 1_000_000, Synced),
            now(2, 5, 10, Unset),
            now(3, 5, 10, Unset),
            now(4, 60_000, 2_000_000, Holdover),
            now(5, 5, 10, Unset),
        ]);
        let between = |boot| known.between(&now(boot, 7, 12, Unset));
        assert_eq!(between(1), (WallTime(950_007), WallTime(950_007)));
        assert_eq!(between(2), (WallTime(1_000_000), WallTime(1_940_000)));
        assert_eq!(between(3), between(2));
        assert_eq!(between(5), (WallTime(2_000_000), WallTime(i64::MAX)));
        assert_eq!(between(6), (WallTime(i64::MIN), WallTime(i64::MAX)));
    }
}
