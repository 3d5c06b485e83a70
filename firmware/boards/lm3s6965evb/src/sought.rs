//! A chip that is looked for: on I2C1 or I2C0 (which of them QEMU attaches a device to depends on its version), when it is first
//! needed, and anew after each failure, since it may have been replaced, or have lost its settings.

use core::fmt::Display;

use crate::i2c::{Bus, BusError, Controller};
use crate::uart::Console;

/// A chip's driver, as it is looked for.
pub trait Part: Sized {
    /// What the driver says.
    type Error: Copy + PartialEq + Display;
    /// What it is for, and which chip at which address: as the console says it.
    const NAMES: [&'static str; 2];

    /// The driver's words for a bus that can't be started.
    fn no_bus(source: BusError) -> Self::Error;

    /// Sets the chip up, and returns when it can be read.
    ///
    /// # Errors
    /// The driver's, if it does not answer.
    fn start(bus: Bus) -> Result<Self, Self::Error>;
}

/// A chip that may have been found.
pub struct Sought<P: Part> {
    part: Option<P>,
    /// What was last said of it on the console: said once, not at each reading.
    said: Option<Result<Controller, P::Error>>,
}

impl<P: Part> Sought<P> {
    /// One that has not been looked for.
    pub const fn new() -> Self {
        Self { part: None, said: None }
    }

    /// What `read` reads; `None` if no chip answers, which is said on the console.
    pub fn read<T>(&mut self, console: &mut Console, read: impl FnOnce(&mut P) -> Result<T, P::Error>) -> Option<T> {
        let mut part = match self.part.take() {
            Some(part) => part,
            None => self.find(console)?,
        };
        match read(&mut part) {
            Ok(value) => {
                self.part = Some(part);
                Some(value)
            }
            Err(error) => {
                self.say(Err(error), console);
                None
            }
        }
    }

    fn find(&mut self, console: &mut Console) -> Option<P> {
        let start = |controller| {
            let bus = Bus::start(controller).map_err(P::no_bus)?;
            P::start(bus).map(|part| (controller, part))
        };
        match start(Controller::I2c1).or_else(|_| start(Controller::I2c0)) {
            Ok((controller, part)) => {
                self.say(Ok(controller), console);
                Some(part)
            }
            Err(error) => {
                self.say(Err(error), console);
                None
            }
        }
    }

    fn say(&mut self, state: Result<Controller, P::Error>, console: &mut Console) {
        if self.said == Some(state) {
            return;
        }
        self.said = Some(state);
        let [what, chip] = P::NAMES;
        match state {
            Ok(controller) => console.say(format_args!("{what}: {chip} on {controller:?}")),
            Err(error) => console.say(format_args!("{what}: {error}")),
        }
    }
}

impl<P: Part> Default for Sought<P> {
    fn default() -> Self {
        Self::new()
    }
}
