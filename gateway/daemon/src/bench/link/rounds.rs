//! The rounds: both sources take turns, once as fast as the link goes and once at the pace of a line of 115,200 baud. Lines come no faster
//! than the link's readings did: they know no acknowledgement, and what comes while the journal has no room is given up.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use tokio::time::{Instant, sleep};

use super::judge::{self, Verdict};
use super::lines;
use super::node::{DEVICE, MEASURE, Welcomed};
use crate::bench::figures::median;
use crate::bench::process::{Gateway, free_port};
use crate::bench::progress::Progress;
use crate::cli::LinkBench;
use crate::pty::Line;
use crate::scrape;

/// Where the readings are stored.
pub(super) const TOPIC: &str = "readings";
/// How many readings of 25 bytes a line of 115,200 baud carries in a second (`drivers/wire/README.md`); of the lines of JSON it would carry a fifth.
pub(super) const LINE_READINGS_PER_S: u32 = 460;

/// How often the gateway is asked what it has stored.
const LOOK: Duration = Duration::from_millis(50);
/// A gateway that has not opened the port, or does not write, for so long has failed the benchmark.
const STANDSTILL_MAX: Duration = Duration::from_secs(60);
/// Lines of which nothing is stored for so long are lost.
const SETTLED: Duration = Duration::from_secs(3);

/// By which way the readings come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Link,
    Lines,
}

/// How fast they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// As fast as the link takes them.
    Full,
    /// As fast as a line of 115,200 baud carries those of the link.
    Line,
}

/// When a sender sends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Schedule {
    /// Whenever it can.
    AtOnce,
    /// So many a second.
    PerSecond(f64),
}

impl Schedule {
    /// How many readings may have been sent by then.
    pub(super) fn due(self, elapsed: Duration) -> u64 {
        match self {
            Self::AtOnce => u64::MAX,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count below 2^53, not below 0"
            )]
            Self::PerSecond(rate) => (elapsed.as_secs_f64() * rate) as u64,
        }
    }
}

/// What is measured in each round.
pub(super) const CASES: [(Way, Pace); 4] =
    [(Way::Link, Pace::Full), (Way::Lines, Pace::Full), (Way::Link, Pace::Line), (Way::Lines, Pace::Line)];

/// What a sender did.
pub(super) struct Sent {
    pub(super) elapsed: Duration,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
    /// How many of its readings the gateway has taken.
    pub(super) taken: u64,
    /// The numbers of the readings that it counts as handed over: acknowledged, or where nothing is acknowledged written.
    pub(super) ledger: Vec<u64>,
}

/// What one measurement gave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) readings_per_s: f64,
    /// Of the gateway's process.
    pub(super) cpu_us: f64,
    pub(super) bytes_up: f64,
    pub(super) bytes_down: f64,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Measured {
    runs: [Vec<Run>; CASES.len()],
    pub(super) link: Verdict,
    pub(super) lines: Verdict,
}

impl Measured {
    /// The median over the rounds.
    pub(super) fn median(&self, way: Way, pace: Pace, of: impl Fn(&Run) -> f64) -> f64 {
        let cases = CASES.iter().zip(&self.runs).filter(|(case, _)| **case == (way, pace));
        median(cases.flat_map(|(_, runs)| runs.iter().map(&of)).collect())
    }

    /// What a reading by the link costs the gateway, to what the same costs as a line, round by round.
    pub(super) fn cpu_ratios(&self, pace: Pace) -> Vec<f64> {
        let of = |way| CASES.iter().zip(&self.runs).find(|(case, _)| **case == (way, pace)).map(|(_, runs)| runs);
        let pairs = of(Way::Link).into_iter().flatten().zip(of(Way::Lines).into_iter().flatten());
        pairs.map(|(link, lines)| link.cpu_us / lines.cpu_us).collect()
    }
}

/// Measures. What the link has lost, doubled or stored out of order is an error.
pub(super) async fn run(args: &LinkBench, dir: &Path, progress: &mut Progress) -> anyhow::Result<Measured> {
    let mut measured = Measured::default();
    for round in 0..args.rounds {
        let mut link_rate = f64::from(LINE_READINGS_PER_S);
        for ((way, pace), runs) in CASES.into_iter().zip(&mut measured.runs) {
            let what = format!("{way:?}, {pace:?}");
            progress.step(&format!("round {} of {}: {what}", round + 1, args.rounds));
            let (readings, schedule) = match (way, pace) {
                (Way::Link, Pace::Full) => (args.readings, Schedule::AtOnce),
                (Way::Lines, Pace::Full) => (args.readings, Schedule::PerSecond(link_rate)),
                (_, Pace::Line) => {
                    let readings = u64::from(args.seconds) * u64::from(LINE_READINGS_PER_S);
                    (readings, Schedule::PerSecond(f64::from(LINE_READINGS_PER_S)))
                }
            };
            let (run, verdict) = one(dir, way, readings, schedule).await.context(what)?;
            runs.push(run);
            match way {
                Way::Link => {
                    link_rate = run.readings_per_s;
                    measured.link = measured.link.and(verdict);
                }
                Way::Lines => measured.lines = measured.lines.and(verdict),
            }
        }
    }
    anyhow::ensure!(measured.link.holds(), "the journal is not what the node counts: {:?}", measured.link);
    Ok(measured)
}

