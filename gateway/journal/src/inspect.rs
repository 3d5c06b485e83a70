//! Looking at a journal from outside, also while a gateway writes it: nothing is changed, nothing is locked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lamppost_event::{Commit, Cursor, Epoch, Gap, Group, Now, Offset, Position, TopicPartition};

use crate::book::{Kept, Lease, Reach};
use crate::checkpoint::{CheckpointError, Layer};
use crate::disk::{Access, Disk};
use crate::ends::Ends;
use crate::files::{Files, RELISTED_MAX, checkpoints, is_reused, list, sizes};
use crate::format::batch::BatchError;
use crate::format::checkpoint::{CURSOR, PARTITION, read_bounds, read_cursor_key, read_partition_key};
use crate::format::footer::Footer;
use crate::format::frame::{BatchEntry, Frame};
use crate::format::segment::{FRAMES_AT, SegmentHead};
use crate::item::{ItemInPlace, ReadOn};
use crate::read::ReadChunk;
use crate::recover::{Copies, OpenError, Surveyed, Visit, read_log};
use crate::scan::Account;
use crate::shared::STATE_TOPIC;
use crate::stops::Stops;
use crate::stretch::{self, Gaps, Missing, Source, Stretch, gaps_of, internal, lapped};
use crate::sync::Mutex;
use crate::times::Times;
use crate::waiting::hold;
use crate::walk::Patience;

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
    /// Events that it had not done, and that lie before what is kept: they went without it. Not of a partition in which it has no cursor: there
    /// it begins with what is kept.
    pub missed: u64,
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
    /// The last segment there is, also where it holds nothing of the log yet, and where its next frame will begin.
    pub(crate) last: Option<(Lease, u64)>,
    pub(crate) account: Account,
    pub(crate) cursors: Reaches,
    pub(crate) partitions: BTreeMap<TopicPartition, Kept>,
    pub(crate) known: Mutex<Known>,
    pub(crate) times: OnceLock<Times>,
    stops: Stops,
    pub(crate) files: Vec<(String, u64)>,
    pub(crate) headless: Vec<String>,
    pub(crate) span: Option<(Now, Now)>,
    pub(crate) closed: bool,
    pub(crate) tail: Option<String>,
}

