//! How many QoS 1 events a second the front itself can acknowledge: N connections, W publishes under way on each, 200-byte
//! payloads, over a journal that is durable a fixed time after each commit began and costs nothing else. Load and server
//! share the process.
//!
//! `cargo run --release -p lamppost-mqtt --example ack_load -- [commit_ms] [seconds]`

#![expect(clippy::print_stdout, reason = "its table is its purpose")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use lamppost_event::{
    Arrival, BootId, Clock, ClockQuality, Commit, DeviceId, Intake, JournalStopped, Monotonic, NoteRefusal, Notes,
    NotesUnreadable, Now, Refusal, Waiting, WallTime,
};
use lamppost_mqtt::{Counters, Front, Ground, Limits, Listener, Rules};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

const PAYLOAD_BYTES: usize = 200;
const TOPIC: &[u8] = b"city/north/air";

/// A journal that keeps nothing. One commit is under way at a time; what comes meanwhile goes with the next.
struct Simulated {
    gathering: AtomicU64,
    offered: AtomicU64,
    durable: watch::Sender<u64>,
}

impl Simulated {
    fn start(commit: Duration) -> Arc<Self> {
        let simulated =
            Arc::new(Self { gathering: AtomicU64::new(1), offered: AtomicU64::new(0), durable: watch::Sender::new(0) });
        let journal = Arc::clone(&simulated);
        std::thread::spawn(move || {
            let mut seen = 0;
            loop {
                let offered = journal.offered.load(Relaxed);
                if offered == seen {
                    std::thread::sleep(Duration::from_micros(50));
                    continue;
                }
                seen = offered;
                let commit_number = journal.gathering.fetch_add(1, Relaxed);
                std::thread::sleep(commit);
                journal.durable.send_replace(commit_number);
            }
        });
        simulated
    }
}

impl Intake for Simulated {
    fn offer(&self, _: Arrival) -> Result<Commit, Refusal> {
        let commit = Commit(self.gathering.load(Relaxed));
        self.offered.fetch_add(1, Relaxed);
        Ok(commit)
    }

    fn offer_dead(&self, arrival: Arrival, _reason: &str) -> Result<Commit, Refusal> {
        self.offer(arrival)
    }

    fn room(&self) -> Waiting<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn durable(&self) -> Result<Commit, JournalStopped> {
        Ok(Commit(*self.durable.borrow()))
    }

    fn durable_after(&self, seen: Commit) -> Waiting<'_, Result<Commit, JournalStopped>> {
        let mut durable = self.durable.subscribe();
        Box::pin(async move {
            let reached = durable.wait_for(|durable| *durable > seen.0).await;
            reached.map(|durable| Commit(*durable)).map_err(|_| JournalStopped { reason: "gone".into() })
        })
    }

    fn high_water(&self, _: &DeviceId, _: u64) -> Option<u64> {
        None
    }
}

/// Nothing is remembered: no session here outlives its connection.
impl Notes for Simulated {
    fn put(&self, _: &[u8], _: Option<Bytes>) -> Result<Commit, NoteRefusal> {
        Ok(Commit(self.gathering.load(Relaxed)))
    }

    fn bytes_max(&self) -> usize {
        usize::MAX
    }

    fn visit(&self, _: &[u8], _: &mut dyn FnMut(&[u8], &Bytes)) -> Result<(), NotesUnreadable> {
        Ok(())
    }
}

impl Clock for Simulated {
    fn now(&self) -> Now {
        let (wall, monotonic) = (WallTime(0), Monotonic(0));
        Now { wall, monotonic, boot: BootId(1), quality: ClockQuality::Unset }
    }
}

fn ground(simulated: &Arc<Simulated>) -> Ground {
    Ground { intake: simulated.clone(), notes: simulated.clone(), clock: simulated.clone() }
}

