//! Going through the log by commit sequence, and keeping account of what is missing. Used by recovery and by inspection.
//!
//! - A hole in the commit numbers is damage: its frames are set aside and counted. The next frame names the ranges of the frame
//!   just before it; what else is missing shows by a jump of offsets.
//! - Copies that an earlier recovery wrote replace the frames that they were copied from.
//! - What lies behind the last sound frame decides whether the end of the log is proved.

use std::collections::BTreeMap;

use lamppost_event::{Commit, Epoch, Gap, Now, Offset, Position, TopicPartition};

use crate::book::Ranges;
use crate::disk::DiskFile;
use crate::format::PAGE;
use crate::format::footer::Footer;
use crate::format::frame::{Frame, Kind};
use crate::format::segment::{FRAMES_AT, SegmentHead};
use crate::walk::{Look, Patience, Walk};

const DAMAGED: &str = "damaged on the disk";
/// No record takes fewer bytes in a batch.
const RECORD_MIN: u64 = 8;

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
    /// Behind the last frame met.
    behind: Option<Position>,
    /// Nothing was recycled: the log is there from its first commit on, or should be.
    pub(crate) whole: bool,
    pub(crate) epoch: Option<Epoch>,
    pub(crate) next: BTreeMap<TopicPartition, Offset>,
    pub(crate) first: BTreeMap<TopicPartition, Offset>,
    pub(crate) gaps: BTreeMap<Position, Vec<Gap>>,
    pub(crate) damage: Vec<Damage>,
    /// Commits that are missing and that no later frame accounts for.
    pub(crate) unaccounted: u64,
    /// How many events of a partition such commits may have held, at most, that nothing behind them accounts for.
    pub(crate) doubt: BTreeMap<TopicPartition, u64>,
    /// The same of any partition of which nothing was met: the commit behind each such place, and how many events it may have held.
    pub(crate) doubts: Vec<(Commit, u64)>,
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
            if frame.first > last.next() {
                self.hole(frame, last, suspect.unwrap_or(frame.position));
            }
        }
        for batch in &frame.batches {
            self.doubt.remove(&batch.at);
            self.reach(&batch.at, batch.base, frame.position);
            self.next.insert(batch.at.clone(), batch.next());
            self.first.entry(batch.at.clone()).or_insert(batch.base);
        }
        self.commit = Some(frame.commit);
        self.behind = Some(frame.behind());
        if !frame.is_copy() {
            self.epoch = Some(frame.epoch);
        }
        self.frames += 1;
        self.events += u64::from(frame.events);
        self.bytes += frame.padded();
        Verdict::New
    }

    fn hole(&mut self, frame: &Frame, last: Commit, position: Position) {
        self.damage.push(Damage { position, from: last.next(), to: frame.first });
        // The frame just before is named by this one; those before that by nobody.
        let unaccounted = frame.first.0 - last.0 - 2;
        self.unaccounted += unaccounted;
        if unaccounted > 0 {
            // A whole segment may lie between, of which nothing could be met.
            let begins = self.behind.map_or(position, |behind| behind.min(position));
            self.doubt_all(frame.first, (frame.position.0.saturating_sub(begins.0)) / RECORD_MIN);
        }
        for range in &frame.previous {
            self.doubt.remove(&range.at);
            self.reach(&range.at, range.from, frame.position);
            let next = self.next.get(&range.at).copied().unwrap_or(range.from);
            self.gap(&range.at, next.max(range.from), range.to, frame.position);
        }
    }

    /// Takes a whole segment in on its footer's word.
    pub(crate) fn pass(&mut self, footer: &Footer, head: &SegmentHead) {
        let start = head.position(FRAMES_AT);
        if self.commit.is_none() {
            self.whole = footer.first_commit == Commit(1);
        }
        if let Some(last) = self.commit.filter(|last| footer.first_commit > last.next()) {
            self.damage.push(Damage { position: start, from: last.next(), to: footer.first_commit });
            self.unaccounted += footer.first_commit.0 - last.0 - 1;
            self.doubt_all(footer.first_commit, head.bytes / RECORD_MIN);
        }
        for at in footer.ranges.keys() {
            self.doubt.remove(at);
        }
        let begins = |at: &TopicPartition| footer.ranges.get(at).map_or(Offset(u64::MAX), |(from, _)| *from);
        let (before, inside): (Vec<_>, Vec<_>) = footer.gaps.iter().partition(|(_, gap)| gap.to <= begins(&gap.at));
        for (position, gap) in before {
            // What is missing before a known gap is missing as well.
            self.reach(&gap.at, gap.from, *position);
            self.note_gap(*position, gap);
        }
        for (at, (from, _)) in &footer.ranges {
            self.reach(at, *from, start);
            self.first.entry(at.clone()).or_insert(*from);
        }
        for (position, gap) in inside {
            self.note_gap(*position, gap);
        }
        for (at, (_, to)) in &footer.ranges {
            let next = self.next.entry(at.clone()).or_default();
            *next = (*next).max(*to);
        }
        self.commit = self.commit.max(Some(footer.last_commit));
        self.behind = Some(if head.cold { head.limit() } else { head.position(footer.end) });
        self.epoch = Some(footer.epoch);
        self.frames += footer.frames;
        self.events += footer.events;
        self.bytes += footer.bytes;
    }

    /// A place before the commit `to` that may have held so many events of any partition: whether, a later event of the partition shows.
    fn doubt_all(&mut self, to: Commit, events: u64) {
        self.doubts.push((to, events.max(1)));
        for at in self.next.keys() {
            *self.doubt.entry(at.clone()).or_default() += events.max(1);
        }
    }

    /// A gap that is known from before.
    fn note_gap(&mut self, position: Position, gap: &Gap) {
        self.doubt.remove(&gap.at);
        let next = self.next.get(&gap.at).copied().unwrap_or_default();
        self.next.insert(gap.at.clone(), next.max(gap.to));
        self.first.entry(gap.at.clone()).or_insert(gap.from);
        self.gaps.entry(position).or_default().push(gap.clone());
    }

    /// The next offset of a partition is `base`: what is missing before it is a gap.
    fn reach(&mut self, at: &TopicPartition, base: Offset, position: Position) {
        // Of a log that is there from its first commit on, every partition began with offset 0.
        let began = self.whole.then_some(Offset(0));
        if let Some(next) = self.next.get(at).copied().or(began) {
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
    /// Behind the last sound frame that was found, also if it is not part of the log any more: until its copy has company, it may be
    /// needed again.
    pub(crate) extent: u64,
    pub(crate) first_commit: Commit,
    pub(crate) last_commit: Commit,
    pub(crate) ranges: Ranges,
    /// Commit, place and size of each sound frame; none where the footer was taken at its word.
    pub(crate) frames: Vec<Note>,
    /// Something written in this life lies behind the last sound frame, or can't be read.
    pub(crate) trace: Option<u64>,
    /// A frame that has no place in the sequence.
    pub(crate) stray: Option<u64>,
    /// The disk refused to read a part: it may be sound.
    pub(crate) refused: bool,
    /// The version of a sound frame that is newer than known.
    pub(crate) newer: Option<u16>,
    /// It has a sound footer.
    pub(crate) sealed: bool,
    /// Frames, events, and bytes of frames.
    pub(crate) counts: [u64; 3],
    /// When the first and the last frame were written.
    pub(crate) span: Option<(Now, Now)>,
}

/// A sound frame, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) commit: Commit,
    pub(crate) at: u64,
    pub(crate) bytes: u64,
    pub(crate) events: u32,
    pub(crate) now: Now,
    pub(crate) copy: bool,
    pub(crate) last_copy: bool,
    pub(crate) close: bool,
}

