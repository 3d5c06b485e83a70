//! What each kind of chip brings.

use lamppost_units::{Microtesla, Microvolts, PartsPerMillion, Volts};

use std::cell::Cell;

use super::*;

const CO2_AT: BusAddress = BusAddress(lamppost_scd41::ADDRESS);
const BAROMETER_AT: BusAddress = BusAddress(0x77);
const METER_AT: BusAddress = BusAddress(0x40);

fn co2(ppm: i32) -> lamppost_scd41::Measurement {
    lamppost_scd41::Measurement {
        co2: PartsPerMillion::from_milli(ppm * 1_000),
        temperature: Celsius::from_ten_thousandths(250_027),
        humidity: RelativeHumidity::from_milli(37_002),
    }
}

#[tokio::test]
async fn a_dps310_reports_pressure_and_temperature() {
    let (bus, basket) = (ModelBus::new(), Arc::<Basket>::default());
    let air = lamppost_dps310::Measurement {
        pressure: Pascals::from_milli(98_765_000),
        temperature: Celsius::from_milli(-7_250),
    };
    bus.set_dps310(BAROMETER_AT, air);
    let source = source(BusOpener::Model(bus), Chip::Dps310, BAROMETER_AT, 50, &basket);
    let report = run_until(source, |r| r.stored >= 2).await;
    assert_eq!(report.errors, 0, "{report:?}");
    for ((address, payload), (place, value, within, unit)) in basket
        .texts()
        .iter()
        .zip([("i2c/mast/pressure", 98_765.0, 0.5, "Pa"), ("i2c/mast/temperature", -7.25, 0.002, "Cel")])
    {
        let payload: serde_json::Value = serde_json::from_str(payload).unwrap();
        assert!((payload["value"].as_f64().unwrap() - value).abs() < within, "{payload}");
        assert_eq!((address.as_str(), &payload["unit"]), (place, &unit.into()));
    }
}

