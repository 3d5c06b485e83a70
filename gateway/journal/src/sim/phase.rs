//! What the journal is about, told by what it asks of the disk.

/// What an I/O is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// A commit into a live segment: its write and its flush.
    Append,
    /// Going on to the next segment: the head of a free one, its flush, its new name and the directory's flush.
    Roll,
    /// A live segment becomes a free one: its new name and the directory's flush.
    Recycle,
    /// Anything that changes a cold segment or is to become one.
    ColdRewrite,
    /// Anything that changes a checkpoint or is to become one.
    Checkpoint,
    /// Everything while the journal is being opened ([`super::SimDisk::set_opening`]).
    Recovery,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Append, Self::Roll, Self::Recycle, Self::ColdRewrite, Self::Checkpoint, Self::Recovery];
}

/// An I/O, as far as its phase depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Io<'a> {
    /// Changes nothing.
    Look,
    Write,
    Flush,
    Create,
    Rename {
        to: &'a str,
    },
    Remove,
    /// Of the directory.
    FlushDir,
}

/// The phase of an I/O on the file `name`. `dir` is that of the last directory change. Reads, and the making and removing of
/// free segments, belong to none.
pub(super) fn of(io: Io<'_>, name: &str, dir: Option<Phase>) -> Option<Phase> {
    match io {
        Io::Look => None,
        Io::FlushDir => dir,
        _ if name.starts_with("cold-") => Some(Phase::ColdRewrite),
        _ if name.starts_with("checkpoint-") => Some(Phase::Checkpoint),
        Io::Write | Io::Flush if name.starts_with("hot-") => Some(Phase::Append),
        Io::Write | Io::Flush if name.starts_with("free-") => Some(Phase::Roll),
        Io::Rename { to } if name.starts_with("free-") && to.starts_with("hot-") => Some(Phase::Roll),
        Io::Rename { to } if name.starts_with("hot-") && to.starts_with("free-") => Some(Phase::Recycle),
        Io::Rename { to } if to.starts_with("cold-") => Some(Phase::ColdRewrite),
        Io::Remove if name.starts_with("hot-") => Some(Phase::Recycle),
        Io::Write | Io::Flush | Io::Create | Io::Rename { .. } | Io::Remove => None,
    }
}
