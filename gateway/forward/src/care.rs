//! How many requests may be on their way to a broker at once: several, or one.
//!
//! With several the order is kept by the brokers: they refuse a batch of an idempotent producer whose sequence number is not the next. But a broker
//! that knows nothing of a producer takes any number, so that a batch which is refused (`NOT_ENOUGH_REPLICAS`, while a cluster starts) can be
//! overtaken by the one behind it. It knows nothing of a new producer, and it forgets one by the times *of the records*
//! (`producer.id.expiration.ms`, a day): at a start, and every ten minutes. With one request at a time nothing overtakes, but on a slow link with
//! many partitions an event waits for the others' turns.
//!
//! Invariants:
//! - The first event of a producer to a partition of the cluster goes alone: nothing follows before it is acknowledged. So does the first after
//!   [`OLD`] without any.
//! - What was received [`OLD`] ago or earlier leaves one request at a time only; so does all while the gateway's own clock is not set.

use std::collections::HashMap;
use std::time::Duration;

use lamppost_event::{ClockQuality, Monotonic, Now, Partition, Topic, WallTime};

use crate::engine::Engine;
use crate::window::Slot;

/// Older than this is old: far less than the day after which a broker forgets.
const OLD: Duration = Duration::from_secs(6 * 3600);

/// And younger than this is young again. Between the two it stays as it is.
const YOUNG: Duration = Duration::from_secs(3600);

/// What a broker has acknowledged of this producer in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Heard {
    #[default]
    Nothing,
    /// The first event is on its way.
    Soon,
    /// Something; when the last event was sent.
    Something(Monotonic),
}

impl Heard {
    /// Whether a broker may know nothing of this producer there, by now.
    fn may_be_forgotten(self, now: Monotonic) -> bool {
        match self {
            Self::Nothing => true,
            Self::Soon => false,
            Self::Something(last) => Duration::from_millis(now.0.saturating_sub(last.0)) >= OLD,
        }
    }
}

/// Of the partitions of one topic.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hearing(Vec<Heard>);

impl Hearing {
    fn of(&self, partition: Partition) -> Heard {
        self.0.get(usize::from(partition.0)).copied().unwrap_or_default()
    }

    fn set(&mut self, partition: Partition, heard: Heard) {
        let at = usize::from(partition.0);
        if self.0.len() <= at {
            self.0.resize(at + 1, Heard::Nothing);
        }
        if let Some(place) = self.0.get_mut(at) {
            *place = heard;
        }
    }

    /// Whether the first event to that partition is on its way, and the next has to wait.
    pub(crate) fn waits(&self, partition: Partition) -> bool {
        self.of(partition) == Heard::Soon
    }
}

/// With how much care this producer sends.
#[derive(Debug, Default)]
pub(crate) struct Care {
    one_at_a_time: bool,
    /// How old the event was that was offered last.
    offered: Duration,
    /// First events that are on their way.
    first: HashMap<Slot, (Topic, Partition)>,
}

impl Care {
    /// Whether only one request may be on its way to a broker.
    pub(crate) const fn is_one_at_a_time(&self) -> bool {
        self.one_at_a_time
    }

    /// Whether an event of that age may leave by this producer.
    pub(crate) fn lets(&mut self, age: Duration) -> bool {
        self.offered = age;
        self.one_at_a_time || age < OLD
    }

    /// Whether the next producer is to be of the other kind, by the oldest event in flight and the last that was offered.
    fn turns(&mut self, in_flight: Option<Duration>) -> bool {
        let age = self.offered.max(in_flight.unwrap_or_default());
        let one_at_a_time = if self.one_at_a_time { age > YOUNG } else { age >= OLD };
        std::mem::replace(&mut self.one_at_a_time, one_at_a_time) != one_at_a_time
    }
}

/// How old what was received then is now. By a clock that is not set nobody can tell, and the time of sending is itself one of long ago: old.
pub(crate) fn age(received: WallTime, now: Now) -> Duration {
    if now.quality == ClockQuality::Unset {
        return OLD;
    }
    Duration::from_millis(u64::try_from(now.wall.0.saturating_sub(received.0)).unwrap_or(0))
}

