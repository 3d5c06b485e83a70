//! The live table: what has been received, what is on disk, what the cluster has.

use std::time::Duration;

use console::{Term, style};

/// What the table shows at one moment. Events, unless a name says otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    pub(crate) planned: u64,
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    pub(crate) on_disk: u64,
    pub(crate) delivered: u64,
    /// Bytes of the journal's files in use.
    pub(crate) journal_bytes: u64,
    pub(crate) cluster_up: bool,
}

/// Draws the table over itself on a terminal; elsewhere prints a line every few seconds.
pub(crate) struct Table {
    term: Term,
    drawn: usize,
    last: Option<(Duration, Figures)>,
    rates: [f64; 3],
    next_line: Duration,
}

const LINE_EVERY: Duration = Duration::from_secs(3);

impl Table {
    pub(crate) fn new() -> Self {
        Self { term: Term::stderr(), drawn: 0, last: None, rates: [0.0; 3], next_line: Duration::ZERO }
    }

    /// Shows the figures at `elapsed` since the start.
    pub(crate) fn show(&mut self, elapsed: Duration, figures: Figures) -> std::io::Result<()> {
        self.update_rates(elapsed, figures);
        if self.term.is_term() {
            self.term.clear_last_lines(std::mem::take(&mut self.drawn))?;
            let lines = self.lines(elapsed, figures);
            self.drawn = lines.len();
            for line in lines {
                self.term.write_line(&line)?;
            }
        } else if elapsed >= self.next_line {
            self.next_line = elapsed + LINE_EVERY;
            self.term.write_line(&plain(elapsed, figures))?;
        }
        Ok(())
    }

    fn update_rates(&mut self, elapsed: Duration, figures: Figures) {
        let Some((then, before)) = self.last else {
            self.last = Some((elapsed, figures));
            return;
        };
        let seconds = elapsed.saturating_sub(then).as_secs_f64();
        if seconds < 0.5 {
            return;
        }
        let rate = |now: u64, then: u64| as_f64(now.saturating_sub(then)) / seconds;
        self.rates = [
            rate(figures.acknowledged, before.acknowledged),
            rate(figures.on_disk, before.on_disk),
            rate(figures.delivered, before.delivered),
        ];
        self.last = Some((elapsed, figures));
    }

    fn lines(&self, elapsed: Duration, figures: Figures) -> Vec<String> {
        let [acknowledged, on_disk, delivered] = self.rates;
        let row = |name: &str, events: u64, rate: f64| {
            let rate = format!("{rate:.0}/s");
            format!("  {name:<34}{events:>10} {rate:>10}  {}", bar(events, figures.planned))
        };
        let cluster = if figures.cluster_up { style("cluster up").green() } else { style("CLUSTER AWAY").red().bold() };
        let backlog = figures.on_disk.saturating_sub(figures.delivered);
        vec![
            format!("  {}  {:>4.0} s   {cluster}", style("lamppost demo").bold(), elapsed.as_secs_f64()),
            row("acknowledged to the devices", figures.acknowledged, acknowledged),
            row("on disk, in the journal", figures.on_disk, on_disk),
            row("delivered to the cluster", figures.delivered, delivered),
            format!(
                "  {:<34}{backlog:>10} {:>10}  {}",
                "backlog",
                format!("{} KiB", figures.journal_bytes / 1024),
                bar(backlog, figures.planned)
            ),
        ]
    }
}

fn plain(elapsed: Duration, figures: Figures) -> String {
    format!(
        "{:>4.0} s  cluster {}  sent {}  acknowledged {}  on disk {}  delivered {}  backlog {}",
        elapsed.as_secs_f64(),
        if figures.cluster_up { "up" } else { "AWAY" },
        figures.sent,
        figures.acknowledged,
        figures.on_disk,
        figures.delivered,
        figures.on_disk.saturating_sub(figures.delivered),
    )
}

const BAR_CELLS: u64 = 24;

fn bar(part: u64, whole: u64) -> String {
    let cells = (part.saturating_mul(BAR_CELLS) / whole.max(1)).min(BAR_CELLS);
    let (full, rest) = (usize::try_from(cells).unwrap_or(0), usize::try_from(BAR_CELLS - cells).unwrap_or(0));
    format!("{}{}", "█".repeat(full), "░".repeat(rest))
}

#[expect(clippy::cast_precision_loss, reason = "for the eye")]
fn as_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_full_when_all_is_done_and_never_longer() {
        assert_eq!(bar(0, 10).matches('█').count(), 0);
        assert_eq!(bar(5, 10).matches('█').count(), 12);
        assert_eq!(bar(50, 10).matches('█').count(), 24);
        assert_eq!(bar(0, 0).chars().count(), 24);
    }

    #[test]
    fn a_line_without_a_terminal_says_that_the_cluster_is_away() {
        let line = plain(Duration::from_secs(7), Figures { on_disk: 12, delivered: 5, ..Figures::default() });
        assert!(line.contains("AWAY") && line.contains("backlog 7"), "{line}");
    }
}
