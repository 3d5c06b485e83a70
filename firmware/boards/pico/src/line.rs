//! The way to the gateway: UART0, or USB where the feature `usb` is on. Both have `start`, `send` (never waits) and
//! `receive` (waits, and may be given up without losing a byte).

#[cfg(not(feature = "usb"))]
mod uart;
#[cfg(feature = "usb")]
mod usb;

use embassy_rp::Peri;
use embassy_rp::peripherals::{PIN_0, PIN_1, UART0, USB};

#[cfg(not(feature = "usb"))]
pub(crate) use uart::Line;
#[cfg(feature = "usb")]
pub(crate) use usb::Line;

/// What a line may need of the microcontroller.
#[cfg_attr(feature = "usb", expect(dead_code, reason = "the UART stays unused"))]
#[cfg_attr(not(feature = "usb"), expect(dead_code, reason = "USB stays unused"))]
pub(crate) struct Pins {
    pub(crate) tx: Peri<'static, PIN_0>,
    pub(crate) rx: Peri<'static, PIN_1>,
    pub(crate) uart: Peri<'static, UART0>,
    pub(crate) usb: Peri<'static, USB>,
}
