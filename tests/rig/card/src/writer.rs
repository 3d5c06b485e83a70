//! The writers: programs of their own, that write to a store on the card and tell what it acknowledged.

mod events;
mod journal;
mod sled;
mod tell;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// The store that is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Store {
    /// Lamppost's journal.
    Journal,
    /// The control: sled 0.34, whose `flush` is taken as an acknowledgement.
    Sled,
}

impl Store {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Sled => "sled",
        }
    }
}

/// What a writer is to do.
#[derive(Debug, Clone, Args)]
pub struct Task {
    /// The store
    #[arg(long)]
    pub store: Store,
    /// The mounted file system
    #[arg(long)]
    pub dir: PathBuf,
    /// Sizes and pauses follow from this
    #[arg(long)]
    pub seed: u64,
    /// Higher than in any life before
    #[arg(long)]
    pub life: u32,
    /// Only tell what is there, and close
    #[arg(long)]
    pub read_only: bool,
}

/// Does it, and comes back only if it was to read, or failed.
///
/// # Errors
/// The store failed; that was told.
pub fn write(task: &Task) -> anyhow::Result<()> {
    let done = match task.store {
        Store::Journal => journal::write(task),
        Store::Sled => sled::write(task),
    };
    if let Err(error) = &done {
        tell::tell(&[crate::words::Word::Failed(format!("{error:#}"))]);
    }
    done
}
