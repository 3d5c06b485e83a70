//! A port with a dust sensor.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lamppost_event::{Address, Arrival, ContentType, Intake, JournalStopped, NameError, Origin, Refusal, SourceKind};
use lamppost_pms5003::{Frame, Parser};
use lamppost_units::{MicrogramsPerCubicMetre, Quantity};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::warn;

use super::gathering::{Gathering, MEASURES};
use super::{DustOptions, DustStatus};
use crate::PortSettings;
use crate::attend::{PortError, Speech, attend};
use crate::open::OpenPort;

/// At most so much is read at once.
const READ_BYTES_MAX: usize = 256;
/// A sensor sends each 2.3 s at the latest: after so long it sleeps, or was unplugged.
const SILENCE: Duration = Duration::from_secs(10);
/// How long the means of an interval wait for room, in all: later they would be stored as if they were new.
const ROOM_MAX: Duration = Duration::from_secs(1);
/// How often one of them is offered within that time, at most.
const OFFERS_MAX: u32 = 16;

/// A serial port with a PMS5003 at its other end.
pub struct DustSource {
    name: Arc<str>,
    settings: PortSettings,
    options: DustOptions,
    addresses: [Address; 3],
    intake: Arc<dyn Intake>,
    status: Arc<DustStatus>,
}

impl DustSource {
    /// A source called `name` in logs, whose means arrive at `pms5003/DEVICE/QUANTITY`. The sensor speaks 9600 baud.
    ///
    /// # Errors
    /// The device can't be part of an address.
    pub fn new(
        name: &str,
        settings: PortSettings,
        options: DustOptions,
        intake: Arc<dyn Intake>,
    ) -> Result<Self, NameError> {
        let address = |measure: &str| Address::new(&format!("pms5003/{}/{measure}", options.device));
        let [pm1, pm2_5, pm10] = MEASURES;
        let addresses = [address(pm1)?, address(pm2_5)?, address(pm10)?];
        Ok(Self { name: name.into(), settings, options, addresses, intake, status: Arc::default() })
    }

    /// What it has seen and done.
    #[must_use]
    pub fn status(&self) -> Arc<DustStatus> {
        Arc::clone(&self.status)
    }

    /// Reads until `shutdown` completes. A port that is absent, wrong or hangs up is opened again.
    ///
    /// # Errors
    /// [`JournalStopped`]: nothing can be stored any more, so nothing is read.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) -> Result<(), JournalStopped> {
        let mut speech = Reading { source: self, understood: false };
        attend(&self.name, &self.settings, &self.status.port, &mut speech, shutdown).await
    }

    /// Hands means over. What the journal has no room for within a second is given up and counted.
    async fn store(&self, means: [MicrogramsPerCubicMetre; 3]) -> Result<(), JournalStopped> {
        let until = Instant::now() + ROOM_MAX;
        for ((measure, address), mean) in MEASURES.into_iter().zip(&self.addresses).zip(means) {
            match self.offer(self.arrival(measure, address, mean), until).await {
                Ok(()) => self.status.stored.add(1),
                Err(Refusal::Stopped(stopped)) => return Err(stopped),
                Err(Refusal::Full(_) | Refusal::TooLarge { .. }) => self.status.missed.add(1),
            }
        }
        Ok(())
    }

    async fn offer(&self, mut arrival: Arrival, until: Instant) -> Result<(), Refusal> {
        for _ in 1..OFFERS_MAX {
            match self.intake.offer(arrival) {
                Err(Refusal::Full(back)) => {
                    arrival = *back;
                    if timeout_at(until, self.intake.room()).await.is_err() {
                        break;
                    }
                }
                taken => return taken.map(drop),
            }
        }
        self.intake.offer(arrival).map(drop)
    }

    fn arrival(&self, measure: &str, address: &Address, mean: MicrogramsPerCubicMetre) -> Arrival {
        let (value, unit) = (mean.decimal(), MicrogramsPerCubicMetre::UNIT.senml());
        Arrival {
            source: SourceKind::Serial,
            device: self.options.device.clone(),
            address: address.clone(),
            // A mean is taken once.
            origin: Origin::Unmarked,
            device_time: None,
            content_type: ContentType::new("application/json").ok(),
            payload: Bytes::from(format!(r#"{{"measure":"{measure}","value":{value},"unit":"{unit}"}}"#)),
            refused: false,
        }
    }

    /// Counts what has gone wrong, and says it once.
    fn complain(&self, error: &str) {
        if self.status.port.set_error(error) {
            warn!(source = &*self.name, error, "the dust sensor is not understood");
        }
    }
}

/// Reading an open port.
struct Reading<'a> {
    source: &'a DustSource,
    understood: bool,
}

