//! Giving events up before they are delivered: for their age, or for want of room. Only where the topic's policy allows it, the least
//! important first; counted, and told to readers as a gap.
//!
//! **Invariant:** ages are elapsed time, as far as the gateway ran: no jump of a clock makes an event older.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lamppost_event::{Now, Offset, Topic, TopicPartition};

use crate::book::{Book, Segment};
use crate::cool::LeftOut;
use crate::disk::DiskError;
use crate::options::{Priority, WhenFull};
use crate::read::internal;
use crate::shared::Shared;
use crate::waiting::hold;

const TOO_OLD: &str = "given up: older than the topic keeps its events";
const NO_ROOM: &str = "given up for want of room";

/// After nothing could be given up, it is tried again only after this, or once something has gone.
const PAUSE_MS: u64 = 10_000;

/// So many are tried before that.
const VICTIMS_MAX: usize = 3;

/// A segment, and what of it goes.
struct Victim {
    number: u64,
    /// Nothing else is in it, and nothing is kept before it.
    wholly: bool,
    out: LeftOut,
}

impl Shared {
    /// Gives up what is older than its topic keeps it. True if something went.
    pub(crate) fn expire(&self) -> Result<bool, DiskError> {
        let pausing = self.now_ms() < self.expire_again_ms.load(Ordering::Relaxed);
        if pausing || self.options.policies.values().all(|policy| policy.keep_for.is_none()) {
            return Ok(false);
        }
        let now = self.clock.now();
        let victims: Vec<Victim> = {
            let book = hold(&self.book);
            let ages = ages(&book, now);
            let sealed = book.segments.len().saturating_sub(1);
            let expired = |(segment, age): (&Segment, &Duration)| {
                let old = |topic: &Topic| self.options.policy(topic).keep_for.is_some_and(|keep| *age > keep);
                victim(&book, segment, TOO_OLD, &old)
            };
            book.segments.iter().take(sealed).zip(&ages).filter_map(expired).take(VICTIMS_MAX).collect()
        };
        let some = !victims.is_empty();
        for victim in victims {
            if self.give_up(victim)? {
                return Ok(true);
            }
        }
        if some {
            self.expire_again_ms.store(self.now_ms() + PAUSE_MS, Ordering::Relaxed);
        }
        Ok(false)
    }

    /// Gives up the oldest events of the least important topics that allow it. False if none does.
    pub(crate) fn shed(&self) -> Result<bool, DiskError> {
        if self.now_ms() < self.shed_again_ms.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let victims: Vec<Victim> = {
            let book = hold(&self.book);
            let sealed = book.segments.len().saturating_sub(1);
            let of = |priority: Priority| {
                let spare = move |topic: &Topic| {
                    let policy = self.options.policy(topic);
                    policy.priority == priority && policy.when_full == WhenFull::GiveUpOldest
                };
                book.segments.iter().take(sealed).find_map(|segment| victim(&book, segment, NO_ROOM, &spare))
            };
            [Priority::Bulk, Priority::Normal, Priority::Alarm].into_iter().filter_map(of).collect()
        };
        // Where a lower priority's oldest can't be taken out for want of room to write what stays, the next may be a whole segment.
        for victim in victims {
            if self.give_up(victim)? {
                self.cool_again_ms.store(0, Ordering::Relaxed);
                return Ok(true);
            }
        }
        self.shed_again_ms.store(self.now_ms() + PAUSE_MS, Ordering::Relaxed);
        Ok(false)
    }

    fn give_up(&self, victim: Victim) -> Result<bool, DiskError> {
        let lost = {
            let book = hold(&self.book);
            let segment = book.segments.iter().find(|segment| segment.lease.head.number == victim.number);
            segment.map(|segment| self.undelivered(&book, segment, &victim.out.places)).unwrap_or_default()
        };
        let gone = if victim.wholly { self.recycle_first()? } else { self.rewrite(&[victim.number], 0, &victim.out)? };
        if gone && lost.values().any(|events| *events > 0) {
            let mut given_up = hold(&self.counters.given_up);
            for (topic, events) in lost {
                tracing::warn!(%topic, events, reason = victim.out.reason, "events were given up before they were delivered");
                *given_up.entry(topic).or_default() += events;
            }
        }
        Ok(gone)
    }

    /// Events of these partitions in a segment that not all required groups have passed.
    fn undelivered(&self, book: &Book, segment: &Segment, places: &[TopicPartition]) -> BTreeMap<Topic, u64> {
        let mut lost = BTreeMap::new();
        for at in places {
            let Some((from, to)) = segment.ranges.get(at) else { continue };
            let next_of =
                |group| book.cursors.get(group).and_then(|table| table.get(at)).map_or(Offset(0), |e| e.next());
            let passed = self.options.required.iter().map(next_of).min().unwrap_or(*to);
            *lost.entry(at.topic.clone()).or_default() += to.0.saturating_sub(from.0.max(passed.0));
        }
        lost
    }
}

/// What of a segment would go, if anything.
fn victim(book: &Book, segment: &Segment, reason: &'static str, goes: &dyn Fn(&Topic) -> bool) -> Option<Victim> {
    let kept = segment.ranges.keys().filter(|at| !internal(at));
    let (places, stays): (Vec<_>, Vec<_>) = kept.cloned().partition(|at| goes(&at.topic));
    if places.is_empty() {
        return None;
    }
    let number = segment.lease.head.number;
    let first = book.segments.front().is_some_and(|first| first.lease.head.number == number);
    let wholly = first && stays.is_empty();
    // A cold one that the disk does not give wholly is not written anew: what it keeps back would be lost for good.
    let rewritable = !(segment.refused && segment.lease.head.cold);
    (wholly || rewritable).then_some(Victim { number, wholly, out: LeftOut { places, reason } })
}

/// How long ago the last frame of each segment was written, at least: the time that passed while the gateway was off is not known.
fn ages(book: &Book, now: Now) -> Vec<Duration> {
    let mut ages = Vec::new();
    // Of the boots behind, the time that is known to have passed in them.
    let (mut behind_ms, mut boot, mut latest_ms) = (0, now.boot, now.monotonic.0);
    for segment in book.segments.iter().rev() {
        if let Some((first, last)) = segment.span {
            if last.boot != boot {
                behind_ms += latest_ms;
                (boot, latest_ms) = (last.boot, last.monotonic.0);
            }
            ages.push(Duration::from_millis(behind_ms + latest_ms.saturating_sub(last.monotonic.0)));
            if first.boot != boot {
                // Boots that began and ended within the segment only make it older than is said.
                behind_ms += latest_ms;
                (boot, latest_ms) = (first.boot, first.monotonic.0);
            }
        } else {
            ages.push(Duration::from_millis(behind_ms));
        }
    }
    ages.reverse();
    ages
}
