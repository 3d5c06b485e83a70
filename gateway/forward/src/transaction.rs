//! One Kafka transaction of many events and their cursors: when it ends, and how large it may grow. Pure: `now` is handed in.
//!
//! Invariants:
//! - A transaction ends by time, by events or by bytes, whichever is first. One event larger than all bounds goes alone.
//! - One that failed for want of time is tried again half as large, down to one event: on a link that is too slow for the
//!   window something goes through all the same.
//! - The cursor of a partition covers exactly what was sent of it, in the order of offsets.

use std::collections::HashMap;
use std::time::Duration;

use lamppost_event::{Epoch, Offset, TopicPartition};
use tokio::time::Instant;

use crate::reach::Reach;
use crate::window::TrackId;

/// No more events in one transaction than this.
const EVENTS_MAX: usize = 50_000;

/// A transaction is never bounded to fewer bytes than this.
const BYTES_FLOOR: usize = 4 << 10;

/// What is open, and the bounds of the next one.
#[derive(Debug)]
pub(crate) struct Transaction {
    linger: Duration,
    /// After so long the cluster gives it up.
    timeout: Duration,
    /// The most bytes, as configured, and as the cluster has proved to take them in time.
    bytes_max: usize,
    bytes_now_max: usize,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    bytes: usize,
    events: usize,
    /// It can't grow any more: it ends at once.
    full: bool,
    reached: HashMap<TrackId, (TopicPartition, Reach)>,
}

impl Transaction {
    pub(crate) const fn new(linger: Duration, timeout: Duration, bytes_max: usize) -> Self {
        Self { linger, timeout, bytes_max, bytes_now_max: bytes_max, open: None }
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(crate) fn begin(&mut self, now: Instant) {
        assert!(self.open.is_none(), "one transaction at a time");
        self.open = Some(Open { since: now, bytes: 0, events: 0, full: false, reached: HashMap::new() });
    }

    /// Whether `bytes` more fit in.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let Some(open) = &self.open else { return true };
        open.events == 0
            || !open.full && open.events < EVENTS_MAX && open.bytes.saturating_add(bytes) <= self.bytes_now_max
    }

    /// Something did not fit in.
    pub(crate) const fn fill(&mut self) {
        if let Some(open) = &mut self.open {
            open.full = true;
        }
    }

    /// An event was handed over. `before`: how far its partition had come, asked for once in a transaction.
    pub(crate) fn sent(
        &mut self,
        track: TrackId,
        (epoch, offset): (Epoch, Offset),
        bytes: usize,
        before: impl FnOnce() -> (TopicPartition, Reach),
    ) {
        let Some(open) = &mut self.open else { return };
        open.bytes = open.bytes.saturating_add(bytes);
        open.events += 1;
        open.reached.entry(track).or_insert_with(before).1.extend(epoch, offset.next());
    }

    /// How far a partition has come with what is open, if anything of it is.
    pub(crate) fn reach(&self, track: TrackId) -> Option<&Reach> {
        self.open.as_ref()?.reached.get(&track).map(|(_, reach)| reach)
    }

    /// When it ends, if it is open.
    pub(crate) fn ends_at(&self) -> Option<Instant> {
        let open = self.open.as_ref()?;
        Some(if open.full || open.events >= EVENTS_MAX { open.since } else { open.since + self.linger })
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.ends_at().is_some_and(|end| end <= now)
    }

    /// The cursors that belong into it, sorted: the same events make the same bytes.
    pub(crate) fn reached(&self) -> Vec<(TopicPartition, Reach)> {
        let reached = self.open.iter().flat_map(|open| open.reached.values().cloned());
        let mut reached: Vec<(TopicPartition, Reach)> = reached.collect();
        reached.sort_by(|(one, _), (other, _)| (&one.topic, one.partition).cmp(&(&other.topic, other.partition)));
        reached
    }

    /// It is committed. If twice as much had taken no longer than half of the time, the next may be twice as large, up to what is configured.
    pub(crate) fn committed(&mut self, now: Instant) {
        let took = self.open.take().map_or(Duration::ZERO, |open| now.saturating_duration_since(open.since));
        if took <= self.timeout / 4 {
            self.bytes_now_max = self.bytes_now_max.saturating_mul(2).min(self.bytes_max);
        }
    }

