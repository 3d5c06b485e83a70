//! What is wrong with a configuration, shown where it stands.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One mistake: where, what, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Bytes of the file that it concerns; none if it concerns the whole.
    pub(crate) span: Option<Range<usize>>,
    /// What is wrong.
    pub(crate) what: String,
    /// What would be right.
    pub(crate) remedy: Option<String>,
}

impl Problem {
    pub(crate) fn at(span: Range<usize>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { span: Some(span), what: what.into(), remedy: Some(remedy.into()) }
    }
}

/// All that is wrong with one file.
#[derive(Debug)]
pub(crate) struct Problems {
    path: PathBuf,
    text: String,
    list: Vec<Problem>,
}

impl Problems {
    pub(crate) fn new(path: &Path, text: &str, list: Vec<Problem>) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), list }
    }

    /// All of them, each with its place, in one line.
    pub(crate) fn in_one_line(&self) -> String {
        let shown = self.list.iter().map(|problem| {
            let at = problem.span.as_ref().map(|span| {
                let (row, column, _) = self.place(span.start);
                format!(":{row}:{column}")
            });
            let remedy = problem.remedy.as_ref().map(|remedy| format!(" ({remedy})"));
            format!("{}{}: {}{}", self.path.display(), at.unwrap_or_default(), problem.what, remedy.unwrap_or_default())
        });
        shown.collect::<Vec<_>>().join("; ")
    }

    /// The line number, the column (both from 1) and the line that holds byte `at`.
    fn place(&self, at: usize) -> (usize, usize, &str) {
        let before = self.text.get(..at).unwrap_or(&self.text);
        let start = before.rfind('\n').map_or(0, |n| n + 1);
        let line = self.text.get(start..).unwrap_or("").lines().next().unwrap_or("");
        let column = before.get(start..).unwrap_or("").chars().count() + 1;
        (before.matches('\n').count() + 1, column, line)
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.list.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            match &problem.span {
                None => writeln!(f, "{}: {}", self.path.display(), problem.what)?,
                // A default that was not written has no place.
                Some(span) if span.is_empty() && span.start == 0 => {
                    writeln!(f, "{}: {}", self.path.display(), problem.what)?;
                }
                Some(span) => {
                    let (row, column, line) = self.place(span.start);
                    writeln!(f, "{}:{row}:{column}: {}", self.path.display(), problem.what)?;
                    let width = span.len().clamp(1, line.chars().count().saturating_sub(column - 1).max(1));
                    writeln!(f, "  {row:>4} | {line}")?;
                    writeln!(f, "       | {}{}", " ".repeat(column - 1), "^".repeat(width))?;
                }
            }
            if let Some(remedy) = &problem.remedy {
                writeln!(f, "       = {remedy}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_points_at_its_line() {
        let text = "[journal]\nqouta = \"1GiB\"\n";
        let problem = Problem::at(10..15, "unknown key `qouta`", "did you mean `quota`?");
        let shown = Problems::new(Path::new("x.toml"), text, vec![problem]).to_string();
        assert!(shown.starts_with("x.toml:2:1: unknown key `qouta`\n"), "{shown}");
        assert!(shown.contains("   2 | qouta = \"1GiB\"\n       | ^^^^^\n       = did you mean `quota`?"), "{shown}");
    }
}
