//! The load of the benchmark: MQTT 3.1.1 connections that keep a window of QoS 1 publishes open and take the time of each
//! acknowledgement. As thin as can be, so that what is measured is the server.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use hdrhistogram::Histogram;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, Packet, Publish};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// A server that says nothing for this long has failed the benchmark.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// The largest packet that a load connection expects, bytes.
const PACKET_BYTES_MAX: usize = 1 << 20;

/// What to put on the server.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) server: SocketAddr,
    pub(crate) connections: u32,
    pub(crate) window: u16,
    pub(crate) events: u64,
    pub(crate) event_bytes: u32,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Acks {
    pub(crate) acknowledged: u64,
    pub(crate) elapsed: Duration,
    /// From PUBLISH to PUBACK, microseconds.
    pub(crate) latency_us: Histogram<u64>,
}

/// Publishes all events and waits for all acknowledgements. The clock runs from when all are connected.
pub(crate) async fn run(load: &Load) -> anyhow::Result<Acks> {
    let mut streams = Vec::new();
    for n in 0..load.connections {
        streams.push(connect(load.server, n).await?);
    }
    let started = Instant::now();
    let mut running = JoinSet::new();
    for (n, stream) in (0_u32..).zip(streams) {
        let (connections, n64) = (u64::from(load.connections), u64::from(n));
        let events = load.events / connections + u64::from(n64 < load.events % connections);
        running.spawn(publish(stream, n, events, load.window, load.event_bytes));
    }
    let mut latency_us = Histogram::new(3)?;
    while let Some(ended) = running.join_next().await {
        latency_us.add(ended??)?;
    }
    Ok(Acks { acknowledged: latency_us.len(), elapsed: started.elapsed(), latency_us })
}

pub(super) async fn connect(server: SocketAddr, n: u32) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let mut connect = Connect::new(format!("bench-{n:04}"));
    connect.keep_alive = 300;
    connect.clean_session = true;
    let mut out = BytesMut::new();
    connect.write(&mut out)?;
    stream.write_all(&out).await?;
    let mut input = BytesMut::new();
    match next(&mut stream, &mut input).await? {
        Packet::ConnAck(ack) if ack.code == rumqttc::ConnectReturnCode::Success => Ok(stream),
        other => anyhow::bail!("connection {n} was refused: {other:?}"),
    }
}

async fn publish(
    mut stream: TcpStream,
    n: u32,
    events: u64,
    window: u16,
    event_bytes: u32,
) -> anyhow::Result<Histogram<u64>> {
    let mut latency_us = Histogram::new(3)?;
    let mut open: VecDeque<(u16, Instant)> = VecDeque::new();
    let (mut sent, mut packet) = (0_u64, 0_u16);
    let (mut out, mut input) = (BytesMut::new(), BytesMut::new());
    let topic = format!("bench/{n:04}");
    let payload = vec![b'x'; event_bytes as usize];
    while latency_us.len() < events {
        out.clear();
        while sent < events && open.len() < usize::from(window) {
            packet = if packet == u16::MAX { 1 } else { packet + 1 };
            let mut publish = Publish::new(topic.as_str(), QoS::AtLeastOnce, payload.as_slice());
            publish.pkid = packet;
            publish.write(&mut out)?;
            open.push_back((packet, Instant::now()));
            sent += 1;
        }
        stream.write_all(&out).await?;
        // One acknowledgement at least, and with it all that have arrived.
        let mut acknowledged = next(&mut stream, &mut input).await?;
        loop {
            let Packet::PubAck(ack) = acknowledged else { anyhow::bail!("expected PUBACK, got {acknowledged:?}") };
            let (expected, since) = open.pop_front().ok_or_else(|| anyhow::anyhow!("a stray PUBACK"))?;
            anyhow::ensure!(ack.pkid == expected, "PUBACK {} before {expected}", ack.pkid);
            latency_us.record(u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX).max(1))?;
            match Packet::read(&mut input, PACKET_BYTES_MAX) {
                Ok(packet) => acknowledged = packet,
                Err(rumqttc::mqttbytes::Error::InsufficientBytes(_)) => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(latency_us)
}

/// The next packet.
async fn next(stream: &mut TcpStream, input: &mut BytesMut) -> anyhow::Result<Packet> {
    loop {
        match Packet::read(input, PACKET_BYTES_MAX) {
            Ok(packet) => return Ok(packet),
            Err(rumqttc::mqttbytes::Error::InsufficientBytes(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let count = timeout(SILENCE_MAX, stream.read_buf(input)).await??;
        anyhow::ensure!(count > 0, "the server closed the connection");
    }
}
