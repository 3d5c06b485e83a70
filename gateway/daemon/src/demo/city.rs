//! The simulated city: MQTT devices that publish by TCP like any others, and each keep account of what was acknowledged.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// How many publishes of one device may wait for their acknowledgement.
const WINDOW: usize = 20;

/// What a device measures, and the topic that the demo's routes lead it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Traffic,
    Air,
    Energy,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Traffic, Self::Air, Self::Energy];

    /// The level of the MQTT topic.
    fn level(self) -> &'static str {
        match self {
            Self::Traffic => "traffic",
            Self::Air => "air",
            Self::Energy => "energy",
        }
    }

    /// The topic in journal and cluster.
    pub(crate) fn topic(self) -> &'static str {
        match self {
            Self::Traffic => "traffic",
            Self::Air => "air-quality",
            Self::Energy => "energy",
        }
    }

    /// A plausible reading, the same for the same device and number.
    fn payload(self, seed: u64, number: u64) -> String {
        let mut state = seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut up_to = |bound: u64| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) % bound
        };
        match self {
            Self::Traffic => format!(
                "{{\"vehicles\":{},\"speed_kmh\":{},\"occupancy_pct\":{},\"n\":{number}}}",
                up_to(40),
                20 + up_to(60),
                up_to(100)
            ),
            Self::Air => format!(
                "{{\"pm2_5_ug_m3\":{}.{},\"no2_ug_m3\":{},\"temperature_cel\":{}.{},\"n\":{number}}}",
                up_to(60),
                up_to(10),
                up_to(90),
                up_to(30),
                up_to(10)
            ),
            Self::Energy => format!(
                "{{\"power_w\":{},\"energy_wh\":{},\"voltage_v\":{}.{},\"n\":{number}}}",
                40 + up_to(160),
                number * 2,
                228 + up_to(5),
                up_to(10)
            ),
        }
    }
}

/// What an acknowledged publish is entered as in the ledger.
#[derive(Debug)]
pub(crate) struct Acknowledged {
    pub(crate) topic: &'static str,
    pub(crate) device: Arc<str>,
    /// From 1, in the order of sending.
    pub(crate) number: u64,
}

impl Acknowledged {
    /// The sender's own id of that publish.
    pub(crate) fn id(&self) -> String {
        format!("{}:{}", self.device, self.number)
    }
}

/// What all devices together have done.
#[derive(Debug, Default)]
pub(crate) struct Count {
    pub(crate) sent: AtomicU64,
    pub(crate) acknowledged: AtomicU64,
    pub(crate) reconnects: AtomicU64,
}

/// How many devices send how much, how fast, and to whom.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) broker: SocketAddr,
    pub(crate) devices: u32,
    /// Of all devices together.
    pub(crate) events: u64,
    /// Of all devices together.
    pub(crate) events_per_s: f64,
}

/// Runs all devices until each has been acknowledged all of its events.
pub(crate) async fn run(plan: &Plan, count: Arc<Count>, ledger: mpsc::Sender<Acknowledged>) -> anyhow::Result<()> {
    let devices = u64::from(plan.devices);
    let mut running = tokio::task::JoinSet::new();
    for n in 0..devices {
        let events = plan.events / devices + u64::from(n < plan.events % devices);
        #[expect(clippy::cast_precision_loss, reason = "a pace, not a count")]
        let pause = Duration::from_secs_f64(devices as f64 / plan.events_per_s);
        let device = Device::new(n, events, pause, plan.broker, count.clone(), ledger.clone());
        running.spawn(device.run());
    }
    drop(ledger);
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}

struct Device {
    id: Arc<str>,
    kind: Kind,
    address: String,
    seed: u64,
    events: u64,
    pause: Duration,
    broker: SocketAddr,
    count: Arc<Count>,
    ledger: mpsc::Sender<Acknowledged>,
    /// The numbers that were handed to the client and have no packet id yet, and those that have one, in order.
    unsent: VecDeque<u64>,
    in_flight: VecDeque<(u16, u64)>,
    /// The first number that is not acknowledged.
    first_open: u64,
}

