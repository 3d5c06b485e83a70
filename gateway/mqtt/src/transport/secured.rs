//! TLS over bytes that come and go, in buffers of our own: an idle connection has none. (rustls's own keep 4 KiB for as long as a connection
//! lives.)

use std::io;

use bytes::{Buf, BytesMut};
use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus};
use tokio::net::TcpStream;

use super::{TLS_WRITE_BYTES, read_now};

/// How much is read at once.
const READ_BYTES: usize = 16 * 1024;
/// What is kept of a record, or of a handshake's message over several, that is not whole: no more than rustls itself allows.
const RECORD_BYTES_MAX: usize = 5 + 16 * 1024 + 2_048;
const HANDSHAKE_BYTES_MAX: usize = 0xFFFF;
/// What is copied into a buffer of its own rather than keeping one that was read into.
const SMALL_BYTES: usize = 512;

pub(super) struct Secured {
    tls: UnbufferedServerConnection,
    /// Came, and is not a whole record.
    incoming: BytesMut,
    /// Was decrypted, and not taken.
    plain: BytesMut,
    /// To be sent.
    outgoing: BytesMut,
    /// The peer has said that this was all.
    ended: bool,
    /// We have said so, or that something was wrong. TLS is not asked for anything any more: it may not say so twice.
    over: bool,
    /// Is told by the next read.
    error: Option<io::Error>,
}

impl Secured {
    pub(super) fn new(tls: UnbufferedServerConnection) -> Self {
        let (incoming, plain, outgoing) = (BytesMut::new(), BytesMut::new(), BytesMut::new());
        Self { tls, incoming, plain, outgoing, ended: false, over: false, error: None }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    pub(super) fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.tls.peer_certificates()?.first()
    }

    /// Nothing more is to be had from the socket.
    pub(super) fn is_done(&self) -> bool {
        self.ended || self.over || self.error.is_some()
    }

    /// Keeps an error for the next read.
    pub(super) fn keep(&mut self, error: io::Error) {
        if error.kind() != io::ErrorKind::WouldBlock {
            self.error = Some(error);
        }
    }

    /// Bytes that came and are not a whole record.
    pub(super) fn held(&self) -> usize {
        self.incoming.len()
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// The room that its buffers take, bytes.
    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        self.incoming.capacity() + self.plain.capacity() + self.outgoing.capacity()
    }

    /// Takes what the socket has, and decrypts it. `Ok(0)`: the peer is gone, or has said that this was all.
    pub(super) fn read(&mut self, tcp: &mut TcpStream) -> io::Result<usize> {
        let bytes_max = if self.is_handshaking() { HANDSHAKE_BYTES_MAX } else { RECORD_BYTES_MAX };
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        if self.ended || self.over {
            return Ok(0);
        }
        if self.incoming.len() >= bytes_max {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a TLS message longer than allowed"));
        }
        let read = read_now(tcp, &mut self.incoming, READ_BYTES);
        let processed = match &read {
            Ok(1..) => self.process(),
            _ => Ok(()),
        };
        if self.incoming.len() <= SMALL_BYTES {
            self.incoming = BytesMut::from(self.incoming.as_ref());
        }
        processed.map_err(invalid)?;
        read
    }

    /// Moves what was decrypted. Returns how much.
    pub(super) fn take_plain(&mut self, into: &mut BytesMut) -> usize {
        let count = self.plain.len();
        if into.is_empty() {
            *into = std::mem::take(&mut self.plain);
        } else {
            into.extend_from_slice(&std::mem::take(&mut self.plain));
        }
        count
    }

    /// Encrypts the beginning of `bytes`, to be sent. Returns how many.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = bytes.get(..TLS_WRITE_BYTES).unwrap_or(bytes);
        if self.over {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.process().map_err(invalid)?;
        let Self { tls, incoming, outgoing, .. } = self;
        let UnbufferedStatus { state, .. } = tls.process_tls_records(incoming);
        match state.map_err(invalid)? {
            ConnectionState::WriteTraffic(mut traffic) => {
                append(outgoing, &mut |room| traffic.encrypt(piece, room).map_err(Missing::from))?;
                Ok(piece.len())
            }
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Says that this was all, where that can be said.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if self.over {
            return Ok(());
        }
        self.process().map_err(invalid)?;
        self.over = true;
        let Self { tls, incoming, outgoing, .. } = self;
        if let ConnectionState::WriteTraffic(mut traffic) = tls.process_tls_records(incoming).state.map_err(invalid)? {
            append(outgoing, &mut |room| traffic.queue_close_notify(room).map_err(Missing::from))?;
        }
        Ok(())
    }

    /// Sends what is to be sent. Returns whether nothing is left.
    pub(super) fn flush(&mut self, tcp: &TcpStream) -> io::Result<bool> {
        while !self.outgoing.is_empty() {
            match tcp.try_write(&self.outgoing) {
                Ok(count) => self.outgoing.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.outgoing = BytesMut::new();
        Ok(true)
    }

    /// Works off what came as far as it is whole, and what TLS has to say by itself. After an error nothing more is, but for its alert.
    fn process(&mut self) -> Result<(), rustls::Error> {
        loop {
            match self.step() {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => {
                    self.over = true;
                    // What is to be sent comes before what came is looked at again, which would fail again.
                    while self.tls.wants_write() && self.step().is_ok() {}
                    return Err(error);
                }
            }
        }
    }

    /// Returns whether there may be more to do before more comes.
    fn step(&mut self) -> Result<bool, rustls::Error> {
        let Self { tls, incoming, plain, outgoing, ended, .. } = self;
        let UnbufferedStatus { mut discard, state } = tls.process_tls_records(incoming);
        let mut more = Ok(true);
        match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(Ok(record)) = traffic.next_record() {
                    discard += record.discard;
                    plain.extend_from_slice(record.payload);
                }
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                let encoded = append(outgoing, &mut |room| data.encode(room).map_err(Missing::from));
                more = encoded.map(|()| true).map_err(|error| rustls::Error::General(error.to_string()));
            }
            // What was encoded is ours to send.
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(ConnectionState::PeerClosed) => *ended = true,
            // Early data is not offered.
            Ok(_) => more = Ok(false),
            Err(error) => more = Err(error),
        }
        self.incoming.advance(discard.min(self.incoming.len()));
        more
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Why something could not be put into a buffer.
enum Missing {
    Room(usize),
    Impossible(String),
}

impl From<EncodeError> for Missing {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => Self::Room(required_size),
            EncodeError::AlreadyEncoded => Self::Impossible(error.to_string()),
        }
    }
}

impl From<EncryptError> for Missing {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => Self::Room(required_size),
            EncryptError::EncryptExhausted => Self::Impossible(error.to_string()),
        }
    }
}

/// Puts something behind what is in `out`, with as much room as it says that it needs.
fn append(out: &mut BytesMut, put: &mut dyn FnMut(&mut [u8]) -> Result<usize, Missing>) -> io::Result<()> {
    let before = out.len();
    let mut room = 0;
    // It is told how much once.
    for _ in 0..2 {
        out.resize(before + room, 0);
        match put(out.get_mut(before..).unwrap_or_default()) {
            Ok(count) => {
                out.truncate(before + count);
                return Ok(());
            }
            Err(Missing::Room(bytes)) => room = bytes,
            Err(Missing::Impossible(why)) => return Err(io::Error::other(why)),
        }
    }
    out.truncate(before);
    Err(io::Error::other("TLS needs more room than it said"))
}
