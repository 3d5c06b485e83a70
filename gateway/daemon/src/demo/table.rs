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
        let cells = bar_cells(self.term.size().1);
        let row = |name: &str, events: u64, rate: String| {
            format!("  {name:<28}{events:>9}{rate:>11}  {}", bar(events, figures.planned, cells))
        };
        let per_s = |rate: f64| format!("{rate:.0}/s");
        let cluster = if figures.cluster_up { style("cluster up").green() } else { style("CLUSTER AWAY").red().bold() };
        let backlog = figures.on_disk.saturating_sub(figures.delivered);
        vec![
            format!("  {}  {:>4.0} s   {cluster}", style("lamppost demo").bold(), elapsed.as_secs_f64()),
            row("acknowledged to the devices", figures.acknowledged, per_s(acknowledged)),
            row("on disk, in the journal", figures.on_disk, per_s(on_disk)),
            row("delivered to the cluster", figures.delivered, per_s(delivered)),
            row("backlog", backlog, String::new()),
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

/// The columns before the bar.
const TEXT_COLUMNS: u16 = 52;
const BAR_CELLS_MAX: u16 = 24;
const BAR_CELLS_MIN: u16 = 4;

/// How long a bar may be on a terminal of so many columns: a wrapped line could not be drawn over. 0 on a narrow one.
fn bar_cells(columns: u16) -> u16 {
    let cells = columns.saturating_sub(TEXT_COLUMNS + 1).min(BAR_CELLS_MAX);
    if cells < BAR_CELLS_MIN { 0 } else { cells }
}

fn bar(part: u64, whole: u64, cells: u16) -> String {
    let full = (part.saturating_mul(u64::from(cells)) / whole.max(1)).min(u64::from(cells));
    let full = usize::try_from(full).unwrap_or(0);
    format!("{}{}", "█".repeat(full), "░".repeat(usize::from(cells) - full))
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
        assert_eq!(bar(0, 10, 24).matches('█').count(), 0);
        assert_eq!(bar(5, 10, 24).matches('█').count(), 12);
        assert_eq!(bar(50, 10, 24).matches('█').count(), 24);
        assert_eq!(bar(0, 0, 24).chars().count(), 24);
    }

    #[test]
    fn no_row_is_wider_than_its_terminal() {
        let table = Table::new();
        let figures = Figures { planned: 1_000_000, on_disk: 999_999_999, ..Figures::default() };
        let rows = table.lines(Duration::from_secs(1), figures);
        let text = rows.iter().map(|row| row.chars().filter(|c| !"█░".contains(*c)).count()).max();
        assert!(text.unwrap() <= usize::from(TEXT_COLUMNS), "{rows:?}");
        assert_eq!((bar_cells(80), bar_cells(60), bar_cells(50)), (24, 7, 0));
    }

    #[test]
    fn a_line_without_a_terminal_says_that_the_cluster_is_away() {
        let line = plain(Duration::from_secs(7), Figures { on_disk: 12, delivered: 5, ..Figures::default() });
        assert!(line.contains("AWAY") && line.contains("backlog 7"), "{line}");
    }
}
