//! One MQTT 3.1.1 client of the load: a socket, the frame that it publishes again and again, and what is unacknowledged.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sockopt};

/// CONNACK: accepted, without a session.
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const PUBACK: [u8; 2] = [0x40, 2];
/// Every answer that the load expects has this size but SUBACK, which has one byte more.
const ANSWER_BYTES: usize = 4;
/// Long enough that no PINGREQ is needed, s.
const KEEP_ALIVE_S: u16 = 600;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing is there.
    Away,
    /// The connection is being made, or its CONNACK has not come.
    Arriving,
    Connected,
}

pub(super) struct Client {
    number: u32,
    socket: Option<OwnedFd>,
    arrivals: u64,
    pub(super) state: State,
    /// A PUBLISH with QoS 1 whose packet id is still to be set.
    frame: Vec<u8>,
    packet_id_at: usize,
    /// What the socket did not take.
    unsent: Vec<u8>,
    last_packet_id: u16,
    last_acknowledged: u16,
    /// When each unacknowledged publish was sent, in order: microseconds since the load began.
    open: VecDeque<u64>,
    /// An answer that has come in part.
    part: Vec<u8>,
}

impl Client {
    pub(super) fn new(number: u32) -> Self {
        Self {
            number,
            socket: None,
            arrivals: 0,
            state: State::Away,
            frame: Vec::new(),
            packet_id_at: 0,
            unsent: Vec::new(),
            last_packet_id: 0,
            last_acknowledged: 0,
            open: VecDeque::new(),
            part: Vec::new(),
        }
    }

