//! `lamppost bench`'s part of the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(crate) command: Option<BenchCommand>,
    #[command(flatten)]
    pub(crate) whole: WholeBench,
}

const EXAMPLES: &str = "\
Examples:
  lamppost bench --dir /var/lib/lamppost    the whole way, from MQTT to a cluster in memory, on that disk
  lamppost bench mqtt                       the MQTT server at up to 10,000 connections, beside rumqttd, mosquitto and NATS
  lamppost bench link                       a node's readings by a serial line, beside the same as lines of JSON
  lamppost bench forward                    a backlog to a cluster, and the way from PUBLISH to a consumer, beside a bare producer";

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Measure the MQTT server: durable acknowledgements a second at 1 to 10,000 connections, latency, processor time, memory of idle
    /// connections, a reconnect storm; and beside it rumqttd, mosquitto and NATS (where they are installed), which acknowledge what is not on
    /// disk.
    #[command(after_help = MQTT_EXAMPLES)]
    Mqtt(MqttBench),
    /// Measure the forwarder: how fast a backlog goes to a cluster, and how long an event takes from PUBLISH to a consumer, each beside a
    /// bare librdkafka producer with the same records and properties in the same run; processor time, memory.
    #[command(after_help = FORWARD_EXAMPLES)]
    Forward(ForwardBench),
    /// Measure the link: readings from a simulated node on a pseudo-terminal, and the same as lines of JSON; the gateway's processor time
    /// and the line's bytes for each, and what was lost or doubled by the node's own count.
    #[command(after_help = LINK_EXAMPLES)]
    Link(LinkBench),
    /// The bare producer, told what to do on standard input.
    #[command(hide = true)]
    Bare,
    /// The load, told what to do on standard input.
    #[command(hide = true)]
    Load,
    /// rumqttd with its own listener.
    #[command(hide = true)]
    Rumqttd {
        #[arg(long)]
        listen: SocketAddr,
    },
}

const MQTT_EXAMPLES: &str = "\
Examples:
  lamppost bench mqtt --json | tail -1
  lamppost bench mqtt --connections 1,50 --seconds 1 --rounds 1      in half a minute
  lamppost bench mqtt --dir /var/lib/lamppost                        on the disk that the gateway will have

The gateway runs with its shipped defaults and without a cluster; each measurement has a fresh one. 10,000 connections need about 10,300 file
descriptors: the hard limit is used, and named if it is too low.";

const LINK_EXAMPLES: &str = "\
Examples:
  lamppost bench link --json | tail -1
  lamppost bench link --readings 2000 --seconds 1 --rounds 1      in ten seconds
  lamppost bench link --dir /var/lib/lamppost                     on the disk that the gateway will have

The gateway runs with its shipped defaults and without a cluster; each measurement has a fresh one. No serial port is needed, and a
pseudo-terminal has no baud rate: at the pace of 115,200 baud means that the senders wait. Lines are not acknowledged: some are lost where the
disk makes the gateway wait.";

const FORWARD_EXAMPLES: &str = "\
Examples:
  lamppost bench forward --bootstrap kafka-1:9092 --json | tail -1
  lamppost bench forward --bootstrap kafka-1:9092 --events 10000000 --rounds 1 --dir /var/lib/lamppost
  lamppost bench forward --events 100000 --rounds 1 --seconds 5      in memory, in half a minute

Without --bootstrap the cluster is librdkafka's mock in memory, which writes nothing and replicates nothing: the output says so. In a real one
topics are made (lamppost-bench-...) and deleted at the end; the gateway's own topic audit-trail stays. The journal needs about as many bytes as
the events have, and 200 for each.";

/// What every benchmark is told.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Where the journal is put for the measurement: the disk that is measured.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Print the figures as one line of JSON, the last on standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ForwardBench {
    /// The cluster, as host:port,...
    #[arg(long, value_name = "BROKERS")]
    pub(crate) bootstrap: Option<String>,
    /// How many replicas the benchmark's topics have in it.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=32))]
    pub(crate) replication: i32,
    /// How many partitions they have.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) partitions: u16,
    /// How many events the backlog has.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(10_000..=100_000_000))]
    pub(crate) events: u64,
    /// The payload of an event, in bytes, about.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(64..=65_536))]
    pub(crate) event_bytes: u32,
    /// How many times the backlog is drained, of which the median is taken.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) rounds: u32,
    /// Events a second from end to end.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=50_000))]
    pub(crate) rate: u32,
    /// How long that is measured, in seconds, once through the gateway and once by the bare producer.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) seconds: u32,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct LinkBench {
    /// How many readings are sent as fast as the link goes, and as many lines as fast as those went.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    pub(crate) readings: u64,
    /// How long readings are sent at the pace of a line of 115,200 baud, in seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) seconds: u32,
    /// How many rounds, of which the medians are taken.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) rounds: u32,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct MqttBench {
    /// How many connections to measure at; idle connections and the storm are measured at the most of them.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [1, 50, 1_000, 10_000], value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub(crate) connections: Vec<u32>,
    /// At which of them the other brokers are measured.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) compare_at: u32,
    /// Unacknowledged publishes per connection; fewer where that would be more than 4,000 in all.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) window: u16,
    /// The payload of an event, in bytes.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(16..=65_536))]
    pub(crate) event_bytes: u32,
    /// How long a measurement takes, in seconds.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) seconds: u64,
    /// How many rounds, of which the medians are taken.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) rounds: u32,
    #[command(flatten)]
    pub(crate) common: Common,
}

impl MqttBench {
    /// The largest number of connections.
    pub(crate) fn most(&self) -> u32 {
        self.connections.iter().copied().max().unwrap_or(1)
    }
}

#[derive(Debug, Args)]
pub(crate) struct WholeBench {
    /// How many events to publish.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    pub(crate) events: u64,
    /// How many MQTT connections.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub(crate) connections: u32,
    /// Unacknowledged publishes per connection.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) window: u16,
    /// The payload of an event, in bytes.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(16..=65_536))]
    pub(crate) event_bytes: u32,
    #[command(flatten)]
    pub(crate) common: Common,
}
