//! The commit that is being gathered: events are encoded as they come, so that the writer only has to put the batches
//! together.
//!
//! **Invariant:** whatever was taken fits: in one frame, and in the space that is prepared on the disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use lamppost_event::{Commit, Offset, StoredRecord, TopicPartition};

use crate::book::change_bytes;
use crate::format::batch::{BATCH_HEAD, BatchBuilder, Cost};
use crate::format::checkpoint::USER;
use crate::format::frame::{ENTRY, FRAME_HEAD};
use crate::format::padded;
use crate::format::segment::FRAMES_AT;

/// State that changes with a commit: a value, or a tombstone.
pub(crate) type Changes = BTreeMap<Bytes, Option<Bytes>>;

/// What a state record costs in a frame beside its key and value, at most.
const STATE_OVERHEAD: usize = 32;
/// The journal's own partition, always in the calculation: batch head, entry, name.
const STATE_BATCH: usize = BATCH_HEAD + ENTRY + 16;
const NONE: u32 = u32::MAX;
/// The most segments that are kept for some.
const RESERVE_MAX: usize = 2;

/// The space that is left on the disk, as of all frames that were sealed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Space {
    /// Bytes left in the current segment, the room for a close frame left out.
    pub(crate) remaining: u64,
    /// Prepared segments.
    pub(crate) free: usize,
}

#[derive(Debug)]
struct Slot {
    next: Offset,
    batch: u32,
    /// Free segments that it leaves to others.
    left: usize,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Gathering {
    pub(crate) commit: Commit,
    slots: Vec<Slot>,
    batches: Vec<(usize, BatchBuilder)>,
    spare: Vec<BatchBuilder>,
    bytes: usize,
    /// What `bytes` began with.
    empty_bytes: usize,
    pub(crate) events: u32,
    event_bytes: u64,
    /// Monotonic ms at which the commit is due.
    pub(crate) due: Option<u64>,
    pub(crate) linger_ms: u64,
    /// The commit is due now.
    pub(crate) at_once: bool,
    state: Changes,
    /// The state of the commit that is being written.
    pub(crate) in_flight: Option<Arc<Changes>>,
    space: Space,
    frame_bytes_max: usize,
    segment_bytes: u64,
    close_room: u64,
    /// Segments that are kept for alarms and dead letters.
    reserve: usize,
    /// What may still be put of values, in bytes of [`value_cost`].
    value_room: u64,
    /// What was put of them since that was found out: what gathers, and what is being written.
    values_put: [u64; 2],
    /// What the value that was refused last would have cost, until there is room for it.
    value_wanted: Option<u64>,
    /// Whoever waits with it is not told of room.
    value_waits: bool,
    /// What the event or state that was refused last would have cost, by how many segments it leaves to others.
    wanted: [usize; RESERVE_MAX + 1],
}

/// A gathered commit on its way to the disk.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) commit: Commit,
    pub(crate) batches: Vec<(usize, BatchBuilder)>,
    pub(crate) state: Arc<Changes>,
    pub(crate) events: u32,
    /// Key, value and header bytes of the events.
    pub(crate) event_bytes: u64,
    /// A new segment was reckoned with.
    pub(crate) roll: bool,
}

/// What has to be known to gather.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) frame_bytes_max: usize,
    pub(crate) segment_bytes: u64,
    pub(crate) close_room: u64,
    pub(crate) reserve: usize,
}

impl Gathering {
    /// `next` are the slots' next offsets, and how many free segments each leaves to others.
    pub(crate) fn new(
        commit: Commit,
        next: Vec<(Offset, usize)>,
        space: Space,
        bounds: Bounds,
        previous: usize,
    ) -> Self {
        Self {
            commit,
            slots: next.into_iter().map(|(next, left)| Slot { next, batch: NONE, left }).collect(),
            batches: Vec::new(),
            spare: Vec::new(),
            bytes: FRAME_HEAD + STATE_BATCH + previous,
            empty_bytes: FRAME_HEAD + STATE_BATCH + previous,
            events: 0,
            event_bytes: 0,
            due: None,
            linger_ms: u64::MAX,
            at_once: false,
            state: Changes::new(),
            in_flight: None,
            space,
            frame_bytes_max: bounds.frame_bytes_max,
            segment_bytes: bounds.segment_bytes,
            close_room: bounds.close_room,
            reserve: bounds.reserve,
            value_room: 0,
            values_put: [0; 2],
            value_wanted: None,
            value_waits: false,
            wanted: [0; RESERVE_MAX + 1],
        }
    }

