//! A broker that the test plays by hand: it listens on loopback and speaks bytes, in either version.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lamppost_event::DeviceId;
use lamppost_event::JournalStopped;
use lamppost_mqtt::{
    Broker, BrokerFilter, BrokerPauses, BrokerSource, BrokerStatus, BrokerVersion, KeptSession, Subscriptions,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::HandIntake;

/// Both.
pub const VERSIONS: [BrokerVersion; 2] = [BrokerVersion::V311, BrokerVersion::V5];
const PATIENCE: Duration = Duration::from_secs(10);

/// A session at a broker, kept in memory.
#[derive(Default)]
pub struct Kept(pub Mutex<KeptSession>);

impl Subscriptions for Kept {
    fn load(&self) -> KeptSession {
        self.0.lock().unwrap().clone()
    }
    fn keep(&self, session: &KeptSession) {
        *self.0.lock().unwrap() = session.clone();
    }
}

/// What the source is configured with, for a broker at `address`.
pub fn settings(address: SocketAddr, version: BrokerVersion) -> Broker {
    Broker {
        name: DeviceId::new("plant").unwrap(),
        host: address.ip().to_string(),
        port: address.port(),
        tls: None,
        version,
        client_id: "lamppost-test".into(),
        login: None,
        filters: vec![BrokerFilter::at_least_once("city/#").unwrap()],
        prefix: String::new(),
        keep_alive: Duration::from_secs(if version == BrokerVersion::V5 { 5 } else { 1 }),
        session_expiry: Duration::from_secs(3600),
        window: 8,
        window_bytes_max: 100_000,
        packet_bytes_max: 50_000,
    }
}

/// A running source.
pub struct Reading {
    pub status: Arc<BrokerStatus>,
    pub kept: Arc<Kept>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), JournalStopped>>,
}

impl Reading {
    pub fn start(settings: Broker, intake: Arc<HandIntake>) -> Self {
        Self::start_with(settings, intake, Arc::default())
    }

    pub fn start_with(settings: Broker, intake: Arc<HandIntake>, kept: Arc<Kept>) -> Self {
        let pauses =
            BrokerPauses { min: Duration::from_millis(5), max: Duration::from_millis(5), ..Default::default() };
        let source = BrokerSource::new(settings, pauses, kept.clone(), intake);
        let status = source.status();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(source.run(async { drop(stopped.await) }));
        Self { status, kept, stop: Some(stop), task }
    }

    pub fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    pub async fn end(mut self) -> Result<(), JournalStopped> {
        self.begin_stop();
        timeout(PATIENCE, self.task).await.expect("the source did not stop").unwrap()
    }

    pub async fn ended_by_itself(self) -> Result<(), JournalStopped> {
        timeout(PATIENCE, self.task).await.expect("the source did not end").unwrap()
    }
}

pub async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// The broker's end of one connection.
pub struct Peer<S = TcpStream> {
    pub stream: S,
    version: BrokerVersion,
}

impl Peer {
    /// The next connection, accepted and subscribed. Returns the CONNECT's body as well.
    pub async fn meet(listener: &TcpListener, version: BrokerVersion, session_present: bool) -> (Self, Vec<u8>) {
        let (stream, _) = timeout(PATIENCE, listener.accept()).await.expect("nobody connected").unwrap();
        let mut peer = Peer { stream, version };
        let connect = peer.accept(session_present).await;
        (peer, connect)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub fn new(stream: S, version: BrokerVersion) -> Self {
        Self { stream, version }
    }

    /// Answers CONNECT and SUBSCRIBE with yes.
    pub async fn accept(&mut self, session_present: bool) -> Vec<u8> {
        let (kind, connect) = self.packet().await;
        assert_eq!(kind, 0x10, "not a CONNECT");
        self.connack(session_present, 0).await;
        self.grant().await;
        connect
    }

    pub async fn connack(&mut self, session_present: bool, code: u8) {
        let body = [u8::from(session_present), code];
        self.write(0x20, &self.with_properties(&body)).await;
    }

    /// Answers the SUBSCRIBE (and what comes before it to be unsubscribed); returns what was unsubscribed from.
    pub async fn grant(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        loop {
            let (kind, body) = self.packet().await;
            let id = [body[0], body[1]];
            let v5 = self.version == BrokerVersion::V5;
            if kind == 0xA2 {
                left.push(String::from_utf8(body[if v5 { 5 } else { 4 }..].to_vec()).unwrap());
                let reasons: &[u8] = if v5 { &[0, 0] } else { &[] };
                self.write(0xB0, &[&id[..], reasons].concat()).await;
                continue;
            }
            assert_eq!(kind, 0x82, "not a SUBSCRIBE");
            self.write(0x90, &[&self.with_properties(&id)[..], &[1]].concat()).await;
            return left;
        }
    }

    fn with_properties(&self, body: &[u8]) -> Vec<u8> {
        let none: &[u8] = if self.version == BrokerVersion::V5 { &[0] } else { &[] };
        [body, none].concat()
    }

    /// A PUBLISH; `flags`: 0x08 DUP, 0x02 QoS 1, 0x01 retained.
    pub async fn publish(&mut self, flags: u8, packet_id: u16, topic: &str, payload: &[u8]) {
        self.publish_with(flags, packet_id, topic, &[], payload).await;
    }

    /// With properties, below 128 bytes.
    pub async fn publish_with(&mut self, flags: u8, packet_id: u16, topic: &str, properties: &[u8], payload: &[u8]) {
        let mut body = u16::try_from(topic.len()).unwrap().to_be_bytes().to_vec();
        body.extend(topic.as_bytes());
        if flags & 0x06 != 0 {
            body.extend(packet_id.to_be_bytes());
        }
        if self.version == BrokerVersion::V5 {
            body.push(u8::try_from(properties.len()).unwrap());
            body.extend(properties);
        }
        body.extend(payload);
        self.write(0x30 | flags, &body).await;
    }

    pub async fn write(&mut self, first: u8, body: &[u8]) {
        let mut bytes = vec![first];
        let mut left = body.len();
        loop {
            let byte = u8::try_from(left & 0x7F).unwrap();
            left >>= 7;
            bytes.push(if left > 0 { byte | 0x80 } else { byte });
            if left == 0 {
                break;
            }
        }
        bytes.extend(body);
        self.stream.write_all(&bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next packet of the source.
    pub async fn packet(&mut self) -> (u8, Vec<u8>) {
        timeout(PATIENCE, self.read()).await.expect("the source says nothing").expect("the source hung up")
    }

    async fn read(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let first = self.stream.read_u8().await?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.stream.read_u8().await?;
            length |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok((first, body))
    }

    /// The packet ids of the next so many PUBACKs; pings are answered.
    pub async fn pubacks(&mut self, count: usize) -> Vec<u16> {
        let mut ids = Vec::new();
        while ids.len() < count {
            match self.packet().await {
                (0x40, body) => ids.push(u16::from_be_bytes([body[0], body[1]])),
                (0xC0, _) => self.write(0xD0, &[]).await,
                (kind, _) => panic!("not a PUBACK: {kind:#x}"),
            }
        }
        ids
    }

    /// Nothing but pings, which are answered, comes for a while.
    pub async fn hears_no_puback(&mut self) {
        let heard = timeout(Duration::from_millis(300), async {
            loop {
                match self.packet().await {
                    (0xC0, _) => self.write(0xD0, &[]).await,
                    (kind, body) => return (kind, body),
                }
            }
        });
        assert!(heard.await.is_err(), "acknowledged before it was on disk");
    }
}
