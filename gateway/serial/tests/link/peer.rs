//! The node's end of a pseudo-terminal, driven by hand, and the source at the other.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lamppost_event::JournalStopped;
use lamppost_serial::{LinkOptions, LinkSource, LinkStatus, NodeOrders};
use lamppost_wire::{
    Boot, Capabilities, FRAME_BYTES_MAX, FrameDecoder, FromGateway, FromNode, Hello, MESSAGE_BYTES_MAX, Measure,
    MeasureIndex, Millis, Order, Reading, Scale, Sequence, Step, Time, TimeAsked, Value, Welcome, text,
};
use rustix::fs::OFlags;
use rustix::pty::OpenptFlags;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::clock::TurnedClock;
use crate::intake::FakeIntake;

const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Peer {
    master: OwnedFd,
    decoder: FrameDecoder<MESSAGE_BYTES_MAX>,
    unread: Vec<u8>,
}

impl Peer {
    /// A new pseudo-terminal, whose other end `link` points to.
    pub(crate) fn at(link: &Path) -> Self {
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        rustix::pty::grantpt(&master).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let slave = rustix::pty::ptsname(&master, Vec::new()).unwrap();
        rustix::fs::fcntl_setfl(&master, OFlags::NONBLOCK).unwrap();
        // Raw before anyone opens it, or the terminal would echo.
        let mut termios = rustix::termios::tcgetattr(&master).unwrap();
        termios.make_raw();
        rustix::termios::tcsetattr(&master, rustix::termios::OptionalActions::Now, &termios).unwrap();
        if link.is_symlink() {
            std::fs::remove_file(link).unwrap();
        }
        std::os::unix::fs::symlink(slave.to_str().unwrap(), link).unwrap();
        Self { master, decoder: FrameDecoder::new(), unread: Vec::new() }
    }

