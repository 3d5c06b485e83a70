//! What all the histories come to.

use std::collections::BTreeMap;

use lamppost_journal::sim::Phase;

use crate::many::{Many, guarded, panicked};
use crate::world::history::{Journaling, Report};
use crate::world::model::Wrong;

/// Histories of a journal that must be caught.
const CONTROLS: u64 = 300;
/// So many failures are told.
const FAILED_SHOWN: usize = 20;
/// Seeds that are run twice.
const TWICE: u64 = 20;
/// The least share of the histories without flushes that must be caught losing events, in percent.
const NO_FLUSH_PERCENT_MIN: u64 = 75;
/// The same without padding: it takes garbage in the one page that two frames share.
const NO_PADDING_PERCENT_MIN: u64 = 5;

#[derive(Debug, Default)]
pub(crate) struct Verdict {
    seeds: u64,
    cuts: u64,
    phases: [u64; Phase::ALL.len()],
    recovery_again: u64,
    opened: u64,
    recycled: u64,
    given_up: u64,
    cursors_set: u64,
    alarms_asked: u64,
    layered: u64,
    times_asked: u64,
    boots_without_time: u64,
    others_moved: u64,
    slow_reads: u64,
    beyond_bytes: u64,
    acknowledged: u64,
    acknowledged_lost: u64,
    out_of_order: u64,
    offset_reused: u64,
    panics: u64,
    other_failures: u64,
    damage_named: u64,
    damage_at_end: u64,
    /// The first seeds that failed, and how.
    failed: BTreeMap<u64, String>,
    controls: u64,
    no_flush_caught: u64,
    no_padding_caught: u64,
    no_padding_no_garbage_caught: u64,
    /// Seeds that did not leave the same bytes again.
    not_repeatable: Vec<u64>,
}

impl Verdict {
    pub(crate) fn reach(many: &Many, seeds: u64) -> Self {
        let mut verdict = Self { seeds, controls: CONTROLS.min(seeds), ..Self::default() };
        let mut sample = Vec::new();
        many.run(seeds, Journaling::Sound, "histories", &mut |report| {
            if report.seed < many.first + TWICE {
                sample.push((report.seed, report.digest));
            }
            verdict.take(report);
        });
        let again = |seed| guarded(Report { seed, ..Report::default() }, Journaling::Sound).digest;
        verdict.not_repeatable =
            sample.iter().filter(|(seed, digest)| again(*seed) != *digest).map(|(seed, _)| *seed).collect();
        let controls = verdict.controls;
        let caught = |journaling, what: &str| {
            let mut caught = 0;
            many.run(controls, journaling, what, &mut |report| {
                caught += u64::from(report.failure.is_some_and(|failure| matches!(failure.wrong, Wrong::Lost(_))));
            });
            caught
        };
        verdict.no_flush_caught = caught(Journaling::WithoutFlushes, "control without flushes");
        verdict.no_padding_caught = caught(Journaling::WithoutPadding, "control without padding");
        verdict.no_padding_no_garbage_caught =
            caught(Journaling::WithoutPaddingOrGarbage, "control without padding or garbage");
        verdict
    }

    fn take(&mut self, report: Report) {
        self.cuts += report.cuts;
        for (sum, count) in self.phases.iter_mut().zip(report.phases) {
            *sum += count;
        }
        self.recovery_again += report.recovery_again;
        self.opened += report.opened;
        self.recycled += report.recycled;
        self.given_up += report.given_up;
        self.cursors_set += report.cursors_set;
        self.alarms_asked += report.alarms_asked;
        self.layered += report.layered;
        self.times_asked += report.times_asked;
        self.boots_without_time += report.boots_without_time;
        self.others_moved += report.others_moved;
        self.slow_reads += report.slow_reads;
        self.beyond_bytes += report.beyond_bytes;
        self.acknowledged += report.acknowledged;
        self.damage_named += report.named_lost;
        self.damage_at_end += report.end_lost;
        let Some(failure) = report.failure else { return };
        match failure.wrong {
            Wrong::Lost(count) => self.acknowledged_lost += count,
            Wrong::OutOfOrder => self.out_of_order += 1,
            Wrong::Reused => self.offset_reused += 1,
            Wrong::Other if panicked(&failure) => self.panics += 1,
            Wrong::Other => self.other_failures += 1,
        }
        self.failed.insert(report.seed, format!("{:?}: {}", failure.wrong, failure.what));
        if self.failed.len() > FAILED_SHOWN {
            self.failed.pop_last();
        }
    }

