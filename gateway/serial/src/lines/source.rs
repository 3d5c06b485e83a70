//! A port with a device that writes lines.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lamppost_event::{Address, Arrival, ContentType, DeviceId, Intake, JournalStopped, Origin, Refusal, SourceKind};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep};
use tokio_serial::SerialPort;
use tracing::warn;

use super::mapping::{Field, LineError, Parsed};
use super::splitter::{Piece, Splitter};
use super::{LinesOptions, LinesStatus};
use crate::PortSettings;
use crate::attend::{PortError, Speech, attend};
use crate::open::OpenPort;

/// At most so much is read at once.
const READ_BYTES_MAX: usize = 1024;
/// A line that begins after so long a silence is whole.
const SILENCE: Duration = Duration::from_secs(1);
/// What waits is offered again at least so often: it may find room while there is none for all.
const TICK: Duration = Duration::from_millis(500);
/// What a tty of Linux holds for its reader (N_TTY_BUF_SIZE, less one): beyond, bytes may have been lost.
const KERNEL_BYTES_MAX: u32 = 4095;
/// How long the kernel takes to pass on what it holds behind that.
const DRAIN_PAUSE: Duration = Duration::from_millis(20);
/// How often a port is drained at most.
const DRAINS_MAX: u32 = 50;

/// A serial port with a device at its other end that writes lines.
pub struct LinesSource {
    name: Arc<str>,
    settings: PortSettings,
    options: LinesOptions,
    intake: Arc<dyn Intake>,
    status: Arc<LinesStatus>,
}

/// What is offered next.
enum Offer {
    Value(Arrival),
    Dead(Arrival, String),
}

impl LinesSource {
    /// A source called `name` in logs.
    #[must_use]
    pub fn new(name: &str, settings: PortSettings, options: LinesOptions, intake: Arc<dyn Intake>) -> Self {
        Self { name: name.into(), settings, options, intake, status: Arc::default() }
    }

    /// What it has seen and done.
    #[must_use]
    pub fn status(&self) -> Arc<LinesStatus> {
        Arc::clone(&self.status)
    }

    /// Reads until `shutdown` completes. A port that is absent, wrong or hangs up is opened again.
    ///
    /// # Errors
    /// [`JournalStopped`]: nothing can be stored any more, so nothing is read.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) -> Result<(), JournalStopped> {
        let mut speech = Reading { source: self, waiting: VecDeque::new(), understood: false };
        attend(&self.name, &self.settings, &self.status.port, &mut speech, shutdown).await
    }

    /// What becomes of a piece.
    fn offers(&self, piece: Piece, waiting: &mut VecDeque<Offer>) {
        let line = match piece {
            Piece::Partial => return self.status.partial.add(1),
            Piece::Line(line) | Piece::TooLong(line)
                if self.options.skip.iter().any(|skip| line.starts_with(skip.as_bytes())) =>
            {
                self.status.lines.add(1);
                return self.status.skipped.add(1);
            }
            Piece::TooLong(line) => {
                self.status.lines.add(1);
                let error = LineError::TooLong { bytes_max: self.options.line_bytes_max };
                return self.bury(line, &error, waiting);
            }
            Piece::Line(line) => line,
        };
        self.status.lines.add(1);
        match self.decode(&line) {
            Ok(arrivals) => waiting.extend(arrivals.into_iter().map(Offer::Value)),
            Err(error) => self.bury(line, &error, waiting),
        }
    }

    fn bury(&self, line: Bytes, error: &LineError, waiting: &mut VecDeque<Offer>) {
        self.status.undecodable.add(1);
        let reason = format!("serial source {:?}: {error}", &*self.name);
        if self.status.port.set_error(&reason) {
            warn!(source = &*self.name, %error, "a line can't be decoded; it is stored as a dead letter");
        }
        let device = &self.options.device;
        if let Ok(address) = Address::new(&format!("lines/{device}")) {
            waiting.push_back(Offer::Dead(arrival(device.clone(), address, None, line), reason));
        }
    }

    /// All values of a line, or none.
    fn decode(&self, line: &Bytes) -> Result<Vec<Arrival>, LineError> {
        let parsed = Parsed::new(&self.options.format, line)?;
        let device = match &self.options.device_from {
            None => self.options.device.clone(),
            Some(from) => {
                let missing = || LineError::Missing { name: "device".to_owned(), at: from.to_string() };
                device(&parsed.text(from).ok_or_else(missing)?)?
            }
        };
        let json = || ContentType::new("application/json").ok();
        let place = |address: String| {
            Address::new(&address)
                .map_err(|error| LineError::Device { name: device.to_string(), reason: error.to_string() })
        };
        if self.options.fields.is_empty() {
            return Ok(vec![arrival(device.clone(), place(format!("lines/{device}"))?, json(), line.clone())]);
        }
        let mut arrivals = Vec::with_capacity(self.options.fields.len());
        for field in &self.options.fields {
            if let Some(value) = parsed.value(field)? {
                let address = place(format!("lines/{device}/{}", field.name))?;
                arrivals.push(arrival(device.clone(), address, json(), payload(field, &value)));
            }
        }
        Ok(arrivals)
    }
}

