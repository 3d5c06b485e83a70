//! From what the chip's converters read to physical values: the integer formulas of section 4.2.3 (temperature and humidity
//! in 32 bits there, pressure in 64). All of it is checked: no calibration and no reading can make it overflow.

use lamppost_units::{Celsius, Pascals, RelativeHumidity};

use crate::{Channel, Measurement};

/// What the converters read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raw {
    /// 20 bits.
    pub temperature: u32,
    /// 20 bits.
    pub pressure: u32,
    /// 16 bits.
    pub humidity: u16,
}

impl Raw {
    /// What a skipped temperature or pressure reads as (sections 5.4.7 and 5.4.8).
    pub const SKIPPED: u32 = 0x80000;
    /// What a skipped humidity reads as (section 5.4.9).
    pub const SKIPPED_HUMIDITY: u16 = 0x8000;

    /// Parses registers 0xf7 to 0xfe.
    #[must_use]
    pub const fn parse(data: &[u8; 8]) -> Self {
        let [p0, p1, p2, t0, t1, t2, h0, h1] = *data;
        Self {
            temperature: u32::from_be_bytes([0, t0, t1, t2]) >> 4,
            pressure: u32::from_be_bytes([0, p0, p1, p2]) >> 4,
            humidity: u16::from_be_bytes([h0, h1]),
        }
    }

    /// The first quantity that reads as if it had been skipped.
    pub(crate) const fn like_skipped(self) -> Option<Channel> {
        if self.temperature == Self::SKIPPED {
            Some(Channel::Temperature)
        } else if self.pressure == Self::SKIPPED {
            Some(Channel::Pressure)
        } else if self.humidity == Self::SKIPPED_HUMIDITY {
            Some(Channel::Humidity)
        } else {
            None
        }
    }
}

/// The trimming parameters that the maker wrote into this chip; the names are the data sheet's (section 4.2.2), without `dig_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the data sheet gives the numbers no meaning but their place in the formulas")]
pub struct Calibration {
    pub t1: u16,
    pub t2: i16,
    pub t3: i16,
    pub p1: u16,
    pub p2: i16,
    pub p3: i16,
    pub p4: i16,
    pub p5: i16,
    pub p6: i16,
    pub p7: i16,
    pub p8: i16,
    pub p9: i16,
    pub h1: u8,
    pub h2: i16,
    pub h3: u8,
    pub h4: i16,
    pub h5: i16,
    pub h6: i8,
}

impl Calibration {
    /// Parses registers 0x88 to 0xa1 and 0xe1 to 0xe7. H4 and H5 are signed, 12 bits each, and share 0xe5.
    #[must_use]
    pub const fn parse(first: &[u8; 26], second: &[u8; 7]) -> Self {
        let [t1l, t1h, t2l, t2h, t3l, t3h, pressure @ .., _, h1] = *first;
        let [p1l, p1h, p2l, p2h, p3l, p3h, p4l, p4h, p5l, p5h, p6l, p6h, p7l, p7h, p8l, p8h, p9l, p9h] = pressure;
        let [h2l, h2h, h3, e4, e5, e6, h6] = *second;
        Self {
            t1: u16::from_le_bytes([t1l, t1h]),
            t2: i16::from_le_bytes([t2l, t2h]),
            t3: i16::from_le_bytes([t3l, t3h]),
            p1: u16::from_le_bytes([p1l, p1h]),
            p2: i16::from_le_bytes([p2l, p2h]),
            p3: i16::from_le_bytes([p3l, p3h]),
            p4: i16::from_le_bytes([p4l, p4h]),
            p5: i16::from_le_bytes([p5l, p5h]),
            p6: i16::from_le_bytes([p6l, p6h]),
            p7: i16::from_le_bytes([p7l, p7h]),
            p8: i16::from_le_bytes([p8l, p8h]),
            p9: i16::from_le_bytes([p9l, p9h]),
            h1,
            h2: i16::from_le_bytes([h2l, h2h]),
            h3,
            // An arithmetic shift of the left-aligned 12 bits keeps the sign.
            h4: i16::from_be_bytes([e4, e5 << 4]) >> 4,
            h5: i16::from_be_bytes([e6, e5]) >> 4,
            h6: h6.cast_signed(),
        }
    }