async fn one(dir: &Path, way: Way, readings: u64, schedule: Schedule) -> anyhow::Result<(Run, Verdict)> {
    let folder = tempfile::tempdir_in(dir)?;
    let line = Line::open().context("no pseudo-terminal")?;
    let (http, state) = (free_port()?, folder.path().join("state"));
    let mut gateway = Gateway::start(folder.path(), &configuration(&state, way, line.path(), http), http)?;
    gateway.ready().await?;
    until(&gateway, "lamppost_serial_opens_total", 1.0, STANDSTILL_MAX).await?;
    let (used, mut sent) = match way {
        Way::Link => {
            let node = Welcomed::by(&line)?;
            (gateway.server.used()?, node.send(readings, schedule)?)
        }
        Way::Lines => {
            lines::begin(&line)?;
            let on_disk = "lamppost_journal_stored_events";
            let before = scrape::sum(&gateway.metrics().await?, on_disk);
            let (used, began) = (gateway.server.used()?, Instant::now());
            let mut sent = lines::send(&line, readings, schedule)?;
            #[expect(clippy::cast_precision_loss, reason = "a count below 2^53")]
            let stored = until(&gateway, "lamppost_lines_stored_total", readings as f64, SETTLED).await?;
            // On disk, as what is acknowledged by the link is.
            until(&gateway, on_disk, before + stored, STANDSTILL_MAX).await?;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let taken = stored as u64;
            (sent.elapsed, sent.taken) = (began.elapsed(), taken);
            (used, sent)
        }
    };
    let cpu = gateway.server.used()?.cpu.saturating_sub(used.cpu);
    anyhow::ensure!(sent.taken > 0, "the gateway took none of {readings} readings");
    let verdict = judge::judge(&state.join("journal"), &std::mem::take(&mut sent.ledger))?;
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    let [count, taken, up, down] = [readings, sent.taken, sent.bytes_up, sent.bytes_down].map(|count| count as f64);
    let run = Run {
        readings_per_s: taken / sent.elapsed.as_secs_f64(),
        cpu_us: cpu.as_secs_f64() * 1e6 / taken,
        bytes_up: up / count,
        bytes_down: down / count,
    };
    Ok((run, verdict))
}

/// The shipped defaults, but for places, one topic and a quota that holds what is measured. No cluster: nothing is forwarded meanwhile.
fn configuration(state: &Path, way: Way, port: &Path, http: std::net::SocketAddr) -> String {
    let (measure, unit) = MEASURE;
    let protocol = match way {
        Way::Link => "protocol = \"link\"\n".to_owned(),
        Way::Lines => format!(
            "protocol = \"lines\"\nformat = \"json\"\ndevice = \"{DEVICE}\"\ndevice_from = \"/device\"\n\
             [[serial.field]]\nname = \"{measure}\"\nfrom = \"/value\"\nunit = \"{unit}\"\n"
        ),
    };
    format!(
        "[gateway]\nid = \"bench\"\nstate_dir = {state:?}\n[journal]\nquota = \"2GiB\"\n[http]\nlisten = \"{http}\"\n\
         [topics.{TOPIC}]\npartitions = 1\n[[route]]\nfrom = \"#\"\ntopic = \"{TOPIC}\"\n\
         [[serial]]\nname = \"bench\"\nport = {port:?}\n{protocol}"
    )
}

/// Waits until the gateway counts so many, or no more for that long; how many it counts.
async fn until(gateway: &Gateway, name: &str, wanted: f64, standstill_max: Duration) -> anyhow::Result<f64> {
    let mut last = (0.0, Instant::now());
    loop {
        let counted = scrape::sum(&gateway.metrics().await?, name);
        if counted > last.0 {
            last = (counted, Instant::now());
        }
        if counted >= wanted || last.1.elapsed() > standstill_max {
            return Ok(counted);
        }
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn the_gateway_takes_both_configurations() {
        for way in [Way::Link, Way::Lines] {
            let text = configuration(Path::new("/s"), way, Path::new("/dev/pts/7"), ([127, 0, 0, 1], 9000).into());
            assert!(config::parse(&text).is_ok_and(|config| config.serial.len() == 1), "{text}");
        }
    }

    #[test]
    fn as_many_are_due_as_the_pace_says() {
        let paced = Schedule::PerSecond(f64::from(LINE_READINGS_PER_S));
        assert_eq!((paced.due(Duration::ZERO), paced.due(Duration::from_secs(10))), (0, 4_600));
        assert_eq!(Schedule::AtOnce.due(Duration::ZERO), u64::MAX);
    }
}
