//! Looking at a journal from outside, also while a gateway writes it: nothing is changed, nothing is locked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lamppost_event::{Commit, Cursor, Epoch, Gap, Group, Now, Offset, Position, TopicPartition};

use crate::book::Reach;
use crate::checkpoint::{CheckpointError, Layer};
use crate::disk::{Access, Disk};
use crate::files::{Files, list};
use crate::format::batch::BatchError;
use crate::format::checkpoint::{CURSOR, PARTITION, read_bounds, read_cursor_key, read_partition_key};
use crate::format::footer::Footer;
use crate::format::frame::{BatchEntry, Frame};
use crate::format::segment::SegmentHead;
use crate::item::{ReadItem, push_records};
use crate::read::{ReadChunk, internal};
use crate::recover::{Copies, OpenError, Surveyed, Visit, read_log};
use crate::scan::Account;
use crate::shared::STATE_TOPIC;
use crate::walk::{Frames, Patience, Step};

/// A segment, in figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFigures {
    /// The file.
    pub name: String,
    /// Where it begins in the journal.
    pub base: Position,
    /// Its size.
    pub bytes: u64,
    /// How much of it is written.
    pub used_bytes: u64,
    /// Dense and compressed.
    pub cold: bool,
    /// What was written for what it holds, as far as that can be told: its own bytes, and of a cold one those of the hot ones before.
    pub written_bytes: u64,
    /// When its first and its last frame were written.
    pub span: Option<(Now, Now)>,
    /// Frames in it.
    pub frames: usize,
    /// The first and last commit in it.
    pub commits: Option<(Commit, Commit)>,
}

/// A partition, in figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionFigures {
    /// Which.
    pub at: TopicPartition,
    /// The first offset kept.
    pub first: Offset,
    /// The one after the last.
    pub next: Offset,
    /// When it was written, to the segment: the first frame of the first that holds events of it, and the last of the last.
    pub span: Option<(Now, Now)>,
}

/// A consumer group, in figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupFigures {
    /// Which.
    pub group: Group,
    /// Its durable cursors.
    pub cursors: Vec<Cursor>,
    /// Events kept that it has not done.
    pub lag: u64,
}

/// The journal, in figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// Given at its creation; `None` for an empty folder.
    pub identity: Option<u128>,
    /// Its present incarnation.
    pub epoch: Option<Epoch>,
    /// The last commit.
    pub commit: Commit,
    /// By rising number.
    pub segments: Vec<SegmentFigures>,
    /// Prepared segments.
    pub segments_free: usize,
    /// Bytes of all files.
    pub disk_bytes: u64,
    /// Of those, of prepared segments.
    pub free_bytes: u64,
    /// Of those, of checkpoints.
    pub checkpoint_bytes: u64,
    /// Files that were set aside as damaged, with their bytes.
    pub set_aside: Vec<(String, u64)>,
    /// By topic and partition, the journal's own left out.
    pub partitions: Vec<PartitionFigures>,
    /// By name.
    pub groups: Vec<GroupFigures>,
    /// Offsets that can't be read.
    pub gaps: Vec<Gap>,
    /// Events kept.
    pub events: u64,
    /// When the first kept and the last frame were written.
    pub span: Option<(Now, Now)>,
    /// The last frame is a clean close.
    pub closed: bool,
    /// Whether something unreadable lies behind the last frame (a commit being written looks like that).
    pub tail: Option<String>,
}

/// A journal, opened to look.
pub struct Inspect {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) segments: Vec<Surveyed>,
    account: Account,
    cursors: Reaches,
    bounds: BTreeMap<TopicPartition, Offset>,
    free: usize,
    disk_bytes: u64,
    files: Vec<(String, u64)>,
    pub(crate) headless: Vec<String>,
    pub(crate) checkpoint_problems: Vec<(String, String)>,
    span: Option<(Now, Now)>,
    closed: bool,
    tail: Option<String>,
}

/// A batch that can't be read, in a frame that is sound.
pub(crate) struct BadBatch {
    pub(crate) position: Position,
    pub(crate) commit: Commit,
    pub(crate) what: String,
}

/// What looking takes from the log as it goes through it.
pub(crate) struct Looked<'a> {
    pub(crate) cursors: &'a mut Reaches,
    pub(crate) bad: &'a mut Vec<BadBatch>,
}

impl Looked<'_> {
    fn batch(&mut self, entry: &BatchEntry) -> Result<(), BatchError> {
        let batch = entry.batch()?;
        batch.check_crc()?;
        for record in batch.records() {
            let (_, record) = record?;
            if entry.at.topic.as_str() == STATE_TOPIC {
                learn_cursor(self.cursors, &record.key, record.value.as_deref().unwrap_or_default());
            }
        }
        Ok(())
    }
}

