//! A city's telemetry, made from a seed: what is journalled while it is measured. The peers' program compiles this file as well, so
//! that all get the same records.
//!
//! 200 devices (60 air quality stations, 60 traffic counters, 80 energy meters) report, each at its own pace around the
//! same period, as JSON; an event's key, value and header together are about 200 bytes. A figure is a random walk of the quantity plus the sensor's noise, printed with the digits
//! that such devices print: the last digits are as random as they are in the field, counters rise, states change now and then. Key: the
//! device. Header: what the gateway itself stores with an event that came by MQTT ([`encode_event`]).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write;

use bytes::Bytes;
use lamppost_event::{
    Address, BootId, ClockQuality, DeviceId, Event, EventTime, Monotonic, NameError, Origin, SourceKind, StoredRecord,
    Topic, WallTime, encode_event,
};

const AIR: usize = 60;
const TRAFFIC: usize = 60;
/// All of them; the rest are meters.
pub(crate) const DEVICES: usize = 200;
/// 2026-03-02 06:00 UTC.
const START_MS: i64 = 1_772_431_200_000;

/// An event, and which device it is of.
pub(crate) struct Report {
    /// From 0 to [`DEVICES`]: a device keeps to one partition, as by its key.
    pub(crate) device: usize,
    /// What is stored.
    pub(crate) record: StoredRecord,
}

/// See the module.
pub(crate) struct Telemetry {
    random: Random,
    devices: Vec<Device>,
    /// When each reports next, microseconds since the start.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    period_us: u64,
    boot: BootId,
    topic: Topic,
}

struct Device {
    name: String,
    id: DeviceId,
    address: Address,
    walks: Vec<Walk>,
    count: u64,
}

impl Telemetry {
    /// All devices together send `events_per_s`.
    pub(crate) fn new(seed: u64, events_per_s: u32) -> Result<Self, NameError> {
        let mut random = Random(seed);
        let period_us = DEVICES as u64 * 1_000_000 / u64::from(events_per_s.max(1));
        let devices = (0..DEVICES).map(|index| Device::new(index, &mut random)).collect::<Result<Vec<_>, _>>()?;
        let due = (0..DEVICES).map(|index| Reverse((random.below(period_us.max(1)), index))).collect();
        let boot = BootId(random.next());
        Ok(Self { random, devices, due, period_us, boot, topic: Topic::new("city.telemetry")? })
    }

    /// The next report, in the order of time.
    pub(crate) fn next(&mut self) -> Report {
        let Reverse((at_us, index)) = self.due.pop().unwrap_or_default();
        // Each device's own oscillator and radio: within 2 % of the period.
        let jitter = self.random.below(self.period_us / 25 + 1);
        self.due.push(Reverse((at_us + self.period_us - self.period_us / 50 + jitter, index)));
        let now_ms = START_MS + (at_us / 1000) as i64;
        let payload = match self.devices.get_mut(index) {
            Some(device) => device.report(index, now_ms, self.period_us / 1000, &mut self.random),
            None => String::new(),
        };
        let record = self.devices.get(index).map(|device| self.stored(device, now_ms, payload));
        Report { device: index, record: record.unwrap_or_else(empty) }
    }

    /// `count` reports, to be stored again and again where making them would be in the way of measuring.
    pub(crate) fn pool(&mut self, count: usize) -> Vec<Report> {
        (0..count).map(|_| self.next()).collect()
    }

    fn stored(&self, device: &Device, now_ms: i64, payload: String) -> StoredRecord {
        let (wall, monotonic) = (WallTime(now_ms), Monotonic((now_ms - START_MS) as u64 + 86_400_000));
        encode_event(&Event {
            source: SourceKind::Mqtt,
            device: device.id.clone(),
            address: device.address.clone(),
            topic: self.topic.clone(),
            key: Bytes::copy_from_slice(device.name.as_bytes()),
            origin: Origin::Unmarked,
            time: EventTime { device: None, wall, monotonic, boot: self.boot, quality: ClockQuality::Synced },
            content_type: None,
            reason: None,
            payload: payload.into(),
        })
    }
}

fn empty() -> StoredRecord {
    StoredRecord { timestamp: WallTime(START_MS), key: Bytes::new(), value: None, header: Bytes::new() }
}

/// A quantity that wanders between two bounds.
struct Walk {
    value: f64,
    low: f64,
    high: f64,
    step: f64,
    noise: f64,
}

impl Walk {
    fn new(low: f64, high: f64, step: f64, noise: f64, random: &mut Random) -> Self {
        Self { value: low + (high - low) * random.unit(), low, high, step, noise }
    }

    /// What the sensor shows now.
    fn shown(&mut self, random: &mut Random) -> f64 {
        self.value = (self.value + self.step * random.around_zero()).clamp(self.low, self.high);
        (self.value + self.noise * random.around_zero()).clamp(self.low, self.high)
    }
}

impl Device {
    fn new(index: usize, random: &mut Random) -> Result<Self, NameError> {
        let id = random.next() & 0xff_ffff;
        let (name, address, bounds): (_, _, &[(f64, f64, f64, f64)]) = match kind(index) {
            Kind::Air => (format!("air-{id:06x}"), format!("city/air/{id:06x}/state"), &AIR_WALKS),
            Kind::Traffic => (format!("trf-{id:06x}"), format!("city/traffic/{id:06x}/count"), &TRAFFIC_WALKS),
            Kind::Energy => (format!("mtr-{id:06x}"), format!("city/energy/{id:06x}/meter"), &ENERGY_WALKS),
        };
        let walks = bounds.iter().map(|(low, high, step, noise)| Walk::new(*low, *high, *step, *noise, random));
        let walks = walks.collect();
        let count = random.below(90_000_000);
        Ok(Self { id: DeviceId::new(&name)?, address: Address::new(&address)?, name, walks, count })
    }

