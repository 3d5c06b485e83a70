//! From questions to nodes and back: what is done for each question, whoever asked.

use std::time::Duration;

use lamppost_event::Clock;
use lamppost_serial::{Capabilities, Command, CommandError, ConnectedNode, LinkStatus, MeasureIndex};
use tokio::time::{sleep, timeout};

use super::words::{Answer, Counters, Measure, Node, Port, Question, State, Why};
use crate::gateway::LinkSeen;

/// Three heartbeats (`drivers/wire/README.md`, Node, 8).
const SILENT_AFTER_MS: u64 = 30_000;
/// How long a node that was reset may take to come back.
const BACK_MAX: Duration = Duration::from_secs(15);
/// How often it is looked for meanwhile.
const BACK_LOOK: Duration = Duration::from_millis(100);

/// Answers a question.
pub(super) async fn answer(question: Question, links: &[LinkSeen], clock: &dyn Clock) -> Answer {
    let outcome = match question {
        Question::Nodes => return Answer::Nodes { ports: links.iter().map(|link| port(link, clock)).collect() },
        Question::SetInterval { device, measure, interval_ms } => {
            set_interval(links, device, measure.as_deref(), interval_ms).await
        }
        Question::Identify { device, for_ms } => {
            order(links, device, Command::Identify { for_ms }).await.map(|(device, boot)| done(device, boot))
        }
        Question::Reset { device } => reset(links, device).await,
    };
    outcome.unwrap_or_else(|failed| failed)
}

fn done(device: String, boot: u32) -> Answer {
    Answer::Done { device, boot, measures: Vec::new(), boot_now: None }
}

fn failed(why: Why, message: String, device: String) -> Answer {
    Answer::Failed { why, message, device: Some(device), measures: Vec::new() }
}

/// The port where the node is.
fn find(links: &[LinkSeen], device: &str) -> Result<(LinkSeen, ConnectedNode), Answer> {
    let mut found = links.iter().filter_map(|link| {
        let node = link.status.node().filter(|node| node.device == device)?;
        Some((link.clone(), node))
    });
    match (found.next(), found.next()) {
        (None, _) => {
            let here: Vec<String> =
                links.iter().filter_map(|link| link.status.node()).map(|node| node.device).collect();
            let here = if here.is_empty() { "none".to_owned() } else { here.join(", ") };
            let message = format!("no serial port has a node {device:?} now; connected: {here}");
            Err(failed(Why::NotConnected, message, device.to_owned()))
        }
        (Some((one, _)), Some((other, _))) => {
            let message =
                format!("{} and {} both have a node {device:?}: names are to be unique", one.source, other.source);
            Err(failed(Why::Ambiguous, message, device.to_owned()))
        }
        (Some(found), None) => Ok(found),
    }
}

async fn order(links: &[LinkSeen], device: String, command: Command) -> Result<(String, u32), Answer> {
    let (link, node) = find(links, &device)?;
    let outcome = link.orders.send(&device, command).await;
    outcome.map_err(|error| failed(why(error), error.to_string(), device.clone()))?;
    Ok((device, node.boot))
}

async fn set_interval(
    links: &[LinkSeen],
    device: String,
    measure: Option<&str>,
    interval_ms: u32,
) -> Result<Answer, Answer> {
    let (_, node) = find(links, &device)?;
    let chosen: Vec<(u8, String)> = (0..=u8::MAX)
        .zip(node.measures.iter().map(|(name, _)| name.clone()))
        .filter(|(_, name)| measure.is_none_or(|wanted| wanted == name))
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = node.measures.iter().map(|(name, _)| name.as_str()).collect();
        let message = format!("{device} has no measure {:?}; it has: {}", measure.unwrap_or(""), names.join(", "));
        return Err(failed(Why::NoSuchMeasure, message, device));
    }
    let (mut measures, mut boot) = (Vec::new(), node.boot);
    for (index, name) in chosen {
        let command = Command::SetInterval { measure: MeasureIndex(index), interval_ms };
        match order(links, device.clone(), command).await {
            Ok((_, of)) => boot = of,
            Err(Answer::Failed { why, message, device, .. }) => {
                return Err(Answer::Failed { why, message: format!("{name}: {message}"), device, measures });
            }
            Err(other) => return Err(other),
        }
        measures.push(name);
    }
    Ok(Answer::Done { device, boot, measures, boot_now: None })
}

