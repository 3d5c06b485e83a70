//! The link on a port: what is read goes to the conversation, what it says is written.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lamppost_event::{Clock, Intake, JournalStopped};
use lamppost_wire::FRAME_BYTES_MAX;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{sleep, timeout};

use crate::attend::{PortError, Speech, attend};
use crate::conversation::{Conversation, ConversationError, Remembered};
use crate::open::OpenPort;
use crate::orders::Request;
use crate::tty::PortSettings;
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
    settings: PortSettings,
    intake: Arc<dyn Intake>,
    options: LinkOptions,
    status: Arc<LinkStatus>,
    clock: Arc<dyn Clock>,
    orders: NodeOrders,
    requests: Mutex<mpsc::Receiver<Request>>,
}

impl LinkSource {
    /// A source called `name` in logs, on the port at `path` (best one of `/dev/serial/by-id`, which names the device
    /// and not the order of plugging in), 8 data bits, no parity, 1 stop bit.
    #[must_use]
    pub fn new(name: &str, path: impl Into<PathBuf>, baud: u32, intake: Arc<dyn Intake>, options: LinkOptions) -> Self {
        let settings = PortSettings {
            reopen_pause_min: options.reopen_pause_min,
            reopen_pause_max: options.reopen_pause_max,
            ..PortSettings::new(path, baud)
        };
        let (sender, requests) = mpsc::channel(1);
        let status = Arc::<LinkStatus>::default();
        let orders = NodeOrders { requests: sender, status: Arc::clone(&status) };
        Self {
            name: name.into(),
            settings,
            intake,
            options,
            status,
            clock: Arc::new(Unset::new()),
            orders,
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
        self.settings.path()
    }

    /// Speaks the link until `shutdown` completes. A port that is absent, wrong or hangs up is opened again, with pauses
    /// that grow while nothing is understood.
    ///
    /// # Errors
    /// [`JournalStopped`]: nothing can be stored any more, so nothing is read.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) -> Result<(), JournalStopped> {
        let requests = &mut *self.requests.lock().await;
        let mut speech = Linking { source: self, remembered: Remembered::default(), requests, understood: false };
        attend(&self.name, &self.settings, &self.status.port, &mut speech, shutdown).await
    }

    fn broken(&self, error: ConversationError) -> PortError {
        match error {
            ConversationError::Stopped(stopped) => PortError::Stopped(stopped),
            error @ ConversationError::Reading(_) => {
                PortError::Spoken { path: self.settings.path.clone(), reason: error.to_string() }
            }
        }
    }

    fn converse(&self, remembered: Remembered) -> Conversation {
        let (intake, status, clock) = (Arc::clone(&self.intake), Arc::clone(&self.status), Arc::clone(&self.clock));
        Conversation::new(Arc::clone(&self.name), intake, self.options, status, clock, remembered)
    }

    /// Hears what was read, says what there is to say, then waits for whatever comes next.
    async fn step(
        &self,
        port: &mut OpenPort,
        conversation: &mut Conversation,
        unread: &mut Vec<u8>,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Result<(), PortError> {
        let broken = |error| self.broken(error);
        let durable = self.intake.durable()?;
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
                Ok(0) => return Err(PortError::HungUp { path: self.settings.path.clone() }),
                Ok(bytes) => self.status.port.bytes.add(bytes as u64),
                Err(error) => return Err(PortError::Read { path: self.settings.path.clone(), error }),
            },
            Some(request) = requests.recv() => conversation.order(request),
            () = self.intake.room(), if full => conversation.retry().map_err(broken)?,
            settled = self.intake.durable_after(durable), if conversation.waits_for_durable() => {
                settled?;
            }
            // What waits may be an alarm, for which there can be room while there is none for all.
            () = sleep(TICK) => if full {
                conversation.retry().map_err(broken)?;
            },
        }
        Ok(())
    }

    async fn send(&self, port: &mut OpenPort, conversation: &mut Conversation) -> Result<(), PortError> {
        let mut frame = [0; FRAME_BYTES_MAX];
        loop {
            let length = conversation.transmit(&mut frame);
            let Some(bytes) = frame.get(..length).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
            let written = timeout(WRITE_PATIENCE, port.write_all(bytes)).await;
            let written = written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            written.map_err(|error| PortError::Write { path: self.settings.path.clone(), error })?;
        }
    }
}

/// The link on an open port. What was offered before a hang-up is waited for after it.
struct Linking<'a> {
    source: &'a LinkSource,
    remembered: Remembered,
    requests: &'a mut mpsc::Receiver<Request>,
    understood: bool,
}

impl Speech for Linking<'_> {
    async fn speak(&mut self, mut port: OpenPort) -> PortError {
        self.understood = false;
        let mut conversation = self.source.converse(std::mem::take(&mut self.remembered));
        let mut unread = Vec::with_capacity(READ_BYTES_MAX);
        loop {
            let step = self.source.step(&mut port, &mut conversation, &mut unread, self.requests).await;
            self.understood = conversation.has_understood();
            if let Err(error) = step {
                self.remembered = conversation.into_remembered();
                return error;
            }
        }
    }

    fn understood(&self) -> bool {
        self.understood
    }

    fn closed(&mut self) {
        self.source.status.leave();
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
