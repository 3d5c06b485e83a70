//! I2C0 as an embedded-hal bus with a time limit: a chip that holds the clock costs one reading, not the link. One that holds the
//! data line since it was read when this board was reset is clocked out, at the start and after each transfer that met something of the
//! kind.

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use embassy_rp::Peri;
use embassy_rp::bind_interrupts;
use embassy_rp::gpio::{Level, OutputOpenDrain, Pin};
use embassy_rp::i2c::{AbortReason, Config, Error, I2c, InterruptHandler};
use embassy_rp::peripherals::{I2C0, PIN_4, PIN_5};
use embassy_time::{Delay, Duration, Instant};
use embedded_hal::i2c::{ErrorKind, ErrorType, NoAcknowledgeSource, Operation};

bind_interrupts!(struct Interrupts {
    I2C0_IRQ => InterruptHandler<I2C0>;
});

/// For a whole transaction. At 100 kHz a byte takes 90 us, and our chips' transactions have at most five.
const LIMIT: Duration = Duration::from_millis(10);

/// Why a transfer failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BusError {
    /// The controller's own error.
    Controller(Error),
    /// It did not finish in time: a chip holds a line, or there are no pull-up resistors.
    Stuck,
}

impl BusError {
    /// Whether a chip that holds the data line may be the reason.
    const fn may_be_held(self) -> bool {
        matches!(self, Self::Stuck | Self::Controller(Error::Abort(AbortReason::ArbitrationLoss)))
    }
}

impl embedded_hal::i2c::Error for BusError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Controller(Error::Abort(AbortReason::NoAcknowledge)) => {
                ErrorKind::NoAcknowledge(NoAcknowledgeSource::Unknown)
            }
            Self::Controller(Error::Abort(AbortReason::ArbitrationLoss)) => ErrorKind::ArbitrationLoss,
            Self::Controller(_) => ErrorKind::Other,
            Self::Stuck => ErrorKind::Bus,
        }
    }
}

/// The bus: GP4 is its data line, GP5 its clock.
pub(crate) struct Bus {
    controller: Peri<'static, I2C0>,
    sda: Peri<'static, PIN_4>,
    scl: Peri<'static, PIN_5>,
}

impl Bus {
    pub(crate) fn new(controller: Peri<'static, I2C0>, sda: Peri<'static, PIN_4>, scl: Peri<'static, PIN_5>) -> Self {
        let mut bus = Self { controller, sda, scl };
        bus.free();
        bus
    }

    /// Clocks out a chip that holds the data line. The next transfer finds out whether the bus is free, and gives the pins back to
    /// the controller.
    fn free(&mut self) {
        let mut scl = open_drain(self.scl.reborrow());
        let mut sda = open_drain(self.sda.reborrow());
        lamppost_node_i2c::free(&mut scl, &mut sda, &mut Delay).ok();
    }
}

/// Let go of, with the resistor that the controller's own set-up switches on as well.
fn open_drain<'d>(pin: Peri<'d, impl Pin>) -> OutputOpenDrain<'d> {
    let mut pin = OutputOpenDrain::new(pin, Level::High);
    pin.set_pullup(true);
    pin
}

impl ErrorType for Bus {
    type Error = BusError;
}

impl embedded_hal::i2c::I2c for Bus {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), BusError> {
        // Set up anew each time, which ends whatever the last transfer has left.
        let (controller, scl, sda) = (self.controller.reborrow(), self.scl.reborrow(), self.sda.reborrow());
        let mut controller = I2c::new_async(controller, scl, sda, Interrupts, Config::default());
        let transfer = embedded_hal_async::i2c::I2c::transaction(&mut controller, u16::from(address), operations);
        let error = match within(LIMIT, transfer) {
            Some(result) => match result {
                Ok(()) => return Ok(()),
                Err(error) => BusError::Controller(error),
            },
            None => BusError::Stuck,
        };
        if error.may_be_held() {
            self.free();
        }
        Err(error)
    }
}

/// Asks until it is ready or the time is over. Asking is enough: the transfer looks at the controller itself each time.
fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    let until = Instant::now() + limit;
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return Some(result);
        }
        if Instant::now() > until {
            return None;
        }
    }
}
