//! The journal's handle: what sources and consumers call.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use lamppost_event::{
    Clock, Commit, DeviceId, Epoch, JournalStopped, Now, Offset, Partition, Position, StoredRecord, Topic,
    TopicPartition, Waiting,
};

use crate::disk::Disk;
use crate::format::checkpoint::{mark_key, mark_value, read_number, user_key};
use crate::item::{ItemInPlace, ReadOn};
use crate::options::{Options, Priority};
use crate::read::{PartitionBounds, PartitionChunk, ReadChunk, internal};
use crate::recover::{OpenError, Recovery};
use crate::shared::Shared;
use crate::state::{StateChanges, StateError};
use crate::stats::Stats;
use crate::sync::{JoinHandle, Mutex};
use crate::threads::Alarm;
use crate::waiting::hold;

/// A sender's mark on an event: stored with it, in the same commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The sender.
    pub device: DeviceId,
    /// Its boot.
    pub boot: u64,
    /// Its sequence in that boot.
    pub sequence: u64,
}

/// The highest sequence taken, and the commit that it is (or will be) durable with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marked {
    /// The sequence.
    pub sequence: u64,
    /// On disk once this commit is durable.
    pub commit: Commit,
}

/// Where an event went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// On disk once this commit is durable.
    pub commit: Commit,
    /// Its offset.
    pub offset: Offset,
}

/// Why an event was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// No room now: wait for [`Journal::room`] and offer it again.
    #[error("the journal has no room now")]
    Full(Box<StoredRecord>),
    /// Larger than an event may be.
    #[error("an event of {bytes} bytes is above the limit of {bytes_max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The most allowed.
        bytes_max: usize,
    },
    /// No such topic or partition in the options.
    #[error("the journal has no {0}")]
    Unknown(TopicPartition),
    /// The journal has stopped.
    #[error(transparent)]
    Stopped(#[from] JournalStopped),
}

/// Why a change of state was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// No room now: wait for [`Journal::room`].
    #[error("the journal has no room now")]
    Full,
    /// Larger than an event may be.
    #[error("a change of {bytes} bytes is above the limit of {bytes_max}")]
    TooLarge {
        /// Key and value together.
        bytes: usize,
        /// The most allowed.
        bytes_max: usize,
    },
    /// The journal has stopped.
    #[error(transparent)]
    Stopped(#[from] JournalStopped),
}

/// Stops the threads when the last handle goes.
struct Handle {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Handle {
    fn join(&self) {
        hold(&self.shared.keeper).stop = true;
        self.shared.wake_keeper.notify_all();
        // With the lock taken between, the writer either sees why it is woken or is already asleep.
        drop(hold(&self.shared.gather));
        self.shared.wake_writer.notify_all();
        for thread in std::mem::take(&mut *hold(&self.threads)) {
            // A thread that panicked has poisoned nothing that is used afterwards; the journal is going anyway.
            drop(thread.join());
        }
    }
}

impl Drop for Handle {
    /// Without [`Journal::close`] it is like a crash: what has gathered is not written.
    fn drop(&mut self) {
        self.shared.stop("it was dropped".to_owned());
        self.join();
    }
}

/// The journal. Cloning is cheap; all clones are one journal.
#[derive(Clone)]
pub struct Journal {
    handle: Arc<Handle>,
}

impl Journal {
    /// Opens the journal on `disk`, or makes a new one, and starts its two threads (writer and keeper).
    ///
    /// # Errors
    /// [`OpenError`]; nothing on the disk has been changed that the next opening would miss.
    pub fn open<D: Disk>(disk: Arc<D>, options: Options, clock: Arc<dyn Clock>) -> Result<(Self, Recovery), OpenError> {
        let (shared, recovery) = crate::open::open(disk, options, clock)?;
        if recovery.created {
            shared.prepare_reserve()?;
        }
        shared.tell_value_room();
        let shared = Arc::new(shared);
        let threads =
            crate::threads::start(&shared).map_err(crate::disk::DiskError::of("start threads for", "the journal"))?;
        Ok((Self { handle: Arc::new(Handle { shared, threads: Mutex::new(threads) }) }, recovery))
    }

