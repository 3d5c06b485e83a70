//! `lamppost publish`: one message to devices (a command, a setting) through the gateway's MQTT server. It is an event like any other:
//! what is acknowledged is in the journal, and waits there for devices that are away.

use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use lamppost_mqtt::{BrokerTls, TlsTunnel};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Packet, PubAckReason, PublishProperties};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use rumqttc::{Outgoing, Transport};
use tokio::time::{Instant, interval, timeout, timeout_at};

use crate::cli::Publish;
use crate::config;

/// How often whoever waits is told that it is waited.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(3);
/// Room for the topic and the rest of a packet.
const PACKET_OVERHEAD: usize = 128 * 1024;

/// Publishes, and returns once the message is on the gateway's disk (QoS 1) or sent (QoS 0).
pub(crate) async fn run(args: &Publish, out: &mut impl Write) -> anyhow::Result<()> {
    let payload = payload(args)?;
    let address = address(args)?;
    check_topic(&args.topic)?;
    let bytes = payload.len();
    let _tunnel;
    let mut options = match tls(args, &address)? {
        None => MqttOptions::new(client_id(args), host(&address)?, port(&address)?),
        Some(files) => {
            let (host, port) = (host(&address)?, port(&address)?);
            let tunnel = TlsTunnel::open(&host, port, &files, bytes + PACKET_OVERHEAD);
            let tunnel =
                timeout(Duration::from_secs(args.timeout), tunnel).await.context("no TLS connection in time")??;
            let mut options = MqttOptions::new(client_id(args), tunnel.local_name(), 0);
            options.set_transport(Transport::unix());
            _tunnel = tunnel;
            options
        }
    };
    options.set_keep_alive(Duration::from_secs(5)).set_clean_start(true);
    options.set_connection_timeout(args.timeout.max(1));
    options.set_max_packet_size(Some(u32::try_from(bytes.saturating_add(PACKET_OVERHEAD)).unwrap_or(u32::MAX)));
    if let (Some(user), Some(file)) = (&args.user, &args.password_file) {
        let text = std::fs::read_to_string(file).with_context(|| format!("{} can't be read", file.display()))?;
        options.set_credentials(user, text.lines().next().unwrap_or_default());
    }
    let (client, mut events) = AsyncClient::new(options, 2);
    let deadline = Instant::now() + Duration::from_secs(args.timeout);

    connected(&mut events, &address, deadline).await?;
    let qos = if args.qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
    let properties = PublishProperties {
        message_expiry_interval: args.expires,
        content_type: args.content_type.clone(),
        ..PublishProperties::default()
    };
    client.publish_with_properties(&args.topic, qos, args.retain, payload, properties).await?;
    acknowledged(&mut events, args, &address, deadline).await?;
    client.disconnect().await?;
    // The server ends the connection, which is told as an error.
    while timeout_at(deadline, events.poll()).await.is_ok_and(|event| event.is_ok()) {}

    let what = match (args.retain, bytes) {
        (true, 0) => "the retained message is removed".to_owned(),
        (true, _) => format!("{bytes} bytes, retained"),
        (false, _) => format!("{bytes} bytes"),
    };
    let so = if args.qos == 0 { "sent; with QoS 0 nothing says that it arrived" } else { "on the gateway's disk" };
    writeln!(out, "{}: {what}: {so}", args.topic)?;
    Ok(())
}

