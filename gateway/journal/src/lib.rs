//! The crash-safe partitioned log, over a [`Disk`] trait: one write-ahead log for all partitions.
//!
//! **The promise:** once [`Journal::durable`] has reached the commit that [`Journal::append`] returned, the event is on the disk,
//! whatever happens to the power.
//!
//! ```text
//! append ──► gathering commit ──► writer thread: one write, one flush ──► durable ──► read
//!                                 keeper thread: checkpoints, recycling, prepared segments
//! ```
//!
//! - The bytes on disk: [`mod@format`] and its modules. What recovery does: [`mod@recover`]. What a disk must promise: [`Disk`].
//! - One commit is in flight, the next gathers meanwhile. A commit is one frame.
//! - A failed write or flush stops the journal: nothing is acknowledged, nothing retried. Open it again.
//! - The quota is hard. With it used up [`Journal::append`] gives [`AppendError::Full`].
#![allow(rustdoc::private_intra_doc_links, reason = "the documentation is read with the source")]

mod again;
mod assemble;
mod begin;
mod book;
mod boots;
mod checkpoint;
mod cold;
mod commit;
mod cool;
mod disk;
mod ends;
mod export;
mod files;
mod format;
mod found;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod gather;
mod give_up;
mod groups;
mod inspect;
mod item;
mod journal;
mod keep;
mod memory;
mod open;
mod options;
mod pace;
mod packing;
mod places;
mod random;
mod read;
mod recover;
mod salt;
mod scan;
mod seal;
mod shared;
mod shed;
pub mod sim;
mod state;
mod state_room;
mod stats;
mod stops;
mod stretch;
mod surplus;
mod sync;
mod tail;
mod threads;
mod time_index;
mod times;
mod verify;
mod waiting;
mod walk;

pub use disk::{Access, Directory, Disk, DiskError, DiskFile, DiskLock, Entry};
pub use export::StoredBatch;
pub use format::batch::{BatchError, Compression};
pub use inspect::{Figures, GroupFigures, Inspect, PartitionFigures, SegmentFigures};
pub use item::{ItemInPlace, ReadItem, ReadOn, ReadRecord, RecordInPlace};
pub use journal::{AppendError, Appended, Journal, Mark, Marked, PutError};
pub use options::{Options, OptionsError, Policy, Priority, TopicOptions, WhenFull};
pub use places::{FrameFigures, HeadFigures, Place, SegmentFile};
pub use random::{Entropy, SplitMix64};
pub use read::{PartitionBounds, PartitionChunk, ReadChunk};
pub use recover::{OpenError, Recovery};
pub use scan::Damage;
pub use state::{StateChange, StateChanges, StateError};
pub use stats::Stats;
pub use threads::Hand;
pub use times::Times;
pub use verify::{Problem, Verified};
