//! A modelled memory card under a real ext4, for two purposes: it counts what reaches it, taking the time a card takes; and it
//! loses its power at any moment, and tells what a store on it has kept.
//!
//! ```text
//! a writer ──► ext4 ──► loop device ──► FUSE ──► [`card::Card`]: image, order of writes and flushes, figures
//! ```

pub mod campaign;
pub mod card;
pub mod cut;
mod ext4;
pub mod image;
pub mod ledger;
pub mod life;
pub mod loss;
pub mod serve;
pub mod stand;
pub mod words;
pub mod writer;

/// A line on stderr, for whoever watches.
#[expect(clippy::print_stderr, reason = "a tool's progress goes to stderr")]
pub fn say(line: &str) {
    eprintln!("{line}");
}