/// One client that keeps `window` publishes under way until `until`.
async fn client(
    address: SocketAddr,
    name: String,
    window: usize,
    until: Instant,
    acks: Arc<AtomicU64>,
) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut connect = vec![0x10, (12 + name.len()) as u8];
    connect.extend(b"\0\x04MQTT\x04\x02\0\0\0");
    connect.push(name.len() as u8);
    connect.extend(name.as_bytes());
    stream.write_all(&connect).await?;
    stream.read_exact(&mut [0; 4]).await?;

    let mut packet_id = 0_u16;
    let (mut free, mut read) = (window, vec![0; 4096]);
    let (mut out, mut left_over) = (Vec::new(), 0);
    while Instant::now() < until {
        out.clear();
        for _ in 0..free {
            packet_id = packet_id.checked_add(1).unwrap_or(1);
            let length = 2 + TOPIC.len() + 2 + PAYLOAD_BYTES;
            out.extend([0x32, (length & 0x7f) as u8 | 0x80, (length >> 7) as u8, 0, TOPIC.len() as u8]);
            out.extend(TOPIC);
            out.extend(packet_id.to_be_bytes());
            out.resize(out.len() + PAYLOAD_BYTES, b'x');
        }
        stream.write_all(&out).await?;
        let count = left_over + stream.read(&mut read).await?;
        // Nothing but PUBACKs of four bytes comes.
        (free, left_over) = (count / 4, count % 4);
        acks.fetch_add(free as u64, Relaxed);
    }
    Ok(())
}

/// A line of `/proc/self/status`, in KiB.
fn status_kib(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = status.lines().find_map(|it| it.strip_prefix(line)).and_then(|rest| rest.split_whitespace().next());
    value.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// What an idle connection costs, the client's end (a bare socket) included.
async fn idle_connections(count: u64) -> Result<(), Box<dyn std::error::Error>> {
    let intake = Simulated::start(Duration::from_millis(2));
    let counters = Arc::new(Counters::default());
    let front = Front::bind(
        vec![Listener::open(([127, 0, 0, 1], 0).into())],
        Rules::default(),
        Limits::default(),
        ground(&intake),
        Arc::clone(&counters),
    )
    .await?;
    let address = front.local_addr();
    let serving = tokio::spawn(front.run(std::future::pending()));
    let before = status_kib("VmRSS:");
    let mut idle = Vec::new();
    for number in 0..count {
        let mut stream = TcpStream::connect(address).await?;
        let name = format!("idle-{number:04}");
        stream.write_all(&[&b"\x10\x15\0\x04MQTT\x04\x02\0\0\0\x09"[..], name.as_bytes()].concat()).await?;
        stream.read_exact(&mut [0; 4]).await?;
        idle.push(stream);
    }
    let kib = status_kib("VmRSS:").saturating_sub(before);
    println!("{count} idle connections: {:.1} KiB each", kib as f64 / count as f64);
    serving.abort();
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let commit_ms: u64 = arguments.next().map_or(Ok(2), |text| text.parse())?;
    let seconds: u64 = arguments.next().map_or(Ok(3), |text| text.parse())?;
    println!("commit {commit_ms} ms, {PAYLOAD_BYTES}-byte payloads, {seconds} s each");
    idle_connections(400).await?;
    for (connections, window) in [(1, 1), (1, 100), (50, 20), (50, 100)] {
        let limits = Limits { window: 128, ..Limits::default() };
        let intake = Simulated::start(Duration::from_millis(commit_ms));
        let counters = Arc::new(Counters::default());
        let front = Front::bind(
            vec![Listener::open(([127, 0, 0, 1], 0).into())],
            Rules::default(),
            limits,
            ground(&intake),
            Arc::clone(&counters),
        )
        .await?;
        let address = front.local_addr();
        let serving = tokio::spawn(front.run(std::future::pending()));
        let acks = Arc::new(AtomicU64::new(0));
        let until = Instant::now() + Duration::from_secs(seconds);
        let clients: Vec<_> = (0..connections)
            .map(|number| tokio::spawn(client(address, format!("load-{number}"), window, until, Arc::clone(&acks))))
            .collect();
        for client in clients {
            client.await??;
        }
        serving.abort();
        let (received, given) = (acks.load(Relaxed), counters.pubacks.load(Relaxed));
        let stored = intake.offered.load(Relaxed);
        if received > given || given > stored {
            return Err(format!("{received} received, {given} given, {stored} stored").into());
        }
        let rate = acks.load(Relaxed) / seconds;
        println!(
            "{connections:>3} connections, window {window:>3}: {rate:>8} acks/s   peak {:>6} KiB",
            status_kib("VmHWM:")
        );
    }
    Ok(())
}
