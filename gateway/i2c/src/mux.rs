//! Chips behind a multiplexer: TI PCA9548A or TCA9548A (data sheet SCPS143, section 8.5.3), NXP PCA9548 and the like: eight channels, opened by
//! writing a byte with their bits to the multiplexer itself.
//!
//! **Invariant:** between the opening of a channel and the transfer through it nothing else of this program talks on the bus; and
//! no channel of another multiplexer is open then, since two chips could answer to one address. After any error it is unknown
//! which channels are open: they are set again before the next transfer.
//!
//! A multiplexer that can't be closed is most likely not there, and holds up no chip behind the others, with one exception: a
//! chip at an address that has answered through that multiplexer too. There the data of the wrong chip could come.
//!
//! Linux has a driver of its own (i2c-mux-pca954x, from the device tree), which makes a bus of each channel: where it is used,
//! name those buses and no multiplexer. It holds the multiplexer's address, so that both can't be used at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, Operation};

use crate::BusAddress;
use crate::bus::BusError;

/// How long a transfer waits for another one on its bus.
const GATE_PATIENCE: Duration = Duration::from_secs(1);
/// How often it looks.
const GATE_PAUSE: Duration = Duration::from_millis(1);

/// One channel of a multiplexer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MuxChannel {
    /// The multiplexer's own address, 0x70 to 0x77.
    pub mux: BusAddress,
    /// 0 to 7.
    pub channel: u8,
}

impl fmt::Display for MuxChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mux {} channel {}", self.mux, self.channel)
    }
}

/// What is known of one multiplexer.
#[derive(Debug, Default)]
struct Known {
    /// Which channels are open; nothing, if that is not known.
    open: Option<u8>,
    /// The addresses that have answered through it.
    behind: BTreeSet<u8>,
}

type Muxes = BTreeMap<BusAddress, Known>;

/// What all chips of one bus with multiplexers pass through, one transfer at a time. Clones are the same gate.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    muxes: Arc<Mutex<Muxes>>,
}

impl Gate {
    /// A gate of a bus with these multiplexers. None of them is known to be closed.
    pub fn new(muxes: impl IntoIterator<Item = BusAddress>) -> Self {
        let unknown = muxes.into_iter().map(|mux| (mux, Known::default())).collect();
        Self { muxes: Arc::new(Mutex::new(unknown)) }
    }

    /// Alone on the bus. A thread that hangs in the kernel must not hang all others: after a second they give up.
    fn enter(&self) -> Result<MutexGuard<'_, Muxes>, BusError> {
        let tries = GATE_PATIENCE.as_millis() / GATE_PAUSE.as_millis();
        for _ in 0..tries {
            match self.muxes.try_lock() {
                Ok(muxes) => return Ok(muxes),
                Err(TryLockError::Poisoned(poisoned)) => return Ok(PoisonError::into_inner(poisoned)),
                Err(TryLockError::WouldBlock) => std::thread::sleep(GATE_PAUSE),
            }
        }
        Err(BusError::new(ErrorKind::Bus, "another chip's transfer holds the bus"))
    }
}

/// A bus, through its gate and perhaps a channel.
pub(crate) struct Gated<B> {
    bus: B,
    gate: Gate,
    channel: Option<MuxChannel>,
}

impl<B: I2c<Error = BusError>> Gated<B> {
    pub(crate) const fn new(bus: B, gate: Gate, channel: Option<MuxChannel>) -> Self {
        Self { bus, gate, channel }
    }

    /// Closes the other multiplexers, as far as they are there, and opens the one channel for a transfer to `address`.
    fn select(bus: &mut B, muxes: &mut Muxes, through: MuxChannel, address: u8) -> Result<(), BusError> {
        for (mux, known) in muxes.iter_mut() {
            let own = *mux == through.mux;
            let wanted = if own { 1_u8.checked_shl(through.channel.into()).unwrap_or(0) } else { 0 };
            if known.open == Some(wanted) {
                continue;
            }
            known.open = None;
            match bus.transaction(mux.0, &mut [Operation::Write(&[wanted])]) {
                Ok(()) => known.open = Some(wanted),
                Err(error) if own => return Err(unset(*mux, wanted, &error, "")),
                Err(error) if known.behind.contains(&address) => {
                    return Err(unset(*mux, wanted, &error, "; a chip of the same address is behind it"));
                }
                // Whatever the kernel says of it: it is tried again before the next transfer.
                Err(_absent) => {}
            }
        }
        Ok(())
    }
}

fn unset(mux: BusAddress, wanted: u8, error: &BusError, why: &str) -> BusError {
    let said = format!("{error:?}");
    let hint = if said.contains("busy") { "; the kernel's own driver has it: name the buses that it made" } else { "" };
    let text = format!("setting mux {mux} to 0x{wanted:02x}: {said}{hint}{why}");
    BusError::new(embedded_hal::i2c::Error::kind(error), text)
}

impl<B> ErrorType for Gated<B> {
    type Error = BusError;
}

impl<B: I2c<Error = BusError>> I2c for Gated<B> {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), BusError> {
        let mut muxes = self.gate.enter()?;
        if let Some(through) = self.channel {
            Self::select(&mut self.bus, &mut muxes, through, address)?;
        }
        let outcome = self.bus.transaction(address, operations);
        if outcome.is_err() {
            // A multiplexer that was reset has all its channels closed; one behind a bus that was stuck may have seen anything.
            muxes.values_mut().for_each(|known| known.open = None);
        } else if let Some(known) = self.channel.and_then(|through| muxes.get_mut(&through.mux)) {
            known.behind.insert(address);
        }
        outcome
    }
}

#[cfg(test)]
mod tests;
