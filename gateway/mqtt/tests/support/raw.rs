//! A client that speaks bytes: what goes over the wire is what the test says.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What bytes go over.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub struct Raw {
    stream: Box<dyn Stream>,
}

/// How long a test waits for what must come.
pub const SOON: Duration = Duration::from_secs(5);
/// How long a test waits for what must not come.
pub const A_WHILE: Duration = Duration::from_millis(150);

/// A packet with a short body.
pub fn packet(header: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 16_384);
    let mut packet = vec![header];
    if body.len() < 128 {
        packet.push(body.len() as u8);
    } else {
        packet.extend([(body.len() & 0x7f) as u8 | 0x80, (body.len() >> 7) as u8]);
    }
    packet.extend(body);
    packet
}

pub fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

/// CONNECT of v3.1.1 with a keepalive of 60 s.
pub fn connect_v4(client_id: &str, clean: bool) -> Vec<u8> {
    packet(0x10, &[&b"\0\x04MQTT\x04"[..], &[u8::from(clean) << 1], &[0, 60], &text(client_id)].concat())
}

/// CONNECT of v5 with a keepalive of 60 s.
pub fn connect_v5(client_id: &str, clean: bool, properties: &[u8]) -> Vec<u8> {
    let flags = [u8::from(clean) << 1, 0, 60, properties.len() as u8];
    packet(0x10, &[&b"\0\x04MQTT\x05"[..], &flags, properties, &text(client_id)].concat())
}

/// CONNECT of v3.1.1 or v5 with what there is of user name, password and will topic.
pub fn connect_as(
    version: u8,
    client_id: &str,
    user: Option<&str>,
    password: Option<&str>,
    will: Option<&str>,
) -> Vec<u8> {
    let given = |part: Option<&str>, flag: u8| if part.is_some() { flag } else { 0 };
    let flags = 2 | given(user, 0x80) | given(password, 0x40) | given(will, 0x0C);
    let properties: &[u8] = if version == 5 { &[0] } else { &[] };
    let mut body = [&b"\0\x04MQTT"[..], &[version, flags, 0, 60], properties, &text(client_id)].concat();
    if let Some(topic) = will {
        body.extend([properties, &text(topic), &text("gone")].concat());
    }
    [user, password].into_iter().flatten().for_each(|part| body.extend(text(part)));
    packet(0x10, &body)
}

pub fn publish_v4(topic: &str, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    let id = if packet_id == 0 { vec![] } else { packet_id.to_be_bytes().to_vec() };
    packet(if packet_id == 0 { 0x30 } else { 0x32 }, &[&text(topic)[..], &id, payload].concat())
}

pub fn publish_v5(topic: &str, packet_id: u16, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let id = if packet_id == 0 { vec![] } else { packet_id.to_be_bytes().to_vec() };
    let header = if packet_id == 0 { 0x30 } else { 0x32 };
    packet(header, &[&text(topic)[..], &id, &[properties.len() as u8], properties, payload].concat())
}

pub fn subscribe_v4(packet_id: u16, filter: &str, qos: u8) -> Vec<u8> {
    packet(0x82, &[&packet_id.to_be_bytes()[..], &text(filter), &[qos]].concat())
}

pub fn subscribe_v5(packet_id: u16, filter: &str, options: u8) -> Vec<u8> {
    packet(0x82, &[&packet_id.to_be_bytes()[..], &[0], &text(filter), &[options]].concat())
}

impl Raw {
    /// From an address of its own of this machine: 127.0.0.2 is another network than 127.0.0.1.
    pub async fn open_from(own: std::net::Ipv4Addr, address: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((own, 0).into()).unwrap();
        Self { stream: Box::new(socket.connect(address).await.unwrap()) }
    }

    pub async fn open(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    pub fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream) }
    }

    /// Connects with v3.1.1 and is let in.
    pub async fn v4(address: SocketAddr, client_id: &str) -> Self {
        let mut raw = Self::open(address).await;
        raw.send(&connect_v4(client_id, true)).await;
        assert_eq!(raw.receive().await, [0x20, 2, 0, 0]);
        raw
    }

    /// Connects with v5 and is let in.
    pub async fn v5(address: SocketAddr, client_id: &str) -> Self {
        let mut raw = Self::open(address).await;
        raw.send(&connect_v5(client_id, true, &[])).await;
        let connack = raw.receive().await;
        assert_eq!((connack[0], connack[2], connack[3]), (0x20, 0, 0));
        raw
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next packet.
    pub async fn receive(&mut self) -> Vec<u8> {
        timeout(SOON, self.packet()).await.expect("nothing came").expect("the connection ended")
    }

    /// The next packet, or nothing if the connection ended.
    pub async fn receive_or_end(&mut self) -> Option<Vec<u8>> {
        timeout(SOON, self.packet()).await.expect("neither a packet nor the end came")
    }

    pub async fn expect_silence(&mut self) {
        if let Ok(packet) = timeout(A_WHILE, self.packet()).await {
            panic!("unexpected: {packet:02x?}");
        }
    }

    pub async fn expect_end(&mut self) {
        assert_eq!(self.receive_or_end().await, None);
    }

    /// A DISCONNECT with this reason code, then the end.
    pub async fn expect_disconnect(&mut self, reason: u8) {
        let packet = self.receive().await;
        assert_eq!((packet[0], packet[2]), (0xE0, reason), "{packet:02x?}");
        self.expect_end().await;
    }

    async fn packet(&mut self) -> Option<Vec<u8>> {
        let mut packet = vec![self.stream.read_u8().await.ok()?];
        let mut length = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.stream.read_u8().await.ok()?;
            packet.push(byte);
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let header = packet.len();
        packet.resize(header + length, 0);
        self.stream.read_exact(&mut packet[header..]).await.ok()?;
        Some(packet)
    }
}