impl Visit for Looked<'_> {
    fn suffices(&self, _: &SegmentHead, _: &Footer) -> bool {
        true
    }

    fn footer(&mut self, footer: Footer) {
        for (key, value) in &footer.state {
            learn_cursor(self.cursors, key, value.as_deref().unwrap_or_default());
        }
    }

    fn frame(&mut self, frame: &Frame) {
        for entry in &frame.batches {
            if let Err(error) = self.batch(entry) {
                let (position, commit, what) = (frame.position, frame.commit, format!("{}: {error}", entry.at));
                self.bad.push(BadBatch { position, commit, what });
            }
        }
    }
}

impl Inspect {
    /// Reads what the footers of sealed segments say, and all of the last segment.
    ///
    /// # Errors
    /// The folder can't be read, or was written by a newer program.
    pub fn open<D: Disk>(disk: Arc<D>) -> Result<Self, OpenError> {
        let disk: Arc<dyn Disk> = disk;
        let patience = Patience::new(Duration::ZERO);
        let files = list(&*disk, Access::Read, None, &patience)?;
        let entries = disk.list().map_err(crate::disk::DiskError::of("list", &disk.place()))?;
        let disk_bytes = entries.iter().map(|entry| entry.bytes).sum();
        let free = entries.iter().filter(|entry| entry.name.starts_with("free-")).count();
        let mut inspect = Self {
            disk,
            segments: Vec::new(),
            account: Account::default(),
            cursors: BTreeMap::new(),
            bounds: BTreeMap::new(),
            free,
            disk_bytes,
            files: entries.into_iter().map(|entry| (entry.name, entry.bytes)).collect(),
            headless: files.headless.clone(),
            checkpoint_problems: Vec::new(),
            span: None,
            closed: false,
            tail: None,
        };
        inspect.read_checkpoints(&files)?;
        inspect.read_segments(files, &patience);
        Ok(inspect)
    }

    fn read_checkpoints(&mut self, files: &Files) -> Result<(), OpenError> {
        // Oldest first: the newest has the last word.
        for (_, name, _) in files.checkpoints.iter().rev() {
            let (cursors, bounds) = (&mut self.cursors, &mut self.bounds);
            let read = Layer::open(&*self.disk, name, Access::Read, true).and_then(|layer| {
                for change in layer.entries(&[CURSOR]) {
                    if let (key, Some(value)) = change? {
                        learn_cursor(cursors, &key, &value);
                    }
                }
                for change in layer.entries(&[PARTITION]) {
                    let (key, value) = change?;
                    if let (Some(at), Some((_, next))) =
                        (read_partition_key(&key), value.as_deref().and_then(read_bounds))
                    {
                        bounds.insert(at, next);
                    }
                }
                Ok(())
            });
            match read {
                Ok(()) => {}
                Err(CheckpointError::Newer(version)) => return Err(OpenError::Newer { name: name.clone(), version }),
                Err(error) => self.checkpoint_problems.push((name.clone(), error.to_string())),
            }
        }
        Ok(())
    }

    fn read_segments(&mut self, files: Files, patience: &Patience) {
        let mut looked = Looked { cursors: &mut self.cursors, bad: &mut Vec::new() };
        let log = read_log(files.live, Copies::Count, patience, &mut looked);
        let spans = || log.segments.iter().filter_map(|segment| segment.survey.span);
        self.span = spans().next().zip(spans().next_back()).map(|((first, _), (_, last))| (first, last));
        (self.account, self.segments, self.closed, self.tail) = (log.account, log.segments, log.clean, log.unproved);
    }

