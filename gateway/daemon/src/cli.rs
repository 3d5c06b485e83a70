//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use lamppost_event::WallTime;

use crate::command::journal::instant;
use crate::config::value::Span;

mod bench;
mod connection;
mod journal;
mod node;

pub(crate) use bench::{Bench, BenchCommand, ForwardBench, LinkBench, MqttBench, WholeBench};
pub(crate) use connection::Connection;
pub(crate) use journal::{
    Dump, Export, Forget, Journal, JournalAt, JournalCommand, JournalOf, Ls, Repair, Replay, Reset, Tail, Target,
};
pub(crate) use node::{Identify, Node, NodeAt, NodeCommand, SetInterval};

/// The box in the lamp post: reads sensors over MQTT, serial and I2C, keeps every event in a crash-safe log, and hands them
/// to Apache Kafka.
///
/// Acknowledged means on disk; on disk means delivered at least once, in order per key, and anyone can check it.
#[derive(Debug, Parser)]
#[command(name = "lamppost", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  lamppost demo                            the whole way on this machine, audited
  lamppost check --config lamppost.toml    is it right, and what does it cost the card?
  lamppost doctor                          what is in its way on this machine?
  lamppost run --config lamppost.toml      the gateway
  lamppost clients                         who is connected to it
  lamppost node ls                         the nodes at its serial ports
  lamppost journal ls --dir /var/lib/lamppost/journal
  lamppost publish --topic cmd/pump-7/valve --retain open
  lamppost audit --bootstrap kafka-1:9092 --ledger sender.jsonl

Log lines go to standard error; RUST_LOG sets how much (for example RUST_LOG=lamppost=debug).";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway until it is told to stop (SIGTERM, SIGINT). SIGHUP: read the configuration again: routes, certificates, passwords
    /// and rules are exchanged, what needs a restart is named, and a wrong one is refused.
    Run(ConfigArg),
    /// Check a configuration and say what it means: wear of the card, hours offline.
    Check(ConfigArg),
    /// Look at this machine and say what is in the gateway's way, and what to do about it: clock, card, ports, buses, brokers, certificates,
    /// the service. Exit status 1: something may surprise; 2: something does not work.
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(Doctor),
    /// Show the whole way of an event on this machine: simulated sensors, a real journal, a cluster that goes away.
    Demo(Demo),
    /// Read a cluster, and senders' ledgers if there are any, and say what is lost, doubled or out of order. Exit status 1: the
    /// promise was broken; 2: it could not be judged, or not yet.
    Audit(Audit),
    /// Measure this gateway on this machine: durable acknowledgements, delivery, latency, memory, bytes written. `bench mqtt` measures
    /// the MQTT server alone, beside others, `bench link` a node's serial line.
    Bench(Bench),
    /// Publish one message through the gateway's MQTT server: a command or a setting for devices. Returns once it is on the gateway's
    /// disk, from where it reaches subscribed devices, those that are away when they come back.
    Publish(Publish),
    /// Show who is connected to the running gateway's MQTT server: since when, how much, what is in flight, the last error.
    #[command(after_help = CLIENTS_EXAMPLES)]
    Clients(Clients),
    /// Show the nodes at the running gateway's serial ports, and command them: another interval, identify, reset.
    Node(Node),
    /// Show how far each cluster and folder is behind the running gateway's journal: events, bytes, age of the oldest, speed, and when it
    /// will be caught up. Names the sources that were left out at the start, and why.
    #[command(after_help = STATUS_EXAMPLES)]
    Status(Status),
    /// Make an entry of the MQTT password file. The password is asked for, or read as a line from standard input.
    Passwd(Passwd),
    /// Look into a journal, take events out of it, repair it.
    Journal(Journal),
    /// Print the completions of a shell: bash, zsh, fish.
    Completions(Completions),
    /// Write the manual pages into a folder, for packages.
    #[command(hide = true)]
    Manpages(Manpages),
}

