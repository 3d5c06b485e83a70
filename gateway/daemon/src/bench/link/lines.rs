//! The device that writes the same readings as lines of JSON, and hears nothing back.

use std::time::Duration;

use tokio::time::Instant;

use super::node::{DEVICE, MEASURE, UPTIME_MS, value_text};
use super::rounds::{Schedule, Sent};
use crate::pty::Line;

const REST: Duration = Duration::from_millis(1);
/// A gateway that reads nothing for so long has failed the benchmark.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// What the node knows of the `n`th reading, as a line.
fn line_of(n: u64, uptime_ms: u64) -> String {
    let ((name, unit), value) = (MEASURE, value_text(n));
    format!(
        "{{\"device\":\"{DEVICE}\",\"boot\":85079126,\"sequence\":{n},\"measure\":\"{name}\",\"value\":{value},\"unit\":\"{unit}\",\"uptime_ms\":{uptime_ms}}}\n"
    )
}

/// Ends the line that the gateway takes for begun before it opened the port. Blocks.
pub(super) fn begin(line: &Line) -> anyhow::Result<()> {
    write(line, b"\n")
}

/// Writes so many lines. Blocks while the gateway does not read.
pub(super) fn send(line: &Line, readings: u64, schedule: Schedule) -> anyhow::Result<Sent> {
    let began = Instant::now();
    let (mut ledger, mut bytes_up) = (Vec::new(), 0);
    for n in 1..=readings {
        while schedule.due(began.elapsed()) < n {
            std::thread::sleep(REST);
        }
        let uptime_ms = UPTIME_MS + u64::try_from(began.elapsed().as_millis()).unwrap_or(0);
        let text = line_of(n, uptime_ms);
        write(line, text.as_bytes())?;
        bytes_up += text.len() as u64;
        ledger.push(n);
    }
    Ok(Sent { elapsed: began.elapsed(), bytes_up, bytes_down: 0, taken: readings, ledger })
}

fn write(line: &Line, bytes: &[u8]) -> anyhow::Result<()> {
    let (mut rest, mut moved) = (bytes, Instant::now());
    while !rest.is_empty() {
        let taken = line.write(rest);
        rest = rest.get(taken..).unwrap_or_default();
        if taken > 0 {
            moved = Instant::now();
        } else {
            anyhow::ensure!(moved.elapsed() < SILENCE_MAX, "the gateway does not read the lines");
            line.wait_to_write(REST)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json_and_says_all_that_a_reading_of_the_link_does() {
        let line: serde_json::Value = serde_json::from_str(&line_of(21_500, UPTIME_MS)).unwrap();
        assert_eq!((line["device"].as_str(), line["value"].as_f64()), (Some(DEVICE), Some(21.5)));
        for known in ["boot", "sequence", "measure", "unit", "uptime_ms"] {
            assert!(!line[known].is_null(), "{known} in {line}");
        }
    }
}
