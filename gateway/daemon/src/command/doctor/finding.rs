//! What the doctor says: one finding a line, with what to do about it.

use std::fmt;
use std::io::Write;

use serde::Serialize;

/// How a finding is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// It works, and something will surprise later.
    Warn,
    /// It does not work, or the promise does not hold.
    Fail,
}

impl Level {
    /// The exit status of a report whose worst finding this is.
    fn status(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warn => 1,
            Self::Fail => 2,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        })
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    /// What kind of thing: `clock`, `card`, `port`, …
    pub(crate) area: &'static str,
    /// What was found, in a sentence.
    pub(crate) found: String,
    /// What to do about it.
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

impl Finding {
    pub(crate) fn ok(area: &'static str, found: impl Into<String>) -> Self {
        Self { level: Level::Ok, area, found: found.into(), remedy: None }
    }

    pub(crate) fn warn(area: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Warn, area, found: found.into(), remedy: Some(remedy.into()) }
    }

    pub(crate) fn fail(area: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Fail, area, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// All findings, in the order in which they were made.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    worst: Level,
    findings: Vec<Finding>,
}

impl Report {
    pub(crate) fn new(findings: Vec<Finding>) -> Self {
        let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
        Self { worst, findings }
    }

    /// 0: all is well; 1: something may surprise; 2: something does not work.
    pub(crate) fn status(&self) -> u8 {
        self.worst.status()
    }

    pub(crate) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// For people: `coloured` where a terminal shows it.
    pub(crate) fn show(&self, coloured: bool, out: &mut impl Write) -> std::io::Result<()> {
        for finding in &self.findings {
            let colour = match finding.level {
                _ if !coloured => "",
                Level::Ok => "\x1b[32m",
                Level::Warn => "\x1b[33m",
                Level::Fail => "\x1b[31m",
            };
            let plain = if coloured { "\x1b[0m" } else { "" };
            let mut lines = finding.found.lines();
            let first = lines.next().unwrap_or_default();
            writeln!(out, "{colour}{:<4}{plain}  {:<13} {first}", finding.level, finding.area)?;
            for line in lines {
                writeln!(out, "{:21}{line}", "")?;
            }
            for (number, line) in finding.remedy.iter().flat_map(|remedy| remedy.lines()).enumerate() {
                writeln!(out, "{:19}{} {line}", "", if number == 0 { "→" } else { " " })?;
            }
        }
        let count = |level| self.findings.iter().filter(|finding| finding.level == level).count();
        writeln!(out, "\n{} ok, {} to look at, {} failed", count(Level::Ok), count(Level::Warn), count(Level::Fail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_is_the_exit_status() {
        let (ok, warn) = (Finding::ok("clock", "right"), Finding::warn("card", "slow", "another card"));
        let fail = Finding::fail("port", "not there", "plug it in");
        assert_eq!(Report::new(vec![]).status(), 0);
        assert_eq!(Report::new(vec![ok.clone()]).status(), 0);
        assert_eq!(Report::new(vec![ok.clone(), warn.clone()]).status(), 1);
        assert_eq!(Report::new(vec![fail, ok, warn]).status(), 2);
    }

    #[test]
    fn a_finding_is_shown_with_what_to_do_below_it() {
        let mut out = Vec::new();
        let findings = vec![Finding::ok("clock", "right"), Finding::fail("port", "absent\nstill", "plug it in")];
        Report::new(findings).show(false, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "ok    clock         right\nFAIL  port          absent\n                     still\n                   → plug it in\n\n1 ok, 0 to look at, 1 failed\n"
        );
    }

    #[test]
    fn json_has_the_level_the_finding_and_the_remedy() {
        let json = Report::new(vec![Finding::warn("card", "slow", "another")]).json().unwrap();
        assert_eq!(
            json,
            r#"{"worst":"warn","findings":[{"level":"warn","area":"card","found":"slow","do":"another"}]}"#
        );
    }
}
