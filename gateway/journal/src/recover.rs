//! What was found at opening, and how the log is made ready to be written to.
//!
//! 1. The newest sound checkpoint is taken.
//! 2. All segments are gone through past the cache, by number.
//! 3. A last segment that holds only copies whose originals are still there is dropped: an earlier recovery did not get further.
//! 4. Only a clean-close frame proves the end of the log. After any other end a new epoch begins, even if nothing is wrong to
//!    see: a last frame that was destroyed can look like one that was never written. Stored frames keep the epoch they had.
//! 5. With a new epoch, the last frames are written anew into a fresh segment, whose head holds the epoch, and flushed: what is
//!    served is durable.
//! 6. Only then are segments without a head set aside, and those that are not part of the log given free: until the new epoch
//!    is on the disk, they are the evidence that it is needed. A crash in between changes nothing of what is found.
//! 7. After a clean close, the writer goes on in the same epoch and segment. First the close frame is replaced in its place by
//!    an empty data frame: from then on the end is not a clean one, whatever becomes of the frames that follow.

use std::sync::Arc;

use bytes::Bytes;
use lamppost_event::{Commit, Epoch, Gap};

use crate::book::{FreeFile, Segment};
use crate::disk::{Access, Disk, DiskError};
use crate::format::segment::{HeadError, SegmentHead, number_in};
use crate::format::{PAGE, VERSION};
use crate::options::OptionsError;
use crate::scan::{Account, Damage, Note, Survey, survey};
use crate::walk::TRIES;

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
    /// The last writer closed it: its last frame says so, and nothing lies behind that. If not, a new epoch has begun.
    pub clean: bool,
    /// A reason worth a warning: what shows that the end, the offsets or the state can't be proved. A new epoch has begun then, as
    /// after any end that is not clean.
    pub unproved: Option<String>,
    /// The journal's identity, given at its first creation.
    pub identity: u128,
    /// Its present incarnation.
    pub epoch: Epoch,
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

/// The files of a journal, sorted by what they are.
pub(crate) struct Files {
    pub(crate) hot: Vec<(SegmentHead, String, Arc<dyn crate::disk::DiskFile>)>,
    pub(crate) free: Vec<FreeFile>,
    /// Newest first.
    pub(crate) checkpoints: Vec<(Commit, String, u64)>,
    pub(crate) headless: Vec<String>,
    /// Checkpoints that can't be used.
    pub(crate) unsound: Vec<String>,
    /// The highest number of a segment that an earlier recovery set aside.
    pub(crate) aside_max: Option<u64>,
    pub(crate) temporary: Vec<String>,
    pub(crate) other_bytes: u64,
    /// The highest number in any name.
    pub(crate) number_max: Option<u64>,
}

/// Sorts the folder's files. Changes nothing.
pub(crate) fn list(disk: &dyn Disk, access: Access, segment_bytes: Option<u64>) -> Result<Files, OpenError> {
    let mut files = Files {
        hot: Vec::new(),
        free: Vec::new(),
        checkpoints: Vec::new(),
        headless: Vec::new(),
        unsound: Vec::new(),
        aside_max: None,
        temporary: Vec::new(),
        other_bytes: 0,
        number_max: None,
    };
    let mut entries = disk.list().map_err(DiskError::of("list", &disk.place()))?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    for entry in entries {
        let name = entry.name;
        let numbers = number_in(&name, "hot-").or_else(|| number_in(&name, "free-"));
        let aside = number_in(&name, "damaged-hot-");
        files.aside_max = files.aside_max.max(aside);
        files.number_max = files.number_max.max(numbers).max(aside);
        if number_in(&name, "hot-").is_some() {
            let file = match disk.open(&name, access) {
                Ok(file) => file,
                // A running writer has just recycled it.
                Err(error) if access == Access::Read && error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(DiskError::of("open", &name)(error).into()),
            };
            match read_head(&*file, &name)? {
                Some(head) if head.bytes <= entry.bytes => files.hot.push((head, name, file)),
                _ => {
                    files.headless.push(name);
                    files.other_bytes += entry.bytes;
                }
            }
        } else if number_in(&name, "free-").is_some() {
            if segment_bytes == Some(entry.bytes) {
                let file = disk.open(&name, access).map_err(DiskError::of("open", &name))?;
                files.free.push(FreeFile { name, file, virgin: false });
            } else {
                files.temporary.push(name);
            }
        } else if let Some(commit) = crate::checkpoint::commit_in(&name) {
            files.checkpoints.push((commit, name, entry.bytes));
        } else if name.ends_with(".tmp") {
            files.temporary.push(name);
        } else {
            files.other_bytes += entry.bytes;
        }
    }
    files.hot.sort_by_key(|(head, ..)| head.number);
    files.checkpoints.sort_by_key(|(commit, ..)| std::cmp::Reverse(*commit));
    Ok(files)
}