fn device(text: &str) -> Result<DeviceId, LineError> {
    let illegal = |reason: String| LineError::Device { name: crate::number::shown(text), reason };
    if let Some(character) = text.chars().find(|c| matches!(c, '/' | '+' | '#')) {
        return Err(illegal(format!("addresses and filters use {character:?}")));
    }
    DeviceId::new(text).map_err(|error| illegal(error.to_string()))
}

fn arrival(device: DeviceId, address: Address, content_type: Option<ContentType>, payload: Bytes) -> Arrival {
    let (source, origin) = (SourceKind::Serial, Origin::Unmarked);
    Arrival { source, device, address, origin, device_time: None, content_type, payload, refused: false }
}

/// `{"measure":"pm2_5","value":12.30,"unit":"ug/m3"}`; the value as it was written, or scaled exactly.
fn payload(field: &Field, value: &str) -> Bytes {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let unit = field.unit.as_ref().map(|unit| format!(",\"unit\":{}", text(unit))).unwrap_or_default();
    Bytes::from(format!("{{\"measure\":{},\"value\":{value}{unit}}}", text(&field.name)))
}

/// Reading an open port. What was read before a hang-up is still stored after it.
struct Reading<'a> {
    source: &'a LinesSource,
    waiting: VecDeque<Offer>,
    understood: bool,
}

impl Speech for Reading<'_> {
    async fn speak(&mut self, mut port: OpenPort) -> PortError {
        self.understood = false;
        let opened = Instant::now();
        let mut splitter = Splitter::new(self.source.options.line_bytes_max);
        let mut unread = Vec::with_capacity(READ_BYTES_MAX);
        loop {
            if let Err(error) = self.step(&mut port, &mut splitter, &mut unread, opened).await {
                return error;
            }
        }
    }

    fn understood(&self) -> bool {
        self.understood
    }
}

impl Reading<'_> {
    /// Stores what waits, then takes the next line of what was read, or reads on.
    async fn step(
        &mut self,
        port: &mut OpenPort,
        splitter: &mut Splitter,
        unread: &mut Vec<u8>,
        opened: Instant,
    ) -> Result<(), PortError> {
        let path = || self.source.settings.path.clone();
        if self.store()? {
            self.source.status.stalls.add(1);
            self.wait_for_room().await?;
            if port.stream().is_ok_and(|stream| stream.bytes_to_read().is_ok_and(|held| held >= KERNEL_BYTES_MAX)) {
                drain(port).await.map_err(|error| PortError::Read { path: path(), error })?;
                self.source.status.overruns.add(1);
                warn!(source = &*self.source.name, "the port's buffer ran full while the journal had no room");
                unread.clear();
                splitter.cut();
            }
            return Ok(());
        }
        let mut rest = &unread[..];
        let piece = splitter.take(&mut rest);
        let taken = unread.len() - rest.len();
        unread.drain(..taken);
        if let Some(piece) = piece {
            self.understood |= matches!(piece, Piece::Line(_));
            self.source.offers(piece, &mut self.waiting);
            return Ok(());
        }
        match port.read_buf(unread).await {
            Ok(0) => Err(PortError::HungUp { path: path() }),
            Ok(bytes) => {
                self.source.status.port.bytes.add(bytes as u64);
                if opened.elapsed() >= SILENCE {
                    splitter.begin();
                }
                Ok(())
            }
            Err(error) => Err(PortError::Read { path: path(), error }),
        }
    }

    async fn wait_for_room(&mut self) -> Result<(), JournalStopped> {
        loop {
            tokio::select! {
                () = self.source.intake.room() => {}
                () = sleep(TICK) => {}
            }
            if !self.store()? {
                return Ok(());
            }
        }
    }

    /// Offers what waits, in order. True: the journal has no room for the next.
    fn store(&mut self) -> Result<bool, JournalStopped> {
        while let Some(offer) = self.waiting.pop_front() {
            let (outcome, reason) = match offer {
                Offer::Value(arrival) => (self.source.intake.offer(arrival), None),
                Offer::Dead(arrival, reason) => (self.source.intake.offer_dead(arrival, &reason), Some(reason)),
            };
            match (outcome, reason) {
                (Ok(_), None) => self.source.status.stored.add(1),
                (Ok(_), Some(_)) => {}
                (Err(Refusal::Full(back)), None) => {
                    self.waiting.push_front(Offer::Value(*back));
                    return Ok(true);
                }
                (Err(Refusal::Full(back)), Some(reason)) => {
                    self.waiting.push_front(Offer::Dead(*back, reason));
                    return Ok(true);
                }
                (Err(Refusal::Stopped(stopped)), _) => return Err(stopped),
                (Err(error @ Refusal::TooLarge { .. }), _) => {
                    self.source.status.too_large.add(1);
                    if self.source.status.port.set_error(&error.to_string()) {
                        warn!(source = &*self.source.name, %error, "a line is not stored");
                    }
                }
            }
        }
        Ok(false)
    }
}

/// Reads until nothing more of what was held is there.
async fn drain(port: &mut OpenPort) -> io::Result<()> {
    let mut bytes = [0; READ_BYTES_MAX];
    for _ in 0..DRAINS_MAX {
        let mut drained = 0;
        loop {
            match port.stream()?.try_read(&mut bytes) {
                Ok(0) => return Ok(()),
                Ok(length) => drained += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if drained < KERNEL_BYTES_MAX as usize {
            break;
        }
        sleep(DRAIN_PAUSE).await;
    }
    Ok(())
}
