//! I2C0 as an embedded-hal bus with a time limit: a chip that holds the clock costs one reading, not the link.

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use embassy_rp::i2c::{AbortReason, Async, Error, I2c};
use embassy_rp::peripherals::I2C0;
use embassy_time::{Duration, Instant};
use embedded_hal::i2c::{ErrorKind, ErrorType, NoAcknowledgeSource, Operation};

/// For a whole transaction. At 100 kHz a byte takes 90 us, and our chips' transactions have at most five.
const LIMIT: Duration = Duration::from_millis(10);

/// Why a transfer failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BusError {
    /// The controller's own error.
    Controller(Error),
    /// It did not finish in time: a chip holds the clock, or there are no pull-up resistors.
    Stuck,
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

/// The bus.
pub(crate) struct Bus {
    controller: I2c<'static, I2C0, Async>,
}

impl Bus {
    pub(crate) const fn new(controller: I2c<'static, I2C0, Async>) -> Self {
        Self { controller }
    }
}

impl ErrorType for Bus {
    type Error = BusError;
}

impl embedded_hal::i2c::I2c for Bus {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), BusError> {
        let transfer = embedded_hal_async::i2c::I2c::transaction(&mut self.controller, u16::from(address), operations);
        match within(LIMIT, transfer) {
            Some(result) => result.map_err(BusError::Controller),
            // The next transfer begins with turning the controller off and on, which ends this one.
            None => Err(BusError::Stuck),
        }
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
