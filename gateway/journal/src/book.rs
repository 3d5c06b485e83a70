//! What is known of the durable journal: its segments, partitions, gaps, cursors and changed state. All under one lock, never
//! held over a read or a write.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use lamppost_event::{Commit, Cursor, Epoch, Gap, Group, Now, Offset, Position, TopicPartition};

use crate::checkpoint::Stack;
use crate::disk::DiskFile;
use crate::format::checkpoint::{USER, cursor_key, numbers, partition_key};
use crate::format::fields::Fields;
use crate::format::segment::SegmentHead;
use crate::gather::Changes;

/// A segment's file. Whoever reads it holds a clone of its `Arc`: it is not recycled meanwhile.
pub(crate) struct Lease {
    pub(crate) head: SegmentHead,
    pub(crate) file: Arc<dyn DiskFile>,
}

/// Per partition the first offset and the one after the last.
pub(crate) type Ranges = BTreeMap<TopicPartition, (Offset, Offset)>;

/// A live segment.
pub(crate) struct Segment {
    pub(crate) lease: Arc<Lease>,
    pub(crate) name: String,
    /// Frames lie before this byte.
    pub(crate) end: u64,
    /// Nothing may be written before this byte: frames that were copied elsewhere may still be needed.
    pub(crate) extent: u64,
    pub(crate) first_commit: Commit,
    pub(crate) last_commit: Commit,
    pub(crate) ranges: Ranges,
    /// Frames, events, and bytes of frames.
    pub(crate) counts: [u64; 3],
    /// When its first and its last frame were written.
    pub(crate) span: Option<(Now, Now)>,
    /// It has a footer.
    pub(crate) sealed: bool,
    /// The disk refused to read a part of it: the file is not used again.
    pub(crate) refused: bool,
}

impl Segment {
    /// The position behind its last frame.
    pub(crate) fn behind(&self) -> Position {
        let head = &self.lease.head;
        if head.cold { head.limit() } else { head.position(self.end) }
    }
}

/// A prepared file.
pub(crate) struct FreeFile {
    pub(crate) name: String,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Holds only zeros.
    pub(crate) virgin: bool,
}

/// A cold segment's file that is longer than the segment: it was a prepared one.
pub(crate) struct Untrimmed {
    pub(crate) name: String,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Where the segment ends.
    pub(crate) bytes: u64,
    /// What the file has behind that.
    pub(crate) surplus: u64,
}

/// The offsets that are kept: from `first` up to, not with, `next`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Kept {
    pub(crate) first: Offset,
    pub(crate) next: Offset,
}

/// A group's place in a partition. Places are ordered: a later one has been set back more often, or else lies further on. Whatever order
/// they are found in, the greatest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Reach {
    /// How often the group was set to another place here by hand.
    pub(crate) resets: u64,
    /// The first offset that it has not done with.
    pub(crate) next: Offset,
}

impl Reach {
    /// The group is forgotten here: as if it had never come anywhere. No offset is that high.
    const FORGOTTEN: Offset = Offset(u64::MAX);

    pub(crate) fn is_forgotten(self) -> bool {
        self.next == Self::FORGOTTEN
    }

    /// As a cursor's value.
    pub(crate) fn encode(self) -> Vec<u8> {
        if self.resets == 0 { numbers([self.next.0]) } else { numbers([self.next.0, self.resets]) }
    }

    /// From a cursor's value.
    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(value);
        Some(Self { next: Offset(fields.u64()?), resets: fields.u64().unwrap_or(0) })
    }
}

/// How far a group has come in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CursorEntry {
    pub(crate) reach: Reach,
    pub(crate) durable: Reach,
}

impl CursorEntry {
    /// The first offset that the group has not done with.
    pub(crate) fn next(&self) -> Offset {
        if self.reach.is_forgotten() { Offset(0) } else { self.reach.next }
    }

