//! One supervisor for all ports, whatever is spoken on them: opened, spoken on, closed on any trouble and opened again, with
//! pauses that grow while nothing is understood. A port that is absent, wrong or unplugged holds up no other one: each has its own.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};

use lamppost_event::JournalStopped;
use tokio::time::sleep;
use tokio_serial::SerialStream;
use tracing::{info, warn};

use crate::open::OpenPort;
use crate::status::Count;
use crate::tty::PortSettings;

/// Why a port was closed, or not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortError {
    #[error("can't open {path} at {baud} baud: {error}")]
    Open { path: PathBuf, baud: u32, error: tokio_serial::Error },
    #[error("{path} is in use by another program or another source (`fuser -v {path}` names it)")]
    Taken { path: PathBuf },
    #[error("{path} hung up")]
    HungUp { path: PathBuf },
    #[error("reading {path}: {error}")]
    Read { path: PathBuf, error: io::Error },
    #[error("writing {path}: {error}")]
    Write { path: PathBuf, error: io::Error },
    #[error("{path}: {reason}")]
    Spoken { path: PathBuf, reason: String },
    #[error(transparent)]
    Stopped(#[from] JournalStopped),
}

/// What a port has been through since its source was made.
#[derive(Debug, Default)]
pub struct PortStatus {
    /// Times that it was opened.
    pub opens: Count,
    /// Times that it could not be.
    pub open_errors: Count,
    /// Times that it hung up or failed while open.
    pub hang_ups: Count,
    /// Bytes read.
    pub bytes: Count,
    last_error: Mutex<Option<String>>,
}

impl PortStatus {
    /// The last thing that went wrong, in words. It stays after the source has recovered.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers an error, and says whether it is another one than the last.
    pub(crate) fn set_error(&self, error: &str) -> bool {
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        let new = last.as_deref() != Some(error);
        *last = Some(error.to_owned());
        new
    }
}

/// What is spoken on a port.
pub(crate) trait Speech {
    /// Speaks, and returns only when it can't go on. The port is closed then: a descriptor still held would make the device
    /// come back under another name.
    fn speak(&mut self, port: OpenPort) -> impl Future<Output = PortError> + Send;

    /// Whether anything was understood since the port was opened.
    fn understood(&self) -> bool;

    /// The port has been closed.
    fn closed(&mut self) {}
}

/// Opens the port on a thread of its own: a device that hangs blocks nothing else.
async fn open(settings: &PortSettings) -> Result<SerialStream, PortError> {
    let wanted = settings.clone();
    let opened = tokio::task::spawn_blocking(move || wanted.open()).await;
    opened.unwrap_or_else(|died| Err(PortError::Spoken { path: settings.path.clone(), reason: died.to_string() }))
}

/// Speaks on a port until `shutdown` completes.
///
/// # Errors
/// [`JournalStopped`]: nothing can be stored any more.
pub(crate) async fn attend(
    name: &str,
    settings: &PortSettings,
    status: &PortStatus,
    speech: &mut impl Speech,
    shutdown: impl Future<Output = ()>,
) -> Result<(), JournalStopped> {
    let mut shutdown = pin!(shutdown);
    let mut pause = settings.reopen_pause_min;
    loop {
        let mut understood = false;
        let error = match open(settings).await {
            Err(error) => {
                status.open_errors.add(1);
                error
            }
            Ok(stream) => {
                let (port, closed) = OpenPort::new(stream);
                status.opens.add(1);
                info!(source = name, path = %settings.path.display(), baud = settings.baud, "the port is open");
                let outcome = tokio::select! {
                    error = speech.speak(port) => Some(error),
                    () = &mut shutdown => None,
                };
                understood = speech.understood();
                speech.closed();
                match outcome {
                    None => return Ok(()),
                    Some(PortError::Stopped(stopped)) => return Err(stopped),
                    Some(error) => {
                        status.hang_ups.add(1);
                        tokio::select! {
                            // It ends by being dropped.
                            _ = closed => {}
                            () = &mut shutdown => return Ok(()),
                        }
                        error
                    }
                }
            }
        };
        if status.set_error(&error.to_string()) || understood {
            warn!(source = name, %error, "the port is closed and will be opened again");
        }
        pause = if understood { settings.reopen_pause_min } else { pause };
        tokio::select! {
            () = sleep(pause) => {}
            () = &mut shutdown => return Ok(()),
        }
        pause = pause.saturating_mul(2).min(settings.reopen_pause_max);
    }
}
