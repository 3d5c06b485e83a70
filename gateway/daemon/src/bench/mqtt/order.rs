//! What the benchmark tells its load process, and what it hears back: one line of JSON each, by its standard input and output.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// What the load is to do. Clients have numbers from 0; `clients` are always the first so many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub(crate) enum Order {
    /// Connect until so many clients are connected, not more than `at_once` of them under way at a time.
    Connect { server: SocketAddr, clients: u32, at_once: u32 },
    /// Publish with QoS 1 for so long, and wait for all acknowledgements. `window`: unacknowledged publishes of one client.
    Publish { clients: u32, window: u16, event_bytes: u32, millis: u64 },
    /// Publish with QoS 0 for so long, as fast as the server takes it. `finish`: and then wait until all that was begun is written.
    Flood { clients: u32, event_bytes: u32, millis: u64, finish: bool },
    /// The last so many clients subscribe to everything and then read no more.
    SubscribeAndSleep { clients: u32 },
    /// All clients vanish (their connections are reset) and connect again at once.
    Storm,
    /// All clients vanish.
    Leave,
}

/// What came of an order.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Publishes written whole.
    pub(crate) sent: u64,
    /// PUBACKs read, each in its order.
    pub(crate) acknowledged: u64,
    /// From the order's start to its last acknowledgement or connection.
    pub(crate) seconds: f64,
    /// This process's time on a processor, user and system.
    pub(crate) cpu_seconds: f64,
    /// From PUBLISH to PUBACK.
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    /// Connections that were refused or lost and tried again.
    pub(crate) tried_again: u64,
}

/// The answer to an order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Done(Done),
    Failed(String),
}

/// The load process as the benchmark sees it. It ends with this.
pub(crate) struct Loader {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Loader {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("where is this program?")?;
        let mut child = Command::new(program)
            .args(["bench", "load"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the load process can't be started")?;
        let orders = child.stdin.take().context("the load process has no standard input")?;
        let answers = child.stdout.take().context("the load process has no standard output")?;
        Ok(Self { child, orders, answers: BufReader::new(answers) })
    }

    /// Gives an order and waits until it is done.
    pub(crate) fn order(&mut self, order: &Order) -> anyhow::Result<Done> {
        writeln!(self.orders, "{}", serde_json::to_string(order)?).context("the load process has gone")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        anyhow::ensure!(!line.is_empty(), "the load process has gone while it did {order:?}");
        match serde_json::from_str(&line)? {
            Answer::Done(done) => Ok(done),
            Answer::Failed(reason) => Err(anyhow::anyhow!(reason)),
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone and reaped afterwards.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