    fn report(&mut self, index: usize, now_ms: i64, period_ms: u64, random: &mut Random) -> String {
        let shown: Vec<f64> = self.walks.iter_mut().map(|walk| walk.shown(random)).collect();
        let mut text = String::with_capacity(224);
        // Writing to a String does not fail.
        let _written = match kind(index) {
            Kind::Air => self.air(&mut text, now_ms, &shown),
            Kind::Traffic => self.traffic(&mut text, now_ms, &shown, random),
            Kind::Energy => self.energy(&mut text, now_ms, period_ms, &shown),
        };
        text
    }

    fn air(&self, out: &mut String, now_ms: i64, shown: &[f64]) -> std::fmt::Result {
        let [pm25, pm10, no2, celsius, humidity, volts] = shown else { return Err(std::fmt::Error) };
        write!(
            out,
            r#"{{"id":"{}","time":"{}","pm2_5":{pm25:.1},"pm10":{pm10:.1},"no2":{no2:.2},"#,
            self.name,
            Utc(now_ms)
        )?;
        write!(out, r#""temperature":{celsius:.2},"humidity":{humidity:.1},"battery":{volts:.2}}}"#)
    }

    fn traffic(&self, out: &mut String, now_ms: i64, shown: &[f64], random: &mut Random) -> std::fmt::Result {
        let [vehicles, heavy, mean, occupancy, headway] = shown else { return Err(std::fmt::Error) };
        let (lane, state) = (random.below(3) + 1, if random.below(50) == 0 { "degraded" } else { "ok" });
        write!(out, r#"{{"id":"{}","time":"{}","lane":{lane},"vehicles":{vehicles:.0},"#, self.name, Utc(now_ms))?;
        write!(out, r#""heavy":{heavy:.0},"speed_kmh":{mean:.1},"occupancy":{occupancy:.3},"#)?;
        write!(out, r#""headway_s":{headway:.2},"state":"{state}"}}"#)
    }

    fn energy(&mut self, out: &mut String, now_ms: i64, period_ms: u64, shown: &[f64]) -> std::fmt::Result {
        let [watts, v1, v2, v3, amperes, factor, hertz] = shown else { return Err(std::fmt::Error) };
        self.count += (watts * period_ms as f64 / 3_600_000.0) as u64 + 1;
        let kwh = self.count as f64 / 1000.0;
        write!(out, r#"{{"id":"{}","time":"{}","energy_kwh":{kwh:.3},"power_w":{watts:.1},"#, self.name, Utc(now_ms))?;
        write!(out, r#""voltage":[{v1:.1},{v2:.1},{v3:.1}],"current":{amperes:.2},"#)?;
        write!(out, r#""factor":{factor:.3},"hz":{hertz:.2}}}"#)
    }
}

/// Of each figure: the least, the greatest, how far it wanders between two reports, the sensor's noise.
const AIR_WALKS: [(f64, f64, f64, f64); 6] = [
    (2.0, 80.0, 0.6, 0.4),
    (4.0, 150.0, 0.9, 0.7),
    (3.0, 120.0, 0.8, 0.35),
    (-15.0, 38.0, 0.05, 0.03),
    (20.0, 99.0, 0.3, 0.2),
    (3.3, 4.2, 0.004, 0.008),
];
const TRAFFIC_WALKS: [(f64, f64, f64, f64); 5] = [
    (0.0, 45.0, 2.0, 4.0),
    (0.0, 8.0, 0.5, 1.2),
    (18.0, 88.0, 1.5, 3.0),
    (0.0, 0.6, 0.02, 0.03),
    (1.2, 30.0, 0.5, 1.0),
];
const ENERGY_WALKS: [(f64, f64, f64, f64); 7] = [
    (40.0, 9000.0, 90.0, 25.0),
    (222.0, 238.0, 0.3, 0.4),
    (222.0, 238.0, 0.3, 0.4),
    (222.0, 238.0, 0.3, 0.4),
    (0.1, 30.0, 0.4, 0.1),
    (0.7, 1.0, 0.004, 0.003),
    (49.9, 50.1, 0.005, 0.01),
];

enum Kind {
    Air,
    Traffic,
    Energy,
}

const fn kind(index: usize) -> Kind {
    if index < AIR {
        Kind::Air
    } else if index < AIR + TRAFFIC {
        Kind::Traffic
    } else {
        Kind::Energy
    }
}

/// Milliseconds since 1970 as RFC 3339. Days to a date: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".
struct Utc(i64);

impl std::fmt::Display for Utc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (days, ms) = (self.0.div_euclid(86_400_000) + 719_468, self.0.rem_euclid(86_400_000));
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
    }
}

/// SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// From 0 to 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normally distributed, with a standard deviation of 1.
    fn around_zero(&mut self) -> f64 {
        ((0..4).map(|_| self.unit()).sum::<f64>() - 2.0) * 3.0_f64.sqrt()
    }
}
