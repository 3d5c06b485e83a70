//! Commands to the node at a port: who has one asks here, and is told what came of it.

use std::sync::Arc;
use std::time::Duration;

use lamppost_wire::{Command, Refusal};
use tokio::sync::{mpsc, oneshot};

use crate::LinkStatus;

/// How long a command is repeated.
pub(crate) const PATIENCE_MS: u32 = 10_000;
/// How long whoever gave it waits in all: a port that is closed answers nothing.
const PATIENCE: Duration = Duration::from_millis(PATIENCE_MS as u64 + 2_000);

/// Why a command was not obeyed, or is not known to have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No node of that name is at the port.
    #[error("no node of that name speaks at this port now")]
    Absent,
    /// Another command is under way.
    #[error("another command is under way to this node")]
    Busy,
    /// The node's hello does not say that it can do that.
    #[error("the node can't do that: its hello does not name that capability")]
    Unsupported,
    /// The node refused.
    #[error("{0}")]
    Refused(Refusal),
    /// The link was begun anew before the answer came.
    #[error("the link was begun anew before the node answered: it may have obeyed or not")]
    Interrupted,
    /// No answer came.
    #[error("the node did not answer: it may have obeyed or not")]
    Unanswered,
}

pub(crate) type Outcome = Result<(), CommandError>;

/// A command to the node of that name.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) device: String,
    pub(crate) command: Command,
    pub(crate) reply: oneshot::Sender<Outcome>,
}

/// Gives commands to the node at one port. One at a time.
#[derive(Debug, Clone)]
pub struct NodeOrders {
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) status: Arc<LinkStatus>,
}

impl NodeOrders {
    /// Has the node `device` obey, and waits for its answer: at most 12 s.
    ///
    /// # Errors
    /// [`CommandError`]: what kept the node from obeying, or that nobody knows.
    pub async fn send(&self, device: &str, command: Command) -> Result<(), CommandError> {
        if self.status.node().is_none() {
            // A closed port takes no requests: one would wait for it, and the next be told that the node is busy.
            return Err(CommandError::Absent);
        }
        let (reply, answer) = oneshot::channel();
        self.requests
            .try_send(Request { device: device.to_owned(), command, reply })
            .map_err(|_| CommandError::Busy)?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(CommandError::Unanswered),
        }
    }
}
