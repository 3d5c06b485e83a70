use lamppost_event::Monotonic;
use lamppost_i2c::RtcChip;
use lamppost_i2c::model::ModelBus;

use super::status::Last;
use super::*;
use crate::exposition::Exposition;

fn keeper(bus: &ModelBus) -> Keeper {
    let rtc = Rtc::new(BusOpener::Model(bus.clone()), RtcChip::Ds3231);
    Keeper::of(rtc, Arc::new(MachineClock::new()))
}

fn told(keeper: &Keeper) -> serde_json::Value {
    serde_json::to_value(keeper.status.report(keeper.clock.machine().2)).unwrap()
}

#[tokio::test]
async fn what_is_told_of_it_is_whether_it_answers_whether_it_stopped_and_how_far_it_was_off_when() {
    let bus = ModelBus::new();
    let mut keeper = keeper(&bus);
    keeper.read().await;
    let absent =
        "the modelled bus, address 0x68: reading clock register seconds (0x00): no chip acknowledges the address";
    let mut expected = serde_json::json!({
        "present": false, "stopped": false, "in_use": false, "read_ms_ago": null, "ahead_ms": null, "reason": absent,
    });
    assert_eq!(told(&keeper), expected);

    bus.set_rtc();
    keeper.read().await;
    let stopped = told(&keeper);
    assert_eq!((&stopped["present"], &stopped["stopped"]), (&true.into(), &true.into()), "{stopped}");
    let said = "the clock has stopped since it was set";
    assert!(stopped["reason"].as_str().is_some_and(|reason| reason.contains(said)), "{stopped}");

    keeper.set().await;
    let set = told(&keeper);
    assert_eq!((&set["present"], &set["stopped"], &set["read_ms_ago"]), (&true.into(), &false.into(), &().into()));

    // A minute ahead of this machine, whose own clock may be synchronised or not.
    let machine_ms = keeper.clock.machine().0.0;
    keeper.rtc.set_s(u64::try_from(machine_ms / 1_000 + 60).unwrap()).unwrap();
    keeper.look().await;
    let read = told(&keeper);
    let ahead_ms = read["ahead_ms"].as_i64().unwrap();
    assert!((55_000..=60_000).contains(&ahead_ms), "{read}");
    assert!(read["read_ms_ago"].as_u64().is_some_and(|ms| ms < 5_000), "{read}");
    assert_eq!((&read["present"], &read["stopped"], &read["reason"]), (&true.into(), &false.into(), &().into()));

    bus.unplug(Rtc::ADDRESS);
    keeper.read().await;
    expected["in_use"] = read["in_use"].clone();
    expected["ahead_ms"] = ahead_ms.into();
    let mut gone = told(&keeper);
    assert!(gone["read_ms_ago"].is_u64(), "{gone}");
    expected["read_ms_ago"] = gone["read_ms_ago"].take();
    gone["read_ms_ago"] = expected["read_ms_ago"].clone();
    assert_eq!(gone, expected);
}

#[tokio::test]
async fn a_clock_that_says_a_time_before_this_program_is_there_and_was_not_set() {
    let bus = ModelBus::new();
    bus.set_rtc();
    let mut keeper = keeper(&bus);
    keeper.rtc.set_s(1_000_000_000).unwrap();
    for _ in 0..2 {
        assert_eq!(keeper.read().await, None);
    }
    let said = told(&keeper);
    assert_eq!((&said["present"], &said["stopped"]), (&true.into(), &false.into()));
    assert_eq!(said["reason"], "its time is before this program was made: it was not set");
    let status = &keeper.status;
    assert_eq!((status.reads.load(Ordering::Relaxed), status.failures.load(Ordering::Relaxed)), (0, 2));
}

#[tokio::test]
async fn its_figures_are_what_is_told_of_it() {
    let bus = ModelBus::new();
    bus.set_rtc();
    let mut keeper = keeper(&bus);
    keeper.read().await;
    let text = |status: &BatteryStatus| {
        let mut out = Exposition::default();
        figures(&mut out, status, Monotonic(1_000_000));
        out.encode().unwrap()
    };
    let stopped = text(&keeper.status);
    for line in ["lamppost_battery_clock_present 1", "lamppost_battery_clock_stopped 1"] {
        assert!(stopped.contains(&format!("\n{line}\n")), "{stopped}");
    }
    assert!(!stopped.contains("ahead_seconds") && !stopped.contains("read_ago_seconds"), "never compared: {stopped}");
    *keeper.status.last() =
        Last { is_present: true, read: Some(Monotonic(987_500)), ahead_ms: Some(-1_250), fault: None };
    let read = text(&keeper.status);
    for line in [
        "lamppost_battery_clock_stopped 0",
        "lamppost_battery_clock_read_ago_seconds 12.5",
        "lamppost_battery_clock_ahead_seconds -1.25",
    ] {
        assert!(read.contains(&format!("\n{line}\n")), "{read}");
    }
}

#[test]
fn the_battery_gives_the_time_while_the_machine_has_none_and_is_set_once_it_has() {
    let at = 1_800_000_000_000;
    let (unset, holdover, synced) = (ClockQuality::Unset, ClockQuality::Holdover, ClockQuality::Synced);
    let cases = [
        (5_000, unset, false, Some(at), Decision::Hold),
        (5_000, unset, false, None, Decision::Nothing),
        // Restored from a file at the start: behind.
        (at - 600_000, holdover, false, Some(at), Decision::Hold),
        // Set by hand, or the kernel has taken it from another clock.
        (at + 600_000, holdover, false, Some(at), Decision::Nothing),
        // Lost its source after it had one.
        (at - 600_000, holdover, true, Some(at), Decision::Nothing),
        (at, synced, true, Some(at + 2_000), Decision::Nothing),
        (at, synced, true, Some(at + 2_001), Decision::Set),
        (at, synced, true, Some(at - 3_000), Decision::Set),
        (at, synced, true, None, Decision::Set),
    ];
    for (machine, quality, was_synced, found, expected) in cases {
        let decided = decide(WallTime(machine), quality, was_synced, found);
        assert_eq!(decided, expected, "{machine} {quality:?} {was_synced} {found:?}");
    }
}