async fn connected(events: &mut EventLoop, address: &str, deadline: Instant) -> anyhow::Result<()> {
    loop {
        match timeout_at(deadline, events.poll()).await {
            Ok(Ok(Event::Incoming(Packet::ConnAck(_)))) => return Ok(()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(told(error, address)),
            Err(_) => bail!("{address} takes the connection and does not answer CONNECT: is it an MQTT server?"),
        }
    }
}

async fn acknowledged(events: &mut EventLoop, args: &Publish, address: &str, deadline: Instant) -> anyhow::Result<()> {
    let (begun, mut progress) = (Instant::now(), interval(PROGRESS_INTERVAL));
    progress.tick().await;
    loop {
        let event = tokio::select! {
            event = timeout_at(deadline, events.poll()) => event,
            _ = progress.tick() => {
                let waited = begun.elapsed().as_secs();
                writeln!(std::io::stderr(), "waiting for the gateway's disk since {waited} s (at most {} s)", args.timeout)?;
                continue;
            }
        };
        match event {
            Ok(Ok(Event::Incoming(Packet::PubAck(ack)))) => match ack.reason {
                PubAckReason::Success | PubAckReason::NoMatchingSubscribers => return Ok(()),
                PubAckReason::QuotaExceeded if args.retain => bail!(
                    "the message is on the gateway's disk and goes to who subscribes now, but it is not retained: there is no room for more retained \
                     messages ([mqtt.limits] retained)"
                ),
                reason => bail!("the gateway refuses the message: {reason:?}"),
            },
            Ok(Ok(Event::Outgoing(Outgoing::Publish(_)))) if args.qos == 0 => return Ok(()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(told(error, address)),
            Err(_) => bail!(
                "no acknowledgement within {} s, so it is not known whether the message is stored. A gateway whose journal is full does not \
                 acknowledge: see `lamppost_mqtt_stalled` in its metrics",
                args.timeout
            ),
        }
    }
}

/// What went wrong, in words that say what to look at.
fn told(error: ConnectionError, address: &str) -> anyhow::Error {
    match error {
        ConnectionError::Io(error) => anyhow::anyhow!(
            "{address} can't be reached ({error}): does the gateway run, and is this its [mqtt] listen?"
        ),
        ConnectionError::ConnectionRefused(code) => match code {
            ConnectReturnCode::NotAuthorized | ConnectReturnCode::BadUserNamePassword => {
                anyhow::anyhow!("{address} does not let us in ({code:?})")
            }
            code => anyhow::anyhow!("{address} refuses the connection: {code:?}"),
        },
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
            let detail = reason_string.unwrap_or_default();
            anyhow::anyhow!("the gateway ended the connection: {reason_code:?} {detail}")
        }
        error => anyhow::anyhow!("the connection to {address} broke: {error}"),
    }
}

fn payload(args: &Publish) -> anyhow::Result<Vec<u8>> {
    if let Some(file) = &args.file {
        return std::fs::read(file).with_context(|| format!("{} can't be read", file.display()));
    }
    if args.stdin {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).context("standard input can't be read")?;
        return Ok(bytes);
    }
    Ok(args.payload.clone().unwrap_or_default().into_bytes())
}

const TLS_SCHEME: &str = "mqtts://";

/// The files of a TLS connection, if it is to be one.
fn tls(args: &Publish, address: &str) -> anyhow::Result<Option<BrokerTls>> {
    match (&args.ca, address.starts_with(TLS_SCHEME)) {
        (None, false) => Ok(None),
        (Some(ca), true) => Ok(Some(BrokerTls { ca: ca.clone(), own: args.cert.clone().zip(args.key.clone()) })),
        (None, true) => bail!("{TLS_SCHEME} needs --ca FILE: the roots that the gateway's certificate has to lead to"),
        (Some(_), false) => {
            bail!("--ca is for TLS: write --to {TLS_SCHEME}HOST:PORT, with the name in the gateway's certificate")
        }
    }
}

