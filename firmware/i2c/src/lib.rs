//! Frees an I2C bus whose data line a chip holds low (NXP UM10204, "I2C-bus specification and user manual", section 3.1.16,
//! "Bus clear").
//!
//! A chip that was being read when the microcontroller was reset knows nothing of that: it waits for the clocks of its byte. If the bit
//! that it has on the line is a 0, SDA is low, and no controller can begin a transfer: the chip would be lost until its power is
//! switched. Clocks let it go on. It lets go of SDA at a bit that is a 1, or where the controller has to acknowledge: at the ninth clock at the
//! latest. A STOP then ends its transfer.
//!
//! For any board: it only needs both lines as open-drain pins, and something that waits.

#![no_std]
#![forbid(unsafe_code)]

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{ErrorType, InputPin, OutputPin};

/// A byte and its acknowledgement.
pub const CLOCKS_MAX: u32 = 9;

/// Half a clock of 100 kHz, which any chip keeps up with: table 10 asks for a clock that is low for 4.7 us and high for 4 us, and for 4.7 us
/// between a STOP and what follows.
const HALF_CLOCK_US: u32 = 5;
/// A chip may hold the clock low while it is not ready; one that does so for as long as this is stuck.
const STRETCH_US_MAX: u32 = 1_000;

/// Why the bus is not free; `E` is the pins' own error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stuck<E> {
    /// Something holds the clock line: nothing but that chip's reset, or its power, can help.
    Clock,
    /// Something holds the data line, and nine clocks have not changed that.
    Data,
    /// A pin could not be read or set.
    Pin(E),
}

/// Frees the bus, and says how many clocks that took: 0, if SDA was high, and nothing was done. Takes 0.2 ms at most, 11 ms
/// if a chip stretches each clock.
///
/// The pins have to be open-drain (`set_high` lets go of the line) with pull-up resistors, and the I2C controller off them. Whatever comes of
/// it, both lines have been let go of.
///
/// # Errors
/// [`Stuck`].
pub fn free<C, D>(scl: &mut C, sda: &mut D, delay: &mut impl DelayNs) -> Result<u32, Stuck<C::Error>>
where
    C: InputPin + OutputPin,
    D: InputPin + OutputPin + ErrorType<Error = C::Error>,
{
    let clocks = clear(scl, sda, delay);
    sda.set_high().and(scl.set_high()).map_err(Stuck::Pin)?;
    clocks
}

fn clear<C, D>(scl: &mut C, sda: &mut D, delay: &mut impl DelayNs) -> Result<u32, Stuck<C::Error>>
where
    C: InputPin + OutputPin,
    D: InputPin + OutputPin + ErrorType<Error = C::Error>,
{
    sda.set_high().map_err(Stuck::Pin)?;
    raise(scl, delay)?;
    for clocks in 0..CLOCKS_MAX {
        if sda.is_high().map_err(Stuck::Pin)? {
            return Ok(clocks);
        }
        scl.set_low().map_err(Stuck::Pin)?;
        delay.delay_us(HALF_CLOCK_US);
        // Letting go of it while the clock is high is a STOP, if the chip has let go of it too: it can't go on with the next bit then, which may
        // be a 0 again.
        sda.set_low().map_err(Stuck::Pin)?;
        delay.delay_us(HALF_CLOCK_US);
        raise(scl, delay)?;
        sda.set_high().map_err(Stuck::Pin)?;
        delay.delay_us(HALF_CLOCK_US);
    }
    if sda.is_high().map_err(Stuck::Pin)? { Ok(CLOCKS_MAX) } else { Err(Stuck::Data) }
}

/// Lets go of the clock, and waits until it is high and has been for half a clock.
fn raise<C: InputPin + OutputPin>(scl: &mut C, delay: &mut impl DelayNs) -> Result<(), Stuck<C::Error>> {
    scl.set_high().map_err(Stuck::Pin)?;
    for _ in 0..STRETCH_US_MAX / HALF_CLOCK_US {
        if scl.is_high().map_err(Stuck::Pin)? {
            delay.delay_us(HALF_CLOCK_US);
            return Ok(());
        }
        delay.delay_us(HALF_CLOCK_US);
    }
    Err(Stuck::Clock)
}

#[cfg(test)]
mod tests;