/// Either of the two copies.
fn read_head(file: &dyn crate::disk::DiskFile, name: &str) -> Result<Option<SegmentHead>, OpenError> {
    file.forget_cache();
    // A disk that refuses once may answer the next time; a wrong page stays wrong.
    for copy in (0..2_u64).cycle().take(2 * TRIES) {
        let mut page = vec![0; PAGE];
        if file.read_at(&mut page, copy * PAGE as u64).is_err() {
            continue;
        }
        match SegmentHead::decode(&page) {
            Ok(head) => return Ok(Some(head)),
            Err(HeadError::Newer(version)) => return Err(OpenError::Newer { name: name.to_owned(), version }),
            Err(HeadError::Damaged) => {}
        }
    }
    Ok(None)
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
        Segment { lease, name, end: survey.end, last_commit: survey.last_commit, ranges: survey.ranges }
    }
}

/// The log as it was found.
pub(crate) struct Log {
    pub(crate) account: Account,
    pub(crate) segments: Vec<Surveyed>,
    /// Not part of the log: empty, or copies that are not needed.
    pub(crate) dropped: Vec<Surveyed>,
    /// The last frame says that the writer closed, and nothing lies behind it: no trace, and no segment that was begun.
    pub(crate) clean: bool,
    /// Why the end is not proved.
    pub(crate) unproved: Option<String>,
}

/// Goes through all segments. `visit` sees each frame once.
pub(crate) fn read_log(
    hot: Vec<(SegmentHead, String, Arc<dyn crate::disk::DiskFile>)>,
    visit: &mut dyn FnMut(&crate::format::frame::Frame),
) -> Log {
    let mut account = Account::default();
    let mut segments: Vec<Surveyed> = Vec::new();
    for (head, name, file) in hot {
        file.forget_cache();
        let survey = survey(&*file, &head, &mut account, visit);
        segments.push(Surveyed { head, name, file, survey });
    }
    let mut dropped = Vec::new();
    let mut trace = None;
    // From the end back to the segment that holds the last frame.
    while let Some(last) = segments.pop_if(|last| last.survey.is_only_copies()) {
        let originals = segments.last().is_some_and(|before| before.survey.holds(&last.survey.frames));
        let needed = !last.survey.frames.is_empty() && (segments.is_empty() || !originals);
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
    Log { account, segments, dropped, clean, unproved }
}

/// A complete set of copies stands for the originals in the segment before.
fn replace_copied(segments: &mut [Surveyed], account: &mut Account) {
    let mut rest = segments;
    while let Some((before, behind)) = rest.split_first_mut() {
        if let Some(after) = behind.first().filter(|after| after.survey.is_complete_copy()) {
            replace_originals(before, after, account);
        }
        rest = behind;
    }
}

fn replace_originals(before: &mut Surveyed, after: &Surveyed, account: &mut Account) {
    let copies = &after.survey;
    let first = copies.frames.iter().find(|note| note.copy).map(|note| note.commit);
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

/// The frames to write anew: all of the last segment if they are few, so that the segment comes free; else the last one.
pub(crate) fn tail_of(last: &Surveyed) -> &[Note] {
    let notes = last.survey.frames.as_slice();
    let bytes: u64 = notes.iter().map(|note| note.bytes).sum();
    if bytes <= last.head.bytes / 2 { notes } else { notes.get(notes.len().saturating_sub(1)..).unwrap_or_default() }
}

/// The bytes of a frame, checked again as they are read.
pub(crate) fn frame_bytes(last: &Surveyed, note: &Note) -> Option<Bytes> {
    let mut walk = crate::walk::Walk::new(&*last.file, &last.head, last.head.bytes);
    match walk.look(note.at) {
        crate::walk::Look::Frame(frame) => Some(frame.bytes),
        _ => None,
    }
}
