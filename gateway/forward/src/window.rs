//! What is in flight, and how far each partition is done. Pure: no Kafka, no clock, no journal.
//!
//! Invariants:
//! - A cursor never passes an event that is not done: delivered, buried as a dead letter, or lost in a gap of the journal.
//! - Within a partition events are handed over in the order of their offsets, each once between two resets.
//! - The bytes in flight stay at or below the bound, but for one event that is larger than the bound by itself.
//! - The read that holds the first undone event is known, so that reading can begin there again; nothing is kept per
//!   event that is done.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, VecDeque};

use lamppost_event::{Cursor, Offset, Partition, Position, Topic, TopicPartition, WallTime};

/// A handle on an event in flight: what a delivery report carries back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(pub(crate) u32);

impl Slot {
    /// No event: a record of our own beside them.
    pub(crate) const CURSOR: Self = Self(u32::MAX);
}

/// A handle on a partition of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TrackId(usize);

/// What to do with an event or a gap that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It was handed over before, or is done: pass by.
    Seen,
    /// It is the next of its partition.
    Next,
    /// It is later than the next of its partition: the offsets between were not read.
    Jump {
        /// The first offset that was not read.
        from: Offset,
    },
}

#[derive(Debug)]
struct Waiting {
    offset: Offset,
    after: Offset,
    read: u64,
    bytes: usize,
    done: bool,
    /// The journal has lost it.
    lost: bool,
    /// When it was received, where it is an event that was handed over.
    received: Option<WallTime>,
}

#[derive(Debug)]
struct Track {
    at: TopicPartition,
    /// The first offset that was not handed over; `None`: the partition's first, 0, and no cursor was given.
    next: Option<Offset>,
    /// What was handed over, from the first that is not done on.
    waiting: VecDeque<Waiting>,
    moved: bool,
}

impl Track {
    fn cursor(&self) -> Option<Offset> {
        self.waiting.front().map(|first| first.offset).or(self.next)
    }
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    track: TrackId,
    offset: Offset,
}

#[derive(Debug)]
struct Read {
    start: Position,
    undone: usize,
}

/// Gaps that cursors passed, and the events in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lost {
    pub(crate) gaps: u64,
    pub(crate) events: u64,
}

/// The in-flight window of all partitions.
#[derive(Debug)]
pub(crate) struct Window {
    bytes_max: usize,
    bytes: usize,
    tracks: Vec<Track>,
    by_topic: HashMap<Topic, Vec<Option<TrackId>>>,
    flights: Vec<Option<Flight>>,
    free: Vec<u32>,
    reads: BTreeMap<u64, Read>,
    read: u64,
    passed: u64,
    lost: Lost,
}

impl Window {
    pub(crate) fn new(bytes_max: usize, cursors: Vec<Cursor>) -> Self {
        let mut window = Self {
            bytes_max,
            bytes: 0,
            tracks: Vec::new(),
            by_topic: HashMap::new(),
            flights: Vec::new(),
            free: Vec::new(),
            reads: BTreeMap::new(),
            read: 0,
            passed: 0,
            lost: Lost::default(),
        };
        for Cursor { at, next } in cursors {
            let id = window.track(&at.topic, at.partition);
            if let Some(track) = window.tracks.get_mut(id.0) {
                track.next = Some(next);
            }
        }
        window
    }

    /// Bytes in flight.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Events in flight.
    pub(crate) const fn events(&self) -> usize {
        self.flights.len() - self.free.len()
    }

    /// How many may be.
    pub(crate) const fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Changes the bound. What is in flight beyond a smaller one stays.
    pub(crate) const fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Whether `bytes` more may be handed over. An event above the bound goes alone.
    pub(crate) const fn has_room(&self, bytes: usize) -> bool {
        self.bytes == 0 || self.bytes.saturating_add(bytes) <= self.bytes_max
    }