impl Survey {
    /// A segment in which nothing was found yet.
    fn blank(head: &SegmentHead) -> Self {
        Self {
            end: FRAMES_AT,
            extent: FRAMES_AT,
            first_commit: head.first_commit,
            last_commit: Commit(0),
            ranges: Ranges::new(),
            frames: Vec::new(),
            trace: None,
            stray: None,
            refused: false,
            newer: None,
            sealed: false,
            counts: [0; 3],
            span: None,
        }
    }

    /// What a footer says.
    pub(crate) fn of(footer: &Footer) -> Self {
        Self {
            end: footer.end,
            extent: footer.end,
            first_commit: footer.first_commit,
            last_commit: footer.last_commit,
            ranges: footer.ranges.clone(),
            frames: Vec::new(),
            trace: None,
            stray: None,
            refused: false,
            newer: None,
            sealed: true,
            counts: [footer.frames, footer.events, footer.bytes],
            span: footer.span,
        }
    }

    /// Nothing but copies: an earlier recovery that was cut short, or one after which nothing was written.
    pub(crate) fn is_only_copies(&self) -> bool {
        !self.sealed && self.frames.iter().all(|note| note.copy)
    }

    /// All that it stands for is there.
    pub(crate) fn is_complete_copy(&self) -> bool {
        self.sealed || self.frames.iter().any(|note| note.last_copy)
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
        let events = self.frames.iter().map(|note| u64::from(note.events)).sum();
        let bytes = self.frames.iter().map(|note| note.bytes).sum();
        self.counts = [self.frames.len() as u64, events, bytes];
        self.span = self.frames.first().zip(self.frames.last()).map(|(first, last)| (first.now, last.now));
    }
}

