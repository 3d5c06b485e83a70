//! What the views answer, and why they do not.

use std::io;
use std::path::PathBuf;

use lamppost_event::{Address, Commit, DeviceId, Epoch, SourceKind, WallTime};

use crate::record::Device;

/// A device and its latest value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceView {
    /// Who.
    pub device: DeviceId,
    /// When it was last heard, by the gateway's clock of then.
    pub seen: WallTime,
    /// How many events it has sent since the view was rebuilt.
    pub count: u64,
    /// The kind of source it was last heard by.
    pub source: SourceKind,
    /// Where it was last heard.
    pub address: Address,
    /// The beginning of its latest payload, at most [`crate::PAYLOAD_BYTES_MAX`].
    pub payload: Box<[u8]>,
    /// The whole length of that payload, in bytes.
    pub payload_bytes: usize,
}

/// Why a view gives no answer. The journal's own state has it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// sled failed or panicked. Nothing works any more; the next start discards the view.
    #[error("the view is broken: {reason}")]
    Broken {
        /// What happened first.
        reason: String,
    },
    /// [`crate::Views::rebuild`] has to come first.
    #[error("the view is empty and has not been rebuilt from the journal")]
    Unbuilt,
    /// [`crate::Views::rebuild`] is for an empty view.
    #[error("the view has applied commit {applied}; only an empty one is rebuilt")]
    Built {
        /// How far it is.
        applied: Commit,
    },
    /// There was no room in the view for what was asked.
    #[error("the view had no room for the marks of device {device:?}; the journal has them")]
    NotKept {
        /// The device.
        device: DeviceId,
    },
}

/// Why what was found was thrown away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Discarded {
    /// The folder has no valid session line.
    #[error("the view does not say how its last use ended")]
    Foreign,
    /// The last opening never came to an end.
    #[error("the last opening of the view did not come to an end")]
    Interrupted,
    /// The machine went down while the view was open.
    #[error("the machine went down while the view was open")]
    Unclosed,
    /// Of another incarnation of the journal.
    #[error("the view is of epoch {found}, the journal of {epoch}")]
    Epoch {
        /// The view's.
        found: Epoch,
        /// The journal's.
        epoch: Epoch,
    },
    /// Ahead of the journal's end.
    #[error("the view has applied commit {applied}, but the journal ends at {end}")]
    Ahead {
        /// How far the view is.
        applied: Commit,
        /// The journal's last commit.
        end: Commit,
    },
    /// Too far behind: the journal no longer has all that came since.
    #[error("the view has applied commit {applied}, but the journal can go on only from {from}")]
    Behind {
        /// How far the view is.
        applied: Commit,
        /// Where the journal can go on from.
        from: Commit,
    },
    /// sled can't open it or records are missing.
    #[error("the view is broken: {reason}")]
    Broken {
        /// What happened.
        reason: String,
    },
}

/// No view can be made at all: the gateway works without.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder can't be written.
    #[error("{path}: {source}")]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A new, empty view fails too.
    #[error("{path}: an empty view can't be opened: {reason}")]
    Store {
        /// Which folder.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
}

impl DeviceView {
    pub(crate) fn new(device: DeviceId, record: Device) -> Self {
        let Device { seen, count, source, address, payload_bytes, payload } = record;
        let payload_bytes = usize::try_from(payload_bytes).unwrap_or(usize::MAX);
        Self { device, seen, count, source, address, payload, payload_bytes }
    }
}