    pub(crate) async fn send(&self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            match rustix::io::write(&self.master, rest) {
                Ok(written) => rest = &rest[written..],
                Err(rustix::io::Errno::AGAIN) => tokio::time::sleep(Duration::from_millis(2)).await,
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(crate) async fn say(&self, message: &FromNode) {
        self.send(&frame(message)).await;
    }

    /// What the gateway says next, within `patience`, but for the time, which it says unasked.
    pub(crate) async fn hear_within(&mut self, patience: Duration) -> Option<FromGateway> {
        let hear = async {
            loop {
                let heard = self.hear_anything().await;
                if !matches!(heard, FromGateway::Time(_)) {
                    return heard;
                }
            }
        };
        tokio::time::timeout(patience, hear).await.ok()
    }

    /// The time that the gateway says next.
    pub(crate) async fn hear_time(&mut self) -> Time {
        let hear = async {
            loop {
                if let FromGateway::Time(time) = self.hear_anything().await {
                    return time;
                }
            }
        };
        tokio::time::timeout(PATIENCE, hear).await.expect("the gateway does not say the time")
    }

    async fn hear_anything(&mut self) -> FromGateway {
        loop {
            while !self.unread.is_empty() {
                let byte = self.unread.remove(0);
                if let Some(frame) = self.decoder.take(byte) {
                    return FromGateway::decode(frame.unwrap()).unwrap();
                }
            }
            let mut bytes = [0; 256];
            match rustix::io::read(&self.master, &mut bytes) {
                Ok(length) => self.unread.extend_from_slice(&bytes[..length]),
                // EIO: the source has not opened it yet.
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::IO) => {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(crate) async fn hear(&mut self) -> FromGateway {
        self.hear_within(PATIENCE).await.expect("the gateway says nothing")
    }

    /// Answers a time as a node does, and hears the answer to that.
    pub(crate) async fn ask_time(&mut self, boot: u32, uptime: u64, heard: &Time) -> Time {
        let uptime = Millis(uptime);
        self.say(&FromNode::TimeAsked(TimeAsked { boot: Boot(boot), uptime, heard: heard.number })).await;
        loop {
            let time = self.hear_time().await;
            if time.asked == Some(uptime) {
                return time;
            }
        }
    }

    /// Waits for a command.
    pub(crate) async fn hear_order(&mut self) -> Order {
        loop {
            if let FromGateway::Order(order) = self.hear().await {
                return order;
            }
        }
    }

    /// Waits for an acknowledgement of exactly this.
    pub(crate) async fn hear_ack(&mut self, boot: u32, sequence: u64) {
        loop {
            if let FromGateway::Ack(ack) = self.hear().await {
                assert!(ack.boot == Boot(boot) && ack.sequence <= Sequence(sequence), "{ack:?}");
                if ack.sequence == Sequence(sequence) {
                    return;
                }
            }
        }
    }

    /// Says hello and waits for the welcome.
    pub(crate) async fn enter(&mut self, hello: &Hello) -> Welcome {
        self.say(&FromNode::Hello(hello.clone())).await;
        loop {
            if let FromGateway::Welcome(welcome) = self.hear().await {
                return welcome;
            }
        }
    }
}

pub(crate) fn frame(message: &FromNode) -> Vec<u8> {
    let mut out = [0; FRAME_BYTES_MAX];
    let length = message.encode(&mut out);
    out[..length].to_vec()
}

pub(crate) fn hello(device: &str, boot: u32, sent: u64) -> Hello {
    let measure =
        Measure { name: text("temperature").unwrap(), unit: text("Cel").unwrap(), scale: Scale(-3), range: None };
    Hello {
        version: 1,
        nonce: 7,
        device: text(device).unwrap(),
        boot: Boot(boot),
        sent: Sequence(sent),
        firmware: text("test").unwrap(),
        capabilities: Capabilities(0),
        measures: [measure].into_iter().collect(),
    }
}

pub(crate) fn reading(boot: u32, sequence: u64) -> FromNode {
    let reading = Reading {
        boot: Boot(boot),
        sequence: Sequence(sequence),
        measure: MeasureIndex(0),
        uptime: Millis(sequence * 100),
        value: Value(20_000 + sequence as i64),
    };
    FromNode::Reading(Step(1), reading)
}

/// A source at work, with its intake.
pub(crate) struct Bench {
    pub(crate) intake: Arc<FakeIntake>,
    pub(crate) status: Arc<LinkStatus>,
    pub(crate) link: PathBuf,
    pub(crate) clock: Arc<TurnedClock>,
    pub(crate) orders: NodeOrders,
    task: JoinHandle<Result<(), JournalStopped>>,
    stop: oneshot::Sender<()>,
    _dir: tempfile::TempDir,
}

impl Bench {
    /// Runs a source on a port that is not there yet.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("usb-node-if00");
        let intake = Arc::new(FakeIntake::new());
        let options = LinkOptions {
            window: 16,
            reopen_pause_min: Duration::from_millis(10),
            reopen_pause_max: Duration::from_millis(50),
            // Lower than any number that is given: what is given is drawn from all of them.
            draw: || 0x0023_4567,
            ..LinkOptions::default()
        };
        let clock = Arc::new(TurnedClock::new());
        let source = LinkSource::new("bench", &link, 115_200, Arc::<FakeIntake>::clone(&intake), options);
        let source = source.with_clock(Arc::<TurnedClock>::clone(&clock));
        let orders = source.orders();
        let status = source.status();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            source
                .run(async {
                    stopped.await.ok();
                })
                .await
        });
        Self { intake, status, link, clock, orders, task, stop, _dir: dir }
    }

    /// Also with a node at the port.
    pub(crate) fn with_peer() -> (Self, Peer) {
        let bench = Self::new();
        let peer = Peer::at(&bench.link);
        (bench, peer)
    }

    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let wait = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited: Result<(), _> = tokio::time::timeout(PATIENCE, wait).await;
        assert!(waited.is_ok(), "never happened: {what}; {:?}", self.status);
    }

    /// Waits for the source to end by itself.
    pub(crate) async fn ended(self) -> Result<(), JournalStopped> {
        let Self { task, stop, .. } = self;
        let ended = tokio::time::timeout(PATIENCE, task).await.expect("it goes on").unwrap();
        drop(stop);
        ended
    }

    /// Asks the source to stop, and waits for it.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        let ended = tokio::time::timeout(PATIENCE, self.task).await.expect("it goes on").unwrap();
        assert_eq!(ended, Ok(()));
    }
}
