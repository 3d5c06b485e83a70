//! `lamppost bench mqtt` as one runs it, at a size that takes seconds. What it says is checked; how fast it was is not.

#![expect(clippy::unwrap_used, reason = "a test: a panic is how it fails")]

use std::process::{Command, Output};

use serde_json::Value;

fn bench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lamppost")).args(["bench", "mqtt"]).args(args).output().unwrap()
}

#[test]
fn the_figures_are_there_and_the_load_and_the_gateway_count_the_same() {
    let done = bench(&["--connections", "1,4,30", "--compare-at", "4", "--seconds", "1", "--rounds", "1", "--json"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).unwrap();
    let figures: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let number = |name: &str| figures[name].as_f64().unwrap_or_else(|| panic!("no {name} in {figures}"));
    for positive in [
        "acks_per_s_1",
        "acks_per_s_4",
        "acks_per_s_30",
        "rumqttd_acks_per_s_4",
        "rss_30_mib",
        "puback_p99_commits",
        "storm_seconds",
        "puback_p50_ms_30",
        "puback_p999_ms_30",
        "cpu_us_per_event_30",
        "qos0_events_per_s",
        "acknowledged",
    ] {
        assert!(number(positive) > 0.0, "{positive} in {figures}");
    }
    assert!(figures["idle_connection_kib"].is_number(), "{figures}");
    assert_eq!(figures["acknowledged"], figures["acknowledged_by_the_gateways_count"]);
    assert_eq!(figures["puback_p99_commits"], figures["puback_p99_commits_4"]);
    // A commit is what it is said to be.
    let commit = number("linger_ms") + number("flush_ms");
    assert!((number("commit_ms") - commit).abs() < 0.01, "{figures}");
    assert_eq!(figures["rumqttd_durable"], "nothing");
    let ratio = number("acks_per_s_4") / number("rumqttd_acks_per_s_4");
    assert!((number("ratio_to_rumqttd_4") - ratio).abs() < 0.01 * ratio.max(1.0), "{figures}");
    let floor = number("acks_per_s_30") * number("flush_ms") / 1000.0;
    assert!((number("ratio_to_disk_floor_30") - floor).abs() < 0.01 * floor.max(1.0), "{figures}");
    // Who is not compared with is named.
    for other in ["mosquitto", "nats"] {
        let compared = figures[format!("{other}_durable")].is_string() && number(&format!("ratio_to_{other}_4")) > 0.0;
        let absent = figures["not_here"].as_array().unwrap().contains(&other.into());
        assert!(compared != absent, "{other} in {figures}");
    }
    // Memory is flat: beyond what its limits let in, nothing is added.
    for phase in ["slow_subscribers", "qos0_flood", "full_journal"] {
        let memory = &figures[format!("{phase}_rss_mib")];
        let growth = memory[1].as_f64().unwrap() - memory[0].as_f64().unwrap();
        assert!(growth <= number(&format!("{phase}_rss_growth_max_mib")) + 0.2, "{phase} in {figures}");
    }
    assert_eq!(figures["memory_flat"], true, "{figures}");
    assert_eq!(figures["lamppost_durable"], "every event, flushed");
}

#[test]
fn what_can_t_be_compared_or_held_is_said_and_not_tried() {
    let done = bench(&["--connections", "1,2", "--json"]);
    assert!(!done.status.success());
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("--compare-at 50 is not one of --connections [1, 2]"), "{said}");

    // A limit that is too low is found before anything is started.
    let program = env!("CARGO_BIN_EXE_lamppost");
    let limited = format!("ulimit -n 300 && exec {program} bench mqtt --connections 1,50");
    let done = Command::new("sh").args(["-c", &limited]).output().unwrap();
    assert!(!done.status.success());
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("50 connections need 306 file descriptors and 300 are allowed"), "{said}");
}
