//! A port that is open, and how it is closed: on a thread of its own. Linux waits in `close` for up to 30 s until the device has taken
//! what is unsent (`closing_wait`), and a USB device that hangs never does: on a worker of the runtime all else would wait too.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_serial::{ClearBuffer, SerialPort, SerialStream};

/// An open port. Dropped, it is closed soon; what is unsent is given up.
pub(crate) struct OpenPort {
    /// There until it is dropped.
    stream: Option<SerialStream>,
    closed: Option<oneshot::Sender<()>>,
}

impl OpenPort {
    /// The port, and what ends when it has been closed.
    pub(crate) fn new(stream: SerialStream) -> (Self, oneshot::Receiver<()>) {
        let (closed, ends) = oneshot::channel();
        (Self { stream: Some(stream), closed: Some(closed) }, ends)
    }

    pub(crate) fn stream(&mut self) -> io::Result<&mut SerialStream> {
        self.stream.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for OpenPort {
    fn drop(&mut self) {
        let (stream, closed) = (self.stream.take(), self.closed.take());
        if let Some(stream) = &stream {
            // A device that is gone can't be told, and has nothing to wait for.
            stream.clear(ClearBuffer::Output).ok();
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn_blocking(move || {
                drop(stream);
                drop(closed);
            });
        }
    }
}

impl AsyncRead for OpenPort {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream()?).poll_read(cx, buf)
    }
}

impl AsyncWrite for OpenPort {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.stream()?).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The stream's own waits for the last bit in the kernel, and would block the thread.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream()?).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use rustix::pty::OpenptFlags;
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::PortSettings;

    #[tokio::test]
    async fn a_port_is_closed_when_it_says_so_however_much_is_unsent() {
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        rustix::pty::grantpt(&master).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let path = rustix::pty::ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let settings = PortSettings::new(path, 115_200);
        let (mut port, closed) = OpenPort::new(settings.open().unwrap());
        port.write_all(&[7; 1_000]).await.unwrap();
        assert!(settings.open().is_err(), "it is open for one alone");
        drop(port);
        assert!(closed.await.is_err(), "it ends by being dropped");
        settings.open().unwrap();
    }
}