#[tokio::test]
async fn an_ina226_reports_voltage_current_through_its_shunt_and_power() {
    let (bus, basket) = (ModelBus::new(), Arc::<Basket>::default());
    bus.set_ina226(METER_AT, Volts::from_micro(11_980_000), Microvolts::from_nanovolts(20_000_000));
    let chip = Chip::Ina226 { shunt_uohm: 2_000 };
    let report = run_until(source(BusOpener::Model(bus), chip, METER_AT, 100, &basket), |r| r.stored >= 3).await;
    assert_eq!(report.errors, 0, "{report:?}");
    let texts = basket.texts();
    let expected = [
        ("i2c/mast/voltage", r#"{"measure":"voltage","value":11.98,"unit":"V"}"#),
        ("i2c/mast/current", r#"{"measure":"current","value":10,"unit":"A"}"#),
        // 3833 steps of 31.25 mW: what the chip computes, in whole steps.
        ("i2c/mast/power", r#"{"measure":"power","value":119.78125,"unit":"W"}"#),
    ];
    assert_eq!(texts[..3], expected.map(|(address, payload)| (address.to_owned(), payload.to_owned())));
}

#[tokio::test]
async fn an_scd41_brings_what_is_new_and_holds_up_no_other_chip_of_its_bus() {
    let (bus, basket, others) = (ModelBus::new(), Arc::<Basket>::default(), Arc::<Basket>::default());
    bus.set_scd41(co2(500));
    bus.set_tmp105(AT, Celsius::from_milli(1_000));
    let slow = source(BusOpener::Model(bus.clone()), Chip::Scd41, CO2_AT, 10, &basket);
    let other = source(BusOpener::Model(bus.clone()), Chip::Tmp105, AT, 10, &others);
    let (others_before, changed) = (AtomicBool::new(false), AtomicBool::new(false));
    let slow = run_until(slow, |report| {
        if report.stored == 0 && !others.texts().is_empty() {
            others_before.store(true, Ordering::Relaxed);
        }
        if report.stored == 3 && report.polls >= 5 && !changed.swap(true, Ordering::Relaxed) {
            bus.set_scd41(co2(600));
        }
        report.stored >= 6
    });
    let (slow, _) = tokio::join!(slow, run_until(other, |report| report.stored >= 50));
    assert!(others_before.load(Ordering::Relaxed), "the other chip waited for the start of this one, of half a second");
    assert_eq!(slow.errors, 0, "{slow:?}");
    let texts = basket.texts();
    assert_eq!(texts[0], ("i2c/mast/co2".into(), r#"{"measure":"co2","value":500,"unit":"ppm"}"#.into()));
    assert_eq!(texts[1].1, r#"{"measure":"temperature","value":25.0027,"unit":"Cel"}"#);
    assert_eq!(texts[2].1, r#"{"measure":"humidity","value":37.002,"unit":"%RH"}"#);
    assert_eq!(texts[3].1, r#"{"measure":"co2","value":600,"unit":"ppm"}"#);
    assert_eq!(texts.len(), 6, "what was brought once is not brought again");
}

#[test]
fn what_a_chip_can_not_have_is_refused_with_what_it_can() {
    let refused = |chip, address| {
        let intake: Arc<dyn Intake> = Arc::new(Basket::default());
        let (bus, device) = (BusOpener::Linux("/dev/i2c-1".into()), DeviceId::new("post-17").unwrap());
        I2cSource::new("mast", bus, chip, address, Duration::from_secs(1), device, intake).err().unwrap().to_string()
    };
    assert_eq!(refused(Chip::Scd41, AT), "a scd41 can't have the address 0x48: it has one from 0x62 to 0x62");
    assert_eq!(refused(Chip::Dps310, AT), "a dps310 can't have the address 0x48: it has one from 0x76 to 0x77");
    let ina226 = |shunt_uohm| Chip::Ina226 { shunt_uohm };
    assert_eq!(refused(ina226(100), CO2_AT), "a ina226 can't have the address 0x62: it has one from 0x40 to 0x4f");
    assert_eq!(
        refused(ina226(99), METER_AT),
        "an ina226 can't be calibrated for a shunt of 99 µΩ: 100 to 2500000 µΩ it can be"
    );
}

const FIELD_AT: BusAddress = BusAddress(lamppost_lsm303dlhc::ADDRESS);

fn field(x: i32, y: i32, z: i32) -> lamppost_lsm303dlhc::MagneticField {
    let [x, y, z] = [x, y, z].map(Microtesla::from_nanotesla);
    lamppost_lsm303dlhc::MagneticField { x, y, z }
}

#[tokio::test]
async fn a_magnetometer_reports_the_field_along_its_three_axes_in_teslas() {
    let (bus, basket) = (ModelBus::new(), Arc::<Basket>::default());
    bus.set_lsm303dlhc(field(9_091, -18_182, 40_816));
    let chip = Chip::Lsm303dlhc { vehicles: None };
    let report = run_until(source(BusOpener::Model(bus), chip, FIELD_AT, 50, &basket), |r| r.stored >= 3).await;
    assert_eq!(report.errors, 0, "{report:?}");
    let expected = [
        ("i2c/mast/field_x", r#"{"measure":"field_x","value":0.000009091,"unit":"T"}"#),
        ("i2c/mast/field_y", r#"{"measure":"field_y","value":-0.000018182,"unit":"T"}"#),
        ("i2c/mast/field_z", r#"{"measure":"field_z","value":0.000040816,"unit":"T"}"#),
    ];
    assert_eq!(basket.texts()[..3], expected.map(|(address, payload)| (address.to_owned(), payload.to_owned())));
}

/// Settings that tolerate a machine which is busy for a second.
fn patient() -> lamppost_vehicle::Settings {
    lamppost_vehicle::Settings { learn_ms: 200, gap_ms_min: 1_000, silence_ms_max: 1_000, ..Default::default() }
}

#[tokio::test]
async fn a_magnetometer_counts_what_drives_past_between_two_polls_also_when_it_was_pulled_out_meanwhile() {
    let (bus, basket) = (ModelBus::new(), Arc::<Basket>::default());
    bus.set_lsm303dlhc(field(18_000, 2_000, 45_000));
    let chip = Chip::Lsm303dlhc { vehicles: Some(patient()) };
    let source = source(BusOpener::Model(bus.clone()), chip, FIELD_AT, 700, &basket);
    let began = Instant::now();
    let vehicles = || -> u64 {
        let texts = basket.texts();
        let counts = texts.iter().filter(|(address, _)| address == "i2c/mast/vehicles");
        counts
            .map(|(_, payload)| serde_json::from_str::<serde_json::Value>(payload).unwrap()["value"].as_u64().unwrap())
            .sum()
    };
    run_until(source, |_| {
        match began.elapsed().as_millis() {
            // Time to learn, then a car of 0.4 s, then nothing.
            1_000..1_400 => bus.set_lsm303dlhc(field(18_000, 2_000, 75_000)),
            1_400..2_000 => bus.set_lsm303dlhc(field(18_000, 2_000, 45_000)),
            // The reports after this one could not be had by asking the chip then.
            2_000..2_100 => bus.unplug(FIELD_AT),
            2_100.. => bus.set_lsm303dlhc(field(18_000, 2_000, 45_000)),
            _ => {}
        }
        vehicles() == 1
    })
    .await;
    let texts = basket.texts();
    let places: Vec<_> = texts.iter().map(|(address, _)| address.as_str()).take(6).collect();
    let measures = ["vehicles", "vehicles_short", "vehicles_medium", "vehicles_long", "occupancy", "watched"];
    assert_eq!(places, measures.map(|measure| format!("i2c/mast/{measure}")));
    assert!(
        texts.iter().all(|(_, payload)| payload.contains(r#""unit":"count""#) || payload.contains(r#""unit":"/""#))
    );
}

#[tokio::test]
async fn a_magnetometer_that_is_not_there_fails_as_any_chip_does() {
    let basket = Arc::<Basket>::default();
    let chip = Chip::Lsm303dlhc { vehicles: Some(patient()) };
    let source = source(BusOpener::Model(ModelBus::new()), chip, FIELD_AT, 10, &basket);
    let report = run_until(source, |report| report.errors >= 2).await;
    assert_eq!(
        report.last_error.as_deref(),
        Some(
            "the modelled bus, address 0x1e: reading LSM303DLHC register IRA (0x0a): no chip acknowledges the address"
        )
    );
    assert!(basket.texts().is_empty());
}

#[tokio::test]
async fn a_magnetometer_that_was_reset_between_two_polls_is_found_out_and_set_up_anew() {
    let (bus, basket) = (ModelBus::new(), Arc::<Basket>::default());
    bus.set_lsm303dlhc(field(9_091, -18_182, 40_816));
    let chip = Chip::Lsm303dlhc { vehicles: None };
    let was_reset = Cell::new(false);
    let report = run_until(source(BusOpener::Model(bus.clone()), chip, FIELD_AT, 50, &basket), |report| {
        if report.stored >= 6 && !was_reset.get() {
            bus.unplug(FIELD_AT);
            bus.set_lsm303dlhc(field(9_091, -18_182, 40_816));
            was_reset.set(true);
        }
        report.errors > 0 && report.stored >= 12
    })
    .await;
    assert!(report.last_error.is_some_and(|error| error.contains("measures nothing new")));
    assert!(basket.texts().iter().all(|(_, payload)| !payload.contains(r#""value":0.0,"#)), "{:?}", basket.texts());
}

#[tokio::test]
async fn a_lane_is_watched_on_though_its_magnetometer_was_reset_between_two_looks() {
    let (bus, basket) = (ModelBus::new(), Arc::<Basket>::default());
    bus.set_lsm303dlhc(field(18_000, 2_000, 45_000));
    let chip = Chip::Lsm303dlhc { vehicles: Some(patient()) };
    let source = source(BusOpener::Model(bus.clone()), chip, FIELD_AT, 700, &basket);
    let began = Instant::now();
    let was_reset = Cell::new(false);
    run_until(source, |_| {
        match began.elapsed().as_millis() {
            1_000.. if !was_reset.get() => {
                bus.unplug(FIELD_AT);
                bus.set_lsm303dlhc(field(18_000, 2_000, 45_000));
                was_reset.set(true);
            }
            1_800..2_200 => bus.set_lsm303dlhc(field(18_000, 2_000, 75_000)),
            2_200.. => bus.set_lsm303dlhc(field(18_000, 2_000, 45_000)),
            _ => {}
        }
        basket.texts().contains(&(
            "i2c/mast/vehicles".to_owned(),
            r#"{"measure":"vehicles","value":1,"unit":"count"}"#.to_owned(),
        ))
    })
    .await;
}