    /// Bytes of the frame as it stands, at most.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.state.is_empty()
    }

    /// The largest frame that can be written now. With a segment in reserve for recovery, and only then; and with what is left to others.
    fn limit(&self, left: usize) -> usize {
        match self.space.free.saturating_sub(left) {
            0 => 0,
            1 => self.frame_bytes_max.min(usize::try_from(self.space.remaining).unwrap_or(usize::MAX)),
            _ => self.frame_bytes_max,
        }
    }

    /// Whether events may be taken, with `more` bytes. A sixteenth of the frame is kept for cursors.
    fn fits(&self, more: usize, left: usize) -> bool {
        padded(self.bytes + more) + self.frame_bytes_max / 16 <= self.limit(left)
    }

    /// Whether an event of middling size would be taken, or one as large as was refused last of those that leave as much to others: who
    /// waits with that is not told to try again for nothing.
    pub(crate) fn has_room(&self, left: usize) -> bool {
        self.fits(self.wanted(left), left) && !self.value_waits
    }

    /// The same of an empty frame: whether there is space on the disk.
    pub(crate) fn has_space_for(&self, left: usize) -> bool {
        padded(self.empty_bytes + self.wanted(left)) + self.frame_bytes_max / 16 <= self.limit(left)
    }

    /// Whether anything can be written at all: there is space for an event of middling size in an empty frame.
    pub(crate) fn has_space(&self) -> bool {
        2 * crate::format::PAGE + self.frame_bytes_max / 16 <= self.limit(self.reserve)
    }

    fn wanted(&self, left: usize) -> usize {
        self.wanted.get(left).copied().unwrap_or_default().max(crate::format::PAGE)
    }

    /// Takes an event into the slot's partition. `None` if there is no room.
    pub(crate) fn push(
        &mut self,
        index: usize,
        place: &TopicPartition,
        record: &StoredRecord,
        mark: Option<(Vec<u8>, Vec<u8>)>,
    ) -> Option<Offset> {
        let slot = self.slots.get(index)?;
        let (offset, batch, left) = (slot.next, slot.batch, slot.left);
        let known = self.batches.get(batch as usize).map(|(_, builder)| builder.cost(record));
        let event_bytes = record.bytes();
        // A new batch's first record costs no more than this bound says.
        let bound = || BATCH_HEAD + ENTRY + 1 + place.topic.as_str().len() + event_bytes + 64;
        let cost = known.map_or_else(bound, Cost::bytes);
        let mark_cost = mark.as_ref().map_or(0, |(key, value)| key.len() + value.len() + STATE_OVERHEAD);
        if !self.is_room_for(cost + mark_cost, left) {
            return None;
        }
        let batch = if known.is_some() { batch } else { self.open_batch(index, offset, record) };
        let (_, builder) = self.batches.get_mut(batch as usize)?;
        let exact = known.unwrap_or_else(|| builder.cost(record));
        builder.push_at_cost(record, exact);
        let slot = self.slots.get_mut(index)?;
        (slot.batch, slot.next) = (batch, offset.next());
        self.bytes += cost;
        self.events += 1;
        self.event_bytes += event_bytes as u64;
        if let Some((key, value)) = mark {
            self.put(key.into(), Some(value.into()));
        }
        Some(offset)
    }

    /// Whether events or state may be taken, with `more` bytes. What is refused is remembered: whoever waits with it is not told of room
    /// before there is some for it.
    fn is_room_for(&mut self, more: usize, left: usize) -> bool {
        let fits = self.fits(more, left);
        if let Some(wanted) = self.wanted.get_mut(left).filter(|wanted| !fits || more >= **wanted) {
            *wanted = if fits { 0 } else { more };
        }
        fits
    }

    fn open_batch(&mut self, index: usize, base: Offset, first: &StoredRecord) -> u32 {
        let mut builder = self.spare.pop().unwrap_or_default();
        builder.begin(base, first.timestamp);
        self.batches.push((index, builder));
        (self.batches.len() - 1) as u32
    }

    /// Takes a change of state. False if there is no room: neither in the space that is prepared nor, for a value, in the checkpoint to come.
    pub(crate) fn push_state(&mut self, key: Bytes, value: Option<Bytes>) -> bool {
        let cost = if key.first() == Some(&USER) { value_cost(&key, value.as_ref()) } else { 0 };
        // What removes something is always taken: room comes by it.
        if value.is_some() && cost > self.value_room {
            (self.value_wanted, self.value_waits) = (Some(cost), true);
            return false;
        }
        let fits = self.is_room_for(state_cost(&key, value.as_ref()), self.reserve);
        if fits {
            let [gathered, _] = &mut self.values_put;
            *gathered += cost;
            self.value_room = self.value_room.saturating_sub(cost);
            self.put(key, value);
        }
        fits
    }

    /// The checkpoint to come has room for so many bytes of values, those left out that are not yet durable. True if the value that was refused
    /// last is among those that have none.
    pub(crate) fn set_value_room(&mut self, bytes: u64) -> bool {
        self.value_room = bytes.saturating_sub(self.values_put.iter().sum());
        if self.value_wanted.is_some_and(|wanted| wanted <= self.value_room) {
            (self.value_wanted, self.value_waits) = (None, false);
        }
        self.refuses_values()
    }

    /// A value was refused, and would be again.
    pub(crate) const fn refuses_values(&self) -> bool {
        self.value_wanted.is_some()
    }

    /// Whoever waits with a value that was refused may ask again.
    pub(crate) const fn let_ask_again(&mut self) {
        self.value_waits = false;
    }

    /// What was being written is durable. True if there were values in it.
    pub(crate) fn written(&mut self) -> bool {
        self.in_flight = None;
        let [_, writing] = &mut self.values_put;
        std::mem::take(writing) > 0
    }

    /// Takes a cursor, for which room is kept. False if even that is used up.
    pub(crate) fn push_cursor(&mut self, key: Bytes, value: Bytes) -> bool {
        let fits = padded(self.bytes + state_cost(&key, Some(&value))) <= self.limit(self.reserve);
        if fits {
            self.put(key, Some(value));
        }
        fits
    }

    fn put(&mut self, key: Bytes, value: Option<Bytes>) {
        self.bytes += state_cost(&key, value.as_ref());
        let key_bytes = key.len();
        if let Some(old) = self.state.insert(key, value) {
            self.bytes -= key_bytes + old.map_or(0, |old| old.len()) + STATE_OVERHEAD;
        }
    }

    /// The value that is on its way to the disk, if there is one.
    pub(crate) fn pending(&self, key: &[u8]) -> Option<(Commit, Option<Bytes>)> {
        if let Some(value) = self.state.get(key) {
            return Some((self.commit, value.clone()));
        }
        let value = self.in_flight.as_ref()?.get(key)?;
        Some((Commit(self.commit.0 - 1), value.clone()))
    }

    /// Hands the gathered commit over and begins the next.
    pub(crate) fn seal(&mut self, used: Vec<BatchBuilder>, places: &[TopicPartition]) -> Sealed {
        let frame = padded(self.bytes) as u64;
        let roll = frame > self.space.remaining;
        if roll {
            self.space.free = self.space.free.saturating_sub(1);
            self.space.remaining = self.segment_bytes - FRAMES_AT - self.close_room;
        }
        self.space.remaining = self.space.remaining.saturating_sub(frame);
        self.recycle(used);
        let batches = std::mem::take(&mut self.batches);
        for (index, _) in &batches {
            if let Some(slot) = self.slots.get_mut(*index) {
                slot.batch = NONE;
            }
        }
        let state = Arc::new(std::mem::take(&mut self.state));
        self.in_flight = Some(Arc::clone(&state));
        self.values_put = [0, self.values_put.iter().sum()];
        let (commit, events, event_bytes) = (self.commit, self.events, self.event_bytes);
        let sealed = Sealed { commit, batches, state, events, event_bytes, roll };
        self.commit = self.commit.next();
        let touched = sealed.batches.iter().filter_map(|(index, _)| places.get(*index));
        self.empty_bytes = FRAME_HEAD + STATE_BATCH + ranges_cost(touched);
        self.bytes = self.empty_bytes;
        (self.events, self.event_bytes) = (0, 0);
        (self.due, self.linger_ms, self.at_once) = (None, u64::MAX, false);
        sealed
    }

    /// Keeps the builders' memory for reuse, within the size of a frame.
    fn recycle(&mut self, used: Vec<BatchBuilder>) {
        let mut kept: usize = self.spare.iter().map(BatchBuilder::capacity).sum();
        for builder in used {
            kept += builder.capacity();
            if kept <= self.frame_bytes_max {
                self.spare.push(builder);
            }
        }
    }

    /// Goes on to a prepared segment before the current one is full, but no further than into what is left to others. Gives the commit
    /// that it begins with. `None` if something has gathered, or there is more room than that.
    pub(crate) fn roll(&mut self, left: usize) -> Option<Commit> {
        if !self.is_empty() || self.space.free != left + 1 {
            return None;
        }
        self.space = Space { free: left, remaining: self.segment_bytes - FRAMES_AT - self.close_room };
        Some(self.commit)
    }

    pub(crate) const fn space(&self) -> Space {
        self.space
    }

    /// The space as it is, with nothing on its way.
    pub(crate) const fn set_space(&mut self, space: Space) {
        self.space = space;
    }

    /// What a finished write left.
    pub(crate) const fn settle(&mut self, remaining: u64, reckoned_roll: bool, rolled: bool) {
        self.space.remaining = remaining;
        if reckoned_roll && !rolled {
            self.space.free += 1;
        }
    }

    /// Gives up a prepared segment, if none of those that are left is promised to what has gathered. False if not.
    pub(crate) fn give_free(&mut self) -> bool {
        let gives = self.space.free > 0 && self.is_empty();
        self.space.free -= usize::from(gives);
        gives
    }

    /// Prepared segments came, or (negative) went.
    pub(crate) const fn add_free(&mut self, count: isize) {
        self.space.free = self.space.free.saturating_add_signed(count);
    }
}

