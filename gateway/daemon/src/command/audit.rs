//! `lamppost audit`: reads a cluster and says what is lost, doubled or out of order.

use std::io::Write;

use console::Term;
use lamppost_audit::{AuditConfig, Verdict, audit};
use lamppost_event::Clock as _;

use super::connection;
use crate::cli;
use crate::clock::MachineClock;

/// Prints the report; gives what to end with: 0 if the promise was kept, 1 if it was broken, 2 if nobody can say yet.
pub(crate) fn run(args: &cli::Audit, out: &mut impl Write) -> anyhow::Result<u8> {
    let (bootstrap, properties) = connection::resolve(&args.connection)?;
    let config = AuditConfig {
        topics: args.topic.clone(),
        gateways: args.gateway.clone(),
        sink: args.sink.as_str().to_owned(),
        ledgers: args.ledger.clone(),
        payload_id: args.payload_id.clone(),
        late_after: args.late_after.0,
        since: args.since.map(|since| since.at(MachineClock::new().now().wall)),
        memory_max: args.memory_max.0,
        uncommitted: args.uncommitted,
        exactly_once: args.exactly_once,
        properties,
        ..AuditConfig::new(&bootstrap)
    };
    let term = Term::stderr();
    let report = audit(&config, &mut |progress| {
        if term.is_term() {
            // A terminal that can't be drawn on is no reason to end the audit.
            drop(term.clear_line());
            drop(term.write_str(&format!(
                "{} records read, {} acknowledged not found yet",
                progress.records, progress.missing
            )));
        }
    })?;
    if term.is_term() {
        drop(term.clear_line());
    }
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        writeln!(out, "{report}")?;
    }
    Ok(match report.verdict() {
        Verdict::Kept => 0,
        Verdict::Broken => 1,
        Verdict::Open => 2,
    })
}
