//! The Modbus source on a real pseudo-terminal, with modelled slaves at the other end.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "outside `#[test]` functions too, a test fails by panicking"
)]

#[path = "modbus/bus.rs"]
mod bus;
#[path = "link/intake.rs"]
#[expect(dead_code, reason = "the link's tests use more of it")]
mod intake;
#[path = "pty/line.rs"]
mod line;

use std::sync::atomic::Ordering;
use std::time::Duration;

use bus::{Bench, Manner, slave};
use lamppost_event::{Origin, SourceKind};
use lamppost_serial::{ModbusOptions, Order, Register, SlaveOptions, Table, ValueType};

fn register(name: &str, address: u16, value_type: ValueType) -> Register {
    Register::new(name, Table::Input, address, value_type)
}

fn volts() -> Register {
    Register { unit: Some("V".to_owned()), ..register("voltage", 0, ValueType::F32) }
}

/// 230.2 in two registers.
const VOLTS: [(u16, u16); 2] = [(0, 0x4366), (1, 0x3333)];

#[tokio::test]
async fn values_of_several_slaves_arrive_with_unit_type_order_and_scale() {
    let mut counter = register("count", 10, ValueType::U32);
    counter.word_order = Order::Little;
    let mut temperature = Register::new("temperature", Table::Holding, 3, ValueType::I16);
    temperature.scale = Some("0.1".parse().unwrap());
    let door = Register::new("door", Table::Discrete, 9, ValueType::U16);
    let slaves = vec![slave(1, "meter-1", vec![volts()]), slave(7, "box", vec![counter, temperature, door])];
    let bench = Bench::new(slaves, |bus| {
        bus.set(1, VOLTS);
        bus.set(7, [(10, 1), (11, 2), (3, 0xffce), (9, 1)]);
    });
    bench.until("both polled twice", |bench| bench.intake.offers().len() >= 8).await;
    let mut texts = bench.texts();
    texts.truncate(4);
    texts.sort();
    let expected = [
        ("modbus/box/count", r#"{"measure":"count","value":131073}"#),
        ("modbus/box/door", r#"{"measure":"door","value":true}"#),
        ("modbus/box/temperature", r#"{"measure":"temperature","value":-5.0}"#),
        ("modbus/meter-1/voltage", r#"{"measure":"voltage","value":230.2,"unit":"V"}"#),
    ];
    assert_eq!(texts, expected.map(|(address, payload)| (address.to_owned(), payload.to_owned())));
    let first = bench.intake.offers().remove(0);
    assert_eq!((first.source, first.origin, first.device.as_str()), (SourceKind::Serial, Origin::Unmarked, "meter-1"));
    assert!(bench.status.slaves.iter().all(|slave| slave.errors.get() == 0), "{:?}", bench.status);
    bench.stop().await;
}

#[tokio::test]
async fn an_exception_names_slave_function_and_register_and_the_rest_goes_on() {
    let far = register("nothing", 1_000, ValueType::U16);
    let slaves = vec![slave(1, "meter-1", vec![far, volts()]), slave(2, "meter-2", vec![volts()])];
    let bench = Bench::new(slaves, |bus| {
        bus.set(1, VOLTS);
        bus.set(2, VOLTS);
    });
    bench.until("several polls", |bench| bench.intake.offers().len() >= 8).await;
    let [first, second] = &bench.status.slaves[..] else { panic!("{:?}", bench.status) };
    assert_eq!(
        first.last_error().unwrap(),
        "slave 1 (meter-1), function 4, input register 1000: exception 2 (Illegal data address)"
    );
    assert!(first.exceptions.get() >= 3 && first.errors.get() >= 3 && first.stored.get() >= 3, "{first:?}");
    assert_eq!((second.errors.get(), second.last_error()), (0, None));
    assert_eq!(bench.status.retries.get(), 0, "an exception is an answer");
    bench.stop().await;
}

#[tokio::test]
async fn a_slave_that_refuses_the_gaps_between_its_registers_is_asked_without_them() {
    let power = register("power", 6, ValueType::U16);
    let bench = Bench::new(vec![slave(1, "meter-1", vec![volts(), power])], |bus| {
        bus.set(1, VOLTS);
        bus.set(1, [(6, 42)]);
    });
    bench.until("both values", |bench| bench.intake.offers().len() >= 4).await;
    assert_eq!(bench.status.slaves[0].exceptions.get(), 1);
    bench.stop().await;
}

#[tokio::test]
async fn so_is_one_that_refuses_them_by_another_exception_or_does_not_answer_at_all() {
    for refuses_by in [Some(3), None] {
        let power = register("power", 6, ValueType::U16);
        let bench = Bench::new(vec![slave(1, "meter-1", vec![volts(), power])], |bus| {
            bus.set(1, VOLTS);
            bus.set(1, [(6, 42)]);
            bus.refuses_by = refuses_by;
        });
        bench.until("both values", |bench| bench.intake.offers().len() >= 20).await;
        assert_eq!(bench.status.slaves[0].errors.get(), 1, "{:?}", bench.status);
        bench.stop().await;
    }
}

#[tokio::test]
async fn a_slave_that_was_off_is_asked_with_gaps_or_without_and_all_of_it_arrives() {
    let power = register("power", 4, ValueType::U16);
    let bench = Bench::new(vec![slave(1, "meter-1", vec![volts(), power])], |_| {});
    bench.until("four silences", |bench| bench.status.silent.get() >= 4).await;
    bench.bus.lock().unwrap().set(1, VOLTS.into_iter().chain([(2, 0), (3, 0), (4, 42)]));
    bench.until("ten values", |bench| bench.status.slaves[0].stored.get() >= 10).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_register_that_the_slave_does_not_have_costs_its_neighbours_a_few_polls_and_no_more() {
    let registers = (0..9).map(|at| register(&format!("r{at}"), at, ValueType::U16)).collect();
    let bench = Bench::new(vec![slave(1, "meter-1", registers)], |bus| {
        bus.set(1, (0..9).filter(|at| *at != 5).map(|at| (at, at)));
    });
    bench.until("eighty values", |bench| bench.intake.offers().len() >= 80).await;
    let seen: std::collections::BTreeSet<_> = bench.texts().into_iter().map(|(address, _)| address).collect();
    assert_eq!(seen.len(), 8, "{seen:?}");
    let slave = &bench.status.slaves[0];
    let said = slave.last_error().unwrap();
    assert_eq!(said, "slave 1 (meter-1), function 4, input register 5: exception 2 (Illegal data address)");
    // No poll brings all, and the slave gets on.
    assert!(slave.errors.get() + 1 >= slave.polls.get() && slave.answers.get() >= 10, "{slave:?}");
    bench.stop().await;
}

#[tokio::test]
async fn a_damaged_answer_is_not_waited_for_again() {
    let (low, high) = (register("low", 0, ValueType::U16), register("high", 500, ValueType::U16));
    // What a late answer would be given on top is twice this, and then ten values take longer than the test's patience.
    let options = ModbusOptions { timeout: Duration::from_secs(1), retries: 1, ..bus::options() };
    let bench = Bench::with(options, vec![slave(1, "meter-1", vec![low, high])], |bus| {
        bus.set(1, [(0, 1), (500, 2)]);
        bus.behave(1, Manner::WrongChecksum, 3);
    });
    bench.until("ten values", |bench| bench.intake.offers().len() >= 10).await;
    assert!(bench.status.garbled.get() >= 3, "{:?}", bench.status);
    bench.stop().await;
}

#[tokio::test]
async fn noise_before_an_answer_wrong_checksums_and_others_answers_cost_a_try_and_never_a_wrong_value() {
    for manner in [
        Manner::NoiseBefore,
        Manner::WrongChecksum,
        Manner::AnotherSlave,
        Manner::AnotherFunction,
        Manner::TooShort,
        Manner::Cut,
    ] {
        let bench = Bench::new(vec![slave(1, "meter-1", vec![volts()])], |bus| {
            bus.set(1, VOLTS);
            // Each second answer is a bad one.
            bus.behave(1, manner, 2);
        });
        bench.until("ten values", |bench| bench.intake.offers().len() >= 10).await;
        let right =
            ("modbus/meter-1/voltage".to_owned(), r#"{"measure":"voltage","value":230.2,"unit":"V"}"#.to_owned());
        assert!(bench.texts().iter().all(|text| *text == right), "{manner:?}: {:?}", bench.texts());
        let status = &bench.status;
        let bad = status.garbled.get() + status.wrong.get();
        assert!(bad >= 3 || manner == Manner::NoiseBefore, "{manner:?}: {status:?}");
        assert!(status.retries.get() >= bad / 2, "{manner:?}: {status:?}");
        bench.stop().await;
    }
}

#[tokio::test]
async fn an_answer_that_comes_after_its_time_is_not_taken_for_the_next_ones() {
    let (low, high) = (register("low", 0, ValueType::U16), register("high", 500, ValueType::U16));
    let bench = Bench::new(vec![slave(1, "meter-1", vec![low, high])], |bus| {
        bus.set(1, [(0, 1), (500, 2)]);
        // Longer than the time-out, and there before the next request.
        bus.behave(1, Manner::Late(Duration::from_millis(62)), 3);
    });
    bench.until("thirty values", |bench| bench.intake.offers().len() >= 30).await;
    for (address, payload) in bench.texts() {
        let value = if address.ends_with("low") { "\"value\":1}" } else { "\"value\":2}" };
        assert!(payload.ends_with(value), "{address}: {payload}");
    }
    assert!(bench.status.silent.get() > 0, "{:?}", bench.status);
    bench.stop().await;
}

#[tokio::test]
async fn a_silent_slave_is_told_of_asked_less_often_and_holds_nobody_up() {
    let slaves = vec![slave(1, "dead", vec![volts()]), slave(2, "alive", vec![volts()])];
    let bench = Bench::new(slaves, |bus| bus.set(2, VOLTS));
    bench.until("forty polls", |bench| bench.status.slaves[1].stored.get() >= 40).await;
    let [dead, alive] = &bench.status.slaves[..] else { panic!("{:?}", bench.status) };
    assert_eq!(dead.last_error().unwrap(), "slave 1 (dead), function 4, input register 0 to 1: no answer within 50ms");
    // Both are due equally often.
    assert!(dead.polls.get() <= alive.polls.get() / 3 && dead.missed.get() > 0, "{:?}", bench.status);
    assert!(alive.missed.get() <= alive.polls.get(), "{alive:?}");
    // One try each, but for the first time.
    assert_eq!(bench.status.retries.get(), 1);
    bench.stop().await;
}

#[tokio::test]
async fn a_slave_that_comes_back_is_told_of_and_polled_as_before() {
    let bench = Bench::new(vec![slave(1, "meter-1", vec![volts()])], |_| {});
    bench.until("two silences", |bench| bench.status.silent.get() >= 2).await;
    bench.bus.lock().unwrap().set(1, VOLTS);
    bench.until("ten values", |bench| bench.status.slaves[0].stored.get() >= 10).await;
    bench.stop().await;
}

#[tokio::test]
async fn what_is_no_number_is_counted_and_told_and_its_neighbours_are_stored() {
    let slaves = vec![slave(1, "meter-1", vec![volts(), register("current", 2, ValueType::F32)])];
    let bench = Bench::new(slaves, |bus| {
        bus.set(1, VOLTS);
        bus.set(1, [(2, 0x7fc0), (3, 0)]);
    });
    bench.until("three values", |bench| bench.status.slaves[0].stored.get() >= 3).await;
    let status = &bench.status.slaves[0];
    assert!(status.unusable.get() >= 3 && status.errors.get() >= 3, "{status:?}");
    assert_eq!(
        status.last_error().unwrap(),
        "slave 1 (meter-1), input register 2 (\"current\"): the value is not a number (NaN): the meter has none"
    );
    assert!(bench.texts().iter().all(|(address, _)| address.ends_with("voltage")));
    bench.stop().await;
}

#[tokio::test]
async fn a_meter_of_eastrons_is_read_whole_by_its_profile() {
    let options = SlaveOptions {
        registers_max: lamppost_sdm::REGISTERS_MAX,
        ..slave(1, "meter-1", Register::of_sdm(lamppost_sdm::Model::Sdm120))
    };
    let bench = Bench::new(vec![options], |bus| {
        for quantity in lamppost_sdm::Model::Sdm120.quantities() {
            let bits = f32::from(quantity.address).to_bits();
            bus.set(1, [(quantity.address, (bits >> 16) as u16), (quantity.address + 1, bits as u16)]);
        }
    });
    let quantities = lamppost_sdm::Model::Sdm120.quantities();
    bench.until("a whole poll", |bench| bench.intake.offers().len() >= 2 * quantities.len()).await;
    for quantity in quantities {
        let payload = format!(
            "{{\"measure\":\"{}\",\"value\":{},\"unit\":\"{}\"}}",
            quantity.name, quantity.address, quantity.unit
        );
        assert!(bench.texts().contains(&(format!("modbus/meter-1/{}", quantity.name), payload)), "{quantity:?}");
    }
    bench.stop().await;
}

#[tokio::test]
async fn a_bus_that_is_unplugged_and_plugged_in_again_is_asked_on() {
    let mut bench = Bench::new(vec![slave(1, "meter-1", vec![volts()])], |bus| bus.set(1, VOLTS));
    bench.until("a value", |bench| bench.status.slaves[0].stored.get() >= 1).await;
    bench.unplug();
    bench.until("the hang-up", |bench| bench.status.port.hang_ups.get() >= 1).await;
    let before = bench.status.slaves[0].stored.get();
    bench.plug_in();
    bench.until("the next value", |bench| bench.status.slaves[0].stored.get() > before).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_poll_that_a_hang_up_ends_counts_as_one_that_brought_nothing() {
    let mut bench = Bench::new(vec![slave(1, "meter-1", vec![volts()])], |bus| bus.set(1, VOLTS));
    bench.until("a value", |bench| bench.status.slaves[0].stored.get() >= 1).await;
    bench.unplug();
    bench.until("the hang-up", |bench| bench.status.port.hang_ups.get() >= 1).await;
    let slave = &bench.status.slaves[0];
    // Each other poll brought its one value.
    assert_eq!(slave.polls.get() - slave.errors.get(), slave.stored.get(), "{slave:?}");
    bench.stop().await;
}

#[tokio::test]
async fn what_a_full_journal_does_not_take_in_time_is_counted_and_polling_goes_on() {
    let bench = Bench::new(vec![slave(1, "meter-1", vec![volts()])], |bus| bus.set(1, VOLTS));
    bench.intake.set_full(true);
    bench.until("values given up", |bench| bench.status.slaves[0].missed.get() >= 3).await;
    assert_eq!(bench.status.slaves[0].stored.get(), 0);
    bench.intake.set_full(false);
    bench.until("the next value", |bench| bench.status.slaves[0].stored.get() >= 1).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_stopped_journal_ends_the_source() {
    let bench = Bench::new(vec![slave(1, "meter-1", vec![volts()])], |bus| bus.set(1, VOLTS));
    bench.until("a value", |bench| bench.status.slaves[0].stored.get() >= 1).await;
    bench.intake.stop();
    assert!(bench.ended().await.unwrap_err().reason.contains("the test stopped it"));
}

#[tokio::test]
async fn between_frames_the_bus_is_silent_for_as_long_as_configured() {
    let options = ModbusOptions { turnaround: Duration::from_millis(15), ..bus::options() };
    let bench = Bench::with(options, vec![slave(1, "meter-1", vec![volts()])], |bus| bus.set(1, VOLTS));
    bench.until("ten values", |bench| bench.status.slaves[0].stored.get() >= 10).await;
    let shortest = bench.shortest_silence_us.load(Ordering::Relaxed);
    assert!(shortest >= 15_000, "{shortest} µs");
    bench.stop().await;
}
