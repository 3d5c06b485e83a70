//! `lamppost clients`: who is connected to the gateway's MQTT server. Asks the running gateway over its HTTP port, twice, for rates.

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::span::span;
use crate::{cli, config, scrape};

/// The path on which the gateway answers.
pub(crate) const PATH: &str = "/clients";
/// How many endings are shown to people.
const ENDINGS_SHOWN: usize = 20;

/// The gateway's answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// Connected, in the order of their ids.
    pub(crate) clients: Vec<Client>,
    /// Refused or ended by the gateway, the latest first.
    pub(crate) endings: Vec<Ending>,
}

/// A connected client.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Client {
    pub(crate) client: String,
    pub(crate) user: Option<String>,
    pub(crate) address: Option<SocketAddr>,
    /// "3.1.1" or "5.0".
    pub(crate) version: String,
    pub(crate) connected_ms: u64,
    /// Publishes that the journal took of this connection.
    pub(crate) events: u64,
    /// Of those, not on disk yet.
    pub(crate) in_flight: u64,
    /// It came back to a session that was remembered.
    pub(crate) session_present: bool,
    pub(crate) session_expiry_s: u64,
    /// Not read from, because the journal is full.
    pub(crate) stalled: bool,
}

/// A connection that was refused or ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ending {
    /// Empty if it had not said who it is.
    pub(crate) client: String,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) cause: String,
    pub(crate) reason: String,
    pub(crate) ago_ms: u64,
}

/// A client as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    client: Client,
    /// Over the time between the two questions; none of a client that came between them.
    events_per_s: Option<f64>,
    /// Why an earlier connection of this client id was ended.
    last_error: Option<Ending>,
}

/// Prints who is connected.
pub(crate) async fn run(args: &cli::Clients, out: &mut impl Write) -> anyhow::Result<()> {
    let http = match args.http {
        Some(http) => http,
        None => {
            config::load(&args.config).context("--http ADDR names the gateway where there is no configuration")?.http
        }
    };
    let before = ask(http).await?;
    sleep(Duration::from_millis(args.over_ms)).await;
    let answer = ask(http).await?;
    let shown = join(&before, &answer);
    if args.json {
        writeln!(out, "{}", serde_json::json!({ "clients": shown, "endings": answer.endings }))?;
        return Ok(());
    }
    table(&shown, out)?;
    endings(&answer.endings, out)
}

async fn ask(http: SocketAddr) -> anyhow::Result<Answer> {
    let (status, body) = scrape::get(http, PATH).await.with_context(|| {
        format!("no gateway answers on {http}; does it run (systemctl status lamppost), and is [http] listen or --http right?")
    })?;
    anyhow::ensure!(status == 200, "what answers on {http} is no gateway that knows {PATH}: HTTP status {status}");
    serde_json::from_str(&body).with_context(|| format!("what answers on {http} is no gateway that knows {PATH}"))
}

fn join(before: &Answer, after: &Answer) -> Vec<Shown> {
    let earlier: HashMap<(&str, Option<SocketAddr>), &Client> =
        before.clients.iter().map(|client| ((client.client.as_str(), client.address), client)).collect();
    // The latest comes first, and stays.
    let mut errors: HashMap<&str, &Ending> = HashMap::new();
    for ending in &after.endings {
        errors.entry(&ending.client).or_insert(ending);
    }
    let shown = |client: &Client| {
        let earlier = earlier.get(&(client.client.as_str(), client.address)).copied();
        Shown {
            events_per_s: earlier.and_then(|earlier| rate(earlier, client)),
            last_error: errors.get(client.client.as_str()).map(|ending| (*ending).clone()),
            client: client.clone(),
        }
    };
    after.clients.iter().map(shown).collect()
}

/// `None`: it is another connection, or no time went by.
fn rate(earlier: &Client, later: &Client) -> Option<f64> {
    let (events, ms) =
        (later.events.checked_sub(earlier.events)?, later.connected_ms.checked_sub(earlier.connected_ms)?);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    (ms > 0).then(|| events as f64 * 1000.0 / ms as f64)
}