/// Goes through one segment, and takes its frames into the account. `visit` sees those that are new. Those from the commit `until`
/// on are not part of the log: they were copied into the segment behind, or could not be read when that one was begun.
pub(crate) fn survey(
    file: &dyn DiskFile,
    head: &SegmentHead,
    until: Option<Commit>,
    patience: &Patience,
    account: &mut Account,
    visit: &mut dyn FnMut(&Frame),
) -> Survey {
    let mut survey = Survey::blank(head);
    if account.commit.is_none() {
        account.commit = Some(Commit(head.first_commit.0.saturating_sub(1)));
        account.whole = head.first_commit == Commit(1);
    }
    account.epoch = Some(head.epoch);
    let mut walk = Walk::new(file, head, head.bytes).with(patience);
    let mut at = FRAMES_AT;
    while at < head.bytes {
        let frame = match walk.look(at) {
            Look::Frame(frame) => frame,
            look => {
                survey.pass(&look, at);
                at += PAGE as u64;
                continue;
            }
        };
        match frame.kind {
            Kind::Data | Kind::Close if until.is_none_or(|until| frame.commit < until) => {}
            Kind::Data | Kind::Close => break,
            // They stand beside the sequence; what they say is derived from the log.
            Kind::Footer | Kind::Other(_) => {
                at += frame.padded();
                continue;
            }
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
    survey.newer = walk.newer;
    if head.cold {
        // A run has the time of its first frame. When the last was written only the footer knew.
        survey.span = None;
    }
    survey
}

/// What a segment holds of its present life, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    Nothing,
    /// No frame but copies, or none at all. `complete`: nothing is missing from the segment's first commit up to the last copy that a recovery
    /// wrote.
    Copies {
        complete: bool,
    },
    /// A frame that is no copy.
    Own,
}

/// Reads up to the first frame that is no copy.
pub(crate) fn holds(file: &dyn DiskFile, head: &SegmentHead, patience: &Patience) -> Holds {
    let mut walk = Walk::new(file, head, head.bytes).with(patience);
    let (mut at, mut blank) = (FRAMES_AT, true);
    // The copy that has to come next, as long as none is missing.
    let (mut next, mut complete) = (Some(head.first_commit), false);
    while at < head.bytes {
        let look = walk.look(at);
        blank &= matches!(look, Look::Foreign);
        let Look::Frame(frame) = look else {
            at += PAGE as u64;
            next = None;
            continue;
        };
        at += frame.padded();
        if matches!(frame.kind, Kind::Data | Kind::Close) && !frame.is_copy() {
            return Holds::Own;
        }
        next = next.filter(|next| *next == frame.commit && frame.is_copy()).map(Commit::next);
        complete |= next.is_some() && frame.is_last_copy();
    }
    if blank { Holds::Nothing } else { Holds::Copies { complete } }
}

impl Survey {
    /// Notes the first place that is neither a frame nor foreign.
    fn pass(&mut self, look: &Look, at: u64) {
        match look {
            Look::Trace | Look::Unreadable => {
                self.trace.get_or_insert(at);
                self.refused |= matches!(look, Look::Unreadable);
            }
            Look::Foreign | Look::Frame(_) => {}
        }
    }

    /// Takes a frame of it in.
    pub(crate) fn note(&mut self, frame: &Frame, at: u64) {
        for batch in &frame.batches {
            let range = self.ranges.entry(batch.at.clone()).or_insert((batch.base, batch.next()));
            range.1 = range.1.max(batch.next());
        }
        let (copy, last_copy) = (frame.is_copy(), frame.is_last_copy());
        // A copy of a close frame is only history: since then somebody had to recover.
        let close = frame.kind == Kind::Close && !copy;
        let (events, bytes) = (frame.events, frame.padded());
        let note = Note { commit: frame.commit, at, bytes, events, now: frame.now, copy, last_copy, close };
        if self.frames.is_empty() {
            self.first_commit = frame.first;
        }
        self.frames.push(note);
        self.counts = [self.counts[0] + 1, self.counts[1] + u64::from(events), self.counts[2] + bytes];
        self.span = Some((self.span.map_or(frame.now, |(first, _)| first), frame.now));
        self.end = at + bytes;
        self.extent = self.end;
        self.last_commit = self.last_commit.max(frame.commit);
        self.trace = None;
    }
}
