//! The figures, for people and as one line of JSON.

use std::io::Write;

use serde_json::{Map, Value, json};

use super::rounds::{LINE_READINGS_PER_S, Measured, Pace, Run, Way};
use crate::bench::figures::{median, rounded};
use crate::cli::LinkBench;

/// Bytes that 115,200 baud carry in a second, 8N1.
const LINE_BYTES_PER_S: f64 = 11_520.0;

/// One line.
pub(super) fn json(args: &LinkBench, measured: &Measured, disk: &str) -> Value {
    let of = |way, pace, of: fn(&Run) -> f64, digits| rounded(measured.median(way, pace, of), digits);
    let (link, lines) = (Way::Link, Way::Lines);
    let bytes = measured.median(link, Pace::Line, |run| run.bytes_up);
    let lines_bytes = measured.median(lines, Pace::Line, |run| run.bytes_up);
    let mut shown = at_pace(measured, Pace::Full);
    shown.insert("at_115200_baud".into(), Value::Object(at_pace(measured, Pace::Line)));
    let rest = json!({
        "bytes_per_reading": rounded(bytes, 1),
        "bytes_back_per_reading": of(link, Pace::Line, |run| run.bytes_down, 1),
        "lines_bytes_per_reading": rounded(lines_bytes, 1),
        "bytes_ratio": rounded(bytes / lines_bytes, 3),
        "lines_that_115200_baud_carry_per_s": rounded(LINE_BYTES_PER_S / lines_bytes, 0),
        "acknowledged": measured.link.handed_over,
        "lost": measured.link.lost,
        "doubled": measured.link.doubled,
        "out_of_order": measured.link.out_of_order,
        "lines_written": measured.lines.handed_over,
        "lines_lost": measured.lines.lost,
        "readings": args.readings,
        "seconds": args.seconds,
        "rounds": args.rounds,
        "disk": disk,
    });
    shown.extend(rest.as_object().cloned().unwrap_or_default());
    Value::Object(shown)
}

/// What both ways do at that pace.
fn at_pace(measured: &Measured, pace: Pace) -> Map<String, Value> {
    let of = |way, of: fn(&Run) -> f64, digits| rounded(measured.median(way, pace, of), digits).into();
    let ratios = measured.cpu_ratios(pace);
    let figures = [
        ("readings_per_s", of(Way::Link, |run| run.readings_per_s, 0)),
        ("lines_readings_per_s", of(Way::Lines, |run| run.readings_per_s, 0)),
        ("cpu_us_per_reading", of(Way::Link, |run| run.cpu_us, 2)),
        ("lines_cpu_us_per_reading", of(Way::Lines, |run| run.cpu_us, 2)),
        ("cpu_ratio", rounded(median(ratios.clone()), 3).into()),
        ("cpu_ratios", ratios.into_iter().map(|ratio| rounded(ratio, 3)).collect()),
    ];
    figures.into_iter().map(|(name, value): (&str, Value)| (name.to_owned(), value)).collect()
}

/// Some lines.
pub(super) fn table(args: &LinkBench, measured: &Measured, disk: &str, out: &mut impl Write) -> anyhow::Result<()> {
    let LinkBench { readings, seconds, rounds, .. } = args;
    writeln!(
        out,
        "{readings} readings as fast as the link goes, and {seconds} s of {LINE_READINGS_PER_S} a second (what 115,200 baud carry by the link), \
         medians of {rounds} rounds, on {disk}\n"
    )?;
    writeln!(out, "{:<44} {:>10} {:>14}", "", "link", "lines of JSON")?;
    let mut line = |what: &str, pace: Pace, of: fn(&Run) -> f64, digits: usize| {
        let (link, lines) = (measured.median(Way::Link, pace, of), measured.median(Way::Lines, pace, of));
        writeln!(out, "{what:<44} {link:>10.digits$} {lines:>14.digits$}")
    };
    line("as fast as the link goes, readings/s", Pace::Full, |run| run.readings_per_s, 0)?;
    line("  the gateway's processor time, us/reading", Pace::Full, |run| run.cpu_us, 2)?;
    line("at the line's pace, readings/s", Pace::Line, |run| run.readings_per_s, 0)?;
    line("  the gateway's processor time, us/reading", Pace::Line, |run| run.cpu_us, 2)?;
    line("bytes to the gateway, each reading", Pace::Line, |run| run.bytes_up, 1)?;
    line("bytes back, each reading", Pace::Line, |run| run.bytes_down, 1)?;
    writeln!(out, "on disk before it is acknowledged {:>21} {:>14}", "yes", "(none is)")?;
    let (full, paced) = (median(measured.cpu_ratios(Pace::Full)), median(measured.cpu_ratios(Pace::Line)));
    writeln!(out, "\nprocessor time, link to lines: {full:.2}, at the line's pace {paced:.2}")?;
    let Measured { link, lines, .. } = measured;
    writeln!(
        out,
        "{} readings acknowledged by the node's own count: {} lost, {} doubled, {} out of order; of {} lines {} lost",
        link.handed_over, link.lost, link.doubled, link.out_of_order, lines.handed_over, lines.lost
    )?;
    Ok(())
}
