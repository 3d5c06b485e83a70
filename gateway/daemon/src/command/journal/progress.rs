//! How far long work has come: a bar on standard error, and only on a terminal.

use console::Term;
use lamppost_event::Position;
use lamppost_journal::Inspect;

const MIB: u64 = 1 << 20;
const WIDTH: u64 = 30;

/// Draws over itself; the line is gone when this is dropped.
pub(super) struct Progress {
    term: Option<Term>,
    what: &'static str,
    /// Of a thousand.
    drawn: Option<u64>,
}

impl Progress {
    pub(super) fn new(what: &'static str) -> Self {
        Self { term: Some(Term::stderr()).filter(Term::is_term), what, drawn: None }
    }

    /// So many bytes of so many are done.
    pub(super) fn at(&mut self, done: u64, whole: u64) {
        let Some(term) = &self.term else { return };
        let thousandths = (done.saturating_mul(1000)).checked_div(whole).unwrap_or(1000).min(1000);
        if self.drawn == Some(thousandths) {
            return;
        }
        self.drawn = Some(thousandths);
        // A terminal that can't be drawn on is no reason to end.
        drop(term.clear_line());
        drop(term.write_str(&bar(self.what, thousandths, done / MIB, whole / MIB)));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(term) = self.term.as_ref().filter(|_| self.drawn.is_some()) {
            drop(term.clear_line());
        }
    }
}

/// How many bytes of a journal lie behind a position, about: where it is dense, a position stands for more than it takes.
pub(super) fn ahead(inspect: &Inspect, from: Position) -> u64 {
    let end = inspect.figures().segments.last().map_or(0, |segment| segment.base.0 + segment.used_bytes);
    end.saturating_sub(from.0)
}

fn bar(what: &str, thousandths: u64, done_mib: u64, whole_mib: u64) -> String {
    let full = usize::try_from(WIDTH * thousandths / 1000).unwrap_or_default();
    let empty = usize::try_from(WIDTH).unwrap_or_default() - full;
    format!("{what} [{}{}] {done_mib} of {whole_mib} MiB", "=".repeat(full), " ".repeat(empty))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_full_as_the_work_is_done() {
        assert_eq!(bar("reading", 500, 8, 16), format!("reading [{}{}] 8 of 16 MiB", "=".repeat(15), " ".repeat(15)));
        assert_eq!(bar("reading", 1000, 16, 16).matches('=').count(), 30);
    }
}
