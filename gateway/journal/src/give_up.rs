//! Giving events up before they are delivered: for their age, for their topic's bound in bytes, or for want of room (`shed`). Only where the
//! topic's policy allows it; counted, and told to readers as a gap.
//!
//! **Invariant:** ages are elapsed time, as far as the gateway ran: no jump of a clock makes an event older.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lamppost_event::{Group, Now, Offset, Topic, TopicPartition};

use crate::book::{Book, Segment};
use crate::cool::LeftOut;
use crate::disk::DiskError;
use crate::read::internal;
use crate::shared::Shared;
use crate::shed::Loan;
use crate::stretch::gaps_of;
use crate::waiting::hold;

const TOO_OLD: &str = "given up: older than the topic keeps its events";
const TOO_MUCH: &str = "given up: beyond the bytes that the topic keeps";
/// After nothing could be given up, it is tried again only after this, or once something has gone.
pub(crate) const PAUSE_MS: u64 = 10_000;

/// So many are tried before that.
const VICTIMS_MAX: usize = 3;

/// A segment, and what of it goes.
pub(crate) struct Victim {
    pub(crate) number: u64,
    /// Nothing else is in it, and nothing is kept before it.
    wholly: bool,
    out: LeftOut,
    /// Events that go, and events that stay.
    pub(crate) events: (u64, u64),
}

impl Victim {
    /// Enough of it goes that writing the rest anew is worth it.
    pub(crate) const fn pays(&self) -> bool {
        let (go, stay) = self.events;
        go >= stay / 3
    }

    /// Of so many bytes, by the number of events.
    pub(crate) fn share_that_stays(&self, bytes: u64) -> u64 {
        let (go, stay) = self.events;
        (u128::from(bytes) * u128::from(stay) / u128::from((go + stay).max(1))) as u64
    }
}

impl Shared {
    /// Gives up what is older than its topic keeps it, and what is beyond its bytes. True if something went, or is better known.
    pub(crate) fn expire(&self) -> Result<bool, DiskError> {
        let paused = self.now_ms() < self.expire_again_ms.load(Ordering::Relaxed);
        let old = if paused { Vec::new() } else { self.too_old() };
        // Whatever is weighed meanwhile, ages go first: after an opening there are many segments to weigh, one at a time.
        if self.any_goes(&old)? || (self.has_bounds() && self.weigh()) {
            return Ok(true);
        }
        let much = if paused { Vec::new() } else { self.too_much() };
        if self.any_goes(&much)? {
            return Ok(true);
        }
        if !(old.is_empty() && much.is_empty()) {
            self.expire_again_ms.store(self.now_ms() + PAUSE_MS, Ordering::Relaxed);
        }
        Ok(false)
    }

