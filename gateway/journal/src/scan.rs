//! Going through the log by commit sequence, and keeping account of what is missing. Used by recovery and by inspection.
//!
//! - A hole in the commit numbers is damage: its frames are set aside and counted. The next frame names the ranges of the frame
//!   just before it; what else is missing shows by a jump of offsets.
//! - Copies that an earlier recovery wrote replace the frames that they were copied from.
//! - What lies behind the last sound frame decides whether the end of the log is proved.

use std::collections::BTreeMap;

use lamppost_event::{Commit, Epoch, Gap, Offset, Position, TopicPartition};

use crate::book::Ranges;
use crate::disk::DiskFile;
use crate::format::PAGE;
use crate::format::frame::{Frame, Kind};
use crate::format::segment::{FRAMES_AT, SegmentHead};
use crate::walk::{Look, Walk};

const DAMAGED: &str = "damaged on the disk";

/// Frames that should be there and are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Where the trouble begins.
    pub position: Position,
    /// The first commit that is missing.
    pub from: Commit,
    /// The commit that comes next.
    pub to: Commit,
}

/// The account of a log that has been gone through so far.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// The last commit met, or the one before the first expected.
    pub(crate) commit: Option<Commit>,
    pub(crate) epoch: Option<Epoch>,
    pub(crate) next: BTreeMap<TopicPartition, Offset>,
    pub(crate) first: BTreeMap<TopicPartition, Offset>,
    pub(crate) gaps: BTreeMap<Position, Vec<Gap>>,
    pub(crate) damage: Vec<Damage>,
    /// Commits that are missing and that no later frame accounts for.
    pub(crate) unaccounted: u64,
    pub(crate) frames: u64,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

/// What to do with a frame that has been accounted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It follows.
    New,
    /// A copy of one that is known.
    Copy,
    /// It has no place in the sequence.
    Stray,
}

impl Account {
    /// Takes a frame in. `suspect` is where the first unreadable place before it was.
    pub(crate) fn take(&mut self, frame: &Frame, suspect: Option<Position>) -> Verdict {
        if let Some(last) = self.commit {
            if frame.commit <= last {
                return if frame.is_copy() { Verdict::Copy } else { Verdict::Stray };
            }
            if frame.commit > last.next() {
                self.hole(frame, last, suspect.unwrap_or(frame.position));
            }
        }
        for batch in &frame.batches {
            self.reach(&batch.at, batch.base, frame.position);
            self.next.insert(batch.at.clone(), batch.next());
            self.first.entry(batch.at.clone()).or_insert(batch.base);
        }
        self.commit = Some(frame.commit);
        if !frame.is_copy() {
            self.epoch = Some(frame.epoch);
        }
        self.frames += 1;
        self.events += u64::from(frame.events);
        self.bytes += frame.padded();
        Verdict::New
    }

    fn hole(&mut self, frame: &Frame, last: Commit, position: Position) {
        self.damage.push(Damage { position, from: last.next(), to: frame.commit });
        // The frame just before is named by this one; those before that by nobody.
        self.unaccounted += frame.commit.0 - last.0 - 2;
        for range in &frame.previous {
            self.reach(&range.at, range.from, frame.position);
            let next = self.next.get(&range.at).copied().unwrap_or(range.from);
            self.gap(&range.at, next.max(range.from), range.to, frame.position);
        }
    }

    /// The next offset of a partition is `base`: what is missing before it is a gap.
    fn reach(&mut self, at: &TopicPartition, base: Offset, position: Position) {
        if let Some(next) = self.next.get(at).copied() {
            self.gap(at, next, base, position);
        }
    }

    pub(crate) fn gap(&mut self, at: &TopicPartition, from: Offset, to: Offset, position: Position) {
        if from >= to {
            return;
        }
        self.next.insert(at.clone(), to);
        self.first.entry(at.clone()).or_insert(from);
        if !at.topic.as_str().starts_with("__") {
            let gap = Gap { at: at.clone(), from, to, reason: DAMAGED.to_owned() };
            self.gaps.entry(position).or_default().push(gap);
        }
    }
}