/// Where the gateway listens: as told, or as its configuration says.
fn address(args: &Publish) -> anyhow::Result<String> {
    if let Some(address) = &args.to {
        return Ok(address.clone());
    }
    let config = config::load(Path::new(&args.config)).context("--to HOST:PORT says where the gateway is")?;
    let mqtt = config.mqtt.with_context(|| {
        format!("{} has no [mqtt]: --to HOST:PORT says where the gateway is", args.config.display())
    })?;
    let plain = mqtt.listeners.iter().find(|listener| listener.tls.is_none());
    let mut listen = plain
        .context("all its listeners want TLS: say --to mqtts://HOST:PORT --ca FILE, with the name in the gateway's certificate")?
        .listen;
    if listen.ip().is_unspecified() {
        listen.set_ip(if listen.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    Ok(listen.to_string())
}

fn check_topic(topic: &str) -> anyhow::Result<()> {
    if topic.is_empty() || topic.contains(['+', '#', '\0']) || topic.starts_with('$') {
        bail!("{topic:?} can't be published to: a topic is not empty, has no + or #, and does not begin with $");
    }
    Ok(())
}

fn client_id(args: &Publish) -> String {
    args.client_id.clone().unwrap_or_else(|| format!("lamppost-publish-{}", std::process::id()))
}

fn host(address: &str) -> anyhow::Result<String> {
    let bare = address.strip_prefix(TLS_SCHEME).unwrap_or(address);
    let (host, _) = bare.rsplit_once(':').with_context(|| format!("{address:?} is not HOST:PORT"))?;
    Ok(host.trim_matches(['[', ']']).to_owned())
}

fn port(address: &str) -> anyhow::Result<u16> {
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    port.with_context(|| format!("{address:?} is not HOST:PORT"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn args(of: &[&str]) -> Result<Publish, clap::Error> {
        let cli = Cli::try_parse_from([&["lamppost", "publish"], of].concat())?;
        let Command::Publish(args) = cli.command else { panic!("another command") };
        Ok(args)
    }

    #[test]
    fn a_payload_is_given_once_and_in_one_way() {
        assert!(args(&["--topic", "a", "on"]).is_ok());
        for bad in
            [&["--topic", "a"][..], &["on"], &["--topic", "a", "on", "--stdin"], &["--topic", "a", "--qos", "2", "on"]]
        {
            assert!(args(bad).is_err(), "{bad:?}");
        }
        let empty = args(&["--topic", "a", "--retain", ""]).unwrap();
        assert_eq!((payload(&empty).unwrap().len(), empty.qos), (0, 1));
    }

    #[test]
    fn where_the_gateway_is_can_be_told_with_any_host() {
        assert_eq!((host("[::1]:1883").unwrap().as_str(), port("[::1]:1883").unwrap()), ("::1", 1883));
        assert_eq!((host("post-17:1884").unwrap().as_str(), port("post-17:1884").unwrap()), ("post-17", 1884));
        assert_eq!(
            (host("mqtts://post-17:8883").unwrap().as_str(), port("mqtts://post-17:8883").unwrap()),
            ("post-17", 8883)
        );
        assert!(port("post-17").is_err() && host("post-17").is_err());
        for bad in ["", "a/#", "$SYS/x"] {
            assert!(check_topic(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tls_wants_its_roots_and_roots_want_tls() {
        let of = |to: &str, more: &[&str]| {
            let args = args(&[&["--topic", "a", "on", "--to", to], more].concat()).unwrap();
            tls(&args, to).map_err(|error| error.to_string())
        };
        let own = BrokerTls { ca: "/ca".into(), own: Some(("/c".into(), "/k".into())) };
        assert_eq!(of("mqtts://a:8883", &["--ca", "/ca", "--cert", "/c", "--key", "/k"]), Ok(Some(own)));
        assert_eq!(of("a:1883", &[]), Ok(None));
        assert!(of("mqtts://a:8883", &[]).unwrap_err().contains("--ca FILE"));
        assert!(of("a:8883", &["--ca", "/ca"]).unwrap_err().contains("mqtts://"));
        assert!(args(&["--topic", "a", "on", "--cert", "/c", "--key", "/k"]).is_err());
    }

    #[tokio::test]
    async fn a_gateway_that_is_not_there_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let args = args(&["--topic", "a", "--to", &address, "on"]).unwrap();
        let error = run(&args, &mut Vec::new()).await.unwrap_err().to_string();
        assert!(error.contains(&address) && error.contains("[mqtt] listen"), "{error}");
    }
}
