//! The brokers that are measured: this gateway, and those that it is compared with. Each is a fresh process with a folder of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::bench::process::{Gateway, Server, free_port, write_down};

/// How long a broker may take to answer while nothing else is asked of it.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Lamppost,
    Rumqttd,
    Mosquitto,
    Nats,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lamppost => "lamppost",
            Self::Rumqttd => "rumqttd",
            Self::Mosquitto => "mosquitto",
            Self::Nats => "nats",
        }
    }

    /// What is on disk when a PUBACK is given.
    pub(super) fn durable(self) -> &'static str {
        match self {
            Self::Lamppost => "every event, flushed",
            Self::Rumqttd => "nothing",
            Self::Mosquitto => "nothing (autosave every 30 min)",
            // Debian 12 has 2.9, which knows no `sync_interval`.
            Self::Nats => "nothing (in JetStream's file, flushed by a timer)",
        }
    }

    /// The program of Debian's package of the same name; none of those that come with this one.
    pub(super) fn program(self) -> Option<&'static str> {
        match self {
            Self::Lamppost | Self::Rumqttd => None,
            Self::Mosquitto => Some("mosquitto"),
            Self::Nats => Some("nats-server"),
        }
    }

    /// Those to compare with, whether they are here or not.
    pub(super) const OTHERS: [Self; 3] = [Self::Rumqttd, Self::Mosquitto, Self::Nats];

    /// Whether it can be started: others' where Debian's package is installed.
    pub(super) fn is_here(self) -> bool {
        let starts = |program| Command::new(program).arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status();
        self.program().is_none_or(|program| starts(program).is_ok())
    }
}

/// A broker that runs and takes connections.
pub(super) struct Broker {
    pub(super) at: SocketAddr,
    process: Process,
}

enum Process {
    Gateway(Gateway),
    Other(Server),
}

impl Broker {
    pub(super) async fn start(kind: Kind, dir: &Path, clients_max: u32) -> anyhow::Result<Self> {
        let at = free_port()?;
        match kind {
            Kind::Lamppost => Self::gateway(dir, at, &shipped(clients_max)).await,
            Kind::Rumqttd => {
                let mut command = Command::new(std::env::current_exe().context("where is this program?")?);
                command.args(["bench", "rumqttd", "--listen", &at.to_string()]).env("RUST_LOG", "off");
                Self::other(&mut command, at).await
            }
            Kind::Mosquitto => {
                let text = format!(
                    "listener {} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\nlog_type error\n",
                    at.port(),
                    dir.display()
                );
                let mut command = Command::new("mosquitto");
                command.arg("-c").arg(write_down(dir, "mosquitto.conf", &text)?).stderr(Stdio::null());
                Self::other(&mut command, at).await
            }
            Kind::Nats => {
                let text = format!(
                    "listen: \"127.0.0.1:-1\"\nserver_name: bench\njetstream {{ store_dir: {:?} }}\nmqtt {{ listen: \"{at}\" }}\n",
                    dir.join("jetstream")
                );
                let mut command = Command::new("nats-server");
                command.arg("-c").arg(write_down(dir, "nats.conf", &text)?).stderr(Stdio::null());
                let broker = Self::other(&mut command, at).await?;
                want_it_all(at).await?;
                Ok(broker)
            }
        }
    }

    /// The gateway whose journal is small and whose cluster never comes: it soon takes no more.
    pub(super) async fn start_without_room(dir: &Path, clients_max: u32) -> anyhow::Result<Self> {
        let full = "[journal]\nsegment = \"1MiB\"\nquota = \"8MiB\"\nevent_max = \"64KiB\"\n[kafka]\nbootstrap = [\"127.0.0.1:1\"]\n";
        Self::gateway(dir, free_port()?, &format!("{full}[mqtt]\nconnections_max = {clients_max}\n")).await
    }

    async fn gateway(dir: &Path, at: SocketAddr, text: &str) -> anyhow::Result<Self> {
        let http = free_port()?;
        let text = format!(
            "[gateway]\nid = \"bench\"\nstate_dir = {:?}\n[http]\nlisten = \"{http}\"\n{text}listen = \"{at}\"\n",
            dir.join("state")
        );
        let mut gateway = Gateway::start(dir, &text, http)?;
        gateway.ready().await?;
        Ok(Self { at, process: Process::Gateway(gateway) })
    }

    async fn other(command: &mut Command, at: SocketAddr) -> anyhow::Result<Self> {
        let mut server = Server::start(command)?;
        server.listens(at).await?;
        Ok(Self { at, process: Process::Other(server) })
    }

    pub(super) fn server(&self) -> &Server {
        match &self.process {
            Process::Gateway(gateway) => &gateway.server,
            Process::Other(server) => server,
        }
    }

    /// What the gateway counts itself; `None` of another broker.
    pub(super) async fn metrics(&self) -> anyhow::Result<Option<String>> {
        match &self.process {
            Process::Gateway(gateway) => gateway.metrics().await.map(Some),
            Process::Other(_) => Ok(None),
        }
    }
}

/// Leaves a session that is to have what the load publishes: without one, NATS stores nothing of it.
async fn want_it_all(at: SocketAddr) -> anyhow::Result<()> {
    let mut stream = tokio::net::TcpStream::connect(at).await?;
    stream.write_all(b"\x10\x12\0\x04MQTT\x04\0\0\x3c\0\x06keeper").await?;
    expect(&mut stream, b"\x20\x02\0\0").await?;
    stream.write_all(b"\x82\x0c\0\x01\0\x07bench/#\x01").await?;
    expect(&mut stream, b"\x90\x03\0\x01\x01").await?;
    stream.write_all(b"\xe0\0").await?;
    Ok(())
}

async fn expect<const N: usize>(stream: &mut tokio::net::TcpStream, answer: &[u8; N]) -> anyhow::Result<()> {
    let mut got = [0; N];
    timeout(ANSWER_MAX, stream.read_exact(&mut got)).await.context("no answer")??;
    anyhow::ensure!(got == *answer, "{got:02x?} instead of {answer:02x?}");
    Ok(())
}

/// The shipped defaults but for the number of connections and a quota that holds what is measured. Ends in the section of MQTT.
fn shipped(clients_max: u32) -> String {
    // Twice as many: those of a storm come back before all that have gone are seen to be.
    format!("[journal]\nquota = \"2GiB\"\n[mqtt]\nconnections_max = {}\n", u64::from(clients_max) * 2)
}

/// rumqttd with its own listener, as its example configures it but for room for the connections. Does not return.
pub(crate) fn rumqttd(listen: SocketAddr) -> anyhow::Result<()> {
    const CONNECTIONS_MAX: usize = 20_000;
    let connections = rumqttd::ConnectionSettings {
        connection_timeout_ms: 60_000,
        max_payload_size: 1 << 20,
        max_inflight_count: 100,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let settings = rumqttd::ServerSettings {
        name: "bench".to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    let router = rumqttd::RouterConfig {
        max_connections: CONNECTIONS_MAX,
        max_outgoing_packet_count: 200,
        max_segment_size: 100 << 20,
        max_segment_count: 10,
        ..rumqttd::RouterConfig::default()
    };
    let servers = std::iter::once(("bench".to_owned(), settings)).collect();
    let config = rumqttd::Config { router, v4: Some(servers), ..rumqttd::Config::default() };
    crate::descriptors::raise();
    Ok(rumqttd::Broker::new(config).start()?)
}
