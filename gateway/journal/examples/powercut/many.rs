//! Many histories at once, on some threads.

use std::io::{IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::world::history::{Journaling, Report, run};
use crate::world::model::{Failure, Wrong};

pub(crate) struct Many {
    pub(crate) threads: usize,
    pub(crate) first: u64,
}

/// What a panic is reported as.
const PANICKED: &str = "panicked: ";

/// A history that may panic.
pub(crate) fn guarded(mut report: Report, journaling: Journaling) -> Report {
    let outcome = catch_unwind(AssertUnwindSafe(|| run(journaling, &mut report)));
    if let Err(panic) = outcome {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
        eprintln!("\nseed {} panicked: {text}", report.seed);
        report.failure = Some(Failure { wrong: Wrong::Other, what: format!("{PANICKED}{text}") });
    }
    report
}

pub(crate) fn panicked(failure: &Failure) -> bool {
    failure.what.starts_with(PANICKED)
}

impl Many {
    /// Runs `count` seeds; `take` gets the reports in no certain order.
    pub(crate) fn run(&self, count: u64, journaling: Journaling, what: &str, take: &mut (dyn FnMut(Report) + Send)) {
        let (next, taken) = (AtomicU64::new(0), Mutex::new((0, take)));
        std::thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= count {
                            return;
                        }
                        let report = guarded(Report { seed: self.first + index, ..Report::default() }, journaling);
                        let mut taken = taken.lock().unwrap();
                        taken.0 += 1;
                        progress(what, taken.0, count);
                        (taken.1)(report);
                    }
                });
            }
        });
    }
}

/// A line that is overwritten, or now and then a line where nobody watches.
fn progress(what: &str, done: u64, count: u64) {
    let watched = std::io::stderr().is_terminal();
    let step = if watched { count.div_ceil(200) } else { count.div_ceil(10) };
    if !done.is_multiple_of(step) && done != count {
        return;
    }
    let (start, end) = if watched { ("\r", if done == count { "\n" } else { "" }) } else { ("", "\n") };
    eprint!("{start}{what}: {done} of {count}{end}");
    // A terminal that has gone is no reason to stop.
    drop(std::io::stderr().flush());
}
