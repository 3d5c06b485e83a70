//! One request and its answer on an open port: tokio-modbus makes and takes the frames; silence, time-outs, tries, and what an
//! answer must be are kept here.
//!
//! RTU has no number by which an answer is known to belong to its request. So a request begins on a silent bus whose buffer is
//! empty, and an answer counts only if slave, function and length are those that were asked for. What is left is a slave that
//! answers after its time-out: asked the same again, its late answer is a right one; it is asked nothing else before twice
//! the time-out has passed. A slave that is later than that needs a longer time-out, or its values can be mistaken for each other.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_modbus::client::{Client, Context, rtu};
use tokio_modbus::{Error, ExceptionCode, ProtocolError, Request as Asked, Response, Slave, SlaveId};
use tokio_serial::{ClearBuffer, SerialPort};

use super::ModbusOptions;
use super::plan::Request;
use super::register::Table;
use crate::open::OpenPort;

/// How often a bus that does not fall silent is waited for before a request.
const SILENCES_MAX: u32 = 100;
/// Above 19,200 baud the silence between frames is fixed (Modbus over serial line V1.02, section 2.5.1.1).
const SILENCE_MIN: Duration = Duration::from_micros(1_750);

/// Words, or bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Words(Vec<u16>),
    Bits(Vec<bool>),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error("what came is no answer: a wrong checksum, or noise ({bytes} bytes)")]
    Garbled { bytes: usize },
    #[error("an answer of another slave, or to another question: {0}")]
    Wrong(String),
    #[error("the bus is never silent: {bytes} bytes came unasked")]
    Noise { bytes: usize },
    #[error("exception {code} ({name})")]
    Exception { code: u8, name: String },
    #[error(transparent)]
    Port(io::Error),
}

impl NoAnswer {
    /// Asked again it may answer.
    pub(crate) const fn may_pass(&self) -> bool {
        matches!(self, Self::Silent(_) | Self::Garbled { .. } | Self::Wrong(_) | Self::Noise { .. })
    }

    /// The slave has no such address.
    pub(crate) const fn is_illegal_address(&self) -> bool {
        matches!(self, Self::Exception { code: 2, .. })
    }

    /// It may be the addresses between the wanted ones that the slave does not like: there are some that say so by another
    /// exception. Not where it is only busy (5, 6), or something before it has no way to it (10, 11).
    pub(crate) const fn may_be_the_gaps(&self) -> bool {
        matches!(self, Self::Exception { code, .. } if !matches!(code, 5 | 6 | 10 | 11))
    }

    /// It may also be that: there are slaves that don't answer at all then.
    pub(crate) const fn is_no_answer(&self) -> bool {
        matches!(self, Self::Silent(_) | Self::Garbled { .. } | Self::Wrong(_))
    }
}

/// The port as tokio-modbus sees it; a second handle empties its buffer and counts what comes.
#[derive(Clone)]
struct Line(Arc<Shared>);

struct Shared {
    port: Mutex<OpenPort>,
    received: AtomicUsize,
}