/// What a value takes in the next checkpoint, at most: the index may have each key once more.
pub(crate) fn value_cost(key: &Bytes, value: Option<&Bytes>) -> u64 {
    2 * change_bytes(key, value) as u64
}

fn state_cost(key: &Bytes, value: Option<&Bytes>) -> usize {
    key.len() + value.map_or(0, Bytes::len) + STATE_OVERHEAD
}

/// What naming these partitions' ranges costs the next frame, at most (the journal's own is in the constant part).
pub(crate) fn ranges_cost<'a>(places: impl Iterator<Item = &'a TopicPartition>) -> usize {
    places.map(|at| ENTRY + 1 + at.topic.as_str().len()).sum::<usize>() + ENTRY
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathering(remaining: u64) -> Gathering {
        let (space, frame_bytes_max) = (Space { remaining, free: 1 }, 1 << 20);
        let bounds = Bounds { frame_bytes_max, segment_bytes: 1 << 20, close_room: 4096, reserve: 0 };
        Gathering::new(Commit(1), vec![(Offset(0), 0)], space, bounds, 0)
    }

    #[test]
    fn there_is_no_room_for_who_waits_with_state_until_there_is_some_for_it() {
        let (key, value) = (Bytes::from_static(b"k"), Bytes::from(vec![7; 200_000]));
        let mut gather = gathering(128 << 10);
        assert!(gather.has_room(0), "there is room for something of middling size");
        assert!(!gather.push_state(key.clone(), Some(value.clone())));
        assert!(!gather.has_room(0), "whoever waits with it would try for nothing");
        gather.add_free(1);
        assert!(gather.has_room(0));
        assert!(gather.push_state(key, Some(value)));
    }

    #[test]
    fn a_value_that_the_checkpoint_has_no_room_for_waits_and_what_removes_one_does_not() {
        let (key, value) = (Bytes::from_static(b"ukey"), Bytes::from(vec![7; 1000]));
        let mut gather = gathering(128 << 10);
        assert!(!gather.push_state(key.clone(), Some(value.clone())) && !gather.has_room(0));
        assert!(gather.push_state(key.clone(), None));
        let cost = value_cost(&key, Some(&value)) + value_cost(&key, None);
        assert!(gather.set_value_room(cost - 1), "still refused");
        assert!(!gather.set_value_room(cost) && gather.has_room(0));
        assert!(gather.push_state(key.clone(), Some(value.clone())));
        assert!(!gather.push_state(key, Some(value)), "what gathers counts");
    }
}