    fn any_goes(&self, victims: &[Victim]) -> Result<bool, DiskError> {
        for victim in victims {
            if self.give_up(victim, None)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn has_ages(&self) -> bool {
        self.options.policies.values().any(|policy| policy.keep_for.is_some())
    }

    fn too_old(&self) -> Vec<Victim> {
        if !self.has_ages() {
            return Vec::new();
        }
        let now = self.clock.now();
        let book = hold(&self.book);
        let ages = ages(&book, now);
        let sealed = book.segments.len().saturating_sub(1);
        let expired = |(segment, age): (&Segment, &Duration)| {
            let victim = self.expired(&book, segment, *age)?;
            // What is hot, and all required groups have had, costs nothing where it is.
            let kept = || self.undelivered(&book, segment, &victim.out.places).values().any(|events| *events > 0);
            let pays = segment.lease.head.cold || self.options.required.is_empty() || kept();
            (victim.wholly || pays).then_some(victim)
        };
        book.segments.iter().take(sealed).zip(&ages).filter_map(expired).take(VICTIMS_MAX).collect()
    }

    fn expired(&self, book: &Book, segment: &Segment, age: Duration) -> Option<Victim> {
        let old = |topic: &Topic| self.options.policy(topic).keep_for.is_some_and(|keep| age > keep);
        victim(book, segment, TOO_OLD, &old)
    }

    fn too_much(&self) -> Vec<Victim> {
        if !self.has_bounds() {
            return Vec::new();
        }
        let book = hold(&self.book);
        let surplus = |(number, topics): (u64, Vec<Topic>)| {
            let segment = book.segment(number)?;
            let victim = victim(&book, segment, TOO_MUCH, &|topic| topics.contains(topic))?;
            // A hot one comes free without a cold byte once the required groups have passed it; until then its file is there anyway.
            let pays = segment.lease.head.cold || self.options.required.is_empty();
            (victim.wholly || pays).then_some(victim)
        };
        self.surplus(&book).beyond.into_iter().filter_map(surplus).take(VICTIMS_MAX).collect()
    }

    /// What is left out of a hot segment that is rewritten anyway: what is too old, or else what is beyond its topic's bytes.
    pub(crate) fn left_behind(&self, number: u64) -> LeftOut {
        let mut out = LeftOut { places: Vec::new(), reason: TOO_MUCH };
        if self.has_ages() {
            let now = self.clock.now();
            let book = hold(&self.book);
            let ages = ages(&book, now);
            let found = book.segments.iter().zip(ages).find(|(segment, _)| segment.lease.head.number == number);
            if let Some(victim) = found.and_then(|(segment, age)| self.expired(&book, segment, age)) {
                return victim.out;
            }
        }
        if self.has_bounds() {
            let book = hold(&self.book);
            let beyond = self.surplus(&book).beyond.into_iter().find(|(other, _)| *other == number);
            if let Some(((_, topics), segment)) = beyond.zip(book.segment(number)) {
                out.places = segment.ranges.keys().filter(|at| topics.contains(&at.topic)).cloned().collect();
            }
        }
        out
    }

    pub(crate) fn give_up(&self, victim: &Victim, loan: Option<&Loan>) -> Result<bool, DiskError> {
        let (number, out) = (victim.number, &victim.out);
        self.counting(number, out, || {
            if victim.wholly { self.recycle_first() } else { self.rewrite(&[number], 0, out, loan) }
        })
    }

    /// Counts what of that segment was not delivered, if it goes.
    pub(crate) fn counting(
        &self,
        number: u64,
        out: &LeftOut,
        go: impl FnOnce() -> Result<bool, DiskError>,
    ) -> Result<bool, DiskError> {
        let lost = {
            let book = hold(&self.book);
            book.segment(number).map(|segment| self.undelivered(&book, segment, &out.places)).unwrap_or_default()
        };
        let gone = go()?;
        if gone {
            let mut given_up = hold(&self.counters.given_up);
            for (topic, events) in lost.into_iter().filter(|(_, events)| *events > 0) {
                tracing::warn!(%topic, events, reason = out.reason, "events were given up before they were delivered");
                *given_up.entry(topic).or_default() += events;
            }
        }
        Ok(gone)
    }

    /// Events of these partitions in a segment that not all required groups have passed.
    fn undelivered(&self, book: &Book, segment: &Segment, places: &[TopicPartition]) -> BTreeMap<Topic, u64> {
        let mut lost = BTreeMap::new();
        for at in places {
            let passed = self.options.required.iter().map(|group| next_of(book, group, at)).min();
            *lost.entry(at.topic.clone()).or_default() += passed.map_or(0, |next| kept_from(book, segment, at, next));
        }
        lost
    }

    /// What required groups have not had of the oldest segment. None of it, while it is kept for all of them.
    pub(crate) fn not_waited_for(&self, book: &Book) -> Vec<(Group, Topic, u64)> {
        let mut lost = Vec::new();
        let Some(segment) = book.segments.front() else { return lost };
        for group in self.options.hold_max.keys().filter(|group| self.options.required.contains(group)) {
            for at in segment.ranges.keys().filter(|at| !internal(at)) {
                let events = kept_from(book, segment, at, next_of(book, group, at));
                lost.push((group.clone(), at.topic.clone(), events));
            }
        }
        lost
    }

    /// Those events are gone, and their groups, which may be away, will be told of a gap.
    pub(crate) fn count_let_go(&self, lost: Vec<(Group, Topic, u64)>) {
        let mut let_go = hold(&self.counters.let_go);
        for (group, topic, events) in lost.into_iter().filter(|(_, _, events)| *events > 0) {
            tracing::warn!(%group, %topic, events, "events went before the group had them: it was waited for long enough");
            *let_go.entry(group).or_default().entry(topic).or_default() += events;
        }
    }
}

fn next_of(book: &Book, group: &Group, at: &TopicPartition) -> Offset {
    book.cursors.get(group).and_then(|table| table.get(at)).map_or(Offset(0), |entry| entry.next())
}

/// Events of a partition in a segment, from an offset on. What is missing between them was told of when it went.
fn kept_from(book: &Book, segment: &Segment, at: &TopicPartition, next: Offset) -> u64 {
    let Some((from, to)) = segment.ranges.get(at).copied() else { return 0 };
    let head = &segment.lease.head;
    let mut gaps = gaps_of(&book.gaps, head, head.base);
    gaps.retain(|(_, gap)| gap.at == *at);
    gaps.sort_by_key(|(_, gap)| gap.from);
    let (mut place, mut events) = (from.max(next), 0);
    for (_, gap) in gaps {
        events += gap.from.min(to).0.saturating_sub(place.0);
        place = place.max(gap.to);
    }
    events + to.0.saturating_sub(place.0)
}

/// What of a segment would go, if anything.
pub(crate) fn victim(
    book: &Book,
    segment: &Segment,
    reason: &'static str,
    goes: &dyn Fn(&Topic) -> bool,
) -> Option<Victim> {
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
    let count = |places: &[TopicPartition]| {
        let ranges = places.iter().filter_map(|at| segment.ranges.get(at));
        ranges.map(|(from, to)| to.0.saturating_sub(from.0)).sum::<u64>()
    };
    let events = (count(&places), count(&stays));
    (wholly || rewritable).then_some(Victim { number, wholly, out: LeftOut { places, reason }, events })
}

/// How long ago the last frame of each segment was written, at least: the time that passed while the gateway was off is not known.
pub(crate) fn ages(book: &Book, now: Now) -> Vec<Duration> {
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
