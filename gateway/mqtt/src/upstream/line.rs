//! The connection to a broker: TCP, TLS where wanted, and a local socket at which rumqttc finds it.
//!
//! rumqttc can dial only by itself. It dials an abstract Unix socket of a random name (unix(7)), which takes one connection,
//! of this very process, and is gone; from there the bytes are carried to the broker and back. Towards rumqttc they stop while
//! the gate is closed; the other way, where its pings and acknowledgements go, they never do. What has passed the gate and was not
//! looked at yet is in the kernel's buffer of the local socket, some 200 KiB at most.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::rand::{GetRandomFlags, getrandom};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream, lookup_host};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::frames::{Cut, FrameError, Frames};
use super::status::add;
use super::{Broker, BrokerCause, BrokerStatus, BrokerTls, tls};

/// How long each of resolving, connecting and the TLS handshake may take.
const STEP_MAX: Duration = Duration::from_secs(15);
/// How long rumqttc may take to dial the local socket.
const LOCAL_MAX: Duration = Duration::from_secs(10);
/// How long the end of a carrier is waited for once rumqttc has hung up: what it said last has to reach the broker.
const LAST_WORD_MAX: Duration = Duration::from_secs(1);
/// The longest error, characters.
const WORDS_MAX: usize = 300;
/// Read at once from either side, bytes.
const READ_BYTES: usize = 16 << 10;

/// Why there is no connection, or no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LineError {
    pub(super) cause: BrokerCause,
    pub(super) what: String,
}

impl LineError {
    /// Words beyond [`WORDS_MAX`] are cut off: some of rumqttc's errors quote a whole packet.
    pub(super) fn new(cause: BrokerCause, what: impl Into<String>) -> Self {
        let mut what: String = what.into();
        if let Some((end, _)) = what.char_indices().nth(WORDS_MAX) {
            what.truncate(end);
        }
        Self { cause, what }
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// What becomes of a PUBLISH above the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Oversized {
    /// It ends the connection.
    Ends,
    /// It goes on with the beginning of its payload, as [`Line::cut`] tells.
    IsCut,
}

/// What was left out of packets.
#[derive(Debug, Default)]
struct LeftOut {
    /// Of those that rumqttc may not have handed out yet: a few, since each has gone into the local socket.
    cuts: Mutex<VecDeque<Cut>>,
    /// Some of a packet came and was left out, since this was last looked at.
    goes_on: AtomicBool,
}

/// An open connection.
pub(super) struct Line {
    /// What rumqttc is to dial.
    pub(super) local_name: String,
    gate: watch::Sender<bool>,
    left_out: Arc<LeftOut>,
    carrier: JoinHandle<LineError>,
}

impl Line {
    /// Lets bytes of the broker through, or holds them back.
    pub(super) fn set_gate(&self, open: bool) {
        self.gate.send_if_modified(|gate| std::mem::replace(gate, open) != open);
    }

    /// How many bytes the packet had of which rumqttc has handed out the beginning as its PUBLISH of this number, from 1. `None`: it is whole.
    /// Numbers asked for must rise.
    pub(super) fn cut(&self, publish: u64) -> Option<usize> {
        let mut cuts = self.left_out.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        while cuts.front().is_some_and(|cut| cut.publish < publish) {
            cuts.pop_front();
        }
        cuts.front().filter(|cut| cut.publish == publish).map(|cut| cut.bytes)
    }

    /// The broker has been sending since the last call what is left out: rumqttc hears nothing, and yet the broker is there.
    pub(super) fn leaves_out(&self) -> bool {
        self.left_out.goes_on.swap(false, Ordering::Relaxed)
    }

