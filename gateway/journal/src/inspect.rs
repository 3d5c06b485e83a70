//! Looking at a journal from outside, also while a gateway writes it: nothing is changed, nothing is locked.

use std::collections::BTreeMap;
use std::sync::Arc;

use lamppost_event::{Commit, Cursor, Epoch, Gap, Group, Now, Offset, Position, TopicPartition};

use crate::checkpoint::Checkpoint;
use crate::disk::{Access, Disk};
use crate::format::PAGE;
use crate::format::checkpoint::{CURSOR, PARTITION, read_bounds, read_cursor_key, read_number, read_partition_key};
use crate::format::segment::{FRAMES_AT, SegmentHead};
use crate::read::{ReadChunk, ReadItem, internal, push_records};
use crate::recover::{Files, OpenError, Surveyed, list, read_log};
use crate::scan::{Account, Damage};
use crate::shared::STATE_TOPIC;
use crate::walk::{Look, Walk};

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

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub name: String,
    /// The byte in it.
    pub byte: u64,
    /// The place in the journal.
    pub position: Position,
    /// What is wrong.
    pub what: String,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Frames read.
    pub frames: u64,
    /// Events read.
    pub events: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Commits that are missing.
    pub damage: Vec<Damage>,
    /// Offsets that are missing.
    pub gaps: Vec<Gap>,
    /// All that is wrong.
    pub problems: Vec<Problem>,
    /// What lies at the end and is no frame: torn, or being written now.
    pub tail: Option<String>,
}

/// A journal, opened to look.
pub struct Inspect {
    disk: Arc<dyn Disk>,
    segments: Vec<Surveyed>,
    account: Account,
    cursors: BTreeMap<Group, BTreeMap<TopicPartition, Offset>>,
    bounds: BTreeMap<TopicPartition, Offset>,
    free: usize,
    disk_bytes: u64,
    headless: Vec<String>,
    checkpoint_problems: Vec<(String, String)>,
    span: Option<(Now, Now)>,
    closed: bool,
    tail: Option<String>,
    bad_batches: Vec<(Position, String)>,
}

