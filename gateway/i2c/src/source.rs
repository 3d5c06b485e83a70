//! One polled chip as a source of events.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lamppost_event::{
    Address, Arrival, ContentType, DeviceId, Intake, JournalStopped, NameError, Origin, Refusal, SourceKind,
};
use lamppost_units::{Decimal, Unit};
use tokio::time::Instant;

use crate::air::{Air, AirUse};
use crate::bus::BusOpener;
use crate::chip::{BusAddress, Chip, PollError};
use crate::counters::I2cCounters;
use crate::payload::Measured;
use crate::schedule::{Due, Schedule};
use crate::station::{NoPlace, Place, Station};
use crate::worker::{NoAnswer, Worker};

/// How long a bus may take to answer one poll. Opening and resetting the slowest chip takes 0.6 s.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// How long what one poll brought waits for room at most, in all: later it would be stored as if it were new.
const ROOM_MAX: Duration = Duration::from_secs(1);
/// How often one arrival is offered within that time, at most.
const OFFERS_MAX: u32 = 16;

/// Why a source can't be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// A chip of that kind can't have that address.
    #[error("a {chip} can't have the address {address}: it has one from 0x{first:02x} to 0x{last:02x}")]
    Address {
        /// The chip.
        chip: Chip,
        /// The address.
        address: BusAddress,
        /// The lowest possible.
        first: u8,
        /// The highest possible.
        last: u8,
    },
    /// The shunt is none that the chip can be calibrated for.
    #[error("an ina226 can't be calibrated for a shunt of {shunt_uohm} µΩ: 100 to 2500000 µΩ it can be")]
    Shunt {
        /// The shunt, in microohms.
        shunt_uohm: u32,
    },
    /// No vehicle can be told by such settings.
    #[error("how vehicles are told: {0}")]
    Vehicles(lamppost_vehicle::SettingsError),
    /// The source's name does not fit an address.
    #[error("the source's name: {0}")]
    Name(#[from] NameError),
    /// Polling without a pause.
    #[error("the interval can't be zero")]
    Interval,
}

