//! The board's TMP105 at 0x48.

use embassy_time::Timer;
use lamppost_tmp105::{Address, Resolution, Tmp105};
use lamppost_units::Celsius;

use crate::bus::Bus;

const RESOLUTION: Resolution = Resolution::Bits12;

/// The thermometer. Set up when it is first read, and anew after each failure: it may have been replaced, or have lost its
/// settings.
pub(crate) struct Thermometer {
    chip: Tmp105<Bus>,
    is_set_up: bool,
}

impl Thermometer {
    pub(crate) const fn new(bus: Bus) -> Self {
        Self { chip: Tmp105::new(bus, Address::new(0x48).expect("the chip's first address")), is_set_up: false }
    }

    /// Sets the chip up and waits for its first conversion: before that, it reads 0 °C.
    pub(crate) async fn prepare(&mut self) {
        if self.set_up() {
            Timer::after_micros(u64::from(RESOLUTION.conversion_us())).await;
        }
    }

    /// The temperature; `None` if no chip answers, or if it has only just been set up again: its first conversion is not
    /// there before the next reading.
    pub(crate) fn read(&mut self) -> Option<Celsius> {
        if !self.is_set_up {
            self.set_up();
            return None;
        }
        let temperature = self.chip.read().ok();
        self.is_set_up = temperature.is_some();
        temperature
    }

    fn set_up(&mut self) -> bool {
        self.is_set_up = self.chip.set_resolution(RESOLUTION).is_ok();
        self.is_set_up
    }
}
