//! What the file sink is told, parsed once.

use std::path::{Component, PathBuf};
use std::time::Duration;

use lamppost_event::{GatewayId, Group, Interest};

/// How files are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Packing {
    /// Not at all: `….jsonl`.
    #[default]
    None,
    /// Zstandard, one frame for what is written at a time: `….jsonl.zst`, as `zstdcat` reads it.
    Zstd,
}

/// What becomes of the sink when its folder holds as much as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// It waits until somebody has taken files away.
    #[default]
    Pause,
    /// The oldest finished files are deleted.
    DeleteOldest,
}

/// What the file sink is told. [`FilesConfig::new`] has the defaults.
#[derive(Debug, Clone)]
pub struct FilesConfig {
    /// The folder; made if it is missing. No other sink may write there.
    pub folder: PathBuf,
    /// Where a file system has to be mounted, at or above the folder: while none is, nothing is written, so that a stick that was pulled out
    /// does not fill the disk below it. Default: anywhere will do.
    pub mount_point: Option<PathBuf>,
    /// This gateway's name, part of every `ce_id`.
    pub gateway: GatewayId,
    /// Whose cursors these are: the sink's name.
    pub group: Group,
    /// The topics that it takes. Default: all.
    pub interest: Interest,
    /// A file is finished once it has so many bytes. Default 16 MiB.
    pub rotate_bytes: u64,
    /// And once it is so old, in elapsed time. Default 1 hour.
    pub rotate_after: Duration,
    /// Default [`Packing::None`].
    pub packing: Packing,
    /// The most that the files in the folder may have together, bytes. Default 1 GiB.
    pub quota_bytes: u64,
    /// Default [`WhenFull::Pause`].
    pub when_full: WhenFull,
    /// The longest line that is written for one event, bytes. What is longer in a file that a crash has left was not written by the sink.
    /// Default 8 MiB: an event of 1 MiB that is escaped throughout.
    pub line_bytes_max: u64,
    /// How often what was written is flushed, and the cursors moved. Default 1 s.
    pub flush_interval: Duration,
    /// How much is read from the journal at once, bytes. Default 256 KiB.
    pub read_bytes: usize,
    /// The first pause after a failure; doubled with each. Default 200 ms.
    pub retry_delay_min: Duration,
    /// The longest. Default 30 s.
    pub retry_delay_max: Duration,
}

/// What is wrong with a [`FilesConfig`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilesConfigError {
    /// The folder depends on where the program is started.
    #[error("the folder {0:?} depends on where the program is started: write a path that begins with /")]
    Folder(PathBuf),
    /// What is written there can't be told from what is written elsewhere.
    #[error("the folder {0:?} has .. in it: write where that leads")]
    Up(PathBuf),
    /// A mount that has nothing to do with the folder.
    #[error("the folder {folder:?} is not below the mount point {mount_point:?}")]
    MountPoint {
        /// The folder.
        folder: PathBuf,
        /// Where something has to be mounted.
        mount_point: PathBuf,
    },
    /// With less there would be nothing to delete when it is full.
    #[error("a quota of {quota} bytes holds less than four files of {file} bytes")]
    Quota {
        /// The quota.
        quota: u64,
        /// What a file is finished at.
        file: u64,
    },
    /// Files of nothing.
    #[error("a file is finished at {bytes} bytes: at least {min}")]
    Rotate {
        /// What was given.
        bytes: u64,
        /// The least.
        min: u64,
    },
}

impl FilesConfig {
    /// The least that a file is finished at, bytes.
    pub const ROTATE_BYTES_MIN: u64 = 4096;

    /// The defaults, for that gateway and folder.
    #[must_use]
    pub fn new(gateway: GatewayId, group: Group, folder: PathBuf) -> Self {
        Self {
            folder,
            mount_point: None,
            gateway,
            group,
            interest: Interest::all(),
            rotate_bytes: 16 << 20,
            rotate_after: Duration::from_secs(3600),
            packing: Packing::None,
            quota_bytes: 1 << 30,
            when_full: WhenFull::Pause,
            line_bytes_max: 8 << 20,
            flush_interval: Duration::from_secs(1),
            read_bytes: 256 << 10,
            retry_delay_min: Duration::from_millis(200),
            retry_delay_max: Duration::from_secs(30),
        }
    }

    /// Looks for mistakes.
    ///
    /// # Errors
    /// The first found.
    pub fn check(&self) -> Result<(), FilesConfigError> {
        if !self.folder.is_absolute() {
            return Err(FilesConfigError::Folder(self.folder.clone()));
        }
        if self.folder.components().any(|part| part == Component::ParentDir) {
            return Err(FilesConfigError::Up(self.folder.clone()));
        }
        if let Some(mount_point) = &self.mount_point
            && !self.folder.starts_with(mount_point)
        {
            return Err(FilesConfigError::MountPoint { folder: self.folder.clone(), mount_point: mount_point.clone() });
        }
        if self.rotate_bytes < Self::ROTATE_BYTES_MIN {
            return Err(FilesConfigError::Rotate { bytes: self.rotate_bytes, min: Self::ROTATE_BYTES_MIN });
        }
        if self.quota_bytes < self.rotate_bytes.saturating_mul(4) {
            return Err(FilesConfigError::Quota { quota: self.quota_bytes, file: self.rotate_bytes });
        }
        Ok(())
    }
}
