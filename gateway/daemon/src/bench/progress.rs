//! What is being measured, and how far the benchmark has come: one line on standard error, and only on a terminal.

use console::Term;

/// Draws over itself; the line is gone when this is dropped.
pub(super) struct Progress {
    term: Option<Term>,
    done: u32,
    whole: u32,
}

impl Progress {
    pub(super) fn new(whole: u32) -> Self {
        Self { term: Some(Term::stderr()).filter(Term::is_term), done: 0, whole }
    }

    /// The next step begins.
    pub(super) fn step(&mut self, what: &str) {
        self.done += 1;
        let Some(term) = &self.term else { return };
        // A terminal that can't be drawn on is no reason to end.
        drop(term.clear_line());
        drop(term.write_str(&line(self.done, self.whole, what)));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(term) = &self.term {
            drop(term.clear_line());
        }
    }
}

fn line(done: u32, whole: u32, what: &str) -> String {
    const WIDTH: u32 = 30;
    let full = (WIDTH * done.min(whole)).checked_div(whole).unwrap_or(WIDTH);
    let (full, empty) = ("=".repeat(full as usize), " ".repeat((WIDTH - full) as usize));
    format!("[{full}{empty}] {done} of {whole}: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_as_full_as_the_work_is_begun_and_never_overflows() {
        assert_eq!(line(1, 2, "storm"), format!("[{}{}] 1 of 2: storm", "=".repeat(15), " ".repeat(15)));
        assert_eq!(line(3, 2, "storm").matches('=').count(), 30);
    }
}