/// What one segment turned out to hold.
#[derive(Debug)]
pub(crate) struct Survey {
    /// Behind the last sound frame.
    pub(crate) end: u64,
    pub(crate) last_commit: Commit,
    pub(crate) ranges: Ranges,
    /// Commit, place and size of each sound frame.
    pub(crate) frames: Vec<Note>,
    /// Something written in this life lies behind the last sound frame, or can't be read.
    pub(crate) trace: Option<u64>,
    /// A frame that has no place in the sequence.
    pub(crate) stray: Option<u64>,
}

/// A sound frame, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) commit: Commit,
    pub(crate) at: u64,
    pub(crate) bytes: u64,
    pub(crate) copy: bool,
    pub(crate) last_copy: bool,
    pub(crate) close: bool,
}

impl Survey {
    /// Nothing but copies: an earlier recovery that was cut short, or one after which nothing was written.
    pub(crate) fn is_only_copies(&self) -> bool {
        self.frames.iter().all(|note| note.copy)
    }

    pub(crate) fn is_complete_copy(&self) -> bool {
        self.frames.iter().any(|note| note.last_copy)
    }

    /// Holds all these frames.
    pub(crate) fn holds(&self, copies: &[Note]) -> bool {
        copies.iter().all(|copy| self.frames.iter().any(|note| note.commit == copy.commit))
    }

    /// Forgets the frames from `at` on.
    pub(crate) fn cut(&mut self, at: u64) {
        self.frames.retain(|note| note.at < at);
        self.end = self.end.min(at);
        self.last_commit = self.frames.last().map_or(Commit(0), |note| note.commit);
    }
}

/// Goes through one segment, and takes its frames into the account. `visit` sees those that are new.
pub(crate) fn survey(
    file: &dyn DiskFile,
    head: &SegmentHead,
    account: &mut Account,
    visit: &mut dyn FnMut(&Frame),
) -> Survey {
    let mut survey = Survey {
        end: FRAMES_AT,
        last_commit: Commit(0),
        ranges: Ranges::new(),
        frames: Vec::new(),
        trace: None,
        stray: None,
    };
    if account.commit.is_none() {
        account.commit = Some(Commit(head.first_commit.0.saturating_sub(1)));
    }
    account.epoch = Some(head.epoch);
    let mut walk = Walk::new(file, head, head.bytes);
    let mut at = FRAMES_AT;
    while at < head.bytes {
        let Look::Frame(frame) = walk.look_for_frame(at, &mut survey.trace) else {
            at += PAGE as u64;
            continue;
        };
        if matches!(frame.kind, Kind::Other(_)) {
            // It stands beside the sequence; what it says is derived from the log.
            at += frame.padded();
            survey.end = at;
            continue;
        }
        let verdict = account.take(&frame, survey.trace.map(|at| head.position(at)));
        match verdict {
            Verdict::New => visit(&frame),
            Verdict::Copy => {}
            Verdict::Stray => survey.stray = Some(at),
        }
        if verdict != Verdict::Stray {
            survey.note(&frame, at);
        }
        at += frame.padded();
    }
    survey
}

impl Survey {
    fn note(&mut self, frame: &Frame, at: u64) {
        for batch in &frame.batches {
            let range = self.ranges.entry(batch.at.clone()).or_insert((batch.base, batch.next()));
            range.1 = range.1.max(batch.next());
        }
        let (copy, last_copy) = (frame.is_copy(), frame.is_last_copy());
        // A copy of a close frame is only history: since then somebody had to recover.
        let close = frame.kind == Kind::Close && !copy;
        self.frames.push(Note { commit: frame.commit, at, bytes: frame.padded(), copy, last_copy, close });
        self.end = at + frame.padded();
        self.last_commit = self.last_commit.max(frame.commit);
        self.trace = None;
    }
}

impl Walk<'_> {
    /// Looks, and notes the first place that is neither a frame nor foreign.
    fn look_for_frame(&mut self, at: u64, trace: &mut Option<u64>) -> Look {
        let look = self.look(at);
        if matches!(look, Look::Trace | Look::Unreadable) {
            trace.get_or_insert(at);
        }
        look
    }
}
