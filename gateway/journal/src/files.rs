//! The files of a journal, sorted by what they are. Nothing is changed by looking.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lamppost_event::{Commit, Position};

use crate::book::{FreeFile, Untrimmed};
use crate::disk::{Access, Disk, DiskError};
use crate::format::PAGE;
use crate::format::segment::{HeadError, SegmentHead, cold_name, hot_name, number_in};
use crate::recover::OpenError;
use crate::walk::{Patience, TRIES};

/// A segment's file whose head is sound.
pub(crate) type Headed = (SegmentHead, String, Arc<dyn crate::disk::DiskFile>);

/// The files of a journal, sorted by what they are.
pub(crate) struct Files {
    /// Cold and hot ones, by rising number.
    pub(crate) live: Vec<Headed>,
    pub(crate) free: Vec<FreeFile>,
    /// Newest first.
    pub(crate) checkpoints: Vec<(Commit, String, u64)>,
    pub(crate) headless: Vec<String>,
    /// Checkpoints that can't be used.
    pub(crate) unsound: Vec<String>,
    /// What earlier recoveries set aside, with its size.
    pub(crate) aside: Vec<(String, u64)>,
    /// The highest number of a segment that an earlier recovery set aside.
    pub(crate) aside_max: Option<u64>,
    pub(crate) temporary: Vec<String>,
    /// Files of cold segments, or such as were to become some, that have the size of a hot one: they were lent, and can be free again.
    pub(crate) lent: BTreeSet<String>,
    /// Cold segments that lie in longer files.
    pub(crate) untrimmed: Vec<Untrimmed>,
    /// Of those without a head, one that the disk refuses to read.
    pub(crate) refused: Option<String>,
    /// How many openings in a row were refused a read.
    pub(crate) refusals: u64,
    pub(crate) other_bytes: u64,
    /// The highest number in any name.
    pub(crate) number_max: Option<u64>,
}

/// Sorts the folder's files. Changes nothing.
pub(crate) fn list(
    disk: &dyn Disk,
    access: Access,
    segment_bytes: Option<u64>,
    patience: &Patience,
) -> Result<Files, OpenError> {
    let mut files = Files {
        live: Vec::new(),
        free: Vec::new(),
        checkpoints: Vec::new(),
        headless: Vec::new(),
        unsound: Vec::new(),
        aside: Vec::new(),
        aside_max: None,
        temporary: Vec::new(),
        lent: BTreeSet::new(),
        untrimmed: Vec::new(),
        refused: None,
        refusals: 0,
        other_bytes: 0,
        number_max: None,
    };
    let mut opened = Vec::new();
    let mut entries = disk.list().map_err(DiskError::of("list", &disk.place()))?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    for entry in entries {
        let name = entry.name;
        let live = number_in(&name, "hot-").or_else(|| number_in(&name, "cold-"));
        let numbers = live.or_else(|| number_in(&name, "free-"));
        let aside = number_in(&name, "damaged-hot-").or_else(|| number_in(&name, "damaged-cold-"));
        files.aside_max = files.aside_max.max(aside);
        files.number_max = files.number_max.max(numbers).max(aside);
        if name.starts_with("cold-") && segment_bytes == Some(entry.bytes) {
            files.lent.insert(name.clone());
        }
        if live.is_some() {
            let file = match disk.open(&name, access) {
                Ok(file) => file,
                // A running writer has just recycled it.
                Err(error) if access == Access::Read && error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(DiskError::of("open", &name)(error).into()),
            };
            // All heads and footers at once: one after the other, each would wait for the disk.
            file.will_read(0, PAGE as u64);
            file.will_read(entry.bytes.saturating_sub(PAGE as u64), PAGE as u64);
            opened.push((name, entry.bytes, file));
        } else if number_in(&name, "free-").is_some() {
            if segment_bytes == Some(entry.bytes) {
                let file = disk.open(&name, access).map_err(DiskError::of("open", &name))?;
                files.free.push(FreeFile { name, file, virgin: false });
            } else {
                files.temporary.push(name);
            }
        } else if let Some(commit) = crate::checkpoint::commit_in(&name) {
            files.checkpoints.push((commit, name, entry.bytes));
        } else if name == REFUSALS {
            files.refusals = entry.bytes;
        } else if name.ends_with(".tmp") {
            files.temporary.push(name);
        } else {
            files.other_bytes += entry.bytes;
            if name.starts_with("damaged-") {
                files.aside.push((name, entry.bytes));
            }
        }
    }
    let sizes: BTreeMap<String, u64> = opened.iter().map(|(name, bytes, _)| (name.clone(), *bytes)).collect();
    for (name, bytes, file) in opened {
        match read_head(&*file, &name, patience)? {
            Read::Head(head) if head.bytes <= bytes => {
                if head.cold && head.bytes < bytes {
                    let (name, file, surplus) = (name.clone(), Arc::clone(&file), bytes - head.bytes);
                    files.untrimmed.push(Untrimmed { name, file, bytes: head.bytes, surplus });
                }
                files.live.push((head, name, file));
            }
            read => {
                if matches!(read, Read::Refused) {
                    files.refused = Some(name.clone());
                }
                files.headless.push(name);
                files.other_bytes += bytes;
            }
        }
    }
    files.live.sort_by_key(|(head, ..)| (head.number, head.cold));
    set_copies_apart(&mut files, &sizes);
    drop_unneeded(&mut files, &sizes);
    files.checkpoints.sort_by_key(|(commit, ..)| std::cmp::Reverse(*commit));
    Ok(files)
}