    /// The same, of what is durable.
    pub(crate) fn durable_next(&self) -> Offset {
        if self.durable.is_forgotten() { Offset(0) } else { self.durable.next }
    }

    fn is_dirty(&self) -> bool {
        self.reach > self.durable
    }
}

/// State that changed, with the commit it changed in.
pub(crate) type Delta = BTreeMap<Bytes, (Commit, Option<Bytes>)>;

/// See the module.
pub(crate) struct Book {
    pub(crate) durable: Commit,
    pub(crate) end: Position,
    pub(crate) epoch: Epoch,
    pub(crate) partitions: BTreeMap<TopicPartition, Kept>,
    /// By rising number; the last is written to.
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) free: Vec<FreeFile>,
    /// Bytes of a prepared file that is being made a segment: it is in neither list, and counts.
    pub(crate) rolling: u64,
    /// Bytes of a prepared file that a cold segment is being written into.
    pub(crate) lent: u64,
    /// Cold segments that lie in longer files.
    pub(crate) untrimmed: Vec<Untrimmed>,
    /// By the position of the frame that showed them.
    pub(crate) gaps: BTreeMap<Position, Vec<Gap>>,
    pub(crate) cursors: BTreeMap<Group, BTreeMap<TopicPartition, CursorEntry>>,
    /// Since when (monotonic ms) a cursor is not durable.
    pub(crate) cursors_since: Option<u64>,
    /// Changes since the newest checkpoint began.
    pub(crate) delta: Delta,
    pub(crate) delta_bytes: usize,
    /// Of those, values that others put.
    pub(crate) delta_value_bytes: usize,
    /// The changes that went into the newest checkpoint, or are on their way.
    pub(crate) frozen: Arc<Delta>,
    /// All changes after this commit are in `delta` and `frozen`.
    pub(crate) known_since: Commit,
    /// The commit of the newest checkpoint that was begun.
    pub(crate) frozen_at: Commit,
    pub(crate) checkpoint: Arc<Stack>,
    /// Bytes of files that are neither segments nor checkpoints.
    pub(crate) other_bytes: u64,
    /// Of those, what was set aside, oldest first, with its size.
    pub(crate) aside: Vec<(String, u64)>,
    /// The next number and base for a segment.
    pub(crate) next_number: u64,
    pub(crate) next_base: Position,
    /// Bytes that reading had to pass over (from, to), and has accounted for.
    pub(crate) known_holes: BTreeSet<(Position, Position)>,
    /// Hot segments that a cold one stands for, and that somebody still reads.
    pub(crate) retiring: Vec<Segment>,
}

/// Takes a change in, and keeps the sums of what all take in memory, and of that the values that others put.
pub(crate) fn lay(
    delta: &mut Delta,
    (bytes, value_bytes): (&mut usize, &mut usize),
    commit: Commit,
    key: Bytes,
    value: Option<Bytes>,
) {
    let is_value = key.first() == Some(&USER);
    let (new, key_bytes) = (change_bytes(&key, value.as_ref()), change_bytes(&key, None));
    let old = delta.insert(key, (commit, value));
    let old = old.map_or(0, |(_, old)| key_bytes + old.map_or(0, |old| old.len()));
    *bytes = *bytes + new - old;
    if is_value {
        *value_bytes = *value_bytes + new - old;
    }
}

/// What a change of state takes in memory, about.
pub(crate) fn change_bytes(key: &Bytes, value: Option<&Bytes>) -> usize {
    key.len() + value.map_or(0, Bytes::len) + 64
}

impl Book {
    /// Takes a change of durable state in. Cursors and partitions have tables of their own.
    pub(crate) fn learn(&mut self, commit: Commit, key: &Bytes, value: Option<&Bytes>) {
        let sums = (&mut self.delta_bytes, &mut self.delta_value_bytes);
        lay(&mut self.delta, sums, commit, key.clone(), value.cloned());
    }

