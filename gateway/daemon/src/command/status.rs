//! `lamppost status`: how far each sink is behind the journal, and when it will be caught up; which sources were left out. Asks the running
//! gateway over its HTTP port.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use console::Term;
use lamppost_event::MAIN_SINK;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::span::seconds_span;
use crate::config::Refused;
use crate::{cli, config, scrape};

/// The path on which the gateway answers.
pub(crate) const PATH: &str = "/status";
/// How often it is asked again while it is watched.
const AGAIN: Duration = Duration::from_secs(1);
const BAR: u64 = 30;

/// The gateway's answer. Rates are over the last minute, or as long as the gateway runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// In the journal, ever.
    pub(crate) events: u64,
    /// That of `[kafka]` first.
    pub(crate) sinks: Vec<Behindhand>,
    /// The sources that the gateway started without. An older gateway does not say.
    #[serde(default)]
    pub(crate) refused: Vec<Refused>,
}

/// How far a sink is behind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Behindhand {
    /// `forward` is that of `[kafka]`.
    pub(crate) name: String,
    /// In the journal, ever, of the topics that it takes.
    pub(crate) events: u64,
    /// Of those, not delivered.
    pub(crate) backlog_events: u64,
    /// Where what is live goes first: of those, what goes beside it, marked. `None`: all goes in one lane.
    #[serde(default)]
    pub(crate) backfill_events: Option<u64>,
    /// The most that there were since all had been delivered.
    pub(crate) backlog_most: u64,
    /// Their bytes, about.
    pub(crate) backlog_bytes: Option<f64>,
    /// How long ago the oldest of them was received; paused topics left out. Not known of a folder.
    pub(crate) oldest_age_s: Option<f64>,
    pub(crate) forwarded_per_s: Option<f64>,
    pub(crate) arriving_per_s: Option<f64>,
    pub(crate) caught_up: Caught,
    /// Why nothing, or one topic, moves.
    pub(crate) paused: Option<String>,
    /// A broker is connected; `None` of a folder.
    pub(crate) connected: Option<bool>,
    pub(crate) wire: Option<Wire>,
}

/// When all will be delivered, if it goes on as in the last minute.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "when", rename_all = "snake_case")]
pub(crate) enum Caught {
    /// Now.
    Up,
    In {
        seconds: f64,
    },
    /// As much comes in as goes out, or more.
    Never,
    /// The gateway has just started.
    Unknown,
}

/// What went over the wire since the start.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wire {
    pub(crate) bytes: u64,
    pub(crate) batches: u64,
    pub(crate) bytes_per_event: Option<f64>,
    pub(crate) events_per_batch: Option<f64>,
    pub(crate) compression_ratio: Option<f64>,
}

/// Prints it; again and again on a terminal if that is asked for.
pub(crate) async fn run(args: &cli::Status, out: &mut impl Write) -> anyhow::Result<()> {
    let http = match args.http {
        Some(http) => http,
        None => {
            config::load(&args.config).context("--http ADDR names the gateway where there is no configuration")?.http
        }
    };
    let term = Term::stdout();
    loop {
        let answer = ask(http).await?;
        if args.json {
            writeln!(out, "{}", serde_json::to_string(&answer)?)?;
        } else {
            write!(out, "{}", told(&answer))?;
        }
        out.flush()?;
        let caught_up = answer.sinks.iter().all(|sink| sink.backlog_events == 0);
        if !args.watch || (caught_up && !term.is_term()) {
            return Ok(());
        }
        sleep(AGAIN).await;
        if !args.json && term.is_term() {
            term.clear_last_lines(told(&answer).lines().count())?;
        }
    }
}

async fn ask(http: SocketAddr) -> anyhow::Result<Answer> {
    let (status, body) = scrape::get(http, PATH).await.with_context(|| {
        format!("no gateway answers on {http}; does it run (systemctl status lamppost), and is [http] listen or --http right?")
    })?;
    anyhow::ensure!(status == 200, "what answers on {http} is no gateway that knows {PATH}: HTTP status {status}");
    serde_json::from_str(&body).with_context(|| format!("what answers on {http} is no gateway that knows {PATH}"))
}

