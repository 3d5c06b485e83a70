//! What the demo ends with: the audit's report, and the figures of the run.

use std::fmt;
use std::path::PathBuf;

use lamppost_audit::Report;

/// The judged run.
#[derive(Debug)]
pub(crate) struct Verdict {
    report: Report,
    /// Events in the gateway's journal.
    journaled: u64,
    seconds: f64,
    /// Where journal and ledgers were kept, if they were.
    kept: Option<PathBuf>,
}

impl Verdict {
    pub(crate) fn new(report: Report, journaled: u64, seconds: f64, kept: Option<PathBuf>) -> Self {
        Self { report, journaled, seconds, kept }
    }

    /// Whether the promise was kept: every acknowledged event, and every one in the journal, is in the cluster and in order.
    pub(crate) fn is_kept(&self) -> bool {
        self.report.is_kept() && self.report.acknowledged > 0 && self.report.delivered == self.journaled
    }

    /// The demo's last line.
    pub(crate) fn json(&self) -> anyhow::Result<String> {
        let line = Line {
            acknowledged: self.report.acknowledged,
            journaled: self.journaled,
            delivered: self.report.delivered,
            lost: self.report.lost + self.journaled.saturating_sub(self.report.delivered),
            duplicated: self.report.duplicated(),
            out_of_order: self.report.out_of_order(),
            seconds: (self.seconds * 1000.0).round() / 1000.0,
        };
        Ok(serde_json::to_string(&line)?)
    }
}

/// The fields of the JSON, in its order.
#[derive(serde::Serialize)]
struct Line {
    acknowledged: u64,
    journaled: u64,
    delivered: u64,
    lost: u64,
    duplicated: u64,
    out_of_order: u64,
    seconds: f64,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.report)?;
        write!(
            f,
            "{} events in the journal, {} in the cluster, {:.1} s",
            self.journaled, self.report.delivered, self.seconds
        )?;
        if let Some(dir) = &self.kept {
            let dir = dir.display();
            write!(f, "\nkept: {dir}   try: lamppost journal ls --dir {dir}/state/journal")?;
        }
        Ok(())
    }
}