    /// Opens the journal without threads: commits and upkeep happen when [`crate::Hand`] says so. For tests that have to be
    /// repeatable to the byte.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_by_hand<D: Disk>(
        disk: Arc<D>,
        options: Options,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, crate::Hand, Recovery), OpenError> {
        let (shared, recovery) = crate::open::open(disk, options, clock)?;
        // Nobody else makes it.
        shared.prepare_reserve()?;
        shared.tell_value_room();
        let shared = Arc::new(shared);
        let hand = crate::Hand::new(Arc::clone(&shared));
        Ok((Self { handle: Arc::new(Handle { shared, threads: Mutex::default() }) }, hand, recovery))
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    /// Takes an event into the commit that is gathering. Never blocks on the disk. With a mark, the mark becomes durable with
    /// the event, neither before nor after. Events of one caller keep their order within a partition.
    ///
    /// # Errors
    /// [`AppendError`]; the event is not stored then.
    pub fn append(
        &self,
        topic: &Topic,
        partition: Partition,
        record: StoredRecord,
        mark: Option<&Mark>,
    ) -> Result<Appended, AppendError> {
        let shared = self.shared();
        let Some((entry, index, place)) = shared.slot(topic, partition) else {
            return Err(AppendError::Unknown(TopicPartition { topic: topic.clone(), partition }));
        };
        let (bytes, bytes_max) = (record.bytes(), shared.options.event_bytes_max);
        if bytes > bytes_max {
            return Err(AppendError::TooLarge { bytes, bytes_max });
        }
        let mark = mark.map(|mark| (mark_key(&mark.device, mark.boot), mark.sequence));
        let mut gather = hold(&shared.gather);
        shared.taking()?;
        let commit = gather.commit;
        let mark = mark.map(|(key, sequence)| (key, mark_value(sequence, commit)));
        let Some(offset) = gather.push(index, place, &record, mark) else {
            drop(gather);
            shared.refused();
            return Err(AppendError::Full(Box::new(record)));
        };
        shared.hurry(&mut gather, entry.linger_ms);
        drop(gather);
        Ok(Appended { commit, offset })
    }

    /// Completes when there may be room again, or the journal has stopped.
    pub fn room(&self) -> Waiting<'_, ()> {
        self.room_for(Priority::Normal)
    }