/// For people.
fn told(answer: &Answer) -> String {
    let left_out = |Refused { source, why }: &Refused| format!("not started: {source}: {why}\n");
    told_of_sinks(answer) + &answer.refused.iter().map(left_out).collect::<String>()
}

fn told_of_sinks(answer: &Answer) -> String {
    if answer.sinks.is_empty() {
        return format!("{} events in the journal; no [kafka] and no [[sink]] is configured\n", answer.events);
    }
    // One cluster needs no name.
    let alone = answer.sinks.iter().all(|sink| sink.name == MAIN_SINK);
    let each = |sink: &Behindhand| {
        let text = told_of(sink);
        if alone { text } else { format!("{}:\n{text}", sink.name) }
    };
    answer.sinks.iter().map(each).collect()
}

fn told_of(answer: &Behindhand) -> String {
    let mut lines = Vec::new();
    if answer.backlog_events == 0 {
        lines.push(format!("caught up: all {} events are delivered", answer.events));
    } else {
        lines.push(bar(answer.backlog_most.saturating_sub(answer.backlog_events), answer.backlog_most));
        let bytes = answer.backlog_bytes.map_or_else(String::new, |bytes| format!(", about {}", size(bytes)));
        let age = answer.oldest_age_s.map_or_else(String::new, |age| format!(", the oldest {} old", seconds_span(age)));
        lines.push(format!("behind by {} events{bytes}{age}", answer.backlog_events));
        lines.push(match answer.caught_up {
            Caught::In { seconds } => {
                format!("caught up in about {} at the speed of the last minute", seconds_span(seconds))
            }
            Caught::Never => "caught up: never at this rate".to_owned(),
            _ => "caught up: not known yet, it has just started".to_owned(),
        });
    }
    if let Some(backfill) = answer.backfill_events {
        let live = answer.backlog_events.saturating_sub(backfill);
        lines.push(format!(
            "live first: {live} live events are not delivered; {backfill} of the backlog go beside, marked"
        ));
    }
    if let (Some(forwarded), Some(arriving)) = (answer.forwarded_per_s, answer.arriving_per_s) {
        lines.push(format!("{forwarded:.1} events/s go, {arriving:.1} events/s come"));
    }
    if let Some(wire) = &answer.wire
        && let (Some(each), Some(compression), Some(batch)) =
            (wire.bytes_per_event, wire.compression_ratio, wire.events_per_batch)
    {
        lines.push(format!(
            "{each:.0} bytes on the wire for an event, compressed {compression:.1}:1, {batch:.1} events in a batch"
        ));
    }
    if let Some(reason) = &answer.paused {
        lines.push(format!("paused: {reason}"));
    } else if answer.connected == Some(false) {
        lines.push("no broker is reached".to_owned());
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

fn bar(done: u64, whole: u64) -> String {
    let full = (BAR * done.min(whole)).checked_div(whole).unwrap_or(BAR);
    let part = (100 * done.min(whole)).checked_div(whole).unwrap_or(100);
    let (full, empty) = ("=".repeat(full as usize), " ".repeat((BAR - full) as usize));
    format!("[{full}{empty}] {part} % of {whole} events")
}

fn size(bytes: f64) -> String {
    match bytes {
        _ if bytes < 1e3 => format!("{bytes:.0} B"),
        _ if bytes < 1e6 => format!("{:.1} kB", bytes / 1e3),
        _ if bytes < 1e9 => format!("{:.1} MB", bytes / 1e6),
        _ => format!("{:.1} GB", bytes / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(backlog: u64, caught_up: Caught) -> Behindhand {
        Behindhand {
            name: MAIN_SINK.to_owned(),
            events: 1_000,
            backlog_events: backlog,
            backfill_events: None,
            backlog_most: 800,
            backlog_bytes: Some(backlog as f64 * 400.0),
            oldest_age_s: Some(3_700.0),
            forwarded_per_s: Some(12.0),
            arriving_per_s: Some(2.0),
            caught_up,
            paused: None,
            connected: Some(true),
            wire: None,
        }
    }

    fn refused() -> Refused {
        Refused { source: "i2c at line 5".to_owned(), why: "x.toml:8:8: unknown value `bmp999`".to_owned() }
    }

    #[test]
    fn a_source_that_was_left_out_is_told_of_with_its_reason_whether_there_are_sinks_or_not() {
        for sinks in [vec![], vec![sink(0, Caught::Up)]] {
            let text = told(&Answer { events: 7, sinks, refused: vec![refused()] });
            let (_, last) = text.trim_end().rsplit_once('\n').unwrap();
            assert_eq!(last, "not started: i2c at line 5: x.toml:8:8: unknown value `bmp999`", "{text}");
            assert!(text.contains("events"), "{text}");
        }
    }

    #[test]
    fn a_backlog_has_a_bar_a_size_an_age_and_an_end() {
        let text = told_of(&sink(200, Caught::In { seconds: 125.0 }));
        assert!(text.contains(&format!("[{}{}] 75 %", "=".repeat(22), " ".repeat(8))), "{text}");
        assert!(text.contains("behind by 200 events, about 80.0 kB, the oldest 1 h 1 min old"), "{text}");
        assert!(text.contains("in about 2 min 5 s") && text.contains("12.0 events/s go, 2.0"), "{text}");
    }

    #[test]
    fn both_lanes_are_told_of_where_there_are_two() {
        let split = Behindhand { backfill_events: Some(190), ..sink(200, Caught::In { seconds: 125.0 }) };
        let text = told_of(&split);
        assert!(text.contains("live first: 10 live events are not delivered; 190 of the backlog go beside"), "{text}");
        assert!(!told_of(&sink(200, Caught::Never)).contains("live first"));
    }

    #[test]
    fn what_will_never_be_done_is_said_plainly_and_why_it_is_paused() {
        let paused = Behindhand { paused: Some("topic air: no rights".to_owned()), ..sink(200, Caught::Never) };
        let text = told_of(&paused);
        assert!(text.contains("never at this rate") && text.contains("paused: topic air: no rights"), "{text}");
        assert!(told_of(&sink(0, Caught::Up)).starts_with("caught up: all 1000 events"));
    }

    #[test]
    fn each_sink_is_told_of_by_name_and_a_cluster_alone_without_one() {
        let alone = Answer { events: 1_000, sinks: vec![sink(0, Caught::Up)], refused: Vec::new() };
        assert!(told(&alone).starts_with("caught up: all 1000"), "{}", told(&alone));
        let folder = Behindhand { name: "card".to_owned(), connected: None, ..sink(200, Caught::Never) };
        let text = told(&Answer { sinks: vec![sink(0, Caught::Up), folder], ..alone });
        let (main, card) = text.split_once("card:\n").unwrap();
        assert!(main.starts_with("forward:\ncaught up: all 1000") && card.contains("behind by 200 events"), "{text}");
        assert!(!card.contains("no broker"), "a folder has none: {text}");
        assert!(
            told(&Answer { events: 7, sinks: Vec::new(), refused: Vec::new() })
                .contains("7 events in the journal; no [kafka]")
        );
    }

    #[test]
    fn an_answer_reads_as_it_was_written() {
        for caught in [Caught::Up, Caught::In { seconds: 4.5 }, Caught::Never, Caught::Unknown] {
            let answer = Answer { events: 1_000, sinks: vec![sink(3, caught)], refused: vec![refused()] };
            let text = serde_json::to_string(&answer).unwrap();
            assert_eq!(serde_json::from_str::<Answer>(&text).unwrap(), answer, "{text}");
        }
        let of_an_older_gateway = serde_json::from_str::<Answer>(r#"{"events":7,"sinks":[]}"#).unwrap();
        assert_eq!(of_an_older_gateway, Answer { events: 7, sinks: Vec::new(), refused: Vec::new() });
    }
}
