//! What can be made to go wrong.

use std::ops::Range;

use super::NodeId;

/// Faults that can be switched on. "One in `n`" happens by chance, as the disk's seed has it; 0 is never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Flushes say that they are done, and do nothing: what a bad card or a journal without flushes does.
    pub ignore_flushes: bool,
    /// A page that was being written when the power failed is never garbage.
    pub no_garbage: bool,
    /// The next flush of a file fails.
    pub fail_next_flush: bool,
    /// The next flush of the directory fails.
    pub fail_next_dir_flush: bool,
    /// The next flush of the directory fails with ENOSPC.
    pub fill_next_dir_flush: bool,
    /// The next write fails, half done.
    pub fail_next_write: bool,
    /// Files may take no more than this in all; beyond it is ENOSPC.
    pub capacity_bytes: Option<u64>,
    /// What a removed, replaced or shortened file leaves free is taken by others at once: it is the capacity from then on.
    pub others_take_room: bool,
    /// But for so many bytes, which others leave.
    pub others_leave_bytes: u64,
    /// One in so many reads fails with EIO. The next [`Faults::READS_BETWEEN`] of that file don't.
    pub read_error_one_in: u64,
    /// One page of one in so many writes lands in another page of its file.
    pub misdirect_one_in: u64,
    /// One in so many reads gets an older version of one of its sectors; half of these sectors stay so.
    pub stale_one_in: u64,
}

impl Faults {
    /// After a read that failed by chance so many reads of the same file are spared: the error passes.
    pub const READS_BETWEEN: u32 = 8;
}

/// How often reading a place fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// The next so many reads of it.
    Next(u32),
    /// Until [`super::SimDisk::mend_reads`].
    Always,
}

/// A place that can't be read.
pub(super) struct BadPlace {
    pub(super) node: NodeId,
    pub(super) bytes: Range<u64>,
    pub(super) times: Times,
}

impl BadPlace {
    /// Whether reading `bytes` of `node` fails for this place.
    pub(super) fn hit(&mut self, node: NodeId, bytes: &Range<u64>) -> bool {
        if self.node != node || self.bytes.end <= bytes.start || bytes.end <= self.bytes.start {
            return false;
        }
        match &mut self.times {
            Times::Always => true,
            Times::Next(0) => false,
            Times::Next(left) => {
                *left -= 1;
                true
            }
        }
    }
}
