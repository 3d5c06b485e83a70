//! Opening: from what was found on the disk to a journal that can be written to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use lamppost_event::{Clock, Commit, Epoch, Position};

use crate::assemble::{Ground, assemble};
use crate::book::{Book, Delta, FreeFile};
use crate::checkpoint::{CheckpointError, Find, Layer, Stack, find};
use crate::disk::{Access, Disk, DiskError};
use crate::ends::Ends;
use crate::files::{Files, REFUSALS, list};
use crate::format::checkpoint::{CURSOR, PARTITION, read_bounds, read_partition_key};
use crate::format::segment::free_name;
use crate::found::Found;
use crate::options::Options;
use crate::random::SplitMix64;
use crate::recover::{Copies, Log, OpenError, Recovery, Surveyed, read_log};
use crate::scan::Note;
use crate::shared::Shared;
use crate::waiting::hold;
use crate::walk::Patience;

/// Opens without starting any thread.
pub(crate) fn open(
    disk: Arc<dyn Disk>,
    options: Options,
    clock: Arc<dyn Clock>,
) -> Result<(Shared, Recovery), OpenError> {
    options.check()?;
    let place = disk.place();
    let lock = disk.lock().map_err(DiskError::of("lock", &place))?.ok_or(OpenError::Locked { place: place.clone() })?;
    let mut random = SplitMix64::from_entropy(options.entropy).map_err(DiskError::of("draw randomness for", &place))?;
    let patience = Patience::new(options.read_patience);
    // A name that was changed by a process that is gone may only be so in memory; what is done next relies on it.
    disk.flush_dir().map_err(DiskError::of("flush the folder of", &place))?;
    let mut files = list(&*disk, Access::Write, Some(options.segment_bytes), &patience)?;
    let identity = identity_of(&files)?;
    let created = identity.is_none() && files.checkpoints.is_empty() && files.headless.is_empty();
    let mut recovery = blank(created, identity.unwrap_or_else(|| wide(&mut random)));
    let checkpoint = newest(&*disk, &mut files, &patience, &mut recovery)?;
    if let Some((_, of)) = checkpoint.stack.origin() {
        if identity.is_none() {
            recovery.identity = of;
        }
        same(recovery.identity, of, checkpoint.stack.name())?;
    }
    let since = checkpoint.stack.covered();
    let mut found = Found::behind(since);
    let live = std::mem::take(&mut files.live);
    let first_commit = live.first().map(|(head, ..)| head.first_commit);
    let limit = live.iter().map(|(head, ..)| (head.number + 1, head.limit())).max();
    // Their segment comes free again once they have been written anew into another.
    let copies = if files.free.is_empty() { Copies::GiveWay } else { Copies::Count };
    let mut log = read_log(live.clone(), copies, &patience, &mut found);
    if make_originals_durable(&log)? {
        // What the disk holds now, and not what was in memory.
        found = Found::behind(since);
        log = read_log(live, copies, &patience, &mut found);
    }
    if let Some((name, version)) = log.newer {
        return Err(OpenError::Newer { name, version });
    }
    bear_refusal(&*disk, &files, &log, options.refusals_max)?;
    recovery.unproved = headless(&files, limit.map(|(number, _)| number))
        .or_else(|| unproved(&log, &recovery, &checkpoint, first_commit, found.bad_batches));
    recovery.clean = log.clean && files.headless.is_empty();
    remove_temporary(&*disk, &mut files)?;

    let next_number = limit.map_or(0, |(number, _)| number).max(files.number_max.map_or(0, |number| number + 1));
    let next_base = limit.map_or(Position(0), |(_, limit)| limit);
    let Log { account, segments, dropped, .. } = log;
    let last = account.commit.unwrap_or_default().max(since);
    let known = account.epoch.or(checkpoint.stack.origin().map(|(epoch, _)| epoch));
    let proved = recovery.clean && recovery.unproved.is_none();
    recovery.continued = known.filter(|_| proved);
    let epoch = Epoch(random.next_u64());
    report(&mut recovery, &account, epoch, last);

    let mut book = Book {
        durable: last,
        end: Position(0),
        epoch,
        partitions: BTreeMap::new(),
        segments: VecDeque::new(),
        free: std::mem::take(&mut files.free),
        gaps: account.gaps.clone(),
        cursors: std::mem::take(&mut found.cursors),
        cursors_since: None,
        delta: std::mem::take(&mut found.delta),
        delta_bytes: found.delta_bytes,
        delta_value_bytes: found.delta_value_bytes,
        frozen: Arc::new(Delta::new()),
        known_since: since,
        frozen_at: since,
        checkpoint: Arc::default(),
        other_bytes: files.other_bytes,
        aside: std::mem::take(&mut files.aside),
        next_number,
        next_base,
        known_holes: BTreeSet::new(),
        rolling: 0,
        lent: 0,
        untrimmed: std::mem::take(&mut files.untrimmed),
        retiring: Vec::new(),
    };
    // Where what comes next will be told of.
    let goes_on = segments.last().filter(|_| proved).map(|last| last.head.position(last.survey.end));
    let end = goes_on.unwrap_or(next_base);
    let mut ends = Ends::of(&account);
    load_checkpoint(&mut book, &checkpoint.stack, &mut ends)
        .map_err(|error| DiskError::of("read", checkpoint.stack.name())(std::io::Error::other(error)))?;
    for (at, entry) in book.cursors.values().flatten() {
        ends.passed(at, entry.durable_next());
    }
    book.partitions = ends.kept;
    if !ends.gaps.is_empty() {
        book.gaps.entry(end).or_default().extend(ends.gaps);
    }
    book.checkpoint = Arc::new(checkpoint.stack);
    let ground = Ground { disk, options, clock, identity: recovery.identity, random, lock };
    let shared = assemble(ground, book, found.last_ranges);
    let surplus = shared.lend(dropped);
    shared.continue_log(segments, proved, &mut recovery)?;
    // The end is on the disk, proved. What showed that it was in doubt may go.
    set_aside(&shared, &files, &mut recovery)?;
    shared.free_up(surplus)?;
    if files.refusals > 0 {
        shared.disk.remove(REFUSALS).map_err(DiskError::of("remove", REFUSALS))?;
    }
    shared.start_writing(proved)?;
    shared.seal_all()?;
    Ok((shared, recovery))
}

