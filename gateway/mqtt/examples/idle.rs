//! What an idle connection costs the server, plain, with a filter of its own, and over TLS: a server in a process of its own, and its resident memory
//! before and after so many clients have connected. Measured and printed, not judged:
//! `cargo run --release -p lamppost-mqtt --example idle -- 2000`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for whoever measures; its output is its purpose")]

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lamppost_event::{
    Arrival, BootId, Clock, ClockQuality, Commit, DeviceId, Intake, JournalStopped, Monotonic, NoteRefusal, Notes,
    NotesUnreadable, Now, Refusal, Waiting, WallTime,
};
use lamppost_mqtt::{Entry, Front, Ground, Limits, Listener, Rules, Tls, TlsFiles};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

fn main() {
    let count = std::env::args().nth(1).map_or(2_000, |text| text.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if std::env::args().nth(2).is_some() {
        return runtime.block_on(serve());
    }
    for (tls, subscribed, what) in [
        (false, false, "plain"),
        (false, true, "plain, each subscribed to a filter of its own"),
        (true, false, "TLS 1.3"),
    ] {
        let (before, after) = runtime.block_on(measure(count, tls, subscribed));
        let kib = (after - before) as f64 / count as f64;
        println!("{count} idle connections, {what}: {kib:.1} KiB each, {:.1} MiB in all", after as f64 / 1024.0);
    }
}

/// Prints where it listens and what its certificate is.
async fn serve() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let (pem, key) = (certificate.pem(), key.serialize_pem());
    let files = TlsFiles { certificate: pem.as_bytes(), key: key.as_bytes(), client_ca: None, crl: None };
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let listeners =
        vec![Listener::open(address), Listener { address, tls: Some(Tls::new(files).unwrap()), entry: Entry::OPEN }];
    let limits = Limits { connections_max: 100_000, connects_per_s: 0, ..Limits::default() };
    let nowhere = Arc::new(Nowhere);
    let ground = Ground { intake: nowhere.clone(), notes: nowhere.clone(), clock: nowhere };
    let front = Front::bind(listeners, Rules::default(), limits, ground, Arc::default()).await.unwrap();
    for address in front.local_addrs() {
        println!("{address}");
    }
    println!("{}", pem.replace('\n', "|"));
    std::io::stdout().flush().unwrap();
    front.run(std::future::pending()).await;
}

/// Resident memory with the first hundred and with all, KiB.
async fn measure(count: usize, tls: bool, subscribed: bool) -> (i64, i64) {
    let program = std::env::current_exe().unwrap();
    let mut child = Command::new(program).args(["0", "serve"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let [plain, secured] = [(); 2].map(|()| lines.next().unwrap().parse::<SocketAddr>().unwrap());
    let connector = connector(&lines.next().unwrap().replace('|', "\n"));
    let mut held: Vec<Box<dyn Stream>> = Vec::new();
    let mut before = 0;
    // The first hundred warm up what is shared.
    for number in 0..count + 100 {
        if number == 100 {
            before = resident_kib(child.id());
        }
        let tcp = TcpStream::connect(if tls { secured } else { plain }).await.unwrap();
        let mut stream: Box<dyn Stream> = if tls {
            let name = ServerName::try_from("127.0.0.1").unwrap();
            Box::new(connector.connect(name, tcp).await.unwrap())
        } else {
            Box::new(tcp)
        };
        let id = format!("idle-{number:06}");
        let connect = [&b"\x10\x17\0\x04MQTT\x04\x02\0\0\0\x0b"[..], id.as_bytes()].concat();
        stream.write_all(&connect).await.unwrap();
        stream.read_exact(&mut [0; 4]).await.unwrap();
        if subscribed {
            let filter = format!("cmd/{id}");
            let subscribe = [&b"\x82\x14\0\x01\0\x0f"[..], filter.as_bytes(), &[1]].concat();
            stream.write_all(&subscribe).await.unwrap();
            let mut answer = [0; 5];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer, [0x90, 3, 0, 1, 1], "{filter} is refused");
        }
        held.push(stream);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = resident_kib(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    (before, after)
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

fn connector(pem: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    TlsConnector::from(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

fn resident_kib(process: u32) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Nobody publishes.
struct Nowhere;

impl Intake for Nowhere {
    fn offer(&self, _: Arrival) -> Result<Commit, Refusal> {
        Ok(Commit(0))
    }

    fn offer_dead(&self, arrival: Arrival, _reason: &str) -> Result<Commit, Refusal> {
        self.offer(arrival)
    }

    fn room(&self) -> Waiting<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn durable(&self) -> Result<Commit, JournalStopped> {
        Ok(Commit(0))
    }

    fn durable_after(&self, _: Commit) -> Waiting<'_, Result<Commit, JournalStopped>> {
        Box::pin(std::future::pending())
    }

    fn high_water(&self, _: &DeviceId, _: u64) -> Option<u64> {
        None
    }
}

impl Notes for Nowhere {
    fn put(&self, _: &[u8], _: Option<Bytes>) -> Result<Commit, NoteRefusal> {
        Ok(Commit(0))
    }

    fn bytes_max(&self) -> usize {
        usize::MAX
    }

    fn visit(&self, _: &[u8], _: &mut dyn FnMut(&[u8], &Bytes)) -> Result<(), NotesUnreadable> {
        Ok(())
    }
}

impl Clock for Nowhere {
    fn now(&self) -> Now {
        let (wall, monotonic) = (WallTime(0), Monotonic(0));
        Now { wall, monotonic, boot: BootId(1), quality: ClockQuality::Unset }
    }
}
