//! What was found at opening, and how the log is made ready to be written to.
//!
//! 1. The newest sound checkpoint is taken.
//! 2. The segments are taken by number: sealed ones at their footer's word, the last one (and any without a sound footer)
//!    by going through it, past the cache. What a footer does not know, readers come upon.
//! 3. A last segment that holds only copies: if the set is complete, and there is a free segment to go on in, they count, as what they
//!    were copied from did until then: that need not be read again. Else, where the originals are still there, it is dropped: an
//!    earlier recovery did not get further.
//! 4. Each opening begins a new epoch, also after a clean close: what was found may be a copy, and what the original has stored
//!    since can't be known here. Stored frames keep the epoch they had.
//! 5. Only a clean-close frame proves the end of the log: a last frame that was destroyed can look like one that was never
//!    written. After any other end, even if nothing is wrong to see, the last frames are written anew into a fresh segment, whose
//!    head holds the epoch, and flushed: what is served is durable.
//! 6. Only then are segments without a head set aside, and those that are not part of the log given free: until then, they are
//!    the evidence that the end is in doubt. A crash in between changes nothing of what is found.
//! 7. Once a later segment has a frame of its own, what an earlier one holds from that one's first commit on is not part of the log.
//! 8. After a clean close, the writer goes on in the same segment. First the close frame is replaced in its place by an empty
//!    data frame of the new epoch: from then on the end is not a clean one, whatever becomes of the frames that follow.

use std::sync::Arc;

use lamppost_event::{Commit, Epoch, Gap};

use crate::book::Segment;
use crate::disk::DiskError;
use crate::files::Headed;
use crate::format::VERSION;
use crate::format::footer::Footer;
use crate::format::frame::Frame;
use crate::format::segment::SegmentHead;
use crate::options::OptionsError;
use crate::scan::{Account, Damage, Holds, Note, Survey, holds, survey};
use crate::walk::{Patience, TRIES};

/// Why a journal can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A mistake in the options.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// Another process writes it.
    #[error("{place} is in use by another process; only one may write to a journal")]
    Locked {
        /// The folder.
        place: String,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Written by a newer program.
    #[error("{name} has format version {version}; this program knows up to {VERSION}: it is left as it is")]
    Newer {
        /// The file.
        name: String,
        /// Its version.
        version: u16,
    },
    /// Files of two journals lie in one folder.
    #[error(
        "{name} belongs to another journal ({found:032x}) than the rest ({expected:032x}): remove what does not belong"
    )]
    Mixed {
        /// The file.
        name: String,
        /// Its journal's identity.
        found: u128,
        /// The identity of the others.
        expected: u128,
    },
    /// The disk refuses to read what may be acknowledged. Nothing was changed but the count of such openings.
    #[error(
        "the disk refuses to read {name}, where the end of the log may be (opening {openings} of {openings_max} before it is set aside): \
         try again, or after the disk has been seen to"
    )]
    Refused {
        /// The file.
        name: String,
        /// How many openings in a row found this.
        openings: u64,
        /// How many are borne with ([`crate::Options::refusals_max`]).
        openings_max: u64,
    },
    /// Neither the quota nor the disk has room for what opening needs.
    #[error("no room for a segment of {bytes} bytes: raise the quota ({quota_bytes} bytes) or free the disk: {reason}")]
    NoRoom {
        /// The size.
        bytes: u64,
        /// The quota.
        quota_bytes: u64,
        /// What stood in the way.
        reason: String,
    },
}

/// What opening found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The journal was made now.
    pub created: bool,
    /// The last writer closed it: its last frame says so, and nothing lies behind that.
    pub clean: bool,
    /// A reason worth a warning: what shows that the end, the offsets or the state can't be proved.
    pub unproved: Option<String>,
    /// The journal's identity, given at its first creation.
    pub identity: u128,
    /// Its present incarnation, which has begun now.
    pub epoch: Epoch,
    /// The one before, if it goes on without a break: it was closed cleanly, and its end, offsets and state are proved. What was
    /// derived from it elsewhere, up to the last commit found, still holds.
    pub continued: Option<Epoch>,
    /// The last commit found.
    pub commit: Commit,
    /// Frames found sound.
    pub frames: u64,
    /// Events in them.
    pub events: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Frames that should be there and are not.
    pub damage: Vec<Damage>,
    /// Offsets that will never be read because of that.
    pub gaps: Vec<Gap>,
    /// Segments whose head was damaged: renamed to `damaged-…`, and left.
    pub set_aside: Vec<String>,
    /// Checkpoints that could not be used, and why: renamed to `damaged-…`, and left.
    pub checkpoints_refused: Vec<String>,
    /// Frames written anew.
    pub rewritten: u64,
}

