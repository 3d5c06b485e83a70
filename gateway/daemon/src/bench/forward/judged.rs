//! Whether what the gateway counted as delivered is there: the audit's word, not the gateway's. Outside of what is timed.

use anyhow::Context;
use lamppost_audit::{AuditConfig, Report, audit};

/// Reads the topic, and fails unless all events of the backlog are in it, in order.
pub(super) fn judge(bootstrap: &str, topic: &str, events: u64, exactly_once: bool) -> anyhow::Result<()> {
    let config = AuditConfig { topics: vec![topic.to_owned()], exactly_once, ..AuditConfig::new(bootstrap) };
    let report = audit(&config, &mut |_| {}).context("what was delivered can't be audited")?;
    is_whole(&report, topic, events)
}

/// The backlog's events have the offsets from 0 on in each partition of the journal. The mock cluster keeps the end of a partition only: then what it keeps
/// has to be whole up to the last event.
fn is_whole(report: &Report, topic: &str, events: u64) -> anyhow::Result<()> {
    let of: Vec<_> = report.partitions.iter().filter(|partition| partition.topic.as_str() == topic).collect();
    let reached: u64 = of.iter().filter(|partition| partition.delivered > 0).map(|partition| partition.last + 1).sum();
    let there: u64 = of.iter().map(|partition| partition.delivered).sum();
    anyhow::ensure!(
        report.is_kept() && reached == events && (report.trimmed_topics > 0 || there == events),
        "the audit finds {there} of {events} events in {topic}:\n{report}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use lamppost_audit::{Judge, Record};
    use lamppost_event::Partition;

    use super::*;

    /// What the audit says of a topic with these offsets.
    fn report(offsets: impl IntoIterator<Item = u64>, trimmed: bool) -> Report {
        let mut judge = Judge::new();
        if trimmed {
            judge.note_trimmed("air");
        }
        for (place, offset) in (0..).zip(offsets) {
            judge.observe(&Record {
                topic: "air",
                partition: Partition(0),
                partitions: 1,
                offset: place,
                key: b"k",
                id: Some(&format!("bench/00000000000000aa/air/0/{offset}")),
                mark: None,
                time_ms: 0,
                lane: lamppost_audit::Lane::Only,
                reason: None,
                notice: None,
            });
        }
        judge.verdict(&[])
    }

    #[test]
    fn a_drain_of_which_something_is_not_there_or_out_of_order_is_no_drain() {
        assert!(is_whole(&report(0..10, false), "air", 10).is_ok());
        assert!(is_whole(&report(6..10, true), "air", 10).is_ok(), "a mock keeps the end only");
        for (offsets, trimmed) in [
            (vec![0, 1, 2, 3, 4, 5, 6, 7, 8], false),
            (vec![1, 2, 3, 4, 5, 6, 7, 8, 9], false),
            (vec![0, 1, 2, 3, 5, 6, 7, 8, 9], false),
            (vec![0, 1, 2, 4, 3, 5, 6, 7, 8, 9], false),
            (vec![6, 7, 8], true),
            (vec![6, 8, 9], true),
            (vec![], true),
        ] {
            let error = is_whole(&report(offsets.clone(), trimmed), "air", 10).unwrap_err();
            assert!(error.to_string().contains("of 10 events in air"), "{offsets:?}: {error}");
        }
    }
}