impl Line {
    fn with<T>(&self, work: impl FnOnce(&mut OpenPort) -> T) -> T {
        work(&mut self.0.port.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn received(&self) -> usize {
        self.0.received.load(Ordering::Relaxed)
    }
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, cx: &mut TaskContext<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = self.with(|port| Pin::new(port).poll_read(cx, buf));
        self.0.received.fetch_add(buf.filled().len() - before, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut TaskContext<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|port| Pin::new(port).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        // The port's own waits for the last bit in the kernel, and would block the thread. The time-out covers the sending.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        self.with(|port| Pin::new(port).poll_shutdown(cx))
    }
}

/// The one master of a bus.
pub(crate) struct Master {
    line: Line,
    context: Option<Context>,
    silence: Duration,
    answer_max: Duration,
    character: Duration,
    /// Of a slave that did not answer in time: what it was asked, and until when the answer may still come.
    late: BTreeMap<SlaveId, (Request, Instant)>,
}

impl Master {
    pub(crate) fn new(port: OpenPort, character: Duration, options: &ModbusOptions) -> Self {
        let line = Line(Arc::new(Shared { port: Mutex::new(port), received: AtomicUsize::new(0) }));
        let silence = (character * 7 / 2).max(SILENCE_MIN).max(options.turnaround);
        Self { line, context: None, silence, answer_max: options.timeout, character, late: BTreeMap::new() }
    }

    /// How many bytes have come since the port was opened.
    pub(crate) fn received(&self) -> usize {
        self.line.received()
    }

    /// Asks once.
    pub(crate) async fn ask(&mut self, slave: SlaveId, request: &Request) -> Result<Answer, NoAnswer> {
        if let Some((asked, until)) = self.late.get(&slave)
            && asked != request
        {
            sleep_until(*until).await;
            self.late.remove(&slave);
        }
        self.fall_silent().await?;
        let before = self.line.received();
        let line = self.line.clone();
        let context = self.context.get_or_insert_with(|| rtu::attach(line));
        tokio_modbus::prelude::SlaveContext::set_slave(context, Slave(slave));
        let (first, count) = (request.first, request.count);
        let asked = match request.table {
            Table::Coil => Asked::ReadCoils(first, count),
            Table::Discrete => Asked::ReadDiscreteInputs(first, count),
            Table::Holding => Asked::ReadHoldingRegisters(first, count),
            Table::Input => Asked::ReadInputRegisters(first, count),
        };
        // Eight bytes out and the answer in, at this speed, come on top of the slave's own time.
        let words = if request.table.is_bits() { count.div_ceil(16) } else { count };
        let on_the_wire = self.character * (13 + 2 * u32::from(words));
        let limit = self.answer_max + on_the_wire;
        let answered = timeout(limit, context.call(asked)).await;
        let bytes = self.line.received() - before;
        let answer = match answered {
            Ok(Ok(Ok(response))) => taken(response, count),
            Ok(Ok(Err(code))) => Err(exception(code)),
            Ok(Err(Error::Protocol(error))) => Err(wrong(&error)),
            Ok(Err(Error::Transport(error))) if error.kind() == io::ErrorKind::InvalidData => {
                Err(NoAnswer::Garbled { bytes })
            }
            Ok(Err(Error::Transport(error))) => Err(NoAnswer::Port(error)),
            Err(_elapsed) if bytes == 0 => Err(NoAnswer::Silent(self.answer_max)),
            Err(_elapsed) => Err(NoAnswer::Garbled { bytes }),
        };
        if answer.is_err() {
            // What a codec remembers of a failed frame must not meet the next one.
            self.context = None;
        }
        let may_come = match &answer {
            Err(NoAnswer::Silent(_) | NoAnswer::Wrong(_)) => true,
            // As much as the answer has is the answer, damaged: no other one is on its way.
            Err(NoAnswer::Garbled { bytes }) => *bytes != request.answer_bytes(),
            _ => false,
        };
        if may_come {
            self.late.insert(slave, (request.clone(), Instant::now() + 2 * self.answer_max));
        }
        answer
    }

    /// Waits until nothing has come for the silence between frames, and throws away what had.
    async fn fall_silent(&mut self) -> Result<(), NoAnswer> {
        let mut unasked = 0;
        for _ in 0..SILENCES_MAX {
            self.line.with(|port| Ok(port.stream()?.clear(ClearBuffer::Input)?)).map_err(NoAnswer::Port)?;
            sleep(self.silence).await;
            let came = self.line.with(|port| Ok(port.stream()?.bytes_to_read()?)).map_err(NoAnswer::Port)?;
            if came == 0 {
                return Ok(());
            }
            unasked += usize::try_from(came).unwrap_or(0);
        }
        Err(NoAnswer::Noise { bytes: unasked })
    }
}

fn taken(response: Response, count: u16) -> Result<Answer, NoAnswer> {
    let short = |found: usize| NoAnswer::Wrong(format!("{found} values in place of {count}"));
    match response {
        Response::ReadInputRegisters(words) | Response::ReadHoldingRegisters(words) => {
            if words.len() == usize::from(count) { Ok(Answer::Words(words)) } else { Err(short(words.len())) }
        }
        // Bits come in whole bytes.
        Response::ReadCoils(bits) | Response::ReadDiscreteInputs(bits) => {
            if bits.len().div_ceil(8) == usize::from(count.div_ceil(8)) {
                Ok(Answer::Bits(bits))
            } else {
                Err(short(bits.len()))
            }
        }
        _ => Err(NoAnswer::Wrong("another function".to_owned())),
    }
}

fn exception(code: ExceptionCode) -> NoAnswer {
    NoAnswer::Exception { code: code.into(), name: code.to_string() }
}

fn wrong(error: &ProtocolError) -> NoAnswer {
    match error {
        ProtocolError::HeaderMismatch { message, .. } => NoAnswer::Wrong(message.clone()),
        ProtocolError::FunctionCodeMismatch { request, .. } => NoAnswer::Wrong(format!("not of {request}")),
    }
}
