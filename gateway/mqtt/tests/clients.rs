//! Clients that others wrote: rumqttc for both versions, and mosquitto's.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod support;

use std::process::Stdio;
use std::time::Duration;

use lamppost_mqtt::Limits;
use support::{HandIntake, Running};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

const EVENTS: usize = 500;

async fn front() -> Running {
    Running::start(HandIntake::automatic(), Limits::default()).await
}

fn payloads(front: &Running, device: &str) -> Vec<String> {
    let arrivals = front.intake.arrivals();
    let of_device = arrivals.iter().filter(|arrival| arrival.device.as_str() == device);
    of_device.map(|arrival| String::from_utf8(arrival.payload.to_vec()).unwrap()).collect()
}

// MQTT 3.1.1: 4.6.0-5, 4.6.0-6
#[tokio::test]
async fn rumqttc_v4_publishes_and_subscribes() {
    use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
    let front = front().await;
    let options = |id: &str| MqttOptions::new(id, "127.0.0.1", front.address.port());
    let (subscriber, mut deliveries) = AsyncClient::new(options("s"), 10);
    subscriber.subscribe("city/#", QoS::AtLeastOnce).await.unwrap();
    while !matches!(deliveries.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}

    let (publisher, mut events) = AsyncClient::new(options("p"), 10);
    let publishing = tokio::spawn(async move {
        for number in 0..EVENTS {
            publisher.publish("city/air", QoS::AtLeastOnce, false, number.to_string()).await.unwrap();
        }
        publisher
    });
    let mut acknowledged = 0;
    let mut delivered = Vec::new();
    while acknowledged < EVENTS || delivered.len() < EVENTS {
        tokio::select! {
            event = events.poll() => {
                acknowledged += usize::from(matches!(event.unwrap(), Event::Incoming(Packet::PubAck(_))));
            }
            event = deliveries.poll() => if let Event::Incoming(Packet::Publish(publish)) = event.unwrap() {
                assert_eq!(publish.qos, QoS::AtLeastOnce);
                delivered.push(String::from_utf8(publish.payload.to_vec()).unwrap());
            },
            () = tokio::time::sleep(Duration::from_secs(10)) => panic!("{acknowledged} and {}", delivered.len()),
        }
    }
    drop(publishing.await.unwrap());
    let expected: Vec<String> = (0..EVENTS).map(|number| number.to_string()).collect();
    assert_eq!(payloads(&front, "p"), expected);
    assert_eq!(delivered, expected);
}

#[tokio::test]
async fn rumqttc_v5_publishes_and_subscribes() {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
    use rumqttc::v5::{AsyncClient, Event, MqttOptions};
    let front = front().await;
    let options = |id: &str| MqttOptions::new(id, "127.0.0.1", front.address.port());
    let (subscriber, mut deliveries) = AsyncClient::new(options("s"), 10);
    subscriber.subscribe("city/#", QoS::AtLeastOnce).await.unwrap();
    while !matches!(deliveries.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}

    let (publisher, mut events) = AsyncClient::new(options("p"), 10);
    let publishing = tokio::spawn(async move {
        for number in 0..EVENTS {
            let properties = PublishProperties {
                user_properties: vec![("id".into(), format!("ev-{number}"))],
                content_type: Some("text/plain".into()),
                ..PublishProperties::default()
            };
            let payload = number.to_string();
            let publishing =
                publisher.publish_with_properties("city/air", QoS::AtLeastOnce, false, payload, properties);
            publishing.await.unwrap();
        }
        publisher
    });
    let mut acknowledged = 0;
    let mut delivered = Vec::new();
    while acknowledged < EVENTS || delivered.len() < EVENTS {
        tokio::select! {
            event = events.poll() => {
                acknowledged += usize::from(matches!(event.unwrap(), Event::Incoming(Packet::PubAck(_))));
            }
            event = deliveries.poll() => if let Event::Incoming(Packet::Publish(publish)) = event.unwrap() {
                delivered.push(publish.properties.unwrap().user_properties[0].1.clone());
            },
            () = tokio::time::sleep(Duration::from_secs(10)) => panic!("{acknowledged} and {}", delivered.len()),
        }
    }
    drop(publishing.await.unwrap());
    assert_eq!(payloads(&front, "p").len(), EVENTS);
    let expected: Vec<String> = (0..EVENTS).map(|number| format!("ev-{number}")).collect();
    assert_eq!(delivered, expected);
}