/// Files are listed again at most so often, when they change meanwhile.
pub(crate) const RELISTED_MAX: usize = 3;

/// All names, with their sizes, by rising name.
pub(crate) fn sizes(disk: &dyn Disk) -> Result<Vec<(String, u64)>, DiskError> {
    let mut entries = disk.list().map_err(DiskError::of("list", &disk.place()))?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries.into_iter().map(|entry| (entry.name, entry.bytes)).collect())
}

/// The checkpoints' files, newest first.
pub(crate) fn checkpoints(disk: &dyn Disk) -> Result<Vec<(Commit, String, u64)>, DiskError> {
    let of = |(name, bytes): (String, u64)| Some((crate::checkpoint::commit_in(&name)?, name, bytes));
    Ok(sizes(disk)?.into_iter().rev().filter_map(of).collect())
}

fn is_named(head: &SegmentHead, name: &str) -> bool {
    *name == if head.cold { cold_name(head.number) } else { hot_name(head.number) }
}

/// The heads are those of a segment before the one that the file is named after. A file gets its heads before its name: they were written to
/// another place, or not at all, and what stands there was recycled.
fn is_behind(head: &SegmentHead, name: &str) -> bool {
    number_in(name, "hot-").or_else(|| number_in(name, "cold-")).is_some_and(|number| head.number < number)
}

/// Of two files that say they are the same segment, only the one that is named after it is; the other was put there by somebody. (A file
/// whose name alone is wrong was being begun anew.)
fn set_copies_apart(files: &mut Files, sizes: &BTreeMap<String, u64>) {
    let named = |(head, name, _): &Headed| is_named(head, name);
    let segment = |(head, ..): &Headed| (head.identity, head.number, head.cold);
    let right: BTreeSet<(u128, u64, bool)> = files.live.iter().filter(|file| named(file)).map(segment).collect();
    let ours: BTreeSet<u128> = right.iter().map(|(identity, ..)| *identity).collect();
    let apart = |file: &mut Headed| {
        let (head, name, _) = &*file;
        !named(file) && (right.contains(&segment(file)) || (ours.contains(&head.identity) && is_behind(head, name)))
    };
    for (head, name, _) in files.live.extract_if(.., apart) {
        // All of the file, which may be longer than its head says: so much is taken off again where it goes.
        files.other_bytes += sizes.get(&name).copied().unwrap_or(head.bytes);
        files.headless.push(name);
    }
}

/// A cold segment whose hot one is still there was not finished with: the hot one counts. One that lies within what the segment before
/// covers has been put together with that.
fn drop_unneeded(files: &mut Files, sizes: &BTreeMap<String, u64>) {
    let mut covered = Position(0);
    let unneeded = files.live.extract_if(.., |(head, ..)| {
        let again = head.cold && head.base < covered;
        covered = covered.max(head.limit());
        again
    });
    files.temporary.extend(unneeded.map(|(_, name, _)| name));
    let is_hot = |name: &str| {
        let number = number_in(name, "cold-");
        number.is_some_and(|number| files.live.iter().any(|(head, ..)| !head.cold && head.number == number))
    };
    let (unneeded, headless): (Vec<String>, _) =
        std::mem::take(&mut files.headless).into_iter().partition(|name| is_hot(name));
    files.headless = headless;
    files.other_bytes -= unneeded.iter().filter_map(|name| sizes.get(name)).sum::<u64>();
    files.temporary.extend(unneeded);
    files.untrimmed.retain(|file| files.live.iter().any(|(_, name, _)| *name == file.name));
}

/// A file as long as the number of openings in a row that were refused a read.
pub(crate) const REFUSALS: &str = "refusals";

/// What became of reading a head.
enum Read {
    Head(SegmentHead),
    Unsound,
    /// The disk did not give both copies: it may be sound.
    Refused,
}

/// Either of the two copies, but rather the one that is the segment's that the file is named after: of new heads one may have gone to another
/// place, and left what the file was before.
fn read_head(file: &dyn crate::disk::DiskFile, name: &str, patience: &Patience) -> Result<Read, OpenError> {
    loop {
        let (mut refused, mut other) = (false, None);
        // A disk that refuses once may answer the next time; a wrong page stays wrong.
        for copy in (0..2_u64).cycle().take(2 * TRIES) {
            let mut page = vec![0; PAGE];
            if file.read_at(&mut page, copy * PAGE as u64).is_err() {
                refused = true;
                continue;
            }
            match SegmentHead::decode(&page) {
                Ok(head) if is_named(&head, name) => return Ok(Read::Head(head)),
                Ok(head) => other = other.or(Some(head)),
                Err(HeadError::Newer(version)) => return Err(OpenError::Newer { name: name.to_owned(), version }),
                Err(HeadError::Damaged) => {}
            }
        }
        if !refused || !patience.pause() {
            return Ok(match other {
                Some(head) => Read::Head(head),
                None if refused => Read::Refused,
                None => Read::Unsound,
            });
        }
    }
}

/// Whether a file that held that segment holds another one by now. Where its heads can't be read, it is not said to.
pub(crate) fn is_reused(file: &dyn crate::disk::DiskFile, head: &SegmentHead) -> bool {
    let salt = |copy: u64| {
        let mut page = vec![0; PAGE];
        file.read_at(&mut page, copy * PAGE as u64).ok()?;
        SegmentHead::decode(&page).ok().map(|head| head.salt)
    };
    let found = [0, 1].map(salt);
    found.iter().any(Option::is_some) && !found.contains(&Some(head.salt))
}