    /// Compensates one reading.
    ///
    /// # Errors
    /// The quantity whose value can't be held: the calibration or the reading is broken.
    pub fn compensate(&self, raw: Raw) -> Result<Measurement, Channel> {
        let fine = self.fine_temperature(raw.temperature);
        Ok(Measurement {
            temperature: celsius(fine).ok_or(Channel::Temperature)?,
            pressure: self.pressure(raw.pressure, fine).ok_or(Channel::Pressure)?,
            humidity: self.humidity(raw.humidity, fine).ok_or(Channel::Humidity)?,
        })
    }

    /// `t_fine` of the data sheet: temperature in 1/5120 °C. Below 2^23 whatever the inputs.
    pub(crate) fn fine_temperature(&self, raw: u32) -> i64 {
        let raw = i64::from(raw & 0xf_ffff);
        let (t1, t2, t3) = (i64::from(self.t1), i64::from(self.t2), i64::from(self.t3));
        let linear = (((raw >> 3) - (t1 << 1)) * t2) >> 11;
        let offset = (raw >> 4) - t1;
        linear + ((((offset * offset) >> 12) * t3) >> 14)
    }

    fn pressure(&self, raw: u32, fine: i64) -> Option<Pascals> {
        let pascals_q8 = self.pressure_q8(raw, fine)?;
        let milli = (pascals_q8.checked_mul(1000)? + 128) >> 8;
        i32::try_from(milli).ok().filter(|milli| *milli > 0).map(Pascals::from_milli)
    }

    /// Pressure in 1/256 Pa.
    pub(crate) fn pressure_q8(&self, raw: u32, fine: i64) -> Option<i64> {
        let [p2, p3, p4, p5, p6, p7, p8, p9] =
            [self.p2, self.p3, self.p4, self.p5, self.p6, self.p7, self.p8, self.p9].map(i64::from);
        let t = fine - 128_000;
        let offset = t * t * p6 + ((t * p5) << 17) + (p4 << 35);
        let scale = ((t * t * p3) >> 8) + ((t * p2) << 12);
        let scale = ((1_i64 << 47) + scale).checked_mul(i64::from(self.p1))? >> 33;
        let raw = 1_048_576 - i64::from(raw & 0xf_ffff);
        let p = ((raw << 31) - offset).checked_mul(3125)?.checked_div(scale)?;
        let square = p9.checked_mul(p >> 13)?.checked_mul(p >> 13)? >> 25;
        let linear = p8.checked_mul(p)? >> 19;
        Some((p.checked_add(square)?.checked_add(linear)? >> 8) + (p7 << 4))
    }

    fn humidity(&self, raw: u16, fine: i64) -> Option<RelativeHumidity> {
        let percent_q10 = self.humidity_q10(raw, fine)?;
        let milli = (percent_q10 * 1000 + 512) >> 10;
        i32::try_from(milli).ok().map(RelativeHumidity::from_milli)
    }

    /// Relative humidity in 1/1024 %, 0 to 100 %.
    pub(crate) fn humidity_q10(&self, raw: u16, fine: i64) -> Option<i64> {
        const FULL: i64 = 100 << 22;
        let [h2, h4, h5] = [self.h2, self.h4, self.h5].map(i64::from);
        let (h1, h3, h6) = (i64::from(self.h1), i64::from(self.h3), i64::from(self.h6));
        let t = fine - 76_800;
        let reading = ((i64::from(raw) << 14) - (h4 << 20) - h5 * t + 16_384) >> 15;
        let slope = ((((t * h6) >> 10) * (((t * h3) >> 11) + 32_768)) >> 10) + 2_097_152;
        let humidity = reading.checked_mul((slope.checked_mul(h2)? + 8_192) >> 14)?;
        let square = (humidity >> 15).checked_mul(humidity >> 15)? >> 7;
        let humidity = humidity.checked_sub(square.checked_mul(h1)? >> 4)?;
        Some(humidity.clamp(0, FULL) >> 12)
    }
}

/// The data sheet's hundredths of a degree.
fn celsius(fine: i64) -> Option<Celsius> {
    let hundredths = (fine * 5 + 128) >> 8;
    i32::try_from(hundredths * 100).ok().map(Celsius::from_ten_thousandths)
}

#[cfg(test)]
mod tests;