/// Copies that an earlier recovery wrote are dropped where their originals are still there. Of those, the last of each segment may only be
/// in the page cache, and never have been flushed: the copy is all that the disk has of it. True if there was something to flush.
fn make_originals_durable(log: &Log) -> Result<bool, OpenError> {
    let copies: Vec<Note> = log.dropped.iter().flat_map(|segment| segment.survey.frames.iter().copied()).collect();
    let holds = |segment: &&Surveyed| copies.iter().any(|copy| segment.survey.holds(std::slice::from_ref(copy)));
    for segment in log.segments.iter().filter(holds) {
        segment.file.flush().map_err(DiskError::of("flush", &segment.name))?;
        // After a flush that failed, what the cache says proves nothing: it is read again past it.
        segment.file.forget_cache();
    }
    Ok(!copies.is_empty())
}

/// Refused is not damaged. A disk that is asked again later may answer; one that never does must not keep the journal shut for ever.
fn bear_refusal(disk: &dyn Disk, files: &Files, log: &Log, openings_max: u64) -> Result<(), OpenError> {
    let openings = files.refusals + 1;
    let Some(name) = files.refused.clone().or_else(|| log.refused.clone()).filter(|_| openings <= openings_max) else {
        return Ok(());
    };
    disk.create_zeroed(REFUSALS, openings).map_err(DiskError::of("create", REFUSALS))?;
    disk.flush_dir().map_err(DiskError::of("flush the folder of", REFUSALS))?;
    Err(OpenError::Refused { name, openings, openings_max })
}

fn blank(created: bool, identity: u128) -> Recovery {
    Recovery {
        created,
        clean: false,
        unproved: None,
        identity,
        epoch: Epoch(0),
        continued: None,
        commit: Commit(0),
        frames: 0,
        events: 0,
        bytes: 0,
        damage: Vec::new(),
        gaps: Vec::new(),
        set_aside: Vec::new(),
        checkpoints_refused: Vec::new(),
        rewritten: 0,
    }
}

fn wide(random: &mut SplitMix64) -> u128 {
    u128::from(random.next_u64()) << 64 | u128::from(random.next_u64())
}

fn same(expected: u128, found: u128, name: &str) -> Result<(), OpenError> {
    if expected == found { Ok(()) } else { Err(OpenError::Mixed { name: name.to_owned(), found, expected }) }
}

/// The identity that all segments share.
fn identity_of(files: &Files) -> Result<Option<u128>, OpenError> {
    let Some((first, ..)) = files.live.first() else { return Ok(None) };
    for (head, name, _) in &files.live {
        same(first.identity, head.identity, name)?;
    }
    Ok(Some(first.identity))
}

/// The newest checkpoint. What is not sound is noted, to be set aside.
fn newest(disk: &dyn Disk, files: &mut Files, patience: &Patience, recovery: &mut Recovery) -> Result<Find, OpenError> {
    let mut find = find(&files.checkpoints, |name| open_patiently(disk, name, patience));
    for (name, bytes, error) in std::mem::take(&mut find.unsound) {
        if let CheckpointError::Newer(version) = error {
            return Err(OpenError::Newer { name, version });
        }
        recovery.checkpoints_refused.push(format!("{name}: {error}"));
        files.other_bytes += bytes;
        match error {
            // It may be sound, and is left as it is; should the journal be opened without it, it goes before events do.
            CheckpointError::Disk(_) => {
                files.refused = Some(name.clone());
                files.aside.push((name, bytes));
            }
            CheckpointError::Newer(_) | CheckpointError::Damaged(_) => files.unsound.push(name),
        }
    }
    Ok(find)
}