/// What an open port has brought.
struct Heard {
    parser: Parser,
    gathering: Gathering,
    /// The sensor is believed from then on.
    warm_at: Instant,
    /// When the last frame came, or the port was opened.
    heard_at: Instant,
    /// The end of the interval.
    due_at: Instant,
    garbage_bytes: u64,
}

impl Speech for Reading<'_> {
    async fn speak(&mut self, mut port: OpenPort) -> PortError {
        self.understood = false;
        let now = Instant::now();
        let (warm_at, due_at) = (now + self.source.options.warm_up, now + self.source.options.every);
        let (parser, gathering) = (Parser::new(), Gathering::default());
        let mut heard = Heard { parser, gathering, warm_at, heard_at: now, due_at, garbage_bytes: 0 };
        loop {
            if let Err(error) = self.step(&mut port, &mut heard).await {
                return error;
            }
        }
    }

    fn understood(&self) -> bool {
        self.understood
    }
}

impl Reading<'_> {
    async fn step(&mut self, port: &mut OpenPort, heard: &mut Heard) -> Result<(), PortError> {
        let (status, path) = (&self.source.status, || self.source.settings.path.clone());
        let mut bytes = [0; READ_BYTES_MAX];
        tokio::select! {
            read = port.read(&mut bytes) => match read {
                Ok(0) => return Err(PortError::HungUp { path: path() }),
                Ok(count) => {
                    status.port.bytes.add(count as u64);
                    self.take(bytes.get(..count).unwrap_or_default(), heard);
                }
                Err(error) => return Err(PortError::Read { path: path(), error }),
            },
            () = sleep_until(heard.due_at) => {
                // Without drift; what a suspended machine has slept through is left out.
                let every = self.source.options.every;
                heard.due_at = (heard.due_at + every).max(Instant::now());
                match heard.gathering.take() {
                    Some(means) => self.source.store(means).await?,
                    None if heard.warm_at <= Instant::now() => status.empty.add(1),
                    None => {}
                }
            }
            () = sleep_until(heard.heard_at + SILENCE) => {
                self.source.complain("no frame for 10 s: does the sensor have its 5 V, is its SET pin high, is it 9600 baud?");
                heard.heard_at = Instant::now();
                heard.warm_at = heard.heard_at + SILENCE + self.source.options.warm_up;
            }
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], heard: &mut Heard) {
        let (status, now) = (&self.source.status, Instant::now());
        for byte in bytes {
            match heard.parser.push(*byte) {
                Ok(None | Some(Frame::Answer { .. })) => {}
                Ok(Some(Frame::Reading(reading))) => {
                    self.understood = true;
                    status.readings.add(1);
                    heard.heard_at = now;
                    if reading.error != 0 {
                        status.faulty.add(1);
                        self.source
                            .complain(&format!("the sensor says that it is faulty: error 0x{:02x}", reading.error));
                    } else if now < heard.warm_at {
                        status.warming.add(1);
                    } else {
                        heard.gathering.add(&reading.atmospheric);
                    }
                }
                Err(error) => {
                    status.frames_bad.add(1);
                    self.source.complain(&error.to_string());
                }
            }
        }
        let garbage_bytes = heard.parser.discarded();
        status.garbage_bytes.add(garbage_bytes.saturating_sub(heard.garbage_bytes));
        heard.garbage_bytes = garbage_bytes;
    }
}
