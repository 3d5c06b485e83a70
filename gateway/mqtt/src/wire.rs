//! The stream of a connection with what was read and not looked at, and what waits to be written.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustls::pki_types::CertificateDer;
use tokio::time::{Instant, timeout};

use crate::codec::{DecodeError, Frame, frame};
use crate::counters::{Counters, add};
use crate::transport::Stream;

/// How much is read at once.
const READ_BYTES: usize = 16 * 1024;
/// What is copied into a buffer of its own rather than keeping one that was read into.
const SMALL_BYTES: usize = 512;
/// How long a peer may take to take our last words.
const LAST_WORDS: Duration = Duration::from_secs(1);

pub(crate) struct Wire {
    stream: Stream,
    input: BytesMut,
    pub(crate) output: BytesMut,
    counters: Arc<Counters>,
    /// Since when a packet, or a TLS record, is there that is not whole.
    begun: Option<Instant>,
}

/// A whole packet.
pub(crate) struct Framed<'a> {
    pub(crate) frame: Frame,
    pub(crate) body: &'a [u8],
    /// For the answer.
    pub(crate) output: &'a mut BytesMut,
}

impl Wire {
    pub(crate) fn new(stream: Stream, counters: Arc<Counters>) -> Self {
        Self { stream, input: BytesMut::new(), output: BytesMut::new(), counters, begun: None }
    }

    /// A whole packet at the front of what was read, and where it is answered. It stays there until it is [passed](Self::pass).
    pub(crate) fn frame(&mut self, packet_bytes_max: usize) -> Result<Option<Framed<'_>>, DecodeError> {
        match frame(&self.input, packet_bytes_max)? {
            Ok(frame) => {
                self.begun = None;
                let body = self.input.get(frame.body..frame.end).unwrap_or_default();
                Ok(Some(Framed { frame, body, output: &mut self.output }))
            }
            // No room is made for what was only announced: it grows with what comes.
            Err(_) => {
                if self.held() == 0 {
                    // A TLS record that has come to its end, with nothing of a packet's in it.
                    self.begun = None;
                } else if self.begun.is_none() {
                    self.begun = Some(Instant::now());
                }
                Ok(None)
            }
        }
    }

    /// The packet at the front was looked at.
    pub(crate) fn pass(&mut self, frame: Frame) {
        self.input.advance(frame.end);
    }

    /// Since when a packet, or a TLS record, is there that is not whole.
    pub(crate) fn begun(&self) -> Option<Instant> {
        self.begun
    }

    /// It is us who do not read: the packet's time begins anew.
    pub(crate) fn bear_with(&mut self) {
        if self.begun.is_some() {
            self.begun = Some(Instant::now());
        }
    }

    /// Bytes of a packet that is not whole, those of a TLS record that is not whole either among them.
    pub(crate) fn held(&self) -> usize {
        self.input.len() + self.stream.held()
    }

    /// The first byte that was not looked at.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.input.first().copied()
    }

    /// Waits for the TLS handshake, if there is one.
    pub(crate) async fn secure(&mut self) -> io::Result<()> {
        self.stream.shake_hands(&mut self.input).await
    }

    /// The client's certificate, which was verified.
    pub(crate) fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.stream.certificate()
    }

    /// Has the system find out when a silent peer is gone.
    pub(crate) fn keep_asking(&self) -> io::Result<()> {
        self.stream.keep_asking()
    }

    /// Completes when there may be something to read. Safe to cancel.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.stream.readable().await
    }

    /// Whether there may be something to read. Else the task is woken when there may be.
    pub(crate) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_readable(context)
    }

    /// Whether something may be written. Else the task is woken when it may.
    pub(crate) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_writable(context)
    }

    /// Completes when something may be written. Safe to cancel.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.stream.writable().await
    }

    /// Reads what is there. `Ok(false)`: the peer is gone.
    pub(crate) fn fill(&mut self) -> io::Result<bool> {
        match self.stream.read(&mut self.input, READ_BYTES) {
            Ok(0) => Ok(false),
            Ok(count) => {
                add(&self.counters.bytes_in, count as u64);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// An idle connection keeps no buffers.
    pub(crate) fn rest(&mut self) {
        if self.input.len() <= SMALL_BYTES {
            // Of a packet that is hardly begun no more than that is kept.
            self.input = BytesMut::from(self.input.as_ref());
        }
        if self.output.is_empty() {
            self.output = BytesMut::new();
        }
    }

    /// Writes what the socket takes now.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(count) => {
                    add(&self.counters.bytes_out, count as u64);
                    self.output.advance(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.stream.flush().map(drop)
    }

    /// Whether something waits for the socket.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.output.is_empty() || self.stream.has_unsent()
    }

    /// Writes our last words as far as the socket takes them now, and ends our side. Never waits.
    pub(crate) async fn end_our_side(&mut self) {
        if self.flush().is_ok() && !self.has_unsent() {
            // A peer that is gone already needs no end.
            drop(self.stream.shutdown().await);
        }
    }

    /// Writes what is left, ends our side and waits a little for the peer's: closing a socket with unread bytes would
    /// destroy our last words on their way.
    pub(crate) async fn finish(mut self) {
        let last_words = async {
            self.flush()?;
            while self.has_unsent() {
                self.writable().await?;
                self.flush()?;
            }
            self.stream.shutdown().await?;
            loop {
                self.stream.discardable().await?;
                match self.stream.discard() {
                    Ok(0) => return io::Result::Ok(()),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        };
        if let Ok(Err(error)) = timeout(LAST_WORDS, last_words).await {
            tracing::debug!(%error, "the peer was gone before the end");
        }
    }
}
