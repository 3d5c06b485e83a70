//! The thread that works the bus. A thread of its own rather than one of the runtime's: one that hangs in the kernel must not
//! hold up the program's end, and the runtime waits for its own.

use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::chip::PollError;
use crate::payload::Measured;
use crate::station::Station;

type Outcome = Result<Vec<Measured>, PollError>;

/// A handle to the thread. Dropped, the thread ends after what it is doing.
#[derive(Debug)]
pub(crate) struct Worker {
    requests: mpsc::SyncSender<oneshot::Sender<Outcome>>,
    /// The answer that did not come in time. While it is out, nothing more is asked.
    late: Option<oneshot::Receiver<Outcome>>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// Not in time, or one asked for earlier is still out.
    Hangs,
    /// The thread is gone.
    Died,
}

impl Worker {
    /// Starts the thread.
    pub(crate) fn start(name: &str, mut station: Station) -> std::io::Result<Self> {
        let (requests, inbox) = mpsc::sync_channel::<oneshot::Sender<Outcome>>(1);
        let work = move || {
            while let Ok(answer) = inbox.recv() {
                // Nobody waits any more for an answer that comes too late: it is stale, and is dropped.
                drop(answer.send(station.poll()));
            }
        };
        std::thread::Builder::new().name(format!("i2c {name}")).spawn(work)?;
        Ok(Self { requests, late: None })
    }

    /// Polls the chip once, and waits for `limit`.
    pub(crate) async fn poll(&mut self, limit: Duration) -> Result<Outcome, NoAnswer> {
        if let Some(late) = &mut self.late {
            match late.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => return Err(NoAnswer::Hangs),
                Ok(_) | Err(oneshot::error::TryRecvError::Closed) => self.late = None,
            }
        }
        let (answer, mut outcome) = oneshot::channel();
        // There is room: one request is out at most.
        self.requests.try_send(answer).map_err(|_| NoAnswer::Died)?;
        match tokio::time::timeout(limit, &mut outcome).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(_closed)) => Err(NoAnswer::Died),
            Err(_elapsed) => {
                self.late = Some(outcome);
                Err(NoAnswer::Hangs)
            }
        }
    }
}
