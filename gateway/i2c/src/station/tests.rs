use lamppost_units::{Celsius, MicrogramsPerCubicMetre, PartsPerMillion, RelativeHumidity};

use super::*;
use crate::model::ModelBus;

#[test]
fn an_scd41_that_brings_nothing_new_fails_after_three_of_its_intervals_and_not_before() {
    let bus = ModelBus::new();
    bus.set_scd41(lamppost_scd41::Measurement {
        co2: PartsPerMillion::from_milli(500_000),
        temperature: Celsius::from_milli(20_000),
        humidity: RelativeHumidity::from_milli(40_000),
    });
    let mut driver = Driver::begin(&Place::Scd41, Bus::Model(bus)).unwrap();
    assert_eq!(driver.measure(&AirUse::Nothing).unwrap().len(), 3);
    assert_eq!(driver.measure(&AirUse::Nothing).unwrap().len(), 0);
    let Driver::Scd41(chip, last, _) = &mut driver else { panic!("another driver") };
    *last = Instant::now().checked_sub(Duration::from_millis(15_001)).unwrap();
    let said = take_air(chip, last).unwrap_err();
    assert_eq!(said, "SCD41 command get_data_ready_status (0xe4b8) told of no measurement within 15000 ms");
}

#[test]
fn an_scd41_is_told_the_pressure_that_a_barometer_measures_in_steps_of_a_hectopascal_and_anew_after_a_failure() {
    let (bus, air) = (ModelBus::new(), crate::Air::new());
    bus.set_scd41(lamppost_scd41::Measurement {
        co2: PartsPerMillion::from_milli(500_000),
        temperature: Celsius::from_milli(20_000),
        humidity: RelativeHumidity::from_milli(40_000),
    });
    let address = BusAddress(0x77);
    let weather = |pascals: i32| {
        let pressure = Pascals::from_milli(pascals * 1_000);
        bus.set_dps310(address, lamppost_dps310::Measurement { pressure, temperature: Celsius::from_milli(20_000) });
    };
    weather(98_740);
    let opener = BusOpener::Model(bus.clone());
    let at = |chip, address, air| Station::new(opener.clone(), Place::new(chip, address).unwrap(), air);
    let mut barometer = at(Chip::Dps310, address, AirUse::Tells(air.clone()));
    let mut gas = at(Chip::Scd41, BusAddress(lamppost_scd41::ADDRESS), AirUse::IsTold(air.clone()));
    gas.poll().unwrap();
    assert_eq!(bus.scd41_pressure_pa(), None, "it is not known yet");
    for (pascals, told) in [(98_740, 98_700), (98_820, 98_700), (98_880, 98_900), (60_000, 98_900)] {
        weather(pascals);
        barometer.poll().unwrap();
        gas.poll().unwrap();
        assert_eq!(bus.scd41_pressure_pa(), Some(told), "{pascals} Pa");
    }
    // A chip that was away has forgotten it.
    weather(98_820);
    barometer.poll().unwrap();
    bus.unplug(BusAddress(lamppost_scd41::ADDRESS));
    gas.poll().unwrap_err();
    bus.set_scd41(lamppost_scd41::Measurement {
        co2: PartsPerMillion::from_milli(500_000),
        temperature: Celsius::from_milli(20_000),
        humidity: RelativeHumidity::from_milli(40_000),
    });
    gas.poll().unwrap();
    assert_eq!(bus.scd41_pressure_pa(), Some(98_800));
}

#[test]
fn a_magnetometer_that_is_asked_before_it_has_a_new_result_has_not_failed_and_one_that_sleeps_has() {
    let (bus, address) = (ModelBus::new(), BusAddress(lamppost_lsm303dlhc::ADDRESS));
    let [x, y, z] = [9_000, 2_000, 45_000].map(lamppost_units::Microtesla::from_nanotesla);
    let field = lamppost_lsm303dlhc::MagneticField { x, y, z };
    bus.set_lsm303dlhc(field);
    let mut driver = Driver::begin(&Place::Lsm303dlhc(None), Bus::Model(bus.clone())).unwrap();
    assert_eq!(driver.measure(&AirUse::Nothing).unwrap().len(), 3);
    // Another one in its place, which was never started: it has nothing new.
    bus.unplug(address);
    bus.set_lsm303dlhc(field);
    assert_eq!(driver.measure(&AirUse::Nothing).unwrap().len(), 0);
    let Driver::Lsm303dlhc(chip, last) = &mut driver else { panic!("another driver") };
    *last = Instant::now().checked_sub(Duration::from_millis(101)).unwrap();
    let said = take_field(chip, last).unwrap_err();
    assert_eq!(said, "LSM303DLHC measures nothing new: it was reset, or hangs");
}