/// `false`: opted out of by name.
async fn mosquitto_is_here() -> bool {
    if std::env::var("LAMPPOST_WITHOUT").is_ok_and(|without| without.split(',').any(|name| name == "mosquitto")) {
        return false;
    }
    let found = Command::new("mosquitto_pub").arg("--version").stdout(Stdio::null()).status().await;
    assert!(
        found.is_ok(),
        "mosquitto_pub was not found: install the package mosquitto-clients, or set LAMPPOST_WITHOUT=mosquitto"
    );
    true
}

fn mosquitto(front: &Running, program: &str, version: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    let port = front.address.port().to_string();
    command.args(["-h", "127.0.0.1", "-p", &port, "-V", version]).args(arguments).kill_on_drop(true);
    command
}

#[tokio::test]
async fn mosquitto_publishes_and_subscribes_in_both_versions() {
    if !mosquitto_is_here().await {
        return;
    }
    let front = front().await;
    for version in ["mqttv311", "mqttv5"] {
        let id = format!("sub-{version}");
        let arguments = ["-i", &id, "-t", "city/#", "-q", "1", "-F", "%t %q %p"];
        let mut subscriber = mosquitto(&front, "mosquitto_sub", version, &arguments);
        let mut subscriber = subscriber.stdout(Stdio::piped()).spawn().unwrap();
        let mut subscribed = BufReader::new(subscriber.stdout.take().unwrap()).lines();
        // Until the subscriber is there, what is published does not reach it.
        let ready = format!("city/ready-{version}");
        let retained = ["-i", "r", "-t", &ready, "-r", "-q", "1", "-m", "yes"];
        assert!(mosquitto(&front, "mosquitto_pub", version, &retained).status().await.unwrap().success());
        let mut next =
            async || timeout(Duration::from_secs(10), subscribed.next_line()).await.unwrap().unwrap().unwrap();
        while next().await != format!("{ready} 1 yes") {}

        let id = format!("pub-{version}");
        let arguments = ["-i", &id, "-t", "city/air", "-q", "1", "-l"];
        let mut publisher = mosquitto(&front, "mosquitto_pub", version, &arguments);
        let mut publisher = publisher.stdin(Stdio::piped()).spawn().unwrap();
        let lines: String = (0..99).map(|number| format!("{number}\n")).collect();
        let mut stdin = publisher.stdin.take().unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stdin, lines.as_bytes()).await.unwrap();
        drop(stdin);
        assert!(timeout(Duration::from_secs(10), publisher.wait()).await.unwrap().unwrap().success());

        for number in 0..99 {
            let mut line = next().await;
            // As the subscription is new, the router may send a retained message a second time.
            while line.starts_with("city/ready") {
                line = next().await;
            }
            assert_eq!(line, format!("city/air 1 {number}"));
        }
        let expected: Vec<String> = (0..99).map(|number| number.to_string()).collect();
        assert_eq!(payloads(&front, &id), expected);
    }
}

#[tokio::test]
async fn mosquitto_is_told_that_qos_2_is_not_served() {
    if !mosquitto_is_here().await {
        return;
    }
    let front = front().await;
    let arguments = ["-i", "d", "-t", "a", "-q", "2", "-m", "x"];
    let output = mosquitto(&front, "mosquitto_pub", "mqttv5", &arguments).output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("QoS not supported"), "{said}");
    assert!(front.intake.arrivals().is_empty());
}
