//! From the journal to files: one event a line, as JSON, for places without Kafka.
//!
//! ```text
//! Outlet ── read ──► lines, by topic ──► <name>.part ── full, or old ──► <name>
//!        ◄─ commit ─ cursors ◄──────────── fsync
//! ```
//!
//! - A folder holds one file that is written to for each topic (`….part`), and those that are finished. A finished file is never changed
//!   again: take it away, or delete it, whenever you like.
//! - **A cursor moves only over lines that are on disk**: after `fsync` of their files, and of the folder where a file is new in it or has
//!   got its name.
//! - After a crash what a `….part` holds up to its last whole line (or whole Zstandard frame) stays, and gets its name; the rest is cut
//!   off. Then a new file begins at the cursor. So lines that were written and not yet committed come twice, with the same `ce_id`: the
//!   first occurrences of a partition's events are in order, read in the order of the files' names.
//! - When anything fails on the disk nothing more is written to the files that were open: they are cut back to what was flushed, and it is
//!   begun again at the cursors, after a pause, without end. A flush that failed is never asked for again.
//! - What is missing in the journal (a gap) is a line of its own.
//! - Memory does not grow with the backlog: one read, and the lines that are made of some of it.
//! - The folder never holds more than its quota. Where it is full, the sink waits, or deletes the oldest finished files, as configured.

mod config;
mod counters;
mod folder;
mod line;
mod name;
mod pack;
mod part;
mod reading;
mod repair;
mod sink;
mod writer;

pub use config::{FilesConfig, FilesConfigError, Packing, WhenFull};
pub use counters::Counters;
pub use sink::FileSink;
pub use writer::mounted;