impl Device {
    fn new(
        n: u64,
        events: u64,
        pause: Duration,
        broker: SocketAddr,
        count: Arc<Count>,
        ledger: mpsc::Sender<Acknowledged>,
    ) -> Self {
        let kind = Kind::ALL.get((n % 3) as usize).copied().unwrap_or(Kind::Traffic);
        let district = ["north", "east", "south", "west"].get((n % 4) as usize).copied().unwrap_or("centre");
        let id: Arc<str> = format!("{}-{n:03}", kind.level()).into();
        let address = format!("city/{district}/{}/{id}", kind.level());
        let (unsent, in_flight) = (VecDeque::new(), VecDeque::new());
        Self { id, kind, address, seed: n, events, pause, broker, count, ledger, unsent, in_flight, first_open: 1 }
    }

    /// Connects, sends, and after a lost connection goes on at the first number that was not acknowledged: with the same id,
    /// so that the resend can be recognised.
    async fn run(mut self) -> anyhow::Result<()> {
        while self.first_open <= self.events {
            self.unsent.clear();
            self.in_flight.clear();
            if let Err(error) = self.session().await {
                tracing::debug!(device = %self.id, %error, "the connection was lost");
                self.count.reconnects.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(200)).await;
            }
        }
        Ok(())
    }

    async fn session(&mut self) -> anyhow::Result<()> {
        let mut options = MqttOptions::new(&*self.id, self.broker.ip().to_string(), self.broker.port());
        options.set_keep_alive(Duration::from_secs(30));
        options.set_clean_start(true);
        let (client, mut events) = AsyncClient::new(options, WINDOW * 2);
        let mut pace = interval(self.pause);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next = self.first_open;
        while self.first_open <= self.events {
            let room = self.unsent.len() + self.in_flight.len() < WINDOW;
            tokio::select! {
                event = events.poll() => self.note(event?).await?,
                _ = pace.tick(), if room && next <= self.events => {
                    self.publish(&client, next)?;
                    next += 1;
                }
            }
        }
        client.try_disconnect()?;
        say_goodbye(&mut events).await;
        Ok(())
    }

    fn publish(&mut self, client: &AsyncClient, number: u64) -> anyhow::Result<()> {
        let properties = PublishProperties {
            user_properties: vec![("id".to_owned(), format!("{}:{number}", self.id))],
            content_type: Some("application/json".to_owned()),
            ..PublishProperties::default()
        };
        let payload = self.kind.payload(self.seed, number);
        client.try_publish_with_properties(self.address.as_str(), QoS::AtLeastOnce, false, payload, properties)?;
        self.unsent.push_back(number);
        self.count.sent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Publishes get their packet ids in the order of publishing, and are acknowledged in that order.
    async fn note(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Outgoing(Outgoing::Publish(packet)) => {
                let number = self.unsent.pop_front().ok_or_else(|| anyhow::anyhow!("a publish nobody made"))?;
                self.in_flight.push_back((packet, number));
            }
            Event::Incoming(Packet::PubAck(ack)) => {
                let (packet, number) = self.in_flight.pop_front().ok_or_else(|| anyhow::anyhow!("a stray PUBACK"))?;
                anyhow::ensure!(packet == ack.pkid, "PUBACK {} came before {packet}", ack.pkid);
                self.first_open = number + 1;
                self.count.acknowledged.fetch_add(1, Ordering::Relaxed);
                let acknowledged = Acknowledged { topic: self.kind.topic(), device: self.id.clone(), number };
                self.ledger.send(acknowledged).await?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Lets the DISCONNECT go out.
async fn say_goodbye(events: &mut EventLoop) {
    let goodbye = async { while events.poll().await.is_ok() {} };
    if tokio::time::timeout(Duration::from_secs(1), goodbye).await.is_err() {
        tracing::debug!("the server did not close the connection within a second");
    }
}