async fn reset(links: &[LinkSeen], device: String) -> Result<Answer, Answer> {
    let (device, boot) = order(links, device, Command::Reset).await?;
    let back = async {
        loop {
            if let Ok((_, node)) = find(links, &device)
                && node.boot != boot
            {
                return node.boot;
            }
            sleep(BACK_LOOK).await;
        }
    };
    let boot_now = timeout(BACK_MAX, back).await.ok();
    Ok(Answer::Done { device, boot, measures: Vec::new(), boot_now })
}

const fn why(error: CommandError) -> Why {
    match error {
        CommandError::Absent => Why::NotConnected,
        CommandError::Busy => Why::Busy,
        CommandError::Unsupported => Why::Unsupported,
        CommandError::Refused(_) => Why::Refused,
        CommandError::Interrupted => Why::Interrupted,
        CommandError::Unanswered => Why::TimedOut,
    }
}

fn port(link: &LinkSeen, clock: &dyn Clock) -> Port {
    let status = &link.status;
    let now = clock.now().monotonic;
    let heard_ago_ms = status.heard_at().map(|at| now.0.saturating_sub(at.0));
    let state = match (status.node(), status.last_node()) {
        (Some(_), _) if heard_ago_ms.is_some_and(|ago| ago > SILENT_AFTER_MS) => State::Silent,
        (Some(_), _) => State::Connected,
        (None, Some(_)) => State::Away,
        (None, None) => State::Nobody,
    };
    Port {
        source: link.source.clone(),
        port: link.port.clone(),
        state,
        node: status.last_node().map(|node| shown(node, status)),
        heard_ago_ms,
        last_error: status.last_error(),
        counters: counters(status),
    }
}

fn shown(node: ConnectedNode, status: &LinkStatus) -> Node {
    let words = [
        (Capabilities::SET_INTERVAL, "set_interval"),
        (Capabilities::IDENTIFY, "identify"),
        (Capabilities::RESET, "reset"),
    ];
    let can = words.into_iter().filter(|(needs, _)| node.capabilities.include(*needs)).map(|(_, word)| word.to_owned());
    Node {
        device: node.device,
        boot: node.boot,
        firmware: node.firmware,
        version: node.version,
        can: can.collect(),
        measures: node.measures.into_iter().map(|(name, unit)| Measure { name, unit }).collect(),
        kept: status.node_kept.get(),
        dropped: status.node_dropped.get(),
        failed_measurements: status.node_faults.get(),
    }
}

fn counters(status: &LinkStatus) -> Counters {
    let bad = [
        &status.frames_bad_crc,
        &status.frames_cut,
        &status.frames_too_long,
        &status.frames_unknown,
        &status.frames_malformed,
    ];
    Counters {
        opens: status.port.opens.get(),
        hang_ups: status.port.hang_ups.get(),
        hellos: status.hellos.get(),
        frames_ok: status.frames_ok.get(),
        frames_bad: bad.iter().map(|count| count.get()).sum(),
        garbage_bytes: status.garbage_bytes.get(),
        readings: status.readings.get(),
        resent: status.resent.get(),
        out_of_turn: status.out_of_turn.get(),
        passed_over: status.passed_over.get(),
        acknowledgements: status.acknowledgements.get(),
        stalls: status.stalls.get(),
        jumps_told: status.jumps_told.get(),
        commands_done: status.commands_done.get(),
        commands_failed: status.commands_failed.get(),
    }
}