    /// It is given up.
    pub(crate) fn given_up(&mut self, for_want_of_time: bool) {
        if let Some(open) = self.open.take().filter(|_| for_want_of_time) {
            self.bytes_now_max = (self.bytes_now_max.min(open.bytes) / 2).max(BYTES_FLOOR).min(self.bytes_max);
        }
    }
}

#[cfg(test)]
mod tests {
    use lamppost_event::{Cursor, Partition, Topic};

    use super::*;
    use crate::window::Window;

    const LINGER: Duration = Duration::from_millis(150);
    const TIMEOUT: Duration = Duration::from_secs(30);

    fn at() -> TopicPartition {
        TopicPartition { topic: Topic::new("air").unwrap(), partition: Partition(0) }
    }

    fn track() -> TrackId {
        let mut window = Window::new(1000, vec![Cursor { at: at(), next: Offset(0) }]);
        window.track(&at().topic, Partition(0))
    }

    fn send(transaction: &mut Transaction, offset: u64, bytes: usize) {
        transaction.sent(track(), (Epoch(7), Offset(offset)), bytes, || (at(), Reach::default()));
    }

    #[tokio::test]
    async fn it_ends_after_its_linger_or_at_once_when_it_is_full() {
        let begun = Instant::now();
        let mut transaction = Transaction::new(LINGER, TIMEOUT, 1000);
        assert_eq!(transaction.ends_at(), None);
        transaction.begin(begun);
        send(&mut transaction, 0, 400);
        assert!(!transaction.is_due(begun) && transaction.is_due(begun + LINGER));
        assert!(transaction.has_room(600) && !transaction.has_room(601));
        transaction.fill();
        assert!(transaction.is_due(begun));
        assert!(!transaction.has_room(1));
    }

    #[tokio::test]
    async fn an_event_above_all_bounds_goes_alone() {
        let mut transaction = Transaction::new(LINGER, TIMEOUT, 1000);
        transaction.begin(Instant::now());
        assert!(transaction.has_room(5000));
        send(&mut transaction, 0, 5000);
        assert!(!transaction.has_room(1));
    }

    #[tokio::test]
    async fn what_was_too_much_for_the_time_is_halved_until_it_goes_through_and_then_grows_again() {
        let mut transaction = Transaction::new(LINGER, TIMEOUT, 1 << 20);
        let mut sizes = Vec::new();
        for _ in 0..12 {
            transaction.begin(Instant::now());
            let size = transaction.bytes_now_max;
            sizes.push(size);
            send(&mut transaction, 0, size);
            transaction.given_up(true);
        }
        assert_eq!(sizes[..3], [1 << 20, 1 << 19, 1 << 18]);
        assert_eq!(transaction.bytes_now_max, BYTES_FLOOR);
        transaction.begin(Instant::now());
        transaction.given_up(false);
        assert_eq!(transaction.bytes_now_max, BYTES_FLOOR, "for another reason: as large as before");
        let now = Instant::now();
        transaction.begin(now);
        transaction.committed(now + TIMEOUT / 2);
        assert_eq!(transaction.bytes_now_max, BYTES_FLOOR, "it went through, and no more would have");
        for _ in 0..12 {
            transaction.begin(now);
            transaction.committed(now + LINGER);
        }
        assert_eq!(transaction.bytes_now_max, 1 << 20);
    }

    #[tokio::test]
    async fn its_cursor_covers_what_was_sent_through_a_change_of_epoch() {
        let mut transaction = Transaction::new(LINGER, TIMEOUT, 1000);
        transaction.begin(Instant::now());
        let before = || {
            let mut reach = Reach::default();
            reach.extend(Epoch(7), Offset(5));
            (at(), reach)
        };
        transaction.sent(track(), (Epoch(7), Offset(5)), 10, before);
        transaction.sent(track(), (Epoch(8), Offset(6)), 10, before);
        let reached = transaction.reached();
        assert_eq!(reached.len(), 1);
        let reach = &reached[0].1;
        assert!(reach.covers(Epoch(7), Offset(5)) && !reach.covers(Epoch(7), Offset(6)));
        assert!(reach.covers(Epoch(8), Offset(6)) && !reach.covers(Epoch(8), Offset(7)));
    }
}