/// A segment that has been gone through.
pub(crate) struct Surveyed {
    pub(crate) head: SegmentHead,
    pub(crate) name: String,
    pub(crate) file: Arc<dyn crate::disk::DiskFile>,
    pub(crate) survey: Survey,
}

impl Surveyed {
    pub(crate) fn into_segment(self) -> Segment {
        let Self { head, name, file, survey } = self;
        let lease = Arc::new(crate::book::Lease { head, file });
        Segment {
            lease,
            name,
            end: survey.end,
            extent: survey.extent,
            first_commit: survey.first_commit,
            last_commit: survey.last_commit,
            ranges: survey.ranges,
            counts: survey.counts,
            span: survey.span,
            sealed: survey.sealed,
            refused: survey.refused,
        }
    }
}

/// The log as it was found.
pub(crate) struct Log {
    pub(crate) account: Account,
    pub(crate) segments: Vec<Surveyed>,
    /// Not part of the log: empty, or copies that are not needed.
    pub(crate) dropped: Vec<Surveyed>,
    /// A segment, of those that were gone through, that the disk refused to read a part of.
    pub(crate) refused: Option<String>,
    /// A segment with a sound frame that is newer than known, and that frame's version.
    pub(crate) newer: Option<(String, u16)>,
    /// The last frame says that the writer closed, and nothing lies behind it: no trace, and no segment that was begun.
    pub(crate) clean: bool,
    /// Why the end is not proved.
    pub(crate) unproved: Option<String>,
}

/// Who goes along as the log is gone through.
pub(crate) trait Visit {
    /// Whether segments that are gone through are read past the cache. Who only looks takes none from the writer.
    fn past_cache(&self) -> bool {
        true
    }
    /// Whether the footer says all that has to be known of its segment; else the segment is gone through.
    fn suffices(&self, head: &SegmentHead, footer: &Footer) -> bool;
    /// A segment that was taken at its footer's word.
    fn footer(&mut self, footer: Footer);
    /// A frame of a segment that was gone through. Each once.
    fn frame(&mut self, frame: &Frame);
}

/// What becomes of a last segment that holds a complete set of copies and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copies {
    /// They count, as if something had been written since.
    Count,
    /// The originals do, where they are still there: the segment can be used again.
    GiveWay,
}

/// Takes all segments in, in their order.
pub(crate) fn read_log(live: Vec<Headed>, copies: Copies, patience: &Patience, visit: &mut dyn Visit) -> Log {
    let mut account = Account::default();
    let mut segments: Vec<Surveyed> = Vec::new();
    let past_cache = visit.past_cache();
    let from = last_own(&live, copies, past_cache, patience);
    let begins: Vec<Commit> = live.iter().map(|(head, ..)| head.first_commit).collect();
    for (index, (head, name, file)) in live.into_iter().enumerate() {
        let wanted = index < from || head.cold;
        // A disk that refuses once may answer the next time.
        let footer = (0..TRIES).filter(|_| wanted).find_map(|_| Footer::read(&*file, &head));
        // Written before the last frames were copied into the next segment, it says too much.
        let next = begins.get(index + 1).copied().filter(|_| index < from);
        let footer = footer.filter(|footer| next.is_none_or(|next| footer.last_commit < next));
        let survey = match footer.filter(|footer| visit.suffices(&head, footer)) {
            Some(footer) => {
                account.pass(&footer, &head);
                let survey = Survey::of(&footer);
                visit.footer(footer);
                survey
            }
            None => {
                if past_cache && index < from {
                    // Of the others this was asked before their first frame was looked at.
                    file.forget_cache();
                }
                survey(&*file, &head, next, patience, &mut account, &mut |frame| visit.frame(frame))
            }
        };
        segments.push(Surveyed { head, name, file, survey });
    }
    let refused = segments.iter().find(|segment| segment.survey.refused).map(|segment| segment.name.clone());
    let newer = segments.iter().find_map(|segment| Some((segment.name.clone(), segment.survey.newer?)));
    let mut dropped = Vec::new();
    let mut trace = None;
    // From the end back to the segment that holds the last frame.
    while let Some(last) = segments.pop_if(|last| last.survey.is_only_copies()) {
        // Not all need be in the segment before: that may itself hold copies, one of them damaged by now.
        let held = |copy: &Note| segments.iter().any(|before| before.survey.holds(std::slice::from_ref(copy)));
        let needed = !last.survey.frames.iter().all(held);
        if needed {
            segments.push(last);
            break;
        }
        if last.survey.frames.is_empty() {
            trace = trace.or_else(|| last.survey.trace.map(|at| last.head.position(at)));
        }
        dropped.push(last);
    }
    replace_copied(&mut segments, &mut account);
    let last = segments.last();
    trace = trace.or_else(|| last.and_then(|last| last.survey.trace.map(|at| last.head.position(at))));
    let closed = last.and_then(|last| last.survey.frames.last()).is_some_and(|note| note.close);
    let stray = segments.iter().find_map(|segment| segment.survey.stray.map(|at| segment.head.position(at)));
    let unproved = trace
        .map(|position| format!("something unreadable lies at the end of the log, at position {position}"))
        .or_else(|| stray.map(|position| format!("the frame at position {position} has no place in the sequence")));
    let clean = closed && unproved.is_none() && dropped.is_empty();
    Log { account, segments, dropped, refused, newer, clean, unproved }
}

