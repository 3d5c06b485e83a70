//! What the drivers, or the bus itself, say of the chips.

use core::fmt::Write;

use embedded_hal::i2c::I2c;
use lamppost_dps310::Dps310;
use lamppost_ds1338::{DateTime, Ds1338, Kind};
use lamppost_lsm303dlhc::{Lsm303dlhc, Range, Rate};
use lamppost_tmp105::{Address, Resolution, Tmp105};
use lm3s6965evb::clock::Delay;
use lm3s6965evb::i2c::{Bus, BusError, Controller};

use crate::Line;

pub(crate) fn tmp105(line: &mut Line) -> core::fmt::Result {
    let read = || {
        let register = lamppost_tmp105::Register::Configuration;
        let bus = bus().map_err(|source| lamppost_tmp105::Error::Write { register, source })?;
        let mut chip = Tmp105::new(bus, Address::default());
        chip.set_resolution(Resolution::Bits12)?;
        chip.read()
    };
    match read() {
        Ok(temperature) => writeln!(line, "{}", temperature.ten_thousandths()),
        Err(error) => writeln!(line, "error: {error}"),
    }
}

pub(crate) fn lsm303(range: &str, line: &mut Line) -> core::fmt::Result {
    let Some(range) = range.parse().ok().and_then(|nth: usize| Range::ALL.get(nth).copied()) else {
        return writeln!(line, "error: a range is 0 to 6");
    };
    let read = || {
        let register = lamppost_lsm303dlhc::Register::Identity;
        let bus = bus().map_err(|source| lamppost_lsm303dlhc::Error::Read { register, source })?;
        Lsm303dlhc::new(bus, range, Rate::Hz75)?.read()
    };
    match read() {
        Ok(field) => writeln!(line, "{} {} {}", field.x.nanotesla(), field.y.nanotesla(), field.z.nanotesla()),
        Err(error) => writeln!(line, "error: {error}"),
    }
}

pub(crate) type Start = fn(
    Bus,
    lamppost_dps310::Address,
    lamppost_dps310::Settings,
    &mut Delay,
) -> Result<Dps310<Bus>, lamppost_dps310::Error<BusError>>;

pub(crate) fn dps310(line: &mut Line, start: Start) -> core::fmt::Result {
    let read = || {
        let register = lamppost_dps310::Register::ProductId;
        let bus = bus().map_err(|source| lamppost_dps310::Error::Read { register, source })?;
        start(bus, Default::default(), Default::default(), &mut Delay)?.measure(&mut Delay)
    };
    match read() {
        Ok(found) => writeln!(line, "{} {}", found.pressure.milli(), found.temperature.ten_thousandths()),
        Err(error) => writeln!(line, "error: {error}"),
    }
}

pub(crate) fn ds1338(seconds: &str, line: &mut Line) -> core::fmt::Result {
    let time = seconds.parse().ok().and_then(DateTime::from_unix_s);
    if time.is_none() && !seconds.is_empty() {
        return writeln!(line, "error: no time");
    }
    let ask = || {
        let register = lamppost_ds1338::Register::Seconds;
        let bus = bus().map_err(|source| lamppost_ds1338::Error::Read { register, source })?;
        let mut clock = Ds1338::new(bus, Kind::Ds1338);
        match time {
            Some(time) => clock.set(time).map(|()| None),
            None => clock.time().map(Some),
        }
    };
    match ask() {
        Ok(Some(time)) => writeln!(line, "{}", time.unix_s()),
        Ok(None) => writeln!(line, "set"),
        Err(error) => writeln!(line, "error: {error}"),
    }
}

pub(crate) fn write(what: &str, line: &mut Line) -> core::fmt::Result {
    let mut numbers = what.split(' ').map(|number| number.parse::<u8>().ok());
    let mut next = || numbers.next().flatten();
    let (Some(address), Some(register), Some(value)) = (next(), next(), next()) else {
        return writeln!(line, "error: write ADDRESS REGISTER VALUE");
    };
    match bus().and_then(|mut bus| bus.write(address, &[register, value])) {
        Ok(()) => writeln!(line, "written"),
        Err(error) => writeln!(line, "error: {error:?}"),
    }
}

pub(crate) fn read(what: &str, line: &mut Line) -> core::fmt::Result {
    let mut numbers = what.split(' ').map(|number| number.parse::<u8>().ok());
    let mut next = || numbers.next().flatten();
    let (Some(address), Some(register), Some(count @ 1..=32)) = (next(), next(), next()) else {
        return writeln!(line, "error: read ADDRESS REGISTER COUNT, of at most 32");
    };
    let mut bytes = [0; 32];
    let bytes = bytes.get_mut(..usize::from(count)).unwrap_or_default();
    let read = bus().and_then(|mut bus| bus.write_read(address, &[register], bytes));
    if let Err(error) = read {
        return writeln!(line, "error: {error:?}");
    }
    bytes.iter().try_for_each(|byte| write!(line, "{byte:02x}"))?;
    writeln!(line)
}

/// The bus that QEMU attaches its chips to: I2C1, or I2C0 where that is the only one.
fn bus() -> Result<Bus, BusError> {
    Bus::start(Controller::I2c1).or_else(|_| Bus::start(Controller::I2c0))
}
