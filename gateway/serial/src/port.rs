//! The port: opened, read, written, closed on any trouble and opened again.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use lamppost_event::{Clock, Intake, JournalStopped};
use lamppost_wire::FRAME_BYTES_MAX;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{sleep, timeout};
use tokio_serial::{SerialPortBuilderExt, SerialStream};
use tracing::{info, warn};

use crate::conversation::{Conversation, ConversationError, Remembered};
use crate::orders::Request;
use crate::watch::Unset;
use crate::{LinkStatus, NodeOrders};

/// How often a conversation is looked at though nothing happens.
const TICK: Duration = Duration::from_millis(500);
/// At most so much is read at once.
const READ_BYTES_MAX: usize = 1024;
/// A port that takes no byte for so long has failed.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);

/// How a link is spoken.
#[derive(Debug, Clone, Copy)]
pub struct LinkOptions {
    /// How many readings may be under way without acknowledgement, from 1. 256: what a line of 115,200 baud carries in half a
    /// second, so that commits may take a quarter.
    pub window: u16,
    /// How long a node waits for an acknowledgement before it sends again, in milliseconds: longer than a commit takes,
    /// linger included. 2,000.
    pub patience_ms: u32,
    /// The first pause before a port is opened again. 250 ms.
    pub reopen_pause_min: Duration,
    /// The longest. 10 s.
    pub reopen_pause_max: Duration,
    /// Where random numbers come from, for the lives of nodes that can't count them. The kernel.
    pub draw: fn() -> u32,
}

impl Default for LinkOptions {
    fn default() -> Self {
        Self {
            window: 256,
            patience_ms: 2_000,
            reopen_pause_min: Duration::from_millis(250),
            reopen_pause_max: Duration::from_secs(10),
            draw: kernel_random,
        }
    }
}

/// A serial port with a node at its other end.
pub struct LinkSource {
    name: Arc<str>,
    path: PathBuf,
    baud: u32,
    intake: Arc<dyn Intake>,
    options: LinkOptions,
    status: Arc<LinkStatus>,
    clock: Arc<dyn Clock>,
    orders: NodeOrders,
    requests: Mutex<mpsc::Receiver<Request>>,
}

/// Why a port was closed.
#[derive(Debug, thiserror::Error)]
enum PortError {
    #[error("can't open {path} at {baud} baud: {error}")]
    Open { path: PathBuf, baud: u32, error: tokio_serial::Error },
    #[error("{path} hung up")]
    HungUp { path: PathBuf },
    #[error("reading {path}: {error}")]
    Read { path: PathBuf, error: io::Error },
    #[error("writing {path}: {error}")]
    Write { path: PathBuf, error: io::Error },
    #[error("{path}: {error}")]
    Conversation { path: PathBuf, error: ConversationError },
}

impl LinkSource {
    /// A source called `name` in logs, on the port at `path` (best one of `/dev/serial/by-id`, which names the device
    /// and not the order of plugging in), 8 data bits, no parity, 1 stop bit.
    #[must_use]
    pub fn new(name: &str, path: impl Into<PathBuf>, baud: u32, intake: Arc<dyn Intake>, options: LinkOptions) -> Self {
        let (orders, requests) = mpsc::channel(1);
        Self {
            name: name.into(),
            path: path.into(),
            baud,
            intake,
            options,
            status: Arc::default(),
            clock: Arc::new(Unset::new()),
            orders: NodeOrders(orders),
            requests: Mutex::new(requests),
        }
    }

    /// The same, with a clock to tell nodes the time by; without one they are told that it is not set.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Gives commands to the node at this port.
    #[must_use]
    pub fn orders(&self) -> NodeOrders {
        self.orders.clone()
    }

    /// What it has seen and done.
    #[must_use]
    pub fn status(&self) -> Arc<LinkStatus> {
        Arc::clone(&self.status)
    }