    /// The same for topics of that priority: some have a reserve.
    pub fn room_for(&self, priority: Priority) -> Waiting<'_, ()> {
        let shared = self.shared();
        Box::pin(shared.room.wait(move || shared.has_room(priority).then_some(())))
    }

    /// The last durable commit.
    ///
    /// # Errors
    /// [`JournalStopped`]: no later one will become durable.
    pub fn durable(&self) -> Result<Commit, JournalStopped> {
        let durable = Commit(self.shared().durable.load(Ordering::Acquire));
        self.shared().running().map(|()| durable)
    }

    /// Completes once a commit later than `seen` is durable, with the last one.
    ///
    /// # Errors
    /// [`JournalStopped`], through the future.
    pub fn durable_after(&self, seen: Commit) -> Waiting<'_, Result<Commit, JournalStopped>> {
        let shared = self.shared();
        Box::pin(shared.committed.wait(move || {
            let durable = Commit(shared.durable.load(Ordering::Acquire));
            if durable > seen {
                return Some(Ok(durable));
            }
            shared.stopped.get().map(|stopped| Err(stopped.clone()))
        }))
    }

    /// Completes once something durable lies beyond `position`, or the journal has stopped.
    pub fn grown(&self, position: Position) -> Waiting<'_, ()> {
        let shared = self.shared();
        Box::pin(
            shared
                .committed
                .wait(move || (shared.stopped.get().is_some() || hold(&shared.book).end > position).then_some(())),
        )
    }

    /// Begins a commit of what has gathered now, cursors alone too, without waiting for company.
    pub fn commit_now(&self) {
        hold(&self.shared().gather).at_once = true;
        self.shared().wake_writer.notify_one();
    }

    /// Keeps `value` under `key` (`None` removes it), durable with the commit that is returned. Outlives the events' retention. Refused, too, where all
    /// that is kept so would leave no room in the quota ([`Stats::values_refused`]); removing is not.
    ///
    /// # Errors
    /// [`PutError`]; nothing is changed then.
    pub fn put_state(&self, key: &[u8], value: Option<Bytes>) -> Result<Commit, PutError> {
        let shared = self.shared();
        let (bytes, bytes_max) = (key.len() + value.as_ref().map_or(0, Bytes::len), shared.options.event_bytes_max);
        if bytes > bytes_max {
            return Err(PutError::TooLarge { bytes, bytes_max });
        }
        self.put(user_key(key).into(), value)
    }

    fn put(&self, key: Bytes, value: Option<Bytes>) -> Result<Commit, PutError> {
        let shared = self.shared();
        let mut gather = hold(&shared.gather);
        shared.taking()?;
        let commit = gather.commit;
        if !gather.push_state(key, value) {
            drop(gather);
            shared.refused();
            return Err(PutError::Full);
        }
        let linger_ms = u64::try_from(shared.options.linger.as_millis()).unwrap_or(u64::MAX);
        shared.hurry(&mut gather, linger_ms);
        Ok(commit)
    }

    /// Forgets the mark of a boot that will send no more, before it would be one too many ([`Options::boots_max`]).
    ///
    /// # Errors
    /// [`PutError`]; nothing is changed then.
    pub fn forget_mark(&self, device: &DeviceId, boot: u64) -> Result<Commit, PutError> {
        self.put(mark_key(device, boot).into(), None)
    }

    /// The durable value under `key`. May read the disk.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn state_get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        self.shared().durable_value(&user_key(key))
    }

    /// All durable values whose key begins with `prefix`, by rising key. Reads the disk.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn state_scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &Bytes)) -> Result<Commit, StateError> {
        self.shared().scan_state(&user_key(prefix), &mut |key, value| visit(key.get(1..).unwrap_or_default(), value))
    }

    /// All durable marks, by device. Reads the disk. Gives the commit that they are of. Of one device these are at least
    /// the [`Options::boots_max`] boots that were marked last, and at most as many for each layer of the checkpoint, and those marked since.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn marks(&self, visit: &mut dyn FnMut(Mark)) -> Result<Commit, StateError> {
        self.shared().scan_marks(visit)
    }

    /// The earliest commit after which [`Journal::state_since`] knows all changes: that of the checkpoint before the newest. What a view
    /// must have applied to be trusted for what is not [`Journal::marked_recently`].
    #[must_use]
    pub fn known_since(&self) -> Commit {
        hold(&self.shared().book).known_since
    }

    /// What changed durably after the commit `since`: for a view that has applied all up to there.
    ///
    /// Marks that were forgotten ([`Journal::forget_mark`], or beyond [`Options::boots_max`] or [`Options::marks_bytes_max`]) are not told of: neither with their last
    /// sequence, once they are forgotten, nor that they are. What a view still holds of them was true, and may be used or
    /// dropped; a view made anew does not get them.
    ///
    /// # Errors
    /// [`StateError::TooOld`]: make the view anew from [`Journal::marks`] and [`Journal::state_scan`].
    pub fn state_since(&self, since: Commit) -> Result<StateChanges, StateError> {
        self.shared().state_since(since)
    }

    /// The highest durable sequence of that device and boot. May read the disk.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn mark(&self, device: &DeviceId, boot: u64) -> Result<Option<u64>, StateError> {
        let value = self.shared().durable_value(&mark_key(device, boot))?;
        Ok(value.and_then(|value| read_number(&value)))
    }

    /// The highest sequence of that device and boot that was appended, durable or not. May read the disk.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn marked(&self, device: &DeviceId, boot: u64) -> Result<Option<Marked>, StateError> {
        self.shared().marked(&mark_key(device, boot))
    }

    /// The same, of what is only in memory: appended and not yet durable, or changed since the last checkpoint but one.
    /// Never reads the disk. `None` does not mean that there is no mark.
    #[must_use]
    pub fn marked_recently(&self, device: &DeviceId, boot: u64) -> Option<Marked> {
        self.shared().marked_recently(&mark_key(device, boot))
    }

    /// Reads durable events of all topics in the log's order, from `from` on, up to about `bytes_max` bytes of records, decompressed
    /// (at least one frame). A position that fell out gives gaps that begin at offset 0, and what is kept. Reads the disk.
    ///
    /// # Errors
    /// [`JournalStopped`].
    pub fn read(&self, from: Position, bytes_max: usize) -> Result<ReadChunk, JournalStopped> {
        self.shared().read(from, bytes_max)
    }

    /// The same, event by event, each where it lies in memory: for who wants to look at many and keep few. `visit` is called with no
    /// lock held, but holds up the segment that is read.
    ///
    /// # Errors
    /// [`JournalStopped`].
    pub fn read_in_place(
        &self,
        from: Position,
        bytes_max: usize,
        mut visit: impl FnMut(ItemInPlace<'_>),
    ) -> Result<ReadOn, JournalStopped> {
        self.shared().read_in_place(from, bytes_max, &mut visit)
    }

    /// Reads one partition from an offset on. Looks through the segment that holds the offset from its beginning.
    ///
    /// # Errors
    /// [`JournalStopped`].
    pub fn read_partition(
        &self,
        topic: &Topic,
        partition: Partition,
        from: Offset,
        bytes_max: usize,
    ) -> Result<PartitionChunk, JournalStopped> {
        self.shared().read_partition(&TopicPartition { topic: topic.clone(), partition }, from, bytes_max)
    }

    /// What the clocks of this boot said when the wall clock was at its best, as far as the journal knows: also of what ran before it. `None` if
    /// it was never set. May read the disk.
    #[must_use]
    pub fn best_clock(&self) -> Option<Now> {
        let shared = self.shared();
        shared.times().best(shared.clock.now().boot)
    }

    /// The partitions that are configured or have (had) events, the journal's own left out.
    #[must_use]
    pub fn partitions(&self) -> Vec<PartitionBounds> {
        let shared = self.shared();
        let mut bounds = hold(&shared.book).partitions.clone();
        for at in &shared.slots {
            bounds.entry(at.clone()).or_default();
        }
        let bounds = bounds.into_iter().filter(|(at, _)| !internal(at));
        bounds.map(|(at, kept)| PartitionBounds { at, first: kept.first, next: kept.next }).collect()
    }

    /// The end of what is durable.
    #[must_use]
    pub fn end(&self) -> Position {
        hold(&self.shared().book).end
    }

    /// The journal's present incarnation.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        hold(&self.shared().book).epoch
    }

    /// The journal's identity, given at its first creation.
    #[must_use]
    pub fn identity(&self) -> u128 {
        self.shared().identity
    }

    /// Figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared().stats()
    }

    /// Writes what has gathered, then a frame that proves a clean end, and stops. All clones stop; the folder is unlocked.
    ///
    /// # Errors
    /// [`JournalStopped`] if it had stopped or is being closed already, or the last writes failed: then the end is not a clean one.
    pub fn close(&self) -> Result<(), JournalStopped> {
        let shared = self.shared();
        {
            // What was taken before is written; from here on everything is refused.
            let (_gather, _book) = (hold(&shared.gather), hold(&shared.book));
            shared.taking()?;
            shared.closing.store(true, Ordering::Release);
        }
        let _alarm = Alarm { shared, of: "the closing" };
        self.handle.join();
        shared.close_step()?;
        *hold(&shared.lock) = None;
        Ok(())
    }
}
