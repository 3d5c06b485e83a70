//! Verification: every byte of a journal, checked; and each thing that is wrong named where it stands.

use std::collections::BTreeMap;
use std::time::Duration;

use lamppost_event::{Gap, Position};

use crate::checkpoint::{Layer, find, name_of};
use crate::disk::Access;
use crate::files::{RELISTED_MAX, checkpoints, is_reused, list};
use crate::format::PAGE;
use crate::format::footer::Footer;
use crate::format::frame::{Frame, Kind};
use crate::format::segment::{FRAMES_AT, SegmentHead};
use crate::inspect::{BadBatch, Inspect, Looked};
use crate::recover::{Copies, Log, OpenError, Surveyed, Visit, read_log};
use crate::scan::Damage;
use crate::walk::{Look, Patience, Walk};

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

impl Inspect {
    /// Reads everything, and says what is wrong. `progress` gets the bytes done and the bytes in all.
    ///
    /// # Errors
    /// As [`Inspect::open`].
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Verified, OpenError> {
        // Once for what is said, once for where it stands.
        let total = 2 * self.segments.iter().map(|segment| segment.survey.end).sum::<u64>();
        let mut tries = 0;
        loop {
            let (log, bad) = self.read_fully(&mut |done| progress(done.min(total / 2), total))?;
            let mut problems = self.known_problems(&log, &bad);
            problems.extend(self.checkpoint_problems()?);
            let mut done = total / 2;
            for (index, segment) in log.segments.iter().enumerate() {
                let end = places_end(segment, log.segments.get(index + 1));
                verify_heads(segment, &mut problems);
                verify_places(segment, end, &mut problems, &mut |at| progress((done + at).min(total), total));
                done += segment.survey.end;
            }
            // A running writer may have begun another segment in the place of one. What was read of it says nothing.
            let reused = Reused::of(&log);
            tries += 1;
            if reused.0.is_empty() || tries > RELISTED_MAX {
                return Ok(reused.leave_out(verified(&log, problems), &log));
            }
        }
    }

    fn read_fully(&self, progress: &mut dyn FnMut(u64)) -> Result<(Log, Vec<BadBatch>), OpenError> {
        let patience = Patience::new(Duration::ZERO);
        let files = list(&*self.disk, Access::Read, None, &patience)?;
        let (mut cursors, mut bad) = (BTreeMap::new(), Vec::new());
        let looked = Looked { cursors: &mut cursors, bad: &mut bad };
        let log = read_log(files.live, Copies::Count, &patience, &mut Full { looked, done: 0, progress });
        Ok((log, bad))
    }

    /// Reads all checkpoints whole. Of the newest, also whether its layers lie on what they were laid over.
    fn checkpoint_problems(&self) -> Result<Vec<Problem>, OpenError> {
        let mut tries = 0;
        loop {
            let files = checkpoints(&*self.disk)?;
            let open = |name: &str| Layer::open(&*self.disk, name, Access::Read, true);
            let mut found = find(&files, open);
            let replaced = found.stack.drop_replaced().into_iter();
            let unsound = replaced.filter_map(|(name, bytes)| open(&name).err().map(|error| (name, bytes, error)));
            let unsound: Vec<_> = found.unsound.into_iter().chain(unsound).collect();
            tries += 1;
            // A running writer has just put layers together.
            let (gone, unsound): (Vec<_>, Vec<_>) = unsound.into_iter().partition(|(_, _, error)| error.is_gone());
            if !gone.is_empty() && tries <= RELISTED_MAX {
                continue;
            }
            let mut problems: Vec<Problem> =
                unsound.iter().map(|(name, _, error)| whole(name, error.to_string())).collect();
            if let Some(commit) = found.broken.filter(|_| gone.is_empty()) {
                let name = name_of(commit);
                let how = if unsound.iter().any(|(other, ..)| *other == name) {
                    "can't be used"
                } else if files.iter().any(|(_, other, _)| *other == name) {
                    "is not the one"
                } else {
                    "is missing"
                };
                let what = format!(
                    "this layer of the checkpoint {how}, and a later one was laid over it: of the state (marks, cursors, sessions), what did \
                     not change after commit {commit} may be lost or old"
                );
                problems.push(whole(&name, what));
            }
            return Ok(problems);
        }
    }

    /// What was found wrong as a whole.
    fn known_problems(&self, log: &Log, bad_batches: &[BadBatch]) -> Vec<Problem> {
        let headless = |name: &String| whole(name, "no readable segment head".to_owned());
        let mut problems: Vec<Problem> = self.headless.iter().map(headless).collect();
        for segment in &log.segments {
            if let Some(at) = segment.survey.stray {
                problems.push(problem(segment, at, "a frame out of the commit sequence".to_owned()));
            }
            let inside = |position: &Position| *position >= segment.head.base && *position < segment.head.limit();
            for bad in bad_batches.iter().filter(|bad| inside(&bad.position)) {
                let place = segment.survey.frames.iter().find(|note| note.commit == bad.commit);
                let byte = place.map_or(FRAMES_AT, |note| note.at);
                problems.push(Problem { position: bad.position, ..problem(segment, byte, bad.what.clone()) });
            }
            for damage in log.account.damage.iter().filter(|damage| inside(&damage.position)) {
                let what = format!("commits {} up to {} are missing", damage.from, damage.to);
                let position = damage.position;
                problems.push(Problem { position, ..problem(segment, begins(segment, damage), what) });
            }
        }
        problems
    }
}

