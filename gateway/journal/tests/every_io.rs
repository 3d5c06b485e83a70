//! The power fails at every single I/O of one short history, and again at I/Os of the recoveries from that.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use lamppost_journal::sim::Phase;
use world::history::Report;
use world::script::{Cuts, Ios, play};

/// Of the recoveries' I/Os, one in so many has a cut: another one after each I/O of the history.
const AGAIN_ONE_IN: u64 = 20;

fn played(at: Option<u64>, again: Option<u64>) -> (Ios, Report) {
    let mut report = Report { seed: 1, ..Report::default() };
    let cuts = Cuts { at, again };
    let ios = play(cuts, &mut report).unwrap_or_else(|failure| panic!("{cuts:?}: {failure:?}"));
    (ios, report)
}

#[test]
fn a_power_cut_at_any_io_loses_nothing_and_nor_does_another_one_in_the_recovery_from_it() {
    let (whole, _) = played(None, None);
    let mut phases = [0; Phase::ALL.len()];
    let mut count = |report: &Report| phases.iter_mut().zip(report.phases).for_each(|(sum, cuts)| *sum += cuts);
    let (mut recovery, mut again, mut cuts) = (0, 0, 0);
    for at in 0..whole.history {
        let (ios, report) = played(Some(at), None);
        count(&report);
        recovery = recovery.max(ios.recovery);
        cuts += 1;
        for second in (at % AGAIN_ONE_IN..ios.recovery).step_by(AGAIN_ONE_IN as usize) {
            let (_, report) = played(Some(at), Some(second));
            count(&report);
            again += 1;
        }
    }
    println!("{cuts} I/Os, recoveries of {recovery} at most, {again} cuts in recoveries; {phases:?}");
    let empty: Vec<_> = Phase::ALL.iter().zip(phases).filter(|(_, cuts)| *cuts == 0).collect();
    assert!(empty.is_empty(), "no cuts in {empty:?}");
    assert!(again > whole.history && recovery > 20, "{again} cuts in recoveries of {recovery} I/Os at most");
}