impl Inspect {
    /// Reads all segments once.
    ///
    /// # Errors
    /// The folder can't be read, or was written by a newer program.
    pub fn open<D: Disk>(disk: Arc<D>) -> Result<Self, OpenError> {
        let disk: Arc<dyn Disk> = disk;
        let files = list(&*disk, Access::Read, None)?;
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
            headless: files.headless.clone(),
            checkpoint_problems: Vec::new(),
            span: None,
            closed: false,
            tail: None,
            bad_batches: Vec::new(),
        };
        inspect.read_checkpoints(&files);
        inspect.read_segments(files);
        Ok(inspect)
    }

    fn read_checkpoints(&mut self, files: &Files) {
        // Oldest first: the newest has the last word.
        for (_, name, _) in files.checkpoints.iter().rev() {
            let (cursors, bounds) = (&mut self.cursors, &mut self.bounds);
            let read = Checkpoint::open(&*self.disk, name, Access::Read, true).and_then(|checkpoint| {
                checkpoint.scan(&[CURSOR], &mut |key, value| learn_cursor(cursors, &key, &value))?;
                checkpoint.scan(&[PARTITION], &mut |key, value| {
                    if let (Some(at), Some((_, next))) = (read_partition_key(&key), read_bounds(&value)) {
                        bounds.insert(at, next);
                    }
                })
            });
            if let Err(error) = read {
                self.checkpoint_problems.push((name.clone(), error.to_string()));
            }
        }
    }

    fn read_segments(&mut self, files: Files) {
        let (mut span, cursors, bad) = (None, &mut self.cursors, &mut self.bad_batches);
        let log = read_log(files.hot, &mut |frame| {
            let (first, _) = span.unwrap_or((frame.now, frame.now));
            span = Some((first, frame.now));
            for entry in &frame.batches {
                let checked = entry.batch().and_then(|batch| {
                    batch.check_crc()?;
                    for record in batch.records() {
                        let (_, record) = record?;
                        if entry.at.topic.as_str() == STATE_TOPIC {
                            learn_cursor(cursors, &record.key, record.value.as_deref().unwrap_or_default());
                        }
                    }
                    Ok(())
                });
                if let Err(error) = checked {
                    bad.push((frame.position, format!("{}: {error}", entry.at)));
                }
            }
        });
        self.span = span;
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
            frames: segment.survey.frames.len(),
            commits: segment.survey.frames.first().zip(segment.survey.frames.last()).map(|(a, b)| (a.commit, b.commit)),
        });
        Figures {
            identity: self.segments.first().map(|segment| segment.head.identity),
            epoch: self.account.epoch,
            commit: self.account.commit.unwrap_or_default(),
            segments: segments.collect(),
            segments_free: self.free,
            disk_bytes: self.disk_bytes,
            partitions: self.partitions(),
            groups: self.groups(),
            gaps: self.account.gaps.values().flatten().cloned().collect(),
            events: self.account.events,
            span: self.span,
            closed: self.closed,
            tail: self.tail.clone(),
        }
    }

    fn partitions(&self) -> Vec<PartitionFigures> {
        let mut next = self.bounds.clone();
        next.extend(self.account.next.iter().map(|(at, next)| (at.clone(), *next)));
        let partitions = next.into_iter().filter(|(at, _)| !internal(at));
        partitions
            .map(|(at, next)| PartitionFigures {
                first: self.account.first.get(&at).copied().unwrap_or(next),
                at,
                next,
            })
            .collect()
    }

    fn groups(&self) -> Vec<GroupFigures> {
        let partitions = self.partitions();
        let figures = |(group, table): (&Group, &BTreeMap<TopicPartition, Offset>)| {
            let done = |at: &TopicPartition| table.get(at).copied().unwrap_or_default();
            let lag = partitions.iter().map(|p| p.next.0.saturating_sub(done(&p.at).max(p.first).0)).sum();
            let cursors = table.iter().map(|(at, next)| Cursor { at: at.clone(), next: *next }).collect();
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
            let start = from.0.saturating_sub(head.base.0).max(FRAMES_AT).next_multiple_of(PAGE as u64);
            let mut walk = Walk::new(&*segment.file, head, end);
            let mut at = start;
            while at < end {
                let Look::Frame(frame) = walk.look(at) else {
                    at += PAGE as u64;
                    continue;
                };
                let gaps = self.account.gaps.get(&frame.position).into_iter().flatten();
                items.extend(gaps.cloned().map(ReadItem::Gap));
                for entry in frame.batches.iter().filter(|entry| !internal(&entry.at)) {
                    push_records(entry, frame.epoch, Offset(0), &mut items);
                }
                at += frame.padded();
                bytes += frame.bytes.len();
                next = head.position(at);
                if bytes >= bytes_max {
                    return ReadChunk { items, next, caught_up: false };
                }
            }
            next = next.max(head.position(end));
        }
        ReadChunk { items, next, caught_up: true }
    }

    /// Reads every frame again, and says what is wrong. `progress` gets the bytes done and the bytes in all.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Verified {
        let total = self.segments.iter().map(|segment| segment.survey.end).sum();
        let (mut problems, mut done) = (self.known_problems(), 0);
        for segment in &self.segments {
            verify_heads(segment, &mut problems);
            let (head, end) = (&segment.head, segment.survey.end);
            let mut walk = Walk::new(&*segment.file, head, end);
            let mut at = FRAMES_AT;
            while at < end {
                let step = match walk.look(at) {
                    Look::Frame(frame) => frame.padded(),
                    look => {
                        let what = match look {
                            Look::Unreadable => "can't be read",
                            Look::Trace => "a frame was begun here, or written, that is not sound",
                            Look::Foreign | Look::Frame(_) => "no frame where one should be",
                        };
                        problems.push(problem(segment, at, what.to_owned()));
                        PAGE as u64
                    }
                };
                at += step;
                progress(done + at.min(end), total);
            }
            done += end;
        }
        let account = &self.account;
        Verified {
            frames: account.frames,
            events: account.events,
            bytes: account.bytes,
            damage: account.damage.clone(),
            gaps: account.gaps.values().flatten().cloned().collect(),
            problems,
            tail: self.tail.clone(),
        }
    }

    /// What was found at opening.
    fn known_problems(&self) -> Vec<Problem> {
        let whole = |name: &String, what: &str| Problem {
            name: name.clone(),
            byte: 0,
            position: Position(0),
            what: what.to_owned(),
        };
        let mut problems: Vec<Problem> =
            self.headless.iter().map(|name| whole(name, "no readable segment head")).collect();
        problems.extend(self.checkpoint_problems.iter().map(|(name, error)| whole(name, error)));
        for segment in &self.segments {
            if let Some(at) = segment.survey.stray {
                problems.push(problem(segment, at, "a frame out of the commit sequence".to_owned()));
            }
            let inside = |position: &Position| *position >= segment.head.base && *position < segment.head.limit();
            for (position, what) in self.bad_batches.iter().filter(|(position, _)| inside(position)) {
                problems.push(problem(segment, position.0 - segment.head.base.0, what.clone()));
            }
            for damage in self.account.damage.iter().filter(|damage| inside(&damage.position)) {
                let what = format!("commits {} up to {} are missing", damage.from, damage.to);
                problems.push(problem(segment, damage.position.0 - segment.head.base.0, what));
            }
        }
        problems
    }
}

fn problem(segment: &Surveyed, byte: u64, what: String) -> Problem {
    Problem { name: segment.name.clone(), byte, position: segment.head.position(byte), what }
}

/// Both copies of the head must be sound, and say the same as when the segment was opened.
fn verify_heads(segment: &Surveyed, problems: &mut Vec<Problem>) {
    for byte in [0, PAGE as u64] {
        let mut page = vec![0; PAGE];
        let sound = segment.file.read_at(&mut page, byte).is_ok() && SegmentHead::decode(&page) == Ok(segment.head);
        if !sound {
            problems.push(problem(
                segment,
                byte,
                "the segment's head is damaged (its copy is used), or was recycled".to_owned(),
            ));
        }
    }
}

fn learn_cursor(cursors: &mut BTreeMap<Group, BTreeMap<TopicPartition, Offset>>, key: &[u8], value: &[u8]) {
    if let (Some((group, at)), Some(next)) = (read_cursor_key(key), read_number(value)) {
        let entry = cursors.entry(group).or_default().entry(at).or_default();
        *entry = (*entry).max(Offset(next));
    }
}