/// Segments that were recycled while they were read.
struct Reused<'a>(Vec<&'a Surveyed>);

impl<'a> Reused<'a> {
    fn of(log: &'a Log) -> Self {
        Self(log.segments.iter().filter(|segment| is_reused(&*segment.file, &segment.head)).collect())
    }

    /// Takes what was found in them out, and what the frame behind them seemed to miss.
    fn leave_out(&self, mut verified: Verified, log: &Log) -> Verified {
        let Some(last) = self.0.iter().map(|segment| segment.head.number).max() else { return verified };
        let behind = log.segments.iter().find(|segment| segment.head.number > last);
        let first = behind.map(|segment| segment.survey.frames.first().map_or(FRAMES_AT, |note| note.at));
        let up_to = behind.zip(first).map(|(segment, at)| segment.head.position(at));
        let stays = |position: &Position| up_to.is_some_and(|up_to| *position > up_to);
        verified.problems.retain(|problem| !self.0.iter().any(|segment| segment.name == problem.name));
        verified.damage.retain(|damage| stays(&damage.position));
        let gaps = log.account.gaps.iter().filter(|(position, _)| stays(position));
        verified.gaps = gaps.flat_map(|(_, gaps)| gaps).cloned().collect();
        verified
    }
}

fn verified(log: &Log, problems: Vec<Problem>) -> Verified {
    let account = &log.account;
    Verified {
        frames: account.frames,
        events: account.events,
        bytes: account.bytes,
        damage: account.damage.clone(),
        gaps: account.gaps.values().flatten().cloned().collect(),
        problems,
        tail: log.unproved.clone(),
    }
}

/// The byte where what is missing should begin. In a cold segment no position names a byte.
fn begins(segment: &Surveyed, damage: &Damage) -> u64 {
    if !segment.head.cold {
        return damage.position.0.saturating_sub(segment.head.base.0);
    }
    let before = segment.survey.frames.iter().rev().find(|note| note.commit < damage.from);
    before.map_or(FRAMES_AT, |note| note.at + note.bytes)
}

/// Goes through everything, footers or not.
struct Full<'a, 'p> {
    looked: Looked<'a>,
    done: u64,
    progress: &'p mut dyn FnMut(u64),
}

impl Visit for Full<'_, '_> {
    fn suffices(&self, _: &SegmentHead, _: &Footer) -> bool {
        false
    }

    fn footer(&mut self, _: Footer) {}

    fn frame(&mut self, frame: &Frame) {
        self.looked.frame(frame);
        self.done += frame.padded();
        (self.progress)(self.done);
    }
}

const UNREADABLE: &str = "can't be read";

/// Where a segment's frames should end. A cold one was written whole: it is full of them. Of a hot one the footer knows, also where the last are not sound;
/// but one that was written before these were copied into the next segment says too much.
fn places_end(segment: &Surveyed, next: Option<&Surveyed>) -> u64 {
    let (head, end) = (&segment.head, segment.survey.end);
    if head.cold {
        return head.bytes;
    }
    let footer = Footer::read(&*segment.file, head);
    let footer = footer.filter(|footer| next.is_none_or(|next| footer.last_commit < next.head.first_commit));
    footer.map_or(end, |footer| footer.end.max(end))
}

/// A frame must stand at each place where one should be. Pages side by side that hold none are one problem, named after the first: what is wrong stays
/// small beside what was read.
fn verify_places(segment: &Surveyed, end: u64, problems: &mut Vec<Problem>, progress: &mut dyn FnMut(u64)) {
    let mut walk = Walk::new(&*segment.file, &segment.head, end);
    let mut hole: Option<(u64, &str)> = None;
    let mut close = |hole: Option<(u64, &str)>, at: u64| {
        problems.extend(hole.map(|(from, what)| problem(segment, from, format!("{what} ({} bytes)", at - from))));
    };
    let mut at = FRAMES_AT;
    while at < end {
        let (what, step) = match walk.look(at) {
            // Behind a footer there is only where it begins.
            Look::Frame(frame) if frame.kind == Kind::Footer => (None, end - at),
            Look::Frame(frame) => (None, frame.padded()),
            Look::Unreadable => (Some(UNREADABLE), PAGE as u64),
            Look::Trace => (Some("a frame was begun here, or written, that is not sound"), PAGE as u64),
            Look::Foreign => (Some("no frame where one should be"), PAGE as u64),
        };
        let goes_on = hole.zip(what).is_some_and(|((_, first), what)| (first == UNREADABLE) == (what == UNREADABLE));
        if !goes_on {
            close(hole.take(), at);
            hole = what.map(|what| (at, what));
        }
        at += step;
        progress(at.min(end));
    }
    close(hole, end);
}

/// Of a file as a whole.
fn whole(name: &str, what: String) -> Problem {
    Problem { name: name.to_owned(), byte: 0, position: Position(0), what }
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
