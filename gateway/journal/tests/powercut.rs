//! A few seeds of the power-cut histories, and the controls that show that they would be noticed losing something. Many more:
//! `cargo run --release -p lamppost-journal --example powercut`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use lamppost_journal::sim::Phase;
use world::history::{Journaling, Report, run};
use world::model::Wrong;

fn history(seed: u64, journaling: Journaling) -> Report {
    let mut report = Report { seed, ..Report::default() };
    run(journaling, &mut report);
    report
}

#[test]
fn power_cuts_lose_nothing_that_was_acknowledged() {
    let mut sum = Report::default();
    for seed in 0..seeds() {
        let report = history(seed, Journaling::Sound);
        assert!(report.failure.is_none(), "seed {seed}: {:?}", report.failure);
        sum.cuts += report.cuts;
        sum.acknowledged += report.acknowledged;
        sum.recycled += report.recycled;
        sum.given_up += report.given_up;
        sum.cursors_set += report.cursors_set;
        sum.alarms_asked += report.alarms_asked;
        sum.layered += report.layered;
        sum.times_asked += report.times_asked;
        sum.boots_without_time += report.boots_without_time;
        sum.others_moved += report.others_moved;
        sum.slow_reads += report.slow_reads;
        sum.beyond_bytes += report.beyond_bytes;
        for (sum, count) in sum.phases.iter_mut().zip(report.phases) {
            *sum += count;
        }
    }
    println!("{sum:?}");
    assert!(sum.cuts > 4 * seeds() && sum.acknowledged > 100 * seeds() && sum.recycled > 0, "too tame: {sum:?}");
    let asked = [sum.given_up, sum.cursors_set, sum.alarms_asked, sum.layered, sum.times_asked];
    assert!(asked.iter().all(|count| *count > 0), "given up, set, alarms, layers, times: {asked:?}");
    let met = [sum.boots_without_time, sum.others_moved, sum.slow_reads, sum.beyond_bytes];
    assert!(met.iter().all(|count| *count > 0), "boots without time, other groups, slow reads, beyond: {met:?}");
    let empty: Vec<_> = Phase::ALL.iter().zip(sum.phases).filter(|(_, count)| *count == 0).collect();
    assert!(empty.is_empty(), "no cuts in {empty:?}");
}

/// Of so many histories those in which acknowledged events were missed.
fn caught(journaling: Journaling, histories: u64) -> usize {
    let missed =
        |report: &Report| report.failure.as_ref().is_some_and(|failure| matches!(failure.wrong, Wrong::Lost(_)));
    (0..histories).map(|seed| history(seed, journaling)).filter(missed).count()
}

#[test]
fn a_journal_without_flushes_is_caught_losing_events() {
    let caught = caught(Journaling::WithoutFlushes, 12);
    assert!(caught >= 9, "only {caught} of 12 histories without flushes were caught");
}

#[test]
fn a_journal_without_padding_is_caught_losing_events_to_garbage_and_to_nothing_else() {
    let caught =
        [Journaling::WithoutPadding, Journaling::WithoutPaddingOrGarbage].map(|journaling| caught(journaling, 20));
    assert!(caught[0] >= 3 && caught[1] == 0, "{caught:?} of 20 histories without padding were caught");
}

#[test]
fn one_seed_gives_one_run() {
    for seed in [5, 7, 9] {
        let [one, two] = [(); 2].map(|()| history(seed, Journaling::Sound));
        assert_eq!((one.digest, one.cuts), (two.digest, two.cuts));
        assert_ne!(one.digest, history(seed + 10, Journaling::Sound).digest);
    }
}

fn seeds() -> u64 {
    std::env::var("POWERCUT_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(40)
}
