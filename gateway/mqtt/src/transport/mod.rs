//! The bytes of a connection: plain TCP, or TLS over it, behind one type.
//!
//! Nothing here waits but [`Stream::readable`] and [`Stream::writable`]; what TLS has to say by itself (handshake, alerts,
//! keys) goes out with the next [`Stream::flush`].

mod secured;
mod tls;

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use rustix::net::sockopt;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::unconstrained;

use secured::Secured;
pub use tls::{Tls, TlsError, TlsFiles};

/// Plain bytes that are handed to TLS at once, so that no more than about that is kept in it.
const TLS_WRITE_BYTES: usize = 16 * 1024;
/// How long a peer that need not say anything may be silent before the system asks whether it is there; how often it is asked then, and how
/// many times without an answer.
const ASKED_AFTER: Duration = Duration::from_secs(600);
const ASKED_EVERY: Duration = Duration::from_secs(30);
const ASKED_MAX: u32 = 4;
/// How much is taken from a plain connection at once.
const READ_BYTES: usize = 16 * 1024;

pub(crate) struct Stream {
    tcp: TcpStream,
    /// Boxed, so that a plain connection does not pay for it.
    tls: Option<Box<Secured>>,
}

impl Stream {
    pub(crate) fn new(tcp: TcpStream, tls: Option<&Tls>) -> Result<Self, rustls::Error> {
        let tls = tls.map(Tls::accept).transpose()?.map(|tls| Box::new(Secured::new(tls)));
        Ok(Self { tcp, tls })
    }

    /// Completes when there may be something to read. Safe to cancel.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        poll_fn(|context| self.poll_readable(context)).await
    }

    /// Whether there may be something to read. Else the task is woken when there may be. One task at a time is.
    pub(crate) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The socket says nothing of an end that TLS has told, or of an error that was had already.
        if self.tls.as_ref().is_some_and(|tls| tls.is_done()) {
            return Poll::Ready(Ok(()));
        }
        self.tcp.poll_read_ready(context)
    }

    /// Completes when there may be something to discard. Safe to cancel.
    pub(crate) async fn discardable(&self) -> io::Result<()> {
        self.tcp.readable().await
    }

    /// Completes when something may be written. Safe to cancel.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        poll_fn(|context| self.poll_writable(context)).await
    }

    /// Whether something may be written. Else the task is woken when it may. One task at a time is.
    pub(crate) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp.poll_write_ready(context)
    }

    /// Waits for the TLS handshake, if there is one. What came with its end is put `into`. Once cancelled, it is of no more use.
    pub(crate) async fn shake_hands(&mut self, into: &mut BytesMut) -> io::Result<()> {
        while self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            while !self.flush()? {
                self.writable().await?;
            }
            self.readable().await?;
            let Some(tls) = &mut self.tls else { break };
            match tls.read(&mut self.tcp) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    // The alert that says why.
                    drop(self.flush());
                    return Err(error);
                }
            }
        }
        if let Some(tls) = &mut self.tls {
            tls.take_plain(into);
        }
        self.flush().map(drop)
    }

    /// The client's own certificate, which was verified.
    pub(crate) fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.tls.as_ref()?.certificate()
    }

    /// Reads what is there, up to about `bytes_max`. `Ok(0)`: the peer is gone. `WouldBlock`: nothing is there. An error behind good bytes is
    /// told by the next read.
    pub(crate) fn read(&mut self, into: &mut BytesMut, bytes_max: usize) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return read_now(&mut self.tcp, into, bytes_max);
        };
        let mut count = tls.take_plain(into);
        while count < bytes_max {
            match tls.read(&mut self.tcp) {
                Ok(0) => break,
                Ok(_) => count += tls.take_plain(into),
                Err(error) => {
                    // What was good before it comes first: it may be a DISCONNECT.
                    count += tls.take_plain(into);
                    if count == 0 {
                        return Err(error);
                    }
                    tls.keep(error);
                    break;
                }
            }
        }
        // What came with the peer's last word.
        Ok(count + tls.take_plain(into))
    }

    /// Writes as much of `bytes` as is taken now. `WouldBlock`: none is.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.flush()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let Some(tls) = &mut self.tls else { return self.tcp.try_write(bytes) };
        let taken = tls.write(bytes)?;
        self.flush()?;
        Ok(taken)
    }

    /// Writes what TLS still has to send. Returns whether it has nothing left.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        self.tls.as_mut().map_or(Ok(true), |tls| tls.flush(&self.tcp))
    }

    /// Bytes of a TLS record that is not whole.
    pub(crate) fn held(&self) -> usize {
        self.tls.as_ref().map_or(0, |tls| tls.held())
    }

    /// Whether there is something that waits to be sent.
    pub(crate) fn has_unsent(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_unsent())
    }

    /// Has the system find out when a silent peer is gone (RFC 1122, section 4.2.3.6).
    pub(crate) fn keep_asking(&self) -> io::Result<()> {
        sockopt::set_tcp_keepidle(&self.tcp, ASKED_AFTER)?;
        sockopt::set_tcp_keepintvl(&self.tcp, ASKED_EVERY)?;
        sockopt::set_tcp_keepcnt(&self.tcp, ASKED_MAX)?;
        Ok(sockopt::set_socket_keepalive(&self.tcp, true)?)
    }

    /// Ends our side.
    pub(crate) async fn shutdown(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.end()?;
            self.flush()?;
        }
        self.tcp.shutdown().await
    }

    /// Takes bytes that nobody will look at. `Ok(0)`: the peer is gone. `WouldBlock`: nothing is there.
    pub(crate) fn discard(&self) -> io::Result<usize> {
        self.tcp.try_read(&mut [0; 4096])
    }
}

/// Reads what is there, no more than `bytes_max` nor than is taken at once. Not by `try_read`: a read that leaves room says that the socket is
/// empty, and this one heeds it, which saves every event the read that finds nothing. Not where it is kept either: room for what may come
/// would be cold memory each time, and most is a small packet.
fn read_now(tcp: &mut TcpStream, into: &mut BytesMut, bytes_max: usize) -> io::Result<usize> {
    let mut room = [MaybeUninit::uninit(); READ_BYTES];
    let mut read = ReadBuf::uninit(room.get_mut(..bytes_max.min(READ_BYTES)).unwrap_or_default());
    let attempt = poll_fn(|context| Pin::new(&mut *tcp).poll_read(context, &mut read));
    // Without the runtime's budget, which can't be waited for here; and nobody is to be woken: who reads waits for `readable`.
    match std::pin::pin!(unconstrained(attempt)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done?,
        Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
    }
    into.extend_from_slice(read.filled());
    Ok(read.filled().len())
}

#[cfg(test)]
mod tests;
