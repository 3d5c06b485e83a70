//! The link source on a real pseudo-terminal.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "outside `#[test]` functions too, a test fails by panicking"
)]
#![expect(clippy::disallowed_methods, reason = "a test makes and removes its own files")]

#[path = "link/clock.rs"]
mod clock;
#[path = "link/intake.rs"]
#[expect(dead_code, reason = "the tests of lines use more of it")]
mod intake;
#[path = "link/peer.rs"]
mod peer;

use std::time::Duration;

use lamppost_event::{Clock, ClockQuality, EventTime, Origin, SourceKind};
use lamppost_serial::{Command, CommandError, Refusal};
use lamppost_wire::{
    Answer, Boot, Capabilities, FromGateway, FromNode, Hello, Millis, Quality, Reading, Resend, Sequence, Step,
};
use peer::{Bench, Peer, frame, hello, reading};

/// Long enough for a wrong acknowledgement to show.
const SILENCE: Duration = Duration::from_millis(150);

#[tokio::test]
async fn a_reading_becomes_an_arrival_and_is_acknowledged_after_the_flush_only() {
    let (bench, mut peer) = Bench::with_peer();
    let welcome = peer.enter(&hello("node-7", 3, 0)).await;
    assert_eq!((welcome.boot, welcome.resume_after, welcome.window), (Boot(3), Sequence(0), 16));
    for sequence in 1..=3 {
        peer.say(&reading(3, sequence)).await;
    }
    bench.until("three offers", |bench| bench.intake.offers().len() == 3).await;
    assert_eq!(peer.hear_within(SILENCE).await, None);
    bench.intake.flush_to(2);
    peer.hear_ack(3, 2).await;
    assert_eq!(peer.hear_within(SILENCE).await, None);
    bench.intake.flush_to(3);
    peer.hear_ack(3, 3).await;
    let arrival = bench.intake.offers().remove(0);
    assert_eq!((arrival.source, arrival.device.as_str()), (SourceKind::Serial, "node-7"));
    assert_eq!(arrival.address.as_str(), "link/node-7/temperature");
    assert_eq!(arrival.origin, Origin::Sequence { boot: 3, sequence: 1 });
    assert_eq!(arrival.payload, r#"{"measure":"temperature","value":20.001,"unit":"Cel","uptime_ms":100}"#);
    assert_eq!(bench.status.node().unwrap().device, "node-7");
    bench.stop().await;
}

#[tokio::test]
async fn between_garbage_cut_frames_flipped_bits_and_resends_the_good_ones_arrive_once_and_in_order() {
    let (bench, mut peer) = Bench::with_peer();
    peer.enter(&hello("node-7", 3, 0)).await;
    for sequence in 1..=40_u64 {
        let good = frame(&reading(3, sequence));
        let cut = &frame(&reading(3, sequence + 1))[..good.len() - 4];
        let mut flipped = frame(&reading(3, sequence + 1));
        flipped[(sequence % 9) as usize + 3] ^= 1 << (sequence % 8);
        let garbage: Vec<u8> = (0..sequence * 3).map(|at| (at * sequence % 251) as u8).collect();
        peer.send(&garbage).await;
        peer.send(&good).await;
        peer.send(cut).await;
        peer.send(&flipped).await;
        peer.send(&good).await;
        peer.send(&frame(&reading(3, sequence.div_ceil(2)))).await;
        if sequence % 10 == 0 {
            bench.until("ten more", |bench| bench.intake.offers().len() as u64 == sequence).await;
            bench.intake.flush();
            peer.hear_ack(3, sequence).await;
        }
    }
    assert_eq!(bench.intake.sequences(), (1..=40).collect::<Vec<u64>>());
    assert!(bench.status.frames_bad_crc.get() >= 20 && bench.status.resent.get() >= 40, "{:?}", bench.status);
    bench.stop().await;
}

#[tokio::test]
async fn a_lost_reading_is_asked_for_and_what_came_after_it_is_not_taken_before_it() {
    let (bench, mut peer) = Bench::with_peer();
    peer.enter(&hello("node-7", 3, 0)).await;
    for sequence in [1, 3, 4] {
        peer.say(&reading(3, sequence)).await;
    }
    assert_eq!(peer.hear().await, FromGateway::Resend(Resend { boot: Boot(3), after: Sequence(1) }));
    bench.intake.flush();
    peer.hear_ack(3, 1).await;
    for sequence in [2, 3, 4] {
        peer.say(&reading(3, sequence)).await;
    }
    bench.until("all four", |bench| bench.intake.sequences() == [1, 2, 3, 4]).await;
    bench.intake.flush();
    peer.hear_ack(3, 4).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_node_resumes_after_what_is_on_disk() {
    let (bench, mut peer) = Bench::with_peer();
    bench.intake.set_mark("node-7", 3, 57);
    assert_eq!(peer.enter(&hello("node-7", 3, 60)).await.resume_after, Sequence(57));
    for sequence in [56, 57, 58] {
        peer.say(&reading(3, sequence)).await;
    }
    bench.until("the new one", |bench| bench.intake.sequences() == [58]).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_life_without_a_number_or_with_a_used_one_is_given_another() {
    let (bench, mut peer) = Bench::with_peer();
    bench.intake.set_mark("node-7", 3, 57);
    assert_eq!(peer.enter(&hello("node-7", 0, 0)).await.boot, Boot(0x0123_4567));
    bench.intake.set_mark("node-7", 0x0123_4567, 1);
    let welcome = peer.enter(&hello("node-7", 3, 12)).await;
    assert_eq!((welcome.boot, welcome.resume_after), (Boot(0x0123_4568), Sequence(0)));
    assert_eq!(bench.status.boots_given.get(), 2);
    bench.stop().await;
}

#[tokio::test]
async fn a_hello_is_answered_only_when_all_that_was_offered_is_on_disk() {
    let (bench, mut peer) = Bench::with_peer();
    peer.enter(&hello("node-7", 3, 0)).await;
    peer.say(&reading(3, 1)).await;
    bench.until("an offer", |bench| bench.intake.offers().len() == 1).await;
    peer.say(&FromNode::Hello(hello("node-7", 3, 1))).await;
    assert_eq!(peer.hear_within(SILENCE).await, None);
    bench.intake.flush();
    loop {
        if let FromGateway::Welcome(welcome) = peer.hear().await {
            assert_eq!(welcome.resume_after, Sequence(1));
            break;
        }
    }
    bench.stop().await;
}

#[tokio::test]
async fn a_reading_before_a_hello_is_not_taken_and_the_node_is_asked_who_it_is() {
    let (bench, mut peer) = Bench::with_peer();
    assert_eq!(peer.hear().await, FromGateway::Introduce);
    peer.say(&reading(3, 1)).await;
    assert_eq!(peer.hear().await, FromGateway::Introduce);
    assert!(bench.intake.offers().is_empty());
    assert_eq!(bench.status.before_welcome.get(), 1);
    bench.stop().await;
}

#[tokio::test]
async fn a_port_that_hangs_up_is_opened_again_when_it_comes_back() {
    let (bench, mut peer) = Bench::with_peer();
    peer.enter(&hello("node-7", 3, 0)).await;
    peer.say(&reading(3, 1)).await;
    bench.until("an offer", |bench| bench.intake.offers().len() == 1).await;
    drop(peer);
    bench.until("the hang-up", |bench| bench.status.port.hang_ups.get() == 1).await;
    bench.until("a failed opening", |bench| bench.status.port.open_errors.get() > 1).await;
    assert_eq!(bench.status.node(), None);
    bench.intake.flush();
    let mut peer = Peer::at(&bench.link);
    assert_eq!(peer.enter(&hello("node-7", 3, 1)).await.resume_after, Sequence(1));
    peer.say(&reading(3, 2)).await;
    bench.until("the next", |bench| bench.intake.sequences() == [1, 2]).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_port_that_is_none_is_a_counted_error_and_tried_again() {
    let bench = Bench::new();
    bench.until("three attempts", |bench| bench.status.port.open_errors.get() >= 3).await;
    let error = bench.status.last_error().unwrap();
    assert!(error.contains("usb-node-if00") && error.contains("115200"), "{error}");
    std::fs::write(&bench.link, "not a terminal").unwrap();
    bench.until("another error", |bench| bench.status.last_error().unwrap() != error).await;
    std::fs::remove_file(&bench.link).unwrap();
    let mut peer = Peer::at(&bench.link);
    assert_eq!(peer.enter(&hello("node-7", 3, 0)).await.boot, Boot(3));
    bench.stop().await;
}

#[tokio::test]
async fn while_the_journal_is_full_nothing_is_read_and_then_nothing_is_lost() {
    let (bench, mut peer) = Bench::with_peer();
    peer.enter(&hello("node-7", 3, 0)).await;
    bench.intake.set_full(true);
    for sequence in 1..=10 {
        peer.say(&reading(3, sequence)).await;
    }
    // It tries again by itself, which is no other event and no other stall.
    bench.until("three tries", |bench| bench.intake.refusals().1 >= 2).await;
    assert_eq!((bench.intake.refusals().0, bench.status.stalls.get()), (1, 1));
    assert!(bench.intake.offers().is_empty());
    bench.intake.set_full(false);
    bench.until("all ten", |bench| bench.intake.sequences() == (1..=10).collect::<Vec<u64>>()).await;
    bench.intake.flush();
    peer.hear_ack(3, 10).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_stopped_journal_ends_the_source_and_nothing_more_is_acknowledged() {
    let (bench, mut peer) = Bench::with_peer();
    peer.enter(&hello("node-7", 3, 0)).await;
    peer.say(&reading(3, 1)).await;
    bench.until("an offer", |bench| bench.intake.offers().len() == 1).await;
    bench.intake.stop();
    assert!(bench.ended().await.unwrap_err().reason.contains("the test stopped it"));
    assert_eq!(peer.hear_within(SILENCE).await, None);
}

#[tokio::test]
async fn a_node_of_a_newer_version_is_answered_with_ours_and_the_operator_told() {
    let (bench, mut peer) = Bench::with_peer();
    let welcome = peer.enter(&Hello { version: 9, ..hello("node-7", 3, 0) }).await;
    assert_eq!(welcome.version, lamppost_wire::VERSION);
    assert_eq!(bench.status.hellos_newer.get(), 1);
    let told = bench.status.last_error().unwrap();
    assert!(told.contains("node-7") && told.contains("version 9"), "{told}");
    peer.say(&reading(3, 1)).await;
    bench.until("its reading", |bench| bench.intake.sequences() == [1]).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_node_without_a_valid_name_is_counted_and_not_welcome() {
    let (bench, mut peer) = Bench::with_peer();
    assert_eq!(peer.hear().await, FromGateway::Introduce);
    for _ in 0..3 {
        peer.say(&FromNode::Hello(hello("a/b", 3, 0))).await;
    }
    bench.until("three refusals", |bench| bench.status.hellos_refused.get() == 3).await;
    assert!(bench.status.last_error().unwrap().contains("a/b"));
    assert_eq!(peer.hear_within(SILENCE).await, None);
    bench.stop().await;
}

#[tokio::test]
async fn readings_that_the_node_dropped_are_passed_over_and_counted() {
    let (bench, mut peer) = Bench::with_peer();
    peer.enter(&hello("node-7", 3, 0)).await;
    peer.say(&reading(3, 1)).await;
    let FromNode::Reading(_, later) = reading(3, 9) else { unreachable!() };
    peer.say(&FromNode::Reading(lamppost_wire::Step(8), later)).await;
    bench.until("both", |bench| bench.intake.sequences() == [1, 9]).await;
    bench.intake.flush();
    peer.hear_ack(3, 9).await;
    assert_eq!(bench.status.passed_over.get(), 7);
    bench.stop().await;
}

/// What the right wall clock says at the gateway's boot.
const BEGAN: i64 = 1_767_225_600_000;
const MINUTE: u64 = 60_000;

#[tokio::test]
async fn a_reading_that_waits_for_room_grows_older_meanwhile() {
    let (bench, mut peer) = Bench::with_peer();
    peer.enter(&hello("node-7", 3, 0)).await;
    synchronise(&mut peer, &bench.clock, Quality::Unset).await;
    bench.intake.set_full(true);
    let FromNode::Reading(_, first) = reading(3, 1) else { unreachable!() };
    let uptime = bench.clock.now().monotonic;
    peer.say(&FromNode::Reading(Step(1), Reading { uptime: Millis(uptime.0), ..first })).await;
    bench.until("a stall", |bench| bench.status.stalls.get() >= 1).await;
    bench.clock.skip_to(10 * MINUTE);
    bench.intake.set_full(false);
    bench.until("the reading", |bench| bench.intake.offers().len() == 1).await;
    let payload: serde_json::Value = serde_json::from_slice(&bench.intake.offers()[0].payload).unwrap();
    let (age, error) = (payload["age_ms"].as_u64().unwrap(), payload["age_error_ms"].as_u64().unwrap());
    assert!((age + uptime.0).abs_diff(10 * MINUTE) <= error + 5_000, "{payload}");
    bench.stop().await;
}

/// Waits until the node is told a time of that quality unasked, and answers it.
async fn synchronise(peer: &mut Peer, clock: &clock::TurnedClock, quality: Quality) {
    let told = loop {
        let time = peer.hear_time().await;
        if time.asked.is_none() && time.quality == quality {
            break time;
        }
    };
    let answer = peer.ask_time(3, clock.now().monotonic.0, &told).await;
    assert_eq!((answer.quality, answer.epoch), (told.quality, told.epoch));
}

/// The node was reset with the gateway, so its uptime is the gateway's monotonic time.
#[tokio::test]
async fn a_gateway_that_starts_in_1970_gets_the_time_and_jumps_back_an_hour_knows_when_each_reading_was_measured() {
    let (bench, mut peer) = Bench::with_peer();
    peer.enter(&hello("node-7", 3, 0)).await;
    synchronise(&mut peer, &bench.clock, Quality::Unset).await;
    let (mut received, mut sequence) = (Vec::new(), 0);
    // Minutes at which it was measured and sent; before some, the clock is set.
    let set = [None, Some((BEGAN + 3_600_000, ClockQuality::Holdover, Quality::Holdover)), None];
    let back = [Some((BEGAN, ClockQuality::Synced, Quality::Synced)), None];
    let spans = [(1, 9), (8, 10), (11, 20), (12, 30), (31, 32)];
    for ((measured, sent), setting) in spans.into_iter().zip(set.into_iter().chain(back)) {
        bench.clock.skip_to(sent * MINUTE);
        if let Some((began, quality, told)) = setting {
            bench.clock.set(began, quality);
            synchronise(&mut peer, &bench.clock, told).await;
        }
        sequence += 1;
        let FromNode::Reading(_, reading) = reading(3, sequence) else { unreachable!() };
        peer.say(&FromNode::Reading(Step(1), Reading { uptime: Millis(measured * MINUTE), ..reading })).await;
        bench.until("the reading", |bench| bench.intake.offers().len() as u64 == sequence).await;
        received.push(EventTime::received(bench.clock.now(), None));
    }
    let now = bench.clock.now();
    for ((arrival, time), (measured, _)) in bench.intake.offers().iter().zip(received).zip(spans) {
        let payload: serde_json::Value = serde_json::from_slice(&arrival.payload).unwrap();
        let (age, error) = (payload["age_ms"].as_i64().unwrap(), payload["age_error_ms"].as_i64().unwrap());
        let when = time.corrected(now).unwrap().0 - age;
        let right = BEGAN + (measured * MINUTE) as i64;
        // The test looks at the clock a little after the source did.
        assert!((when - right).abs() <= error + 250, "{payload}: {} ms off", when - right);
        assert!(error < 5_000, "{payload}");
    }
    assert!(bench.status.jumps_told.get() >= 2);
    bench.stop().await;
}

fn able(device: &str, boot: u32) -> Hello {
    let capabilities = Capabilities::IDENTIFY.and(Capabilities::RESET);
    Hello { capabilities, ..hello(device, boot, 0) }
}

const IDENTIFY: Command = Command::Identify { for_ms: 3_000 };

#[tokio::test]
async fn a_command_is_repeated_until_it_is_answered_and_its_outcome_told() {
    let (bench, mut peer) = Bench::with_peer();
    peer.enter(&able("node-7", 3)).await;
    for outcome in [Ok(()), Err(Refusal::Failed)] {
        let orders = bench.orders.clone();
        let sent = tokio::spawn(async move { orders.send("node-7", IDENTIFY).await });
        let order = peer.hear_order().await;
        assert_eq!(Command::of(&order), Some(IDENTIFY));
        assert_eq!(peer.hear_order().await, order);
        assert_eq!(bench.orders.send("node-7", Command::Reset).await, Err(CommandError::Busy));
        peer.say(&FromNode::Answer(Answer::new(&order, outcome))).await;
        assert_eq!(sent.await.unwrap(), outcome.map_err(CommandError::Refused));
    }
    assert_eq!((bench.status.commands_done.get(), bench.status.commands_failed.get()), (1, 3));
    bench.stop().await;
}

#[tokio::test]
async fn a_command_to_a_port_without_a_node_is_told_so_at_once() {
    let bench = Bench::new();
    let both = async { tokio::join!(bench.orders.send("node-7", IDENTIFY), bench.orders.send("node-7", IDENTIFY)) };
    let told = tokio::time::timeout(Duration::from_secs(2), both).await;
    assert_eq!(told, Ok((Err(CommandError::Absent), Err(CommandError::Absent))));
    bench.stop().await;
}

#[tokio::test]
async fn a_command_that_the_node_can_not_obey_is_not_sent() {
    let (bench, mut peer) = Bench::with_peer();
    peer.enter(&able("node-7", 3)).await;
    let interval = Command::SetInterval { measure: lamppost_serial::MeasureIndex(0), interval_ms: 5 };
    assert_eq!(bench.orders.send("node-7", interval).await, Err(CommandError::Unsupported));
    assert_eq!(bench.orders.send("node-8", IDENTIFY).await, Err(CommandError::Absent));
    assert_eq!(peer.hear_within(SILENCE).await, None);
    bench.stop().await;
}

#[tokio::test]
async fn a_link_begun_anew_leaves_a_command_open_but_for_a_reset_that_made_a_new_life() {
    let (bench, mut peer) = Bench::with_peer();
    peer.enter(&able("node-7", 3)).await;
    for (command, boot, outcome) in [
        (IDENTIFY, 3, Err(CommandError::Interrupted)),
        (Command::Reset, 3, Err(CommandError::Interrupted)),
        (Command::Reset, 4, Ok(())),
    ] {
        let orders = bench.orders.clone();
        let sent = tokio::spawn(async move { orders.send("node-7", command).await });
        peer.hear_order().await;
        peer.enter(&able("node-7", boot)).await;
        assert_eq!(sent.await.unwrap(), outcome, "{command:?}");
    }
    bench.stop().await;
}