/// What is known to be missing, from the footers and from what was read since.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) gaps: Gaps,
    holes: BTreeSet<(Position, Position)>,
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
    fn past_cache(&self) -> bool {
        false
    }

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
        Self::look(disk)
    }

    pub(crate) fn look(disk: Arc<dyn Disk>) -> Result<Self, OpenError> {
        let patience = Patience::new(Duration::ZERO);
        let found = sizes(&*disk)?;
        let files = list(&*disk, Access::Read, None, &patience)?;
        let mut inspect = Self {
            disk,
            segments: Vec::new(),
            last: None,
            account: Account::default(),
            cursors: BTreeMap::new(),
            partitions: BTreeMap::new(),
            known: Mutex::default(),
            times: OnceLock::new(),
            stops: Stops::default(),
            files: found,
            headless: files.headless.clone(),
            span: None,
            closed: false,
            tail: None,
        };
        let (covered, bounds) = inspect.read_checkpoints()?;
        inspect.read_segments(files, &patience);
        inspect.end(covered, bounds);
        Ok(inspect)
    }

    /// Gives the commit of the newest, and what they know of the partitions' ends. What is unsound in them is told by [`Inspect::verify`].
    pub(crate) fn read_checkpoints(&mut self) -> Result<Checkpointed, OpenError> {
        let mut tries = 0;
        loop {
            let (mut covered, mut bounds, mut gone) = (Commit(0), BTreeMap::new(), false);
            // Oldest first: the newest has the last word.
            for (_, name, _) in checkpoints(&*self.disk)?.iter().rev() {
                match read_checkpoint(&*self.disk, name, &mut self.cursors, &mut bounds) {
                    Ok(commit) => covered = covered.max(commit),
                    Err(CheckpointError::Newer(version)) => {
                        return Err(OpenError::Newer { name: name.clone(), version });
                    }
                    Err(error) => gone |= error.is_gone(),
                }
            }
            tries += 1;
            // A running writer has just put layers together.
            if !gone || tries > RELISTED_MAX {
                return Ok((covered, bounds));
            }
        }
    }

    fn read_segments(&mut self, files: Files, patience: &Patience) {
        let mut looked = Looked { cursors: &mut self.cursors, bad: &mut Vec::new() };
        let log = read_log(files.live, Copies::Count, patience, &mut looked);
        let last = log.segments.iter().chain(&log.dropped).max_by_key(|segment| segment.head.number);
        self.last = last.map(|last| (Lease { head: last.head, file: Arc::clone(&last.file) }, last.survey.extent));
        let spans = || log.segments.iter().filter_map(|segment| segment.survey.span);
        self.span = spans().next().zip(spans().next_back()).map(|((first, _), (_, last))| (first, last));
        (self.account, self.segments, self.closed, self.tail) = (log.account, log.segments, log.clean, log.unproved);
    }

    /// What is missing behind the last frame is told there, as it will be once the journal has been opened.
    fn end(&mut self, covered: Commit, bounds: BTreeMap<TopicPartition, Offset>) {
        let mut ends = Ends::of(&self.account);
        bounds.into_iter().for_each(|(at, next)| ends.checkpoint(at, next, covered));
        for (at, reach) in self.cursors.values().flatten().filter(|(_, reach)| !reach.is_forgotten()) {
            ends.passed(at, reach.next);
        }
        self.partitions = ends.kept;
        let mut known = Known { gaps: std::mem::take(&mut self.account.gaps), holes: BTreeSet::new() };
        if !ends.gaps.is_empty() {
            known.gaps.entry(self.behind()).or_default().extend(ends.gaps);
        }
        self.known = Mutex::new(known);
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
            segments_free: self.bytes_of(|name| name.starts_with("free-")).count(),
            disk_bytes: self.bytes_of(|_| true).sum(),
            free_bytes: self.bytes_of(|name| name.starts_with("free-")).sum(),
            checkpoint_bytes: self.bytes_of(|name| name.starts_with("checkpoint-")).sum(),
            set_aside: self.files.iter().filter(|(name, _)| name.starts_with("damaged-")).cloned().collect(),
            partitions: self.partitions(),
            groups: self.groups(),
            gaps: hold(&self.known).gaps.values().flatten().cloned().collect(),
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
        let partitions = self.partitions.iter().filter(|(at, _)| !internal(at));
        let figures = partitions.map(|(at, kept)| PartitionFigures {
            at: at.clone(),
            first: kept.first,
            next: kept.next,
            span: self.written(at),
        });
        figures.collect()
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
            let known = |reach: &&Reach| !reach.is_forgotten();
            let done = |p: &PartitionFigures| table.get(&p.at).filter(known).map_or(p.first, |reach| reach.next);
            let lag = partitions.iter().map(|p| p.next.0.saturating_sub(done(p).max(p.first).0)).sum();
            let missed = partitions.iter().map(|p| p.first.0.saturating_sub(done(p).0)).sum();
            let cursors = table
                .iter()
                .filter(|(_, reach)| known(reach))
                .map(|(at, reach)| Cursor { at: at.clone(), next: reach.next })
                .collect();
            GroupFigures { group: group.clone(), cursors, lag, missed }
        };
        self.cursors.iter().map(figures).filter(|figures| !figures.cursors.is_empty()).collect()
    }

    /// Where the first kept frame may be.
    #[must_use]
    pub fn start(&self) -> Position {
        self.segments.first().map_or(Position(0), |segment| segment.head.base)
    }

    /// The position behind the last frame.
    pub(crate) fn behind(&self) -> Position {
        self.segments.last().map_or(Position(0), behind)
    }

    /// Reads as [`crate::Journal::read`] does, what was there at opening. For a live tail open it again.
    #[must_use]
    pub fn read(&self, from: Position, bytes_max: usize) -> ReadChunk {
        let mut items = Vec::new();
        let ReadOn { next, caught_up } = self.read_in_place(from, bytes_max, |item| items.push(item.keep()));
        ReadChunk { items, next, caught_up }
    }

    /// The same as [`crate::Journal::read_in_place`] does.
    pub fn read_in_place(&self, from: Position, bytes_max: usize, mut visit: impl FnMut(ItemInPlace<'_>)) -> ReadOn {
        stretch::visit(self, from, bytes_max, &mut visit)
    }
}