    /// What follows was read from `start` on.
    pub(crate) fn begin_read(&mut self, start: Position) {
        self.end_read();
        self.read += 1;
        self.reads.insert(self.read, Read { start, undone: 0 });
    }

    /// All of the last read was handed over or passed by.
    pub(crate) fn end_read(&mut self) {
        if self.reads.get(&self.read).is_some_and(|read| read.undone == 0) {
            self.reads.remove(&self.read);
        }
        self.read += 1;
    }

    /// The handle of a partition.
    pub(crate) fn track(&mut self, topic: &Topic, partition: Partition) -> TrackId {
        let at = usize::from(partition.0);
        if let Some(Some(id)) = self.by_topic.get(topic).and_then(|partitions| partitions.get(at)) {
            return *id;
        }
        let id = TrackId(self.tracks.len());
        let partitions = self.by_topic.entry(topic.clone()).or_default();
        if partitions.len() <= at {
            partitions.resize(at + 1, None);
        }
        if let Some(place) = partitions.get_mut(at) {
            *place = Some(id);
        }
        let at = TopicPartition { topic: topic.clone(), partition };
        self.tracks.push(Track { at, next: None, waiting: VecDeque::new(), moved: false });
        id
    }

    /// What to do with what was read at `offset`.
    pub(crate) fn admit(&self, id: TrackId, offset: Offset) -> Admission {
        let next = self.tracks.get(id.0).and_then(|track| track.next).unwrap_or(Offset(0));
        match offset.cmp(&next) {
            Ordering::Less => Admission::Seen,
            Ordering::Equal => Admission::Next,
            Ordering::Greater => Admission::Jump { from: next },
        }
    }

    /// An event was handed over.
    pub(crate) fn sent(&mut self, id: TrackId, offset: Offset, bytes: usize) -> Slot {
        self.fly(
            id,
            Waiting { offset, after: offset.next(), read: self.read, bytes, done: false, lost: false, received: None },
        )
    }

    /// When the event last handed over to that partition was received.
    pub(crate) fn received(&mut self, id: TrackId, received: WallTime) {
        if let Some(last) = self.tracks.get_mut(id.0).and_then(|track| track.waiting.back_mut()) {
            last.received = Some(received);
        }
    }

    /// When the oldest event was received of those in flight before which nothing of their partition is undone.
    pub(crate) fn oldest(&self) -> Option<WallTime> {
        self.tracks.iter().filter_map(|track| track.waiting.front()?.received).min()
    }

    /// The same, of these topics alone.
    pub(crate) fn oldest_of(&self, takes: impl Fn(&Topic) -> bool) -> Option<WallTime> {
        let tracks = self.tracks.iter().filter(|track| !track.waiting.is_empty() && takes(&track.at.topic));
        tracks.filter_map(|track| track.waiting.front()?.received).min()
    }

    /// All below `next` was delivered by another; nothing is in flight there.
    pub(crate) fn advance(&mut self, id: TrackId, next: Offset) {
        let Some(track) = self.tracks.get_mut(id.0) else { return };
        assert!(track.waiting.is_empty(), "{}: something is in flight", track.at);
        if track.next.is_none_or(|own| own < next) {
            (track.next, track.moved) = (Some(next), true);
        }
    }

    /// What the journal has lost is on its way to be told: done with [`Window::done`], and counted as by [`Window::lose`].
    /// It counts with so many bytes.
    pub(crate) fn telling(&mut self, id: TrackId, offset: Offset, after: Offset, bytes: usize) -> Slot {
        self.fly(id, Waiting { offset, after, read: self.read, bytes, done: false, lost: true, received: None })
    }