fn table(shown: &[Shown], out: &mut impl Write) -> anyhow::Result<()> {
    let wide = shown.iter().map(|it| it.client.client.chars().count()).max().unwrap_or(0).clamp(6, 40);
    let titles = ["user", "address", "MQTT", "connected", "events/s", "in flight", "session", "last error"];
    let [user, address, version, connected, rate, in_flight, kept, error] = titles;
    writeln!(
        out,
        "{:<wide$}  {user:<12}  {address:<21}  {version:<5}  {connected:>12}  {rate:>8}  {in_flight:>9}  {kept:<22}  {error}",
        "client"
    )?;
    for Shown { client, events_per_s, last_error } in shown {
        let rate = events_per_s.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
        let error = last_error
            .as_ref()
            .map(|it| format!("{} ago: {} ({})", span(Duration::from_millis(it.ago_ms)), it.cause, it.reason));
        writeln!(
            out,
            "{:<wide$}  {:<12}  {:<21}  {:<5}  {:>12}  {rate:>8}  {:>9}  {:<22}  {}",
            client.client,
            client.user.as_deref().unwrap_or("-"),
            client.address.map_or_else(|| "-".to_owned(), |address| address.to_string()),
            client.version,
            span(Duration::from_millis(client.connected_ms)),
            if client.stalled { format!("{} full", client.in_flight) } else { client.in_flight.to_string() },
            session(client),
            error.unwrap_or_else(|| "-".to_owned()),
        )?;
    }
    writeln!(out, "{} connected", shown.len())?;
    Ok(())
}

fn session(client: &Client) -> String {
    let kept = if client.session_expiry_s == 0 {
        "ends".to_owned()
    } else {
        span(Duration::from_secs(client.session_expiry_s))
    };
    format!("{}, {kept}", if client.session_present { "resumed" } else { "new" })
}

fn endings(endings: &[Ending], out: &mut impl Write) -> anyhow::Result<()> {
    if endings.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nrefused or ended by the gateway, the latest first:")?;
    for ending in endings.iter().take(ENDINGS_SHOWN) {
        let client = if ending.client.is_empty() { "(no client id)" } else { &ending.client };
        let address = ending.address.map_or_else(|| "-".to_owned(), |address| address.to_string());
        writeln!(
            out,
            "  {:>12} ago  {client}  {address}  {}: {}",
            span(Duration::from_millis(ending.ago_ms)),
            ending.cause,
            ending.reason
        )?;
    }
    let more = endings.len().saturating_sub(ENDINGS_SHOWN);
    if more > 0 {
        writeln!(out, "  and {more} more: --json shows them")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(id: &str, connected_ms: u64, events: u64) -> Client {
        Client {
            client: id.to_owned(),
            user: None,
            address: Some("192.0.2.7:5000".parse().unwrap()),
            version: "5.0".to_owned(),
            connected_ms,
            events,
            in_flight: 0,
            session_present: false,
            session_expiry_s: 0,
            stalled: false,
        }
    }

    fn ending(id: &str, cause: &str, ago_ms: u64) -> Ending {
        let (client, address) = (id.to_owned(), None);
        Ending { client, address, cause: cause.to_owned(), reason: "because".to_owned(), ago_ms }
    }

    #[test]
    fn a_rate_is_of_one_connection_and_the_last_error_is_the_latest() {
        let before = Answer { clients: vec![client("a", 1_000, 10), client("b", 9_000, 50)], endings: Vec::new() };
        let endings = vec![ending("a", "keep_alive", 10), ending("a", "malformed", 900)];
        // `b` has connected again, and `c` is new.
        let clients = vec![client("a", 3_000, 40), client("b", 100, 2), client("c", 5, 1)];
        let shown = join(&before, &Answer { clients, endings });
        let rates: Vec<_> = shown.iter().map(|it| it.events_per_s).collect();
        assert_eq!(rates, [Some(15.0), None, None]);
        assert_eq!(shown[0].last_error.as_ref().unwrap().cause, "keep_alive");
        assert!(shown[1].last_error.is_none());
        let mut text = Vec::new();
        table(&shown, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("15.0") && text.contains("0 s ago: keep_alive (because)"), "{text}");
        assert!(text.ends_with("3 connected\n"), "{text}");
    }
}