impl Engine {
    /// A producer begins: no broker has heard of it.
    pub(crate) fn begin_unheard(&mut self) {
        self.care.first.clear();
        for target in self.targets.values_mut() {
            target.hearing = Hearing::default();
        }
    }

    /// An event was handed over.
    pub(crate) fn sent_to(&mut self, topic: &Topic, partition: Partition, slot: Slot, now: Monotonic) {
        if self.care.one_at_a_time {
            return;
        }
        let Some(target) = self.targets.get_mut(topic) else { return };
        if target.hearing.of(partition).may_be_forgotten(now) {
            target.hearing.set(partition, Heard::Soon);
            self.care.first.insert(slot, (topic.clone(), partition));
        } else {
            target.hearing.set(partition, Heard::Something(now));
        }
    }

    /// An event was acknowledged.
    pub(crate) fn heard(&mut self, slot: Slot) {
        if self.care.first.is_empty() {
            return;
        }
        if let Some((topic, partition)) = self.care.first.remove(&slot)
            && let Some(target) = self.targets.get_mut(&topic)
        {
            target.hearing.set(partition, Heard::Something(self.clock.now().monotonic));
        }
    }

    /// Whether this producer has to make way for one of the other kind.
    pub(crate) fn turns(&mut self) -> bool {
        let now = self.clock.now();
        let turns = self.care.turns(self.window.oldest().map(|received| age(received, now)));
        if turns {
            let one_at_a_time = self.care.one_at_a_time;
            tracing::info!(
                one_at_a_time,
                "the backlog's age changes how many requests may be on their way to a broker"
            );
        }
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_waits_for_a_producer_of_its_kind_and_a_turn_needs_a_clear_difference() {
        let hours = |hours: u64| Duration::from_secs(3600 * hours);
        let mut care = Care::default();
        assert!(!care.turns(None) && care.lets(hours(5)) && !care.turns(Some(hours(5))));
        assert!(!care.lets(hours(7)), "it waits");
        assert!(care.turns(None) && care.is_one_at_a_time());
        assert!(
            care.lets(hours(7)) && care.lets(hours(2)) && !care.turns(None),
            "young enough to begin with, but not to end"
        );
        assert!(care.lets(Duration::ZERO) && !care.turns(Some(hours(3))), "what is in flight counts as well");
        assert!(care.turns(Some(Duration::ZERO)) && !care.is_one_at_a_time());
        assert!(care.turns(Some(hours(7))), "what could not be delivered for so long");
    }

    #[test]
    fn by_a_clock_that_is_not_set_all_is_old() {
        let (then, now) = (WallTime(1_700_000_000_000), WallTime(1_700_000_000_500));
        let by = |quality| Now { wall: now, monotonic: Monotonic(9), boot: lamppost_event::BootId(1), quality };
        for set in [ClockQuality::Holdover, ClockQuality::Synced] {
            assert_eq!(age(then, by(set)), Duration::from_millis(500));
        }
        assert_eq!(age(then, by(ClockQuality::Unset)), OLD);
        assert_eq!(age(then, Now { wall: WallTime(5), ..by(ClockQuality::Synced) }), Duration::ZERO);
    }

    #[test]
    fn the_second_event_to_a_partition_waits_for_the_first() {
        let mut hearing = Hearing::default();
        assert!(!hearing.waits(Partition(3)));
        hearing.set(Partition(3), Heard::Soon);
        assert!(hearing.waits(Partition(3)) && !hearing.waits(Partition(2)) && !hearing.waits(Partition(4)));
        hearing.set(Partition(3), Heard::Something(Monotonic(5)));
        assert!(!hearing.waits(Partition(3)));
    }

    #[test]
    fn a_partition_that_had_nothing_for_hours_may_have_forgotten() {
        let old = u64::try_from(OLD.as_millis()).unwrap();
        let last = Heard::Something(Monotonic(1000));
        assert!(!last.may_be_forgotten(Monotonic(500)) && !last.may_be_forgotten(Monotonic(999 + old)));
        assert!(last.may_be_forgotten(Monotonic(1000 + old)));
        assert!(Heard::Nothing.may_be_forgotten(Monotonic(0)) && !Heard::Soon.may_be_forgotten(Monotonic(2 * old)));
    }
}