    fn fly(&mut self, id: TrackId, waiting: Waiting) -> Slot {
        let (offset, bytes) = (waiting.offset, waiting.bytes);
        self.push(id, waiting);
        self.bytes = self.bytes.saturating_add(bytes);
        let flight = Some(Flight { track: id, offset });
        let free = self.free.pop().and_then(|slot| Some((slot, self.flights.get_mut(slot as usize)?)));
        if let Some((slot, place)) = free {
            assert!(place.is_none(), "a free slot is empty");
            *place = flight;
            return Slot(slot);
        }
        self.flights.push(flight);
        // Each event in flight is counted with some hundred bytes: 2^32 of them do not fit into any bound.
        Slot(u32::try_from(self.flights.len() - 1).unwrap_or(u32::MAX))
    }

    /// The event just handed over was not taken: as if [`Window::sent`] had not been called.
    pub(crate) fn take_back(&mut self, slot: Slot) {
        let Some(flight) = self.flights.get_mut(slot.0 as usize).and_then(Option::take) else { return };
        self.free.push(slot.0);
        let Some(track) = self.tracks.get_mut(flight.track.0) else { return };
        let is_last = track.waiting.back().is_some_and(|last| last.offset == flight.offset);
        assert!(is_last, "{}: only the last event can be taken back", track.at);
        if let Some(last) = track.waiting.pop_back() {
            track.next = Some(last.offset);
            self.bytes = self.bytes.saturating_sub(last.bytes);
            if let Some(read) = self.reads.get_mut(&last.read) {
                read.undone -= 1;
            }
        }
    }

    /// Offsets from `offset` up to `after` are done without being sent: events that were dealt with alone.
    pub(crate) fn skip(&mut self, id: TrackId, offset: Offset, after: Offset) {
        self.push(id, Waiting { offset, after, read: self.read, bytes: 0, done: true, lost: false, received: None });
        self.pass(id);
    }

    /// The same for what the journal has lost. Counted once the cursor passes it: after a reset it is met again.
    pub(crate) fn lose(&mut self, id: TrackId, offset: Offset, after: Offset) {
        self.push(id, Waiting { offset, after, read: self.read, bytes: 0, done: true, lost: true, received: None });
        self.pass(id);
    }

    /// What cursors passed of what the journal has lost, since the start.
    pub(crate) const fn lost(&self) -> Lost {
        self.lost
    }

    fn push(&mut self, id: TrackId, waiting: Waiting) {
        let Some(track) = self.tracks.get_mut(id.0) else { return };
        assert!(track.next.is_none_or(|next| waiting.offset >= next), "{}: handed over out of order", track.at);
        assert!(waiting.after > waiting.offset, "{}: an empty range", track.at);
        track.next = Some(waiting.after);
        if let Some(read) = self.reads.get_mut(&waiting.read) {
            read.undone += 1;
        }
        track.waiting.push_back(waiting);
    }

    /// Where an event in flight belongs. `None` if there is no such flight.
    pub(crate) fn place(&self, slot: Slot) -> Option<(&TopicPartition, Offset)> {
        let flight = self.flights.get(slot.0 as usize).copied().flatten()?;
        Some((&self.tracks.get(flight.track.0)?.at, flight.offset))
    }

    /// An event or a gap is done: delivered, buried or told. False if there is no such flight (a report that came twice, or after a reset).
    pub(crate) fn done(&mut self, slot: Slot) -> bool {
        let Some(flight) = self.flights.get_mut(slot.0 as usize).and_then(Option::take) else { return false };
        self.free.push(slot.0);
        if let Some(track) = self.tracks.get_mut(flight.track.0)
            && let Ok(at) = track.waiting.binary_search_by_key(&flight.offset, |waiting| waiting.offset)
            && let Some(waiting) = track.waiting.get_mut(at)
        {
            waiting.done = true;
        }
        self.pass(flight.track);
        true
    }