    /// Waits until the carrier has ended too. Why it did, if it knows: what rumqttc sees is only that its local socket ended.
    pub(super) async fn last_word(&mut self) -> Option<LineError> {
        timeout(LAST_WORD_MAX, &mut self.carrier).await.ok()?.ok()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

/// Connects to a broker.
pub(super) async fn open(broker: &Broker, status: Arc<BrokerStatus>) -> Result<Line, LineError> {
    let bounds = (broker.packet_bytes_max, Oversized::IsCut);
    open_to(&broker.host, broker.port, broker.tls.as_ref(), bounds, status).await
}

/// Connects.
pub(super) async fn open_to(
    host: &str,
    port: u16,
    tls: Option<&BrokerTls>,
    (packet_bytes_max, oversized): (usize, Oversized),
    status: Arc<BrokerStatus>,
) -> Result<Line, LineError> {
    let connector = match tls {
        None => None,
        Some(files) => Some(tls::connector(files).await?),
    };
    let tcp = dial(host, port).await?;
    let (listener, local_name) = listen()?;
    let (gate, gate_seen) = watch::channel(true);
    let left_out = Arc::<LeftOut>::default();
    let frames = Frames::new(packet_bytes_max, oversized == Oversized::IsCut);
    let carry = Carry { listener, gate: gate_seen, status, frames, left_out: Arc::clone(&left_out) };
    let carrier = match connector {
        None => tokio::spawn(carry.run(tcp)),
        Some(connector) => {
            let failed =
                |error: &dyn fmt::Display| LineError::new(BrokerCause::Tls, format!("TLS with {host}:{port}: {error}"));
            let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(&error))?;
            let shaken = timeout(STEP_MAX, connector.connect(name, tcp)).await;
            let tls = shaken.map_err(|_| failed(&"no answer in time"))?.map_err(|error| failed(&error))?;
            tokio::spawn(carry.run(tls))
        }
    };
    Ok(Line { local_name, gate, left_out, carrier })
}

async fn dial(host: &str, port: u16) -> Result<TcpStream, LineError> {
    let resolve = |error: &dyn fmt::Display| LineError::new(BrokerCause::Resolve, format!("{host}: {error}"));
    let addresses = timeout(STEP_MAX, lookup_host((host, port))).await;
    let addresses = addresses.map_err(|_| resolve(&"no answer in time"))?.map_err(|error| resolve(&error))?;
    let mut last = resolve(&"the name leads to no address");
    for address in addresses {
        let connect = |error: &dyn fmt::Display| LineError::new(BrokerCause::Connect, format!("{address}: {error}"));
        match timeout(STEP_MAX, TcpStream::connect(address)).await {
            Err(_) => last = connect(&"no answer in time"),
            Ok(Err(error)) => last = connect(&error),
            Ok(Ok(tcp)) => {
                // Acknowledgements are small and must not wait for company.
                tcp.set_nodelay(true).map_err(|error| connect(&error))?;
                return Ok(tcp);
            }
        }
    }
    Err(last)
}

fn listen() -> Result<(UnixListener, String), LineError> {
    let failed = |error: io::Error| LineError::new(BrokerCause::Connect, format!("no local socket: {error}"));
    let mut random = [0; 16];
    getrandom(&mut random, GetRandomFlags::empty()).map_err(|error| failed(error.into()))?;
    let name = format!("\0lamppost-broker-{:032x}", u128::from_le_bytes(random));
    Ok((UnixListener::bind(&name).map_err(failed)?, name))
}

/// Carries bytes until either side ends.
struct Carry {
    listener: UnixListener,
    gate: watch::Receiver<bool>,
    status: Arc<BrokerStatus>,
    frames: Frames,
    left_out: Arc<LeftOut>,
}

impl Carry {
    async fn run(self, broker: impl AsyncRead + AsyncWrite) -> LineError {
        let local = match timeout(LOCAL_MAX, accept(&self.listener)).await {
            Ok(Ok(local)) => local,
            Ok(Err(error)) => return LineError::new(BrokerCause::Client, format!("the local socket: {error}")),
            Err(_) => return LineError::new(BrokerCause::Client, "rumqttc did not dial the local socket"),
        };
        drop(self.listener);
        let (from_broker, to_broker) = tokio::io::split(broker);
        let (from_local, to_local) = local.into_split();
        let through = (self.frames, &*self.left_out);
        tokio::select! {
            error = inward(from_broker, to_local, self.gate, through, &self.status) => error,
            error = outward(from_local, to_broker, &self.status) => error,
        }
    }
}

async fn accept(listener: &UnixListener) -> io::Result<UnixStream> {
    loop {
        let (stream, _) = listener.accept().await?;
        // The name is random and yet no secret: whoever else dials it is sent away.
        let own = i32::try_from(std::process::id()).ok();
        if stream.peer_cred()?.pid() == own {
            return Ok(stream);
        }
    }
}

async fn inward(
    mut broker: impl AsyncRead + Unpin,
    mut local: impl AsyncWrite + Unpin,
    mut gate: watch::Receiver<bool>,
    (mut frames, left_out): (Frames, &LeftOut),
    status: &BrokerStatus,
) -> LineError {
    let mut buffer = vec![0; READ_BYTES];
    let mut passed = Vec::with_capacity(READ_BYTES);
    loop {
        if gate.wait_for(|open| *open).await.is_err() {
            return LineError::new(BrokerCause::Closed, "let go of here");
        }
        let read = match broker.read(&mut buffer).await {
            Ok(0) => return LineError::new(BrokerCause::Closed, "the broker closed the connection"),
            Ok(read) => buffer.get(..read).unwrap_or_default(),
            Err(error) => return LineError::new(BrokerCause::Closed, format!("reading from the broker: {error}")),
        };
        add(&status.bytes_in, read.len() as u64);
        passed.clear();
        match frames.follow(read, &mut passed) {
            Ok(()) => {}
            Err(FrameError::TooLarge(bytes)) => {
                return LineError::new(
                    BrokerCause::PacketTooLarge,
                    format!("a packet of {bytes} bytes: above packet_max"),
                );
            }
            Err(FrameError::Length) => return LineError::new(BrokerCause::Protocol, "a packet without a legal length"),
        }
        if frames.leaves_out() {
            left_out.goes_on.store(true, Ordering::Relaxed);
        }
        // Before rumqttc can have heard of them.
        left_out.cuts.lock().unwrap_or_else(PoisonError::into_inner).extend(frames.take_cuts());
        if let Err(error) = local.write_all(&passed).await {
            return LineError::new(BrokerCause::Client, format!("rumqttc hung up: {error}"));
        }
    }
}

async fn outward(
    mut local: impl AsyncRead + Unpin,
    mut broker: impl AsyncWrite + Unpin,
    status: &BrokerStatus,
) -> LineError {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = match local.read(&mut buffer).await {
            Ok(0) => {
                // What was said last (a DISCONNECT) is on its way; the rest is TLS's own farewell, if it can still be said.
                drop(broker.shutdown().await);
                return LineError::new(BrokerCause::Client, "rumqttc hung up");
            }
            Ok(read) => buffer.get(..read).unwrap_or_default(),
            Err(error) => return LineError::new(BrokerCause::Client, format!("rumqttc hung up: {error}")),
        };
        let written = async {
            broker.write_all(read).await?;
            broker.flush().await
        };
        if let Err(error) = written.await {
            return LineError::new(BrokerCause::Closed, format!("writing to the broker: {error}"));
        }
        add(&status.bytes_out, read.len() as u64);
    }
}