    /// The value of a key in what changed lately. `None`: look in the checkpoint.
    pub(crate) fn recent(&self, key: &[u8]) -> Option<Option<Bytes>> {
        let (_, value) = self.delta.get(key).or_else(|| self.frozen.get(key))?;
        Some(value.clone())
    }

    /// The newest checkpoint has left these marks out: they must not be found among the changes that went into it.
    pub(crate) fn forget_marks(&mut self, forgotten: Vec<Bytes>) {
        if forgotten.is_empty() {
            return;
        }
        let mut frozen = Delta::clone(&self.frozen);
        for key in forgotten {
            if let Some((_, value)) = frozen.get_mut(&key) {
                *value = None;
            }
        }
        self.frozen = Arc::new(frozen);
    }

    /// Takes cursors in; they only go forward, and never beyond what is durable. True if one moved.
    pub(crate) fn move_cursors(&mut self, group: &Group, cursors: &[Cursor]) -> bool {
        let mut moved = false;
        for cursor in cursors {
            let Some(kept) = self.partitions.get(&cursor.at) else { continue };
            let next = cursor.next.min(kept.next);
            if !self.cursors.contains_key(group) {
                self.cursors.insert(group.clone(), BTreeMap::new());
            }
            let Some(table) = self.cursors.get_mut(group) else { continue };
            let entry = table.entry(cursor.at.clone()).or_default();
            if entry.reach.is_forgotten() {
                entry.reach = Reach { resets: entry.reach.resets + 1, next };
                moved = true;
            } else if next > entry.reach.next {
                entry.reach.next = next;
                moved = true;
            }
        }
        moved
    }

    /// Sets cursors, back or forth, to within what is kept. True if there was one to set.
    pub(crate) fn reset_cursors(&mut self, group: &Group, cursors: &[Cursor]) -> bool {
        let mut set = false;
        for cursor in cursors {
            let Some(kept) = self.partitions.get(&cursor.at) else { continue };
            let next = cursor.next.clamp(kept.first, kept.next);
            let entry = self.cursors.entry(group.clone()).or_default().entry(cursor.at.clone()).or_default();
            entry.reach = Reach { resets: entry.reach.resets + 1, next };
            set = true;
        }
        set
    }

    /// The cursors of all groups that are not forgotten.
    pub(crate) fn groups(&self) -> Vec<(Group, Vec<Cursor>)> {
        let cursors = |table: &BTreeMap<TopicPartition, CursorEntry>| {
            let known = table.iter().filter(|(_, entry)| !entry.reach.is_forgotten());
            known.map(|(at, entry)| Cursor { at: at.clone(), next: entry.next() }).collect::<Vec<_>>()
        };
        let groups = self.cursors.iter().map(|(group, table)| (group.clone(), cursors(table)));
        groups.filter(|(_, cursors)| !cursors.is_empty()).collect()
    }

    /// Forgets a group: it holds nothing back any more, and where it is used again it begins at the first event. What is left of it is one
    /// small cursor for each partition, which says so. False if there is no such group.
    pub(crate) fn forget_group(&mut self, group: &Group) -> bool {
        let Some(table) = self.cursors.get_mut(group) else { return false };
        let mut forgot = false;
        for entry in table.values_mut().filter(|entry| !entry.reach.is_forgotten()) {
            entry.reach = Reach { resets: entry.reach.resets + 1, next: Reach::FORGOTTEN };
            forgot = true;
        }
        forgot
    }

    /// A layer that opening was refused may have been replaced by name: it is not set aside any more.
    pub(crate) fn forget_replaced(&mut self) {
        if let Some(index) = self.aside.iter().position(|(name, _)| name == self.checkpoint.name()) {
            let (_, bytes) = self.aside.remove(index);
            self.other_bytes = self.other_bytes.saturating_sub(bytes);
        }
    }