fn dusty() -> (ModelBus, Station) {
    let bus = ModelBus::new();
    bus.set_sps30(lamppost_sps30::convert([1, 2, 3, 4, 0, 0, 0, 0, 0, 0]));
    let place = Place::new(Chip::Sps30, BusAddress(lamppost_sps30::ADDRESS)).unwrap();
    let mut station = Station::new(BusOpener::Model(bus.clone()), place, AirUse::Nothing);
    assert_eq!(station.poll().unwrap().len(), 0, "it is not warm");
    (bus, station)
}

fn dust(station: &mut Station) -> &mut Dust {
    let Some(Driver::Sps30(_, dust)) = &mut station.driver else { panic!("no SPS30 at work") };
    dust
}

fn measures_anew(bus: &ModelBus) {
    bus.set_sps30(lamppost_sps30::convert([1, 2, 3, 4, 0, 0, 0, 0, 0, 0]));
}

#[test]
fn an_sps30_is_believed_once_it_is_warm_and_a_transfer_that_fails_does_not_start_its_fan_anew() {
    let (bus, mut station) = dusty();
    let warm_for = dust(&mut station).warm_at - Instant::now();
    assert!((28..=30).contains(&warm_for.as_secs()), "{warm_for:?}");
    measures_anew(&bus);
    assert_eq!(station.poll().unwrap().len(), 0);
    dust(&mut station).warm_at = Instant::now();
    measures_anew(&bus);
    let found: Vec<_> = station.poll().unwrap().iter().map(|found| (found.measure, found.value, found.unit)).collect();
    let masses = [("pm1", 1), ("pm2_5", 2), ("pm4", 3), ("pm10", 4)];
    let expected = masses.map(|(measure, mass)| {
        (measure, MicrogramsPerCubicMetre::from_milli(mass * 1_000).decimal(), MicrogramsPerCubicMetre::UNIT)
    });
    assert_eq!(found, expected);
    bus.fail_transfers(1);
    station.poll().unwrap_err();
    measures_anew(&bus);
    assert_eq!(station.poll().unwrap().len(), 4);
    // One that stays away is another one, perhaps, when it is back.
    bus.fail_transfers(1);
    dust(&mut station).last = Instant::now().checked_sub(Duration::from_millis(15_001)).unwrap();
    station.poll().unwrap_err();
    assert!(station.driver.is_none());
    assert_eq!(station.poll().unwrap().len(), 0);
}

#[test]
fn an_sps30_that_says_it_is_faulty_is_not_believed() {
    let (bus, mut station) = dusty();
    dust(&mut station).warm_at = Instant::now();
    bus.set_sps30_status(1 << 5);
    measures_anew(&bus);
    let said = station.poll().unwrap_err().to_string();
    assert!(said.ends_with("SPS30 command read device status (0xd206): the laser's current is wrong"), "{said}");
    bus.set_sps30_status(0);
    measures_anew(&bus);
    assert_eq!(station.poll().unwrap().len(), 4);
}

#[test]
fn an_sps30_that_brings_nothing_new_fails_after_its_fan_could_be_clean_and_not_before() {
    let (_bus, mut station) = dusty();
    dust(&mut station).last = Instant::now().checked_sub(Duration::from_millis(14_000)).unwrap();
    assert_eq!(station.poll().unwrap().len(), 0);
    dust(&mut station).last = Instant::now().checked_sub(Duration::from_millis(15_001)).unwrap();
    let said = station.poll().unwrap_err().to_string();
    let nothing = "SPS30 command read data-ready flag (0x0202) told of no measurement within 15000 ms";
    assert!(said.ends_with(nothing), "{said}");
}

#[test]
fn a_tmp105_that_was_reset_between_two_polls_gives_no_temperature_and_is_set_up_anew() {
    let (bus, address) = (ModelBus::new(), BusAddress(0x48));
    let temperature = Celsius::from_ten_thousandths(210_625);
    bus.set_tmp105(address, temperature);
    let place = Place::new(Chip::Tmp105, address).unwrap();
    let mut station = Station::new(BusOpener::Model(bus.clone()), place, AirUse::Nothing);
    let value = |found: Vec<Measured>| found[0].value;
    assert_eq!(value(station.poll().unwrap()), temperature.decimal());
    bus.unplug(address);
    bus.set_tmp105(address, Celsius::from_milli(0));
    let said = station.poll().unwrap_err().to_string();
    assert!(said.ends_with("0x00 instead of 0x60: the chip was reset"), "{said}");
    bus.set_tmp105(address, temperature);
    assert_eq!(value(station.poll().unwrap()), temperature.decimal());
}