/// The last segment with a frame of its own: it and those behind it have to be gone through, whatever a footer says.
fn last_own(live: &[Headed], copies: Copies, past_cache: bool, patience: &Patience) -> usize {
    let own = |index: &usize| {
        let Some((head, _, file)) = live.get(*index) else { return false };
        if past_cache {
            file.forget_cache();
        }
        // Where all of a segment was copied, it is still to be given free.
        let before = index.checked_sub(1).and_then(|before| live.get(before));
        let ends_before = || before.is_some_and(|(before, ..)| before.first_commit < head.first_commit);
        head.cold
            || match holds(&**file, head, patience) {
                Holds::Own => true,
                Holds::Copies { complete } => complete && copies == Copies::Count && ends_before(),
                Holds::Nothing => false,
            }
    };
    (0..live.len()).rev().find(own).unwrap_or(0)
}

/// A complete set of copies stands for the originals in the segment before; and so does an incomplete one that has all that is left
/// of them.
fn replace_copied(segments: &mut [Surveyed], account: &mut Account) {
    let mut rest = segments;
    while let Some((before, behind)) = rest.split_first_mut() {
        let stands = |after: &&Surveyed| after.survey.is_complete_copy() || has_the_rest(&after.survey, &before.survey);
        if let Some(after) = behind.first().filter(stands) {
            replace_originals(before, after, account);
        }
        rest = behind;
    }
}

/// Whether every frame of `before` from the first copy on is among the copies.
fn has_the_rest(after: &Survey, before: &Survey) -> bool {
    let first = after.frames.iter().find(|note| note.copy).map(|note| note.commit);
    let rest: Vec<Note> =
        before.frames.iter().filter(|note| first.is_some_and(|first| note.commit >= first)).copied().collect();
    !rest.is_empty() && after.holds(&rest)
}

fn replace_originals(before: &mut Surveyed, after: &Surveyed, account: &mut Account) {
    let copies = &after.survey;
    let copied = copies.frames.iter().find(|note| note.copy).map(|note| note.commit);
    let first = copied.or_else(|| copies.sealed.then_some(copies.first_commit));
    let original = first.and_then(|first| before.survey.frames.iter().find(|note| note.commit >= first));
    let Some(at) = original.map(|note| note.at) else { return };
    // What the originals showed to be missing is missing before their copies.
    for note in before.survey.frames.iter().filter(|note| note.at >= at) {
        let copy = copies.frames.iter().find(|copy| copy.commit == note.commit);
        let gaps = account.gaps.remove(&before.head.position(note.at));
        if let (Some(copy), Some(gaps)) = (copy, gaps) {
            account.gaps.entry(after.head.position(copy.at)).or_default().extend(gaps);
        }
    }
    before.survey.cut(at);
    before.survey.trace = None;
    for (at, (from, _)) in &copies.ranges {
        if let Some(range) = before.survey.ranges.get_mut(at) {
            range.1 = range.1.min(*from);
        }
    }
}