impl Source for Inspect {
    fn look(&self, from: Position) -> (Vec<Gap>, Result<Stretch, Position>) {
        let firsts = self.partitions.iter().filter(|_| from < self.start()).map(|(at, kept)| (at, kept.first));
        let (lapped, known) = (lapped(firsts), hold(&self.known));
        let mut ahead = self.segments.iter().enumerate().filter(|(_, segment)| behind(segment) > from);
        let found = ahead.find_map(|(index, segment)| {
            let gaps = gaps_of(&known.gaps, &segment.head, from);
            let (head, end, file) = (segment.head, segment.survey.end, Arc::clone(&segment.file));
            let behind = if index + 1 == self.segments.len() { behind(segment) } else { head.limit() };
            (end > FRAMES_AT || !gaps.is_empty()).then(|| Stretch {
                lease: Arc::new(Lease { head, file }),
                from,
                end,
                behind,
                gaps,
                ranges: segment.survey.ranges.clone(),
                journal_end: self.behind(),
            })
        });
        (lapped, found.ok_or_else(|| from.max(self.behind())))
    }

    fn missing<T>(&self, look: impl FnOnce(Missing<'_>) -> T) -> T {
        let Known { gaps, holes } = &mut *hold(&self.known);
        look(Missing { gaps, holes })
    }

    fn stops(&self) -> &Stops {
        &self.stops
    }

    fn read_patience(&self) -> Duration {
        Duration::ZERO
    }

    fn is_stopped(&self) -> bool {
        false
    }

    fn note_refused(&self, _: &Arc<Lease>) {}

    fn note_unreadable(&self) {}

    fn is_reused(&self, lease: &Lease) -> bool {
        is_reused(&*lease.file, &lease.head)
    }
}

/// The commit of the newest checkpoint, and where partitions ended then.
type Checkpointed = (Commit, BTreeMap<TopicPartition, Offset>);

/// Takes in what one layer says of cursors and of where partitions end; gives its commit.
fn read_checkpoint(
    disk: &dyn Disk,
    name: &str,
    cursors: &mut Reaches,
    bounds: &mut BTreeMap<TopicPartition, Offset>,
) -> Result<Commit, CheckpointError> {
    let layer = Layer::open(disk, name, Access::Read, false)?;
    for change in layer.entries(&[CURSOR]) {
        if let (key, Some(value)) = change? {
            learn_cursor(cursors, &key, &value);
        }
    }
    for change in layer.entries(&[PARTITION]) {
        let (key, value) = change?;
        if let (Some(at), Some((_, next))) = (read_partition_key(&key), value.as_deref().and_then(read_bounds)) {
            bounds.insert(at, next);
        }
    }
    Ok(layer.head.commit)
}

/// The position behind a segment's last frame.
const fn behind(segment: &Surveyed) -> Position {
    if segment.head.cold { segment.head.limit() } else { segment.head.position(segment.survey.end) }
}

pub(crate) type Reaches = BTreeMap<Group, BTreeMap<TopicPartition, Reach>>;

fn learn_cursor(cursors: &mut Reaches, key: &[u8], value: &[u8]) {
    if let (Some((group, at)), Some(reach)) = (read_cursor_key(key), Reach::decode(value)) {
        let entry = cursors.entry(group).or_default().entry(at).or_default();
        *entry = (*entry).max(reach);
    }
}