    /// The figures.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let segments = self.segments.iter().map(|segment| SegmentFigures {
            name: segment.name.clone(),
            base: segment.head.base,
            bytes: segment.head.bytes,
            used_bytes: segment.survey.end,
            cold: segment.head.cold,
            written_bytes: if segment.head.cold { segment.head.bytes + segment.head.span } else { segment.survey.end },
            span: segment.survey.span,
            frames: segment.survey.counts[0] as usize,
            commits: (segment.survey.counts[0] > 0)
                .then_some((segment.survey.first_commit, segment.survey.last_commit)),
        });
        Figures {
            identity: self.segments.first().map(|segment| segment.head.identity),
            epoch: self.account.epoch,
            commit: self.account.commit.unwrap_or_default(),
            segments: segments.collect(),
            segments_free: self.free,
            disk_bytes: self.disk_bytes,
            free_bytes: self.bytes_of(|name| name.starts_with("free-")).sum(),
            checkpoint_bytes: self.bytes_of(|name| name.starts_with("checkpoint-")).sum(),
            set_aside: self.files.iter().filter(|(name, _)| name.starts_with("damaged-")).cloned().collect(),
            partitions: self.partitions(),
            groups: self.groups(),
            gaps: self.account.gaps.values().flatten().cloned().collect(),
            events: self.account.events,
            span: self.span,
            closed: self.closed,
            tail: self.tail.clone(),
        }
    }

    fn bytes_of(&self, wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = u64> {
        self.files.iter().filter(move |(name, _)| wanted(name)).map(|(_, bytes)| *bytes)
    }

    fn partitions(&self) -> Vec<PartitionFigures> {
        let mut next = self.bounds.clone();
        next.extend(self.account.next.iter().map(|(at, next)| (at.clone(), *next)));
        let partitions = next.into_iter().filter(|(at, _)| !internal(at));
        partitions
            .map(|(at, next)| PartitionFigures {
                first: self.account.first.get(&at).copied().unwrap_or(next),
                span: self.written(&at),
                at,
                next,
            })
            .collect()
    }

    fn written(&self, at: &TopicPartition) -> Option<(Now, Now)> {
        let holding = self.segments.iter().filter(|segment| segment.survey.ranges.contains_key(at));
        let mut spans = holding.filter_map(|segment| segment.survey.span);
        let first = spans.next()?;
        Some((first.0, spans.next_back().unwrap_or(first).1))
    }

    /// The segments that are part of the log.
    pub(crate) fn surveyed(&self) -> &[Surveyed] {
        &self.segments
    }

    fn groups(&self) -> Vec<GroupFigures> {
        let partitions = self.partitions();
        let figures = |(group, table): (&Group, &BTreeMap<TopicPartition, Reach>)| {
            let done = |at: &TopicPartition| table.get(at).copied().unwrap_or_default().next;
            let lag = partitions.iter().map(|p| p.next.0.saturating_sub(done(&p.at).max(p.first).0)).sum();
            let cursors = table.iter().map(|(at, reach)| Cursor { at: at.clone(), next: reach.next }).collect();
            GroupFigures { group: group.clone(), cursors, lag }
        };
        self.cursors.iter().map(figures).collect()
    }

    /// Where the first kept frame may be.
    #[must_use]
    pub fn start(&self) -> Position {
        self.segments.first().map_or(Position(0), |segment| segment.head.base)
    }

    /// Reads as [`crate::Journal::read`] does, what was there at opening. For a live tail open it again.
    #[must_use]
    pub fn read(&self, from: Position, bytes_max: usize) -> ReadChunk {
        let (mut items, mut next, mut bytes) = (Vec::new(), from, 0);
        for segment in &self.segments {
            let (head, end) = (&segment.head, segment.survey.end);
            let behind = if head.cold { head.limit() } else { head.position(end) };
            if behind <= from {
                continue;
            }
            let mut frames = Frames::new(&*segment.file, head, end, from);
            let mut told = from.max(head.base);
            while let Some(step) = frames.step() {
                let Step::Frame(frame, after) = step else { continue };
                items.extend(self.gaps(told..Position(frame.position.0 + 1)));
                told = told.max(Position(frame.position.0 + 1));
                for entry in frame.batches.iter().filter(|entry| !internal(&entry.at)) {
                    push_records(entry, frame.epoch, Offset(0), &mut items);
                }
                bytes += frame.bytes.len();
                next = after;
                if bytes >= bytes_max {
                    return ReadChunk { items, next, caught_up: false };
                }
            }
            items.extend(self.gaps(told..head.limit()));
            next = next.max(behind);
        }
        ReadChunk { items, next, caught_up: true }
    }

    /// The gaps to be told at these places. They need not be a frame's: what is missing may be all that was there.
    fn gaps(&self, places: std::ops::Range<Position>) -> impl Iterator<Item = ReadItem> {
        let found = (places.start < places.end).then(|| self.account.gaps.range(places));
        found.into_iter().flatten().flat_map(|(_, gaps)| gaps).cloned().map(ReadItem::Gap)
    }
}

pub(crate) type Reaches = BTreeMap<Group, BTreeMap<TopicPartition, Reach>>;

fn learn_cursor(cursors: &mut Reaches, key: &[u8], value: &[u8]) {
    if let (Some((group, at)), Some(reach)) = (read_cursor_key(key), Reach::decode(value)) {
        let entry = cursors.entry(group).or_default().entry(at).or_default();
        *entry = (*entry).max(reach);
    }
}