    fn pass(&mut self, id: TrackId) {
        let Some(track) = self.tracks.get_mut(id.0) else { return };
        while track.waiting.front().is_some_and(|first| first.done) {
            let Some(first) = track.waiting.pop_front() else { return };
            track.moved = true;
            self.passed += 1;
            self.bytes = self.bytes.saturating_sub(first.bytes);
            if first.lost {
                self.lost.gaps += 1;
                self.lost.events += first.after.0 - first.offset.0;
            }
            if let Some(read) = self.reads.get_mut(&first.read) {
                read.undone -= 1;
                if read.undone == 0 && first.read != self.read {
                    self.reads.remove(&first.read);
                }
            }
        }
    }

    /// Events and gaps that cursors passed since [`Window::take_moved`].
    pub(crate) const fn passed(&self) -> u64 {
        self.passed
    }

    /// The partition where most bytes wait that are done, behind something that is not, and where that is.
    pub(crate) fn most_behind(&self) -> Option<(TopicPartition, Offset)> {
        let behind = |track: &Track| track.waiting.iter().filter(|waiting| waiting.done).map(|done| done.bytes).sum();
        let most = self.tracks.iter().map(|track| (behind(track), track)).max_by_key(|(bytes, _)| *bytes);
        let (_, track) = most.filter(|(bytes, _): &(usize, _)| *bytes > 0)?;
        Some((track.at.clone(), track.waiting.front()?.offset))
    }

    /// The cursors that moved since the last call.
    pub(crate) fn take_moved(&mut self) -> Vec<Cursor> {
        self.passed = 0;
        let mut cursors = Vec::new();
        for track in &mut self.tracks {
            if std::mem::take(&mut track.moved)
                && let Some(next) = track.cursor()
            {
                cursors.push(Cursor { at: track.at.clone(), next });
            }
        }
        cursors
    }

    /// Whether the partition's cursor stands at that offset or behind it.
    pub(crate) fn has_passed(&self, id: TrackId, offset: Offset) -> bool {
        self.tracks.get(id.0).and_then(Track::cursor).is_some_and(|cursor| cursor >= offset)
    }

    /// The partition's cursor, if it has come anywhere.
    pub(crate) fn cursor(&self, at: &TopicPartition) -> Option<Offset> {
        let id = self.by_topic.get(&at.topic)?.get(usize::from(at.partition.0)).copied().flatten()?;
        self.tracks.get(id.0)?.cursor()
    }

    /// The cursors of one topic.
    pub(crate) fn cursors_of(&self, topic: &Topic) -> Vec<(Partition, Offset)> {
        let of_topic = self.tracks.iter().filter(|track| track.at.topic == *topic);
        of_topic.filter_map(|track| Some((track.at.partition, track.cursor()?))).collect()
    }

    /// Whether any partition has come anywhere.
    pub(crate) fn has_cursors(&self) -> bool {
        self.tracks.iter().any(|track| track.cursor().is_some())
    }

    /// Whether a gap of the partition is being told. Whatever is sent behind it can't be covered by a cursor yet.
    pub(crate) fn is_telling(&self, id: TrackId) -> bool {
        let last = self.tracks.get(id.0).and_then(|track| track.waiting.back());
        last.is_some_and(|waiting| waiting.lost && !waiting.done)
    }

    /// Whether nothing of the topic is in flight.
    pub(crate) fn is_idle(&self, topic: &Topic) -> bool {
        let tracks = self.by_topic.get(topic).into_iter().flatten().flatten();
        tracks.filter_map(|id| self.tracks.get(id.0)).all(|track| track.waiting.is_empty())
    }

    /// Forgets what is in flight: all partitions go on at their cursors. Returns where to read on, if something was undone.
    pub(crate) fn reset(&mut self) -> Option<Position> {
        let from = self.reads.values().map(|read| read.start).min();
        for track in &mut self.tracks {
            track.next = track.cursor();
            track.waiting.clear();
        }
        self.flights.clear();
        self.free.clear();
        self.reads.clear();
        self.read += 1;
        self.bytes = 0;
        from
    }
}

#[cfg(test)]
mod tests;
