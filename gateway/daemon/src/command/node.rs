//! `lamppost node`: who is at the serial ports, and commands to them. Asks the running gateway over its control socket.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;

use crate::cli::{Identify, Node, NodeAt, NodeCommand, SetInterval};
use crate::config;
use crate::control::{self, Answer, Port, Question};

/// Asks, and prints what came of it; false if it was not done.
///
/// # Errors
/// No gateway could be asked, or nobody knows whether the node obeyed.
pub(crate) async fn run(args: &Node, out: &mut impl Write) -> anyhow::Result<bool> {
    let (at, question) = question(&args.command);
    let answer = control::ask(&socket(at)?, &question).await?;
    if at.json {
        writeln!(out, "{}", serde_json::to_string(&answer)?)?;
    } else {
        show(&question, &answer, out)?;
    }
    match answer {
        Answer::Failed { why, message, .. } if why.is_unknown() => anyhow::bail!(message),
        Answer::Failed { .. } => Ok(false),
        Answer::Nodes { .. } | Answer::Done { .. } => Ok(true),
    }
}

fn question(command: &NodeCommand) -> (&NodeAt, Question) {
    match command {
        NodeCommand::Ls(at) => (at, Question::Nodes),
        NodeCommand::SetInterval(SetInterval { node, seconds, measure }) => {
            let (device, measure) = (node.device.clone(), measure.clone());
            (&node.at, Question::SetInterval { device, measure, interval_ms: seconds.0 })
        }
        NodeCommand::Identify(Identify { node, seconds }) => {
            (&node.at, Question::Identify { device: node.device.clone(), for_ms: seconds.0 })
        }
        NodeCommand::Reset(node) => (&node.at, Question::Reset { device: node.device.clone() }),
    }
}

fn socket(at: &NodeAt) -> anyhow::Result<PathBuf> {
    if let Some(socket) = &at.socket {
        return Ok(socket.clone());
    }
    let config = config::load(&at.config).context("--socket PATH names the gateway where there is no configuration")?;
    let asked = config.control.ask_at(&config.state_dir);
    asked.with_context(|| {
        format!("{} says [control] socket = \"off\": this gateway takes no commands", at.config.display())
    })
}

fn show(question: &Question, answer: &Answer, out: &mut impl Write) -> anyhow::Result<()> {
    match answer {
        Answer::Nodes { ports } => table(ports, out)?,
        Answer::Done { device, boot, measures, boot_now } => match question {
            Question::SetInterval { interval_ms, .. } => {
                let (names, every) = (measures.join(", "), seconds(*interval_ms));
                writeln!(out, "{device} (boot {boot}) measures {names} every {every} s, until its next reset")?;
            }
            Question::Identify { for_ms, .. } => {
                writeln!(out, "{device} (boot {boot}) shows which one it is for {} s", seconds(*for_ms))?;
            }
            _ => match boot_now {
                Some(now) => writeln!(out, "{device} was reset: boot {boot} has ended, boot {now} has begun")?,
                None => writeln!(
                    out,
                    "{device} has confirmed the reset, and has not come back yet; look with `lamppost node ls`"
                )?,
            },
        },
        // Told as an error.
        Answer::Failed { why, .. } if why.is_unknown() => {}
        Answer::Failed { message, measures, .. } => {
            writeln!(out, "not done: {message}")?;
            if !measures.is_empty() {
                writeln!(out, "done before that: {}", measures.join(", "))?;
            }
        }
    }
    Ok(())
}

/// Without trailing zeros.
fn seconds(ms: u32) -> String {
    let text = format!("{}.{:03}", ms / 1_000, ms % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn table(ports: &[Port], out: &mut impl Write) -> anyhow::Result<()> {
    let titles =
        ["device", "state", "boot", "firmware", "measures", "keeps", "dropped", "failed", "heard", "source", "port"];
    let mut rows = vec![titles.map(str::to_owned)];
    rows.extend(ports.iter().map(row));
    let widths: Vec<usize> = (0..titles.len())
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    for port in ports.iter().filter(|port| !matches!(port.state, control::State::Connected)) {
        if let Some(error) = &port.last_error {
            writeln!(out, "{}: {error}", port.source)?;
        }
    }
    if ports.is_empty() {
        writeln!(out, "no serial port of this gateway has a link ([[serial]] with protocol = \"link\")")?;
    }
    Ok(())
}

fn row(port: &Port) -> [String; 11] {
    let none = || "-".to_owned();
    let node = port.node.as_ref();
    let of = |get: &dyn Fn(&control::Node) -> String| node.map_or_else(none, get);
    let measure = |measure: &control::Measure| match measure.unit.as_str() {
        "" => measure.name.clone(),
        unit => format!("{} ({unit})", measure.name),
    };
    [
        of(&|node| node.device.clone()),
        format!("{:?}", port.state).to_lowercase(),
        of(&|node| node.boot.to_string()),
        of(&|node| node.firmware.clone()),
        of(&|node| node.measures.iter().map(measure).collect::<Vec<_>>().join(", ")),
        of(&|node| node.kept.to_string()),
        of(&|node| node.dropped.to_string()),
        of(&|node| node.failed_measurements.to_string()),
        port.heard_ago_ms.map_or_else(none, |ms| format!("{} s ago", ms / 1_000)),
        port.source.clone(),
        port.port.display().to_string(),
    ]
}