    /// The cursors that are not durable.
    pub(crate) fn dirty_cursors(&self) -> Vec<(Group, TopicPartition, Reach)> {
        let entries = self.cursors.iter().flat_map(|(group, table)| table.iter().map(move |entry| (group, entry)));
        let dirty = entries.filter(|(_, (_, entry))| entry.is_dirty());
        dirty.map(|(group, (at, entry))| (group.clone(), at.clone(), entry.reach)).collect()
    }

    /// These cursors have become durable; by rising group and partition, as [`Self::dirty_cursors`] gives them.
    pub(crate) fn settle_cursors(&mut self, written: &[(Group, TopicPartition, Reach)], now_ms: u64) {
        for (group, at, reach) in written {
            if let Some(entry) = self.cursors.get_mut(group).and_then(|table| table.get_mut(at)) {
                entry.durable = entry.durable.max(*reach);
            }
        }
        let entries = self.cursors.iter().flat_map(|(group, table)| table.iter().map(move |entry| (group, entry)));
        // One that was not among them has waited since before: with full frames it may never be, and a checkpoint has to take it.
        let waited = |group: &Group, at: &TopicPartition| {
            written.binary_search_by(|(g, a, _)| (g, a).cmp(&(group, at))).is_err()
        };
        let dirty = entries.filter(|(_, (_, entry))| entry.is_dirty());
        let since = self.cursors_since.unwrap_or(now_ms);
        self.cursors_since = dirty.map(|(group, (at, _))| if waited(group, at) { since } else { now_ms }).min();
    }

    /// All that is laid over the old checkpoint: state, cursors, partitions.
    pub(crate) fn overlay(&self, frozen: &Delta) -> Changes {
        let mut changes: Changes = frozen.iter().map(|(key, (_, value))| (key.clone(), value.clone())).collect();
        for (group, at, reach) in self.all_cursors() {
            changes.insert(cursor_key(&group, &at).into(), Some(reach.encode().into()));
        }
        for (at, kept) in &self.partitions {
            changes.insert(partition_key(at).into(), Some(numbers([kept.first.0, kept.next.0]).into()));
        }
        changes
    }

    /// How many cursors there are, of all groups.
    pub(crate) fn cursor_count(&self) -> usize {
        self.cursors.values().map(BTreeMap::len).sum()
    }

    pub(crate) fn all_cursors(&self) -> Vec<(Group, TopicPartition, Reach)> {
        let entries = self.cursors.iter().flat_map(|(group, table)| table.iter().map(move |entry| (group, entry)));
        entries.map(|(group, (at, entry))| (group.clone(), at.clone(), entry.reach)).collect()
    }

    /// The live segment with that number.
    pub(crate) fn segment(&self, number: u64) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.lease.head.number == number)
    }

    /// The segment that was begun is written to from here on.
    pub(crate) fn begin(&mut self, segment: Segment) {
        self.rolling = 0;
        self.segments.push_back(segment);
    }

    /// Files of hot segments and such as can become one.
    pub(crate) fn hot_files(&self) -> usize {
        let hot = self.segments.iter().filter(|segment| !segment.lease.head.cold).count();
        hot + self.free.len() + self.retiring.len() + usize::from(self.rolling > 0)
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self, segment_bytes: u64) -> u64 {
        let live = self.segments.iter().chain(&self.retiring);
        let hot: u64 = live.map(|segment| segment.lease.head.bytes).sum();
        let checkpoint = self.checkpoint.bytes() + self.checkpoint.replaced_bytes();
        let lent = self.lent + self.untrimmed.iter().map(|file| file.surplus).sum::<u64>();
        hot + self.free.len() as u64 * segment_bytes + self.rolling + lent + checkpoint + self.other_bytes
    }

    /// The segment that holds `position`, or the first behind it, and all behind that.
    pub(crate) fn segments_from(&self, position: Position) -> impl Iterator<Item = &Segment> {
        let index = self.segments.partition_point(|segment| segment.behind() <= position);
        self.segments.iter().skip(index)
    }
}
