//! The two contracts around the journal. Sources know [`Intake`], consumers know [`Outlet`]; neither knows the journal,
//! nor the other. The daemon puts the journal behind both.
//!
//! ```text
//! source ── offer(arrival) ──► Intake ═ decode, route, journal ═ Outlet ── read(position) ──► consumer
//!        ◄── durable(commit) ──                                         ◄── commit(cursors) ──
//! ```

use std::future::Future;
use std::pin::Pin;

use crate::{Arrival, Commit, DeviceId, Epoch, Event, Group, Offset, Partition, Position, Topic, TopicPartition};

/// A future that is only made where something has to be waited for.
pub type Waiting<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The journal takes no more events until it has been opened again: a flush failed, or it was closed. What was not
/// reported durable must not be acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the journal has stopped: {reason}")]
pub struct JournalStopped {
    /// What happened.
    pub reason: String,
}

/// Why an arrival was not taken. It is not stored and must not be acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No room now: wait for [`Intake::room`], stop reading from the sender meanwhile, offer again what comes back here.
    #[error("the journal has no room now")]
    Full(Box<Arrival>),
    /// Larger than an event may ever be.
    #[error("an event of {bytes} bytes is above the limit of {bytes_max}")]
    TooLarge {
        /// Its size, in bytes.
        bytes: usize,
        /// The largest allowed.
        bytes_max: usize,
    },
    /// The journal has stopped.
    #[error(transparent)]
    Stopped(#[from] JournalStopped),
}

/// What a source sees: it offers arrivals and learns when they are on disk.
pub trait Intake: Send + Sync + 'static {
    /// Takes an arrival, and returns the commit it goes with. It is not on disk yet, and nothing is waited for (the first sequence of a
    /// sender may have to be looked up): acknowledge only once
    /// [`Intake::durable`] has reached that commit. A resend of what is already stored is taken and not stored again; one
    /// that can't be routed is stored as a dead letter. Arrivals of one caller keep their order.
    ///
    /// # Errors
    /// [`Refusal`]; the arrival comes back where it can be offered again.
    fn offer(&self, arrival: Arrival) -> Result<Commit, Refusal>;

    /// Takes what its source could not decode: stored as a dead letter with `reason`, whatever the routes say. Otherwise as
    /// [`Self::offer`].
    ///
    /// # Errors
    /// [`Refusal`]; the arrival comes back where it can be offered again.
    fn offer_dead(&self, arrival: Arrival, reason: &str) -> Result<Commit, Refusal>;

    /// Completes when there may be room again after [`Refusal::Full`], or the journal has stopped.
    fn room(&self) -> Waiting<'_, ()>;

    /// The last commit that is on disk.
    ///
    /// # Errors
    /// [`JournalStopped`]: no later commit will become durable.
    fn durable(&self) -> Result<Commit, JournalStopped>;

    /// Completes once a commit later than `seen` is on disk, with the last one.
    ///
    /// # Errors
    /// [`JournalStopped`], through the future.
    fn durable_after(&self, seen: Commit) -> Waiting<'_, Result<Commit, JournalStopped>>;

    /// The highest sequence stored of that device and boot ([`crate::Origin::Sequence`]); offered is not enough, it is on
    /// disk. Where a node may resume.
    fn high_water(&self, device: &DeviceId, boot: u64) -> Option<u64>;
}

/// A stored event and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its partition in the journal (its topic is the event's).
    pub partition: Partition,
    /// Its offset there.
    pub offset: Offset,
    /// The journal's epoch when it was stored.
    pub epoch: Epoch,
    /// The event.
    pub event: Event,
}

/// Offsets that will never be read: damaged or dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Where.
    pub at: TopicPartition,
    /// The first missing offset.
    pub from: Offset,
    /// The first offset after the gap.
    pub to: Offset,
    /// Why, in words.
    pub reason: String,
}

/// What a reader comes upon, in the journal's order. In one partition, offsets rise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An event.
    Event(Stored),
    /// A hole.
    Gap(Gap),
}

/// What one read returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Events and gaps, in the journal's order. Some may lie below the reader's own place in their partition: where what it read from has
    /// been made denser, before this read or during it, a stretch comes again. Skip those.
    pub items: Vec<Item>,
    /// Where to read on.
    pub next: Position,
    /// Nothing durable lies beyond `next` now.
    pub caught_up: bool,
}

/// How far a group has come in one partition: the offset of the first event that it has *not* done with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Where.
    pub at: TopicPartition,
    /// The next offset to do.
    pub next: Offset,
}

/// Where a group goes on after a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// Reading from here meets every event that the group has not done with (and some that it has: skip what lies below
    /// its cursor).
    pub position: Position,
    /// Its cursors. A partition that is not listed starts at its first offset.
    pub cursors: Vec<Cursor>,
}

/// A topic and how many partitions it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicShape {
    /// The topic.
    pub topic: Topic,
    /// Its partitions, from 1.
    pub partitions: u16,
}

/// What a consumer sees: durable events in order, and its own cursors.
pub trait Outlet: Send + Sync + 'static {
    /// The topics that are configured or have events, the journal's own left out.
    fn topics(&self) -> Vec<TopicShape>;

    /// Where `group` goes on.
    ///
    /// # Errors
    /// [`JournalStopped`].
    fn resume(&self, group: &Group) -> Result<Resume, JournalStopped>;

    /// Reads durable events of all topics from `from` on, up to about `bytes_max` bytes, decompressed (at least one commit). Reads the disk: call it
    /// where blocking is allowed. A position below the first kept one reads from there: what fell out comes as gaps,
    /// which may begin below the reader's own cursor: skip what it has had.
    ///
    /// # Errors
    /// [`JournalStopped`].
    fn read(&self, from: Position, bytes_max: usize) -> Result<Chunk, JournalStopped>;

    /// Remembers how far `group` has come; durable with the next commit, or within a few seconds. Cursors only go forward.
    ///
    /// # Errors
    /// [`JournalStopped`].
    fn commit(&self, group: &Group, cursors: &[Cursor]) -> Result<(), JournalStopped>;

    /// The offset behind the last durable one, of each partition that has any. An outlet that does not say has no lanes.
    fn ends(&self) -> Vec<Cursor> {
        Vec::new()
    }

    /// The cursors of `group`, as [`Self::resume`] gives them, without looking for a position. Reads no disk.
    fn cursors(&self, group: &Group) -> Vec<Cursor> {
        let _ = group;
        Vec::new()
    }

    /// Forgets the cursors of `group`; durable as those of [`Self::commit`].
    ///
    /// # Errors
    /// [`JournalStopped`].
    fn forget(&self, group: &Group) -> Result<(), JournalStopped> {
        let _ = group;
        Ok(())
    }

    /// Completes once what `group` has committed so far is on disk; at once where nothing outlives the process.
    fn settled<'a>(&'a self, group: &'a Group) -> Waiting<'a, Result<(), JournalStopped>> {
        let _ = group;
        Box::pin(std::future::ready(Ok(())))
    }

    /// Completes once something durable lies beyond `position`, or the journal has stopped.
    fn grown(&self, position: Position) -> Waiting<'_, ()>;
}