impl Command {
    /// Whether the exit status is a verdict.
    pub(crate) fn judges(&self) -> bool {
        match self {
            Self::Demo(_) | Self::Audit(_) | Self::Doctor(_) | Self::Node(_) => true,
            Self::Journal(journal) => matches!(journal.command, JournalCommand::Verify(_)),
            Self::Run(_)
            | Self::Check(_)
            | Self::Bench(_)
            | Self::Passwd(_)
            | Self::Publish(_)
            | Self::Clients(_)
            | Self::Status(_)
            | Self::Completions(_)
            | Self::Manpages(_) => false,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArg {
    /// The configuration file.
    #[arg(long, short, value_name = "FILE", default_value = crate::config::DEFAULT_PATH)]
    pub(crate) config: PathBuf,
}

const DOCTOR_EXAMPLES: &str = "\
Examples:
  lamppost doctor                                   as root: sees who holds a port, and judges for the user lamppost
  lamppost doctor --config new.toml --json | jq -r '.findings[] | select(.level != \"ok\") | .found'";

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// The gateway's configuration.
    #[arg(long, short, value_name = "FILE", default_value = crate::config::DEFAULT_PATH)]
    pub(crate) config: PathBuf,
    /// Ask no broker: for a machine that has no network yet.
    #[arg(long)]
    pub(crate) offline: bool,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Manpages {
    /// Where to; it is made if it is not there.
    pub(crate) folder: PathBuf,
}

const CLIENTS_EXAMPLES: &str = "\
Examples:
  lamppost clients                                  the gateway of /etc/lamppost/lamppost.toml
  lamppost clients --http 127.0.0.1:9464 --json | jq '.clients[] | select(.events_per_s > 100) | .client'";

#[derive(Debug, Args)]
pub(crate) struct Clients {
    /// The gateway's configuration, for its HTTP port.
    #[arg(long, short, value_name = "FILE", default_value = crate::config::DEFAULT_PATH)]
    pub(crate) config: PathBuf,
    /// The gateway's HTTP port, in place of the configuration's.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) http: Option<std::net::SocketAddr>,
    /// Over how long rates are taken, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub(crate) over_ms: u64,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

const STATUS_EXAMPLES: &str = "\
Examples:
  lamppost status                                   the gateway of /etc/lamppost/lamppost.toml
  lamppost status --watch                           with a bar, until Ctrl-C
  lamppost status --http 127.0.0.1:9464 --json | jq .sinks[].caught_up";

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The gateway's configuration, for its HTTP port.
    #[arg(long, short, value_name = "FILE", default_value = crate::config::DEFAULT_PATH)]
    pub(crate) config: PathBuf,
    /// The gateway's HTTP port, in place of the configuration's.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) http: Option<std::net::SocketAddr>,
    /// Ask again each second. Where the output is no terminal, until all is delivered.
    #[arg(long)]
    pub(crate) watch: bool,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Passwd {
    /// The user's name.
    pub(crate) user: String,
    /// The password file; the user's entry in it is replaced or added. Without it, the entry is printed.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Take the user out of the file.
    #[arg(long, requires = "file")]
    pub(crate) delete: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// How many events the simulated devices send by MQTT; the serial node and the I2C chip come on top.
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    pub(crate) events: u64,
    /// How many MQTT devices there are, at most: each sends ten events or more.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) devices: u32,
    /// Print the result as one line of JSON, the last on standard output.
    #[arg(long)]
    pub(crate) json: bool,
    /// Keep the journal and the senders' ledgers in this folder (it must be empty or not exist).
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Audit {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// A sender's ledger, may be given several times: JSON lines of what was acknowledged, in the order of sending, as
    /// {"topic":"air","key":"dev-3","id":"dev-3:17"} or {"topic":"air","device":"node-1","boot":3,"sequence":17}.
    #[arg(long, value_name = "FILE")]
    pub(crate) ledger: Vec<PathBuf>,
    /// Where the headers have no sender's id (MQTT 3.1.1 has no place for one), take the text at this member of a JSON payload for it.
    #[arg(long, value_name = "MEMBER")]
    pub(crate) payload_id: Option<String>,
    /// Only these topics. By default all that are not the cluster's own. The audit trail and the dead letters are read beside them.
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Vec<String>,
    /// Only these gateways, by the ids in their configurations; may be given several times. By default all that delivered anything there: what one of them
    /// lost on its way, or dropped, is in everybody's verdict. A ledger given beside it has to be of senders to these.
    #[arg(long, value_name = "ID")]
    pub(crate) gateway: Vec<lamppost_event::GatewayId>,
    /// The sink whose cluster it is, by its name in the gateways' configuration; the one of `[kafka]` is called forward.
    #[arg(long, value_name = "NAME", default_value = lamppost_event::MAIN_SINK)]
    pub(crate) sink: lamppost_event::Group,
    /// What a gateway says it has delivered, and said so this long ago or less, may have come after it was looked for: late, not lost. What it
    /// has on disk and does not call delivered is late in any case.
    #[arg(long, value_name = "TIME", default_value = "10min")]
    pub(crate) late_after: Span,
    /// Only what is there from this time on (RFC 3339), or from so long ago (24h, 7d): each partition from its first record of that time. A record's time is
    /// that at which its gateway received the event: a backlog that was delivered this morning bears the times of last night. What lies before is not
    /// judged, and of a ledger nothing before the first event of each key that is found.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Since>,
    /// What the audit may use, beside some 30 MiB for reading: a quarter each for offsets and for the senders' numbers, half for the ledgers. Larger ledgers
    /// take several passes over the cluster; for too many senders the output says how many of them were looked at.
    #[arg(long, value_name = "SIZE", default_value = "2GiB")]
    pub(crate) memory_max: crate::config::value::Size,
    /// The gateways forward exactly once: a record that is there twice breaks the promise.
    #[arg(long, conflicts_with = "uncommitted")]
    pub(crate) exactly_once: bool,
    /// Count what transactions wrote and aborted, or have not committed yet. By default only committed records are read
    /// (isolation.level=read_committed), as a consumer of an exactly-once gateway does; without transactions there is no difference.
    #[arg(long)]
    pub(crate) uncommitted: bool,
    /// Print the verdict as one line of JSON, the last on standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A time, or how long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    Time(WallTime),
    Ago(Span),
}

impl Since {
    /// The time that is meant.
    pub(crate) fn at(self, now: WallTime) -> WallTime {
        match self {
            Self::Time(time) => time,
            Self::Ago(Span(ago)) => WallTime(now.0.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX))),
        }
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let right = |_| format!("{text:?} is neither a time as in 2026-03-02T06:00:00Z nor a length of time as in 24h");
        text.parse().map(Self::Ago).or_else(|_: String| instant::parse(text).map(Self::Time)).map_err(right)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// The MQTT topic. The gateway stores the message as an event, and its routes lead it to a topic of the cluster, as any other.
    #[arg(long, short, value_name = "TOPIC")]
    pub(crate) topic: String,
    /// The payload; an empty one with --retain removes the retained message.
    #[arg(required_unless_present_any = ["file", "stdin"], conflicts_with_all = ["file", "stdin"])]
    pub(crate) payload: Option<String>,
    /// Take the payload from a file.
    #[arg(long, value_name = "FILE", conflicts_with = "stdin")]
    pub(crate) file: Option<PathBuf>,
    /// Take the payload from standard input.
    #[arg(long)]
    pub(crate) stdin: bool,
    /// Keep it for devices that subscribe later; the next one with this topic replaces it.
    #[arg(long, short)]
    pub(crate) retain: bool,
    /// 1: wait until it is on the gateway's disk; only this reaches devices that are away. 0: send it and don't wait.
    #[arg(long, short, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub(crate) qos: u8,
    /// After so many seconds it is no longer delivered. By default always.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) expires: Option<u32>,
    /// The payload's media type.
    #[arg(long, value_name = "TYPE")]
    pub(crate) content_type: Option<String>,
    /// Where the gateway is: HOST:PORT, or mqtts://HOST:PORT over TLS. By default what the configuration says.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) to: Option<String>,
    /// The roots (PEM) that the gateway's certificate has to lead to; with mqtts://.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Our own certificate (PEM), for a listener that asks for one.
    #[arg(long, value_name = "FILE", requires = "key", requires = "ca")]
    pub(crate) cert: Option<PathBuf>,
    /// The private key to --cert.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// The gateway's configuration, to see where it listens.
    #[arg(long, short, value_name = "FILE", default_value = crate::config::DEFAULT_PATH)]
    pub(crate) config: PathBuf,
    /// The MQTT client id, which is the event's device.
    #[arg(long, value_name = "ID")]
    pub(crate) client_id: Option<String>,
    /// The MQTT user name; its password is the first line of --password-file.
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub(crate) user: Option<String>,
    /// The file with the password.
    #[arg(long, value_name = "FILE", requires = "user")]
    pub(crate) password_file: Option<PathBuf>,
    /// How long to wait for everything, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) timeout: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_a_length_of_time() {
        let now = WallTime(1_772_445_600_000);
        for (text, at) in [("2026-03-02T07:00:00+01:00", 1_772_431_200_000), ("24h", 1_772_359_200_000)] {
            assert_eq!(text.parse::<Since>().unwrap().at(now), WallTime(at), "{text}");
        }
        for wrong in ["", "yesterday", "2026-03-02", "24", "-1h"] {
            assert!(wrong.parse::<Since>().unwrap_err().contains("24h"), "{wrong}");
        }
    }
}