    /// Begins to connect; CONNECT goes out once the socket can be written.
    pub(super) fn arrive(&mut self, server: SocketAddr) -> io::Result<BorrowedFd<'_>> {
        let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        // So that one that vanishes leaves no port waiting, as a device whose power fails does not.
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
        match rustix::net::connect(&socket, &server) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        self.state = State::Arriving;
        self.arrivals += 1;
        (self.last_packet_id, self.last_acknowledged) = (0, 0);
        self.part.clear();
        self.open.clear();
        self.unsent = connect_packet(self.number);
        let socket: &OwnedFd = self.socket.insert(socket);
        Ok(socket.as_fd())
    }

    /// How often it has begun to connect.
    pub(super) fn arrivals(&self) -> u64 {
        self.arrivals
    }

    pub(super) fn vanish(&mut self) {
        self.socket = None;
        self.state = State::Away;
        self.unsent.clear();
    }

    pub(super) fn socket(&self) -> io::Result<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Makes the frame that will be published: to `bench/<number>`, with QoS 1 or 0.
    pub(super) fn prepare(&mut self, event_bytes: u32, acknowledged: bool) {
        let topic = format!("bench/{:05}", self.number);
        let payload = usize::try_from(event_bytes).unwrap_or(usize::MAX);
        let body = 2 + topic.len() + if acknowledged { 2 } else { 0 } + payload;
        self.frame = vec![if acknowledged { 0x32 } else { 0x30 }];
        push_length(&mut self.frame, body);
        push_text(&mut self.frame, &topic);
        self.packet_id_at = self.frame.len();
        if acknowledged {
            self.frame.extend([0, 0]);
        }
        self.frame.resize(self.frame.len() + payload, b'x');
    }

    /// Publishes so many times; the frames go into `scratch` first, and to the socket by one write.
    pub(super) fn publish(&mut self, count: usize, now_us: u64, scratch: &mut Vec<u8>) -> io::Result<()> {
        scratch.clear();
        for _ in 0..count {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            let at = scratch.len() + self.packet_id_at;
            scratch.extend_from_slice(&self.frame);
            if let Some(place) = scratch.get_mut(at..at + 2) {
                place.copy_from_slice(&self.last_packet_id.to_be_bytes());
            }
            self.open.push_back(now_us);
        }
        self.send(scratch)
    }

    /// Publishes with QoS 0 as many times, unless an earlier one is still unsent.
    pub(super) fn flood(&mut self, count: usize, scratch: &mut Vec<u8>) -> io::Result<bool> {
        if !self.unsent.is_empty() {
            return Ok(false);
        }
        scratch.clear();
        (0..count).for_each(|_| scratch.extend_from_slice(&self.frame));
        self.send(scratch).map(|()| true)
    }

    pub(super) fn subscribe_to_all(&mut self) -> io::Result<()> {
        // SUBSCRIBE, packet id 1, filter "#", QoS 1.
        self.send(&[0x82, 6, 0, 1, 0, 1, b'#', 1])
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.unsent.is_empty() {
            let taken = self.write(bytes)?;
            self.unsent.extend_from_slice(bytes.get(taken..).unwrap_or_default());
        } else {
            self.unsent.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Writes what is unsent, as far as the socket takes it.
    pub(super) fn send_rest(&mut self) -> io::Result<()> {
        let unsent = std::mem::take(&mut self.unsent);
        let taken = self.write(&unsent)?;
        self.unsent = unsent;
        self.unsent.drain(..taken);
        Ok(())
    }

    pub(super) fn is_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    fn write(&self, mut bytes: &[u8]) -> io::Result<usize> {
        let whole = bytes.len();
        while !bytes.is_empty() {
            match rustix::net::send(self.socket()?, bytes, SendFlags::NOSIGNAL) {
                Ok(taken) => bytes = bytes.get(taken..).unwrap_or_default(),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(whole - bytes.len())
    }

    /// Reads what is there, and hands the time at which each acknowledged publish was sent to `each`. PUBACKs out of order, and
    /// anything else but a CONNACK or SUBACK that grants, is an error.
    pub(super) fn read(&mut self, buffer: &mut [u8], mut each: impl FnMut(u64)) -> io::Result<usize> {
        let count = match rustix::io::read(self.socket()?, &mut *buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let came = buffer.get(..count).unwrap_or_default();
        if self.part.is_empty() {
            let rest = self.take(came, &mut each)?;
            self.part.extend_from_slice(rest);
        } else {
            let mut whole = std::mem::take(&mut self.part);
            whole.extend_from_slice(came);
            let rest = self.take(&whole, &mut each)?;
            self.part.extend_from_slice(rest);
        }
        Ok(count)
    }

    fn take<'a>(&mut self, mut bytes: &'a [u8], each: &mut impl FnMut(u64)) -> io::Result<&'a [u8]> {
        while let Some((answer, rest)) = bytes.split_first_chunk::<ANSWER_BYTES>() {
            let [first, second, high, low] = *answer;
            bytes = rest;
            if [first, second] == PUBACK {
                let expected = self.last_acknowledged.checked_add(1).unwrap_or(1);
                let packet_id = u16::from_be_bytes([high, low]);
                let sent = self.open.pop_front().filter(|_| packet_id == expected);
                each(sent.ok_or_else(|| wrong(format!("PUBACK {packet_id} where {expected} was next")))?);
                self.last_acknowledged = expected;
            } else if *answer == CONNACK && self.state == State::Arriving {
                self.state = State::Connected;
            } else if *answer == [0x90, 3, 0, 1] && bytes.first().is_some_and(|code| *code <= 1) {
                bytes = bytes.get(1..).unwrap_or_default();
            } else {
                return Err(wrong(format!("client {} did not expect the answer {answer:02x?}", self.number)));
            }
        }
        Ok(bytes)
    }

    pub(super) fn unacknowledged(&self) -> usize {
        self.open.len()
    }
}

fn wrong(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn connect_packet(number: u32) -> Vec<u8> {
    let id = format!("bench-{number:05}");
    let mut packet = vec![0x10];
    push_length(&mut packet, 10 + 2 + id.len());
    push_text(&mut packet, "MQTT");
    // Protocol level 4, clean session.
    packet.extend([4, 2]);
    packet.extend(KEEP_ALIVE_S.to_be_bytes());
    push_text(&mut packet, &id);
    packet
}

/// MQTT's variable byte integer.
fn push_length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = u8::try_from(length & 0x7f).unwrap_or_default();
        length >>= 7;
        if length == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    out.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(event_bytes: u32) -> Client {
        let mut client = Client::new(7);
        client.prepare(event_bytes, true);
        client
    }

    #[test]
    fn the_frames_are_those_of_another_codec() {
        use rumqttc::mqttbytes::v4::{Connect, Packet, Publish};
        let mut expected = bytes::BytesMut::new();
        let mut connect = Connect::new("bench-00007");
        (connect.keep_alive, connect.clean_session) = (KEEP_ALIVE_S, true);
        connect.write(&mut expected).unwrap();
        assert_eq!(connect_packet(7), expected);
        for event_bytes in [1, 200, 20_000] {
            let mut frame = bytes::BytesMut::from(client(event_bytes).frame.as_slice());
            frame[client(event_bytes).packet_id_at + 1] = 9;
            let Ok(Packet::Publish(Publish { topic, pkid, payload, .. })) = Packet::read(&mut frame, 1 << 20) else {
                panic!("not a publish")
            };
            assert_eq!((topic.as_str(), pkid, payload.len()), ("bench/00007", 9, event_bytes as usize));
        }
    }

    #[test]
    fn an_acknowledgement_in_pieces_counts_once_and_one_out_of_order_is_an_error() {
        let mut client = client(16);
        client.open.extend([10, 20, 30]);
        let mut sent = Vec::new();
        let rest = client.take(&[0x40, 2, 0, 1, 0x40, 2], &mut |at| sent.push(at)).unwrap().to_vec();
        assert_eq!((sent.as_slice(), rest.as_slice()), ([10].as_slice(), [0x40, 2].as_slice()));
        client.take(&[0x40, 2, 0, 2], &mut |at| sent.push(at)).unwrap();
        let error = client.take(&[0x40, 2, 0, 5], &mut |at| sent.push(at)).unwrap_err();
        assert_eq!(error.to_string(), "PUBACK 5 where 3 was next");
        assert_eq!(sent, [10, 20]);
    }
}