/// A checkpoint that the disk refuses to read is asked for again.
fn open_patiently(disk: &dyn Disk, name: &str, patience: &Patience) -> Result<Layer, CheckpointError> {
    loop {
        match Layer::open(disk, name, Access::Read, true) {
            Err(CheckpointError::Disk(_)) if patience.pause() => {}
            opened => return opened,
        }
    }
}

/// Why the end, the offsets or the state can't be proved, if so.
fn unproved(
    log: &Log,
    recovery: &Recovery,
    checkpoint: &Find,
    first_commit: Option<Commit>,
    bad_batches: u64,
) -> Option<String> {
    if recovery.created {
        return None;
    }
    let covered = checkpoint.stack.covered();
    let last = log.account.commit.unwrap_or_default();
    if let Some(reason) = &log.unproved {
        return Some(reason.clone());
    }
    if covered > last {
        return Some(format!("the checkpoint knows commit {covered}, the log ends at {last}"));
    }
    if let Some(missing) = checkpoint.broken {
        return Some(format!("the part of the checkpoint that ends with commit {missing} is missing or damaged"));
    }
    // What cold segments stand for held state as well, and no longer does.
    let cold = log.segments.iter().filter(|segment| segment.head.cold).map(|segment| segment.survey.last_commit).max();
    if first_commit.is_some_and(|first| first > covered.next()) || cold.is_some_and(|last| last > covered) {
        return Some(format!("no sound checkpoint covers what lies before the first kept segment (commit {covered})"));
    }
    // What a damaged frame held beyond the checkpoint (marks, cursors, offsets) is not known.
    if let Some(damage) = log.account.damage.iter().find(|damage| damage.to > covered.next()) {
        return Some(format!("commits {} to {} are damaged", damage.from, Commit(damage.to.0 - 1)));
    }
    (bad_batches > 0).then(|| format!("{bad_batches} batches of state can't be read"))
}

/// Segments that can't be read, of which one may have been the last. `next` is the number after the last live segment's.
fn headless(files: &Files, next: Option<u64>) -> Option<String> {
    if let Some(name) = files.headless.first() {
        return Some(format!("segment {name} has no readable head"));
    }
    let aside = files.aside_max.filter(|number| *number >= next.unwrap_or(0));
    aside.map(|number| format!("segment {number} was set aside as damaged, and nothing was begun since"))
}

/// Removes what is left of interrupted work. What was lent for it comes back: nobody else may leave room for another file.
fn remove_temporary(disk: &dyn Disk, files: &mut Files) -> Result<(), OpenError> {
    for name in std::mem::take(&mut files.temporary) {
        if !files.lent.contains(&name) {
            disk.remove(&name).map_err(DiskError::of("remove", &name))?;
            continue;
        }
        let number = files.number_max.map_or(0, |number| number + 1);
        let free = free_name(number);
        disk.rename(&name, &free).map_err(DiskError::of("rename", &name))?;
        let file = disk.open(&free, Access::Write).map_err(DiskError::of("open", &free))?;
        files.number_max = Some(number);
        files.free.push(FreeFile { name: free, file, virgin: false });
    }
    Ok(())
}

/// Gives what can't be used another name.
fn set_aside(shared: &Shared, files: &Files, recovery: &mut Recovery) -> Result<(), OpenError> {
    let disk = &*shared.disk;
    for name in files.headless.iter().chain(&files.unsound) {
        disk.rename(name, &format!("damaged-{name}")).map_err(DiskError::of("rename", name))?;
    }
    if !(files.headless.is_empty() && files.unsound.is_empty()) {
        let entries = disk.list().map_err(DiskError::of("list", &disk.place()))?;
        let aside = entries.into_iter().filter(|entry| entry.name.starts_with("damaged-"));
        let aside = aside.map(|entry| (entry.name, entry.bytes));
        let mut book = hold(&shared.book);
        let left = std::mem::take(&mut book.aside).into_iter().filter(|(name, _)| !name.starts_with("damaged-"));
        book.aside = aside.chain(left).collect();
    }
    recovery.set_aside.clone_from(&files.headless);
    Ok(())
}

fn report(recovery: &mut Recovery, account: &crate::scan::Account, epoch: Epoch, last: Commit) {
    recovery.epoch = epoch;
    recovery.commit = last;
    (recovery.frames, recovery.events, recovery.bytes) = (account.frames, account.events, account.bytes);
    recovery.damage.clone_from(&account.damage);
    recovery.gaps = account.gaps.values().flatten().cloned().collect();
}

/// Cursors and bounds of the checkpoint.
fn load_checkpoint(book: &mut Book, checkpoint: &Stack, ends: &mut Ends) -> Result<(), CheckpointError> {
    let mut found = Found { cursors: std::mem::take(&mut book.cursors), ..Found::default() };
    checkpoint.scan(&[CURSOR], &mut |key, value| found.cursor(&key, &value))?;
    book.cursors = found.cursors;
    checkpoint.scan(&[PARTITION], &mut |key, value| {
        if let (Some(at), Some((_, next))) = (read_partition_key(&key), read_bounds(&value)) {
            ends.checkpoint(at, next, checkpoint.covered());
        }
    })
}