/// What was counted and found no room: it belongs to the next report. Of other quantities the next value makes up for a missed one.
#[derive(Debug, Default)]
struct Owed(BTreeMap<&'static str, i64>);

impl Owed {
    fn keep(&mut self, value: &Measured) {
        if value.unit == Unit::Count {
            self.0.insert(value.measure, value.value.mantissa());
        }
    }

    fn add_to(&mut self, measured: &mut [Measured]) {
        for value in measured.iter_mut().filter(|value| value.unit == Unit::Count) {
            let more = self.0.remove(value.measure).unwrap_or(0);
            value.value = Decimal::new(value.value.mantissa().saturating_add(more), value.value.exponent());
        }
    }
}

/// A chip that is polled.
pub struct I2cSource {
    name: String,
    opener: BusOpener,
    place: Place,
    air: AirUse,
    every: Duration,
    device: DeviceId,
    addresses: Vec<(&'static str, Address)>,
    intake: Arc<dyn Intake>,
    counters: Arc<I2cCounters>,
}

impl I2cSource {
    /// A source called `name`, that polls `chip` at `address` of a bus `every` so often and reports in the name of `device`.
    /// Each quantity arrives at the address `i2c/NAME/QUANTITY`. Nothing is opened yet.
    ///
    /// # Errors
    /// [`SetupError`] if the chip can't have that address, shunt or settings, the name does not fit, or the interval is zero.
    pub fn new(
        name: &str,
        bus: BusOpener,
        chip: Chip,
        address: BusAddress,
        every: Duration,
        device: DeviceId,
        intake: Arc<dyn Intake>,
    ) -> Result<Self, SetupError> {
        let (first, last) = chip.addresses();
        let place = Place::new(chip, address).map_err(|why| match why {
            NoPlace::Address => SetupError::Address { chip, address, first, last },
            NoPlace::Shunt(shunt_uohm) => SetupError::Shunt { shunt_uohm },
            NoPlace::Vehicles(error) => SetupError::Vehicles(error),
        })?;
        if every.is_zero() {
            return Err(SetupError::Interval);
        }
        let address_of = |measure: &&'static str| Ok((*measure, Address::new(&format!("i2c/{name}/{measure}"))?));
        let addresses = chip.measures().iter().map(address_of).collect::<Result<_, NameError>>()?;
        let counters = Arc::new(I2cCounters::default());
        Ok(Self {
            name: name.to_owned(),
            opener: bus,
            place,
            air: AirUse::Nothing,
            every,
            device,
            addresses,
            intake,
            counters,
        })
    }

    /// The same, a barometer that tells its pressure to who needs it. Of a chip that is none, nothing is told.
    #[must_use]
    pub fn telling(self, air: Air) -> Self {
        Self { air: AirUse::Tells(air), ..self }
    }

    /// The same, an SCD41 that is told the pressure, on which its CO2 depends. Other chips do without.
    #[must_use]
    pub fn told_by(self, air: Air) -> Self {
        Self { air: AirUse::IsTold(air), ..self }
    }

    /// What it has done.
    #[must_use]
    pub fn counters(&self) -> Arc<I2cCounters> {
        Arc::clone(&self.counters)
    }

    /// Polls until `shutdown` completes. A missing bus or chip is counted, logged once per cause, and tried again.
    ///
    /// # Errors
    /// [`JournalStopped`]: nothing can be stored any more.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), JournalStopped> {
        let mut shutdown = pin!(shutdown);
        let began = Instant::now();
        let mut schedule = Schedule::new(self.every);
        let mut worker = None;
        let mut failing_with = None;
        let mut owed = Owed::default();
        loop {
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                () = tokio::time::sleep_until(began + schedule.due_at()) => {}
            }
            let due = schedule.take(began.elapsed());
            self.counters.missed(due.skipped);
            let outcome = tokio::select! {
                () = &mut shutdown => return Ok(()),
                outcome = self.poll(&mut worker) => outcome,
            };
            match outcome {
                Ok(mut measured) => {
                    owed.add_to(&mut measured);
                    schedule.succeeded();
                    if failing_with.take().is_some() {
                        let (bus, address) = (&self.opener, self.place.address());
                        tracing::info!(source = %self.name, at = format_args!("{bus}, address {address}"), "the chip answers again");
                    }
                    tokio::select! {
                        () = &mut shutdown => return Ok(()),
                        stored = self.store(measured, began, due, &mut owed) => stored?,
                    }
                }
                Err(error) => {
                    let error = error.to_string();
                    self.counters.missed(schedule.failed());
                    if failing_with.as_ref() != Some(&error) {
                        tracing::warn!(source = %self.name, %error, "the poll failed; it is tried again");
                        failing_with = Some(error.clone());
                    }
                    self.counters.failed(error);
                }
            }
        }
    }

    async fn poll(&self, worker: &mut Option<Worker>) -> Result<Vec<Measured>, PollError> {
        self.counters.polls.fetch_add(1, Ordering::Relaxed);
        let bus = || self.opener.to_string();
        let address = self.place.address();
        let running = match worker {
            Some(running) => running,
            None => {
                let started =
                    Worker::start(&self.name, Station::new(self.opener.clone(), self.place.clone(), self.air.clone()));
                worker.insert(started.map_err(|source| PollError::Open { bus: bus(), source })?)
            }
        };
        match running.poll(ANSWER_MAX).await {
            Ok(outcome) => outcome,
            Err(NoAnswer::Hangs) => Err(PollError::Hangs { bus: bus(), address, limit_ms: ANSWER_MAX.as_millis() }),
            Err(NoAnswer::Died) => {
                *worker = None;
                Err(PollError::Died { bus: bus(), address })
            }
        }
    }

    /// Hands over what was measured. What the journal has no room for within a second, or until the next poll is due, is given
    /// up and counted.
    async fn store(
        &self,
        measured: Vec<Measured>,
        began: Instant,
        due: Due,
        owed: &mut Owed,
    ) -> Result<(), JournalStopped> {
        let until = (began + due.until).min(Instant::now() + ROOM_MAX);
        for value in &measured {
            let Some(arrival) = self.arrival(value) else { continue };
            match self.offer(arrival, until).await {
                Ok(()) => {
                    self.counters.stored.fetch_add(1, Ordering::Relaxed);
                }
                Err(Refusal::Stopped(stopped)) => return Err(stopped),
                Err(Refusal::Full(_)) => {
                    owed.keep(value);
                    self.counters.missed(1);
                }
                Err(error @ Refusal::TooLarge { .. }) => self.counters.failed(error.to_string()),
            }
        }
        Ok(())
    }

    async fn offer(&self, mut arrival: Arrival, until: Instant) -> Result<(), Refusal> {
        for _ in 1..OFFERS_MAX {
            match self.intake.offer(arrival) {
                Err(Refusal::Full(back)) => {
                    arrival = *back;
                    if tokio::time::timeout_at(until, self.intake.room()).await.is_err() {
                        break;
                    }
                }
                taken => return taken.map(|_commit| ()),
            }
        }
        self.intake.offer(arrival).map(|_commit| ())
    }

    fn arrival(&self, value: &Measured) -> Option<Arrival> {
        let (_, address) = self.addresses.iter().find(|(measure, _)| *measure == value.measure)?;
        Some(Arrival {
            source: SourceKind::I2c,
            device: self.device.clone(),
            address: address.clone(),
            // A poll is never sent twice.
            origin: Origin::Unmarked,
            device_time: None,
            content_type: ContentType::new("application/json").ok(),
            payload: value.payload(),
            refused: false,
        })
    }
}

#[cfg(test)]
mod tests;