    /// What is not as it must be.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        faults.extend(self.failed.iter().map(|(seed, what)| format!("seed {seed}: {what} (again: --seed {seed})")));
        let empty = Phase::ALL.iter().zip(self.phases).filter(|(_, count)| *count == 0);
        faults.extend(empty.map(|(phase, _)| format!("no cut fell in the phase {}", name(*phase))));
        let exercised = [
            ("no event was given up", self.given_up),
            ("no cursor was set by hand", self.cursors_set),
            ("no alarm was offered while others had to wait", self.alarms_asked),
            ("no checkpoint lay over another", self.layered),
            ("no time was looked up", self.times_asked),
            ("no machine started without the time", self.boots_without_time),
            ("no cursor of another group was moved", self.others_moved),
            ("the keeper met no reader", self.slow_reads),
            ("nothing was beyond its topic's bytes", self.beyond_bytes),
        ];
        faults.extend(exercised.iter().filter(|(_, count)| *count == 0).map(|(what, _)| (*what).to_owned()));
        if !self.not_repeatable.is_empty() {
            faults.push(format!("other bytes when run again: seeds {:?}", self.not_repeatable));
        }
        let controls = [
            ("without flushes", self.no_flush_caught, NO_FLUSH_PERCENT_MIN),
            ("without padding", self.no_padding_caught, NO_PADDING_PERCENT_MIN),
        ];
        for (what, caught, percent) in controls {
            if caught * 100 < self.controls * percent || caught == 0 {
                let of = self.controls;
                faults.push(format!(
                    "the instrument is broken: {what}, only {caught} of {of} histories were caught losing events"
                ));
            }
        }
        let wrongly = self.no_padding_no_garbage_caught;
        if wrongly > 0 {
            faults.push(format!("the control without padding loses events in {wrongly} histories without garbage: it is the control that loses them"));
        }
        faults
    }

    fn elsewhere(&self) -> u64 {
        self.cuts - self.phases.iter().sum::<u64>()
    }

    pub(crate) fn in_words(&self) -> String {
        format!(
            "{} histories, {} power cuts, {} openings, {} segments recycled, {} events acknowledged, {} of them lost",
            self.seeds, self.cuts, self.opened, self.recycled, self.acknowledged, self.acknowledged_lost
        )
    }

    pub(crate) fn json(&self) -> String {
        let phases = Phase::ALL.iter().zip(self.phases).map(|(phase, count)| format!("\"{}\":{count}", name(*phase)));
        let phases = phases.collect::<Vec<_>>().join(",");
        let control = |caught: u64| format!("{{\"histories\":{},\"caught\":{caught}}}", self.controls);
        let failed = self.failed.first_key_value().map_or("null".to_owned(), |(seed, _)| seed.to_string());
        format!(
            "{{\"seeds\":{},\"cuts\":{},\"acknowledged\":{},\"acknowledged_lost\":{},\"out_of_order\":{},\"offset_reused\":{},\
             \"panics\":{},\"other_failures\":{},\"phases\":{{{phases}}},\"cuts_elsewhere\":{},\"recovery_again\":{},\
             \"given_up\":{},\"cursors_set\":{},\"alarms_asked\":{},\"layered\":{},\"times_asked\":{},\
             \"boots_without_time\":{},\"others_moved\":{},\"slow_reads\":{},\"beyond_bytes\":{},\
             \"damage_named\":{},\"damage_at_end\":{},\"control_no_flush\":{},\"control_no_padding\":{},\
             \"control_no_padding_no_garbage\":{},\"not_repeatable\":{},\"failed_seed\":{failed}}}",
            self.seeds,
            self.cuts,
            self.acknowledged,
            self.acknowledged_lost,
            self.out_of_order,
            self.offset_reused,
            self.panics,
            self.other_failures,
            self.elsewhere(),
            self.recovery_again,
            self.given_up,
            self.cursors_set,
            self.alarms_asked,
            self.layered,
            self.times_asked,
            self.boots_without_time,
            self.others_moved,
            self.slow_reads,
            self.beyond_bytes,
            self.damage_named,
            self.damage_at_end,
            control(self.no_flush_caught),
            control(self.no_padding_caught),
            control(self.no_padding_no_garbage_caught),
            self.not_repeatable.len(),
        )
    }
}

const fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Append => "append",
        Phase::Roll => "roll",
        Phase::Recycle => "recycle",
        Phase::ColdRewrite => "cold_rewrite",
        Phase::Checkpoint => "checkpoint",
        Phase::Recovery => "recovery",
    }
}