    /// The port's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Speaks the link until `shutdown` completes. A port that is absent, wrong or hangs up is opened again, with pauses
    /// that grow while nothing is understood.
    ///
    /// # Errors
    /// [`JournalStopped`]: nothing can be stored any more, so nothing is read.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) -> Result<(), JournalStopped> {
        let mut shutdown = pin!(shutdown);
        let mut pause = self.options.reopen_pause_min;
        let mut remembered = Remembered::default();
        let mut requests = self.requests.lock().await;
        loop {
            let mut understood = false;
            let error = match self.open() {
                Err(error) => {
                    self.status.open_errors.add(1);
                    error
                }
                Ok(port) => {
                    let mut conversation = self.converse(std::mem::take(&mut remembered));
                    let outcome = tokio::select! {
                        error = self.talk(port, &mut conversation, &mut requests) => Some(error),
                        () = &mut shutdown => None,
                    };
                    understood = conversation.has_understood();
                    remembered = conversation.into_remembered();
                    self.status.set_node(None);
                    match outcome {
                        None => return Ok(()),
                        Some(PortError::Conversation { error: ConversationError::Stopped(stopped), .. }) => {
                            return Err(stopped);
                        }
                        Some(error) => {
                            self.status.hang_ups.add(1);
                            error
                        }
                    }
                }
            };
            if self.status.set_error(&error.to_string()) || understood {
                warn!(link = &*self.name, %error, "the port is closed and will be opened again");
            }
            pause = if understood { self.options.reopen_pause_min } else { pause };
            tokio::select! {
                () = sleep(pause) => {}
                () = &mut shutdown => return Ok(()),
            }
            pause = pause.saturating_mul(2).min(self.options.reopen_pause_max);
        }
    }

    fn open(&self) -> Result<SerialStream, PortError> {
        let path = self.path.to_string_lossy();
        // Exclusive: two programs on one line would each take half of every frame.
        let port = tokio_serial::new(path, self.baud)
            .open_native_async()
            .and_then(|mut port| port.set_exclusive(true).map(|()| port))
            .map_err(|error| PortError::Open { path: self.path.clone(), baud: self.baud, error })?;
        self.status.opens.add(1);
        info!(link = &*self.name, path = %self.path.display(), baud = self.baud, "the port is open");
        Ok(port)
    }

    fn converse(&self, remembered: Remembered) -> Conversation {
        let (intake, status, clock) = (Arc::clone(&self.intake), Arc::clone(&self.status), Arc::clone(&self.clock));
        Conversation::new(Arc::clone(&self.name), intake, self.options, status, clock, remembered)
    }

    /// Returns only when it can't go on. The port is closed then: a descriptor still held would make the device come
    /// back under another name.
    async fn talk(
        &self,
        mut port: SerialStream,
        conversation: &mut Conversation,
        requests: &mut mpsc::Receiver<Request>,
    ) -> PortError {
        let mut unread = Vec::with_capacity(READ_BYTES_MAX);
        loop {
            if let Err(error) = self.step(&mut port, conversation, &mut unread, requests).await {
                return error;
            }
        }
    }

    /// Hears what was read, says what there is to say, then waits for whatever comes next.
    async fn step(
        &self,
        port: &mut SerialStream,
        conversation: &mut Conversation,
        unread: &mut Vec<u8>,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Result<(), PortError> {
        let broken = |error| PortError::Conversation { path: self.path.clone(), error };
        let durable = self.intake.durable().map_err(|stopped| broken(stopped.into()))?;
        conversation.settle(durable);
        let mut rest = &unread[..];
        let heard = conversation.receive(&mut rest);
        let taken = unread.len() - rest.len();
        unread.drain(..taken);
        heard.map_err(broken)?;
        conversation.tick();
        self.send(port, conversation).await?;
        let full = conversation.is_full();
        tokio::select! {
            read = port.read_buf(unread), if unread.is_empty() && !full => match read {
                Ok(0) => return Err(PortError::HungUp { path: self.path.clone() }),
                Ok(bytes) => self.status.bytes.add(bytes as u64),
                Err(error) => return Err(PortError::Read { path: self.path.clone(), error }),
            },
            Some(request) = requests.recv() => conversation.order(request),
            () = self.intake.room(), if full => conversation.retry().map_err(broken)?,
            settled = self.intake.durable_after(durable), if conversation.waits_for_durable() => {
                settled.map_err(|stopped| broken(stopped.into()))?;
            }
            // What waits may be an alarm, for which there can be room while there is none for all.
            () = sleep(TICK) => if full {
                conversation.retry().map_err(broken)?;
            },
        }
        Ok(())
    }

    async fn send(&self, port: &mut SerialStream, conversation: &mut Conversation) -> Result<(), PortError> {
        let mut frame = [0; FRAME_BYTES_MAX];
        loop {
            let length = conversation.transmit(&mut frame);
            let Some(bytes) = frame.get(..length).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
            let written = timeout(WRITE_PATIENCE, port.write_all(bytes)).await;
            let written = written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            written.map_err(|error| PortError::Write { path: self.path.clone(), error })?;
        }
    }
}

/// 32 bits from the kernel's generator; should it fail, which it does not after boot, 0: then the number that is drawn is
/// still checked against the journal.
fn kernel_random() -> u32 {
    let mut bytes = [0; 4];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(_) => u32::from_le_bytes(bytes),
        Err(_) => 0,
    }
}
