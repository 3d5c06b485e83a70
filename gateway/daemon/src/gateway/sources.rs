//! The sources that a configuration names, started and stopped together.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use lamppost_event::{Clock, Intake, JournalStopped};
use lamppost_i2c::model::ModelBus;
use lamppost_i2c::{Air, BusAddress, BusOpener, Gate, I2cCounters, I2cSource, MuxChannel};
use lamppost_journal::Journal;
use lamppost_mqtt::{
    Broker, BrokerPauses, BrokerSource, BrokerStatus, Clients, Counters as MqttCounters, Front, Ground, Holdings, Keys,
    Limits,
};
use lamppost_serial::{
    DustSource, DustStatus, LinesSource, LinesStatus, LinkOptions, LinkSource, LinkStatus, ModbusSource, ModbusStatus,
    NodeOrders,
};
use lamppost_units::Celsius;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::battery::BatteryStatus;
use super::keys::{self, Told, Watch};
use super::notes::JournalNotes;
use super::setup;
use super::subscriptions::SubscriptionsFile;
use super::supervise::{Fail, Stop, supervise};
use crate::config::{self, Config, Refused};

/// How long all sources together may take to stop.
const STOP_MAX: Duration = Duration::from_secs(10);
/// The path that stands for the modelled bus, in the demo's configuration alone: without [`Buses::Modelled`] it is a path like any other.
pub(crate) const MODEL_BUS: &str = "model";
/// What the modelled chip measures.
const MODEL_TEMPERATURE_MILLI: i32 = 21_500;

/// Where I2C buses come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Buses {
    /// From Linux.
    Real,
    /// The bus called [`MODEL_BUS`] is modelled, with a TMP105 wherever one is configured.
    Modelled,
}

/// What the sources count, for whoever looks.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    pub(crate) mqtt: Option<Arc<MqttCounters>>,
    pub(crate) mqtt_keys: Option<(Vec<SocketAddr>, Keys)>,
    pub(crate) clients: Option<Arc<Clients>>,
    pub(crate) mqtt_holdings: Option<Holdings>,
    pub(crate) brokers: Vec<BrokerSeen>,
    pub(crate) serial: Vec<(String, SerialSeen)>,
    pub(crate) i2c: Vec<I2cSeen>,
    pub(crate) battery: Option<Arc<BatteryStatus>>,
    /// What was not started, since its configuration is wrong.
    pub(crate) refused: Vec<Refused>,
}

/// What a broker's source counts.
#[derive(Clone)]
pub(crate) struct BrokerSeen {
    pub(crate) name: String,
    pub(crate) status: Arc<BrokerStatus>,
}

/// What a serial port's source counts, by what is spoken there.
#[derive(Clone)]
pub(crate) enum SerialSeen {
    Link(LinkSeen),
    Lines(Arc<LinesStatus>),
    /// With how often each slave is polled.
    Modbus(Arc<ModbusStatus>, Vec<Duration>),
    /// With the length of its interval.
    Dust(Arc<DustStatus>, Duration),
}

/// A port with a link: what its source counts, and how the node there is commanded.
#[derive(Clone)]
pub(crate) struct LinkSeen {
    pub(crate) source: String,
    pub(crate) port: PathBuf,
    pub(crate) status: Arc<LinkStatus>,
    pub(crate) orders: NodeOrders,
}

impl Seen {
    /// The ports with a link.
    pub(crate) fn links(&self) -> Vec<LinkSeen> {
        let link = |(_, seen): &(String, SerialSeen)| match seen {
            SerialSeen::Link(link) => Some(link.clone()),
            SerialSeen::Lines(_) | SerialSeen::Modbus(..) | SerialSeen::Dust(..) => None,
        };
        self.serial.iter().filter_map(link).collect()
    }
}

/// What a polled chip's source counts, and how often it should.
#[derive(Clone)]
pub(crate) struct I2cSeen {
    pub(crate) name: String,
    pub(crate) every: Duration,
    pub(crate) counters: Arc<I2cCounters>,
}

/// What sources remember by.
pub(crate) struct Memory {
    pub(crate) journal: Journal,
    pub(crate) clock: Arc<dyn Clock>,
}

/// The running sources.
pub(crate) struct Sources {
    stop: Stop,
    tasks: Mutex<Vec<JoinHandle<Result<(), JournalStopped>>>>,
    seen: Seen,
    mqtt_addresses: Vec<SocketAddr>,
    keys: Arc<Told>,
}

impl Sources {
    /// Starts all. A port that can't be listened on is an error; a broker, tty, bus or chip that is not there is not: it may come.
    pub(crate) async fn start<I: Intake>(
        config: &Config,
        buses: Buses,
        intake: &Arc<I>,
        memory: &Memory,
        fail: &Fail,
    ) -> anyhow::Result<Self> {
        let mut sources = Self {
            stop: Stop::new(),
            tasks: Mutex::default(),
            seen: Seen { refused: config.refused.clone(), ..Seen::default() },
            mqtt_addresses: Vec::new(),
            keys: Arc::default(),
        };
        let intake: Arc<dyn Intake> = intake.clone();
        if let Some(mqtt) = &config.mqtt {
            let (journal, clock) = (memory.journal.clone(), memory.clock.clone());
            let notes = Arc::new(JournalNotes::new(journal, "mqtt", setup::event_bytes_max(config)));
            sources.start_mqtt(mqtt, Ground { intake: intake.clone(), notes, clock }, fail).await?;
        }
        for broker in &config.brokers {
            sources.start_broker(broker, &config.state_dir, &intake, fail);
        }
        for serial in &config.serial {
            sources.start_serial(serial, &intake, (memory.clock.clone(), setup::link_options(config)), fail)?;
        }
        let gates = gates(&config.i2c);
        let airs = airs(&config.i2c);
        for i2c in &config.i2c {
            sources.start_i2c(i2c, (buses, gates.get(i2c.bus.as_path())), &airs, &intake, fail)?;
        }
        Ok(sources)
    }

    async fn start_mqtt(&mut self, mqtt: &config::Mqtt, ground: Ground, fail: &Fail) -> anyhow::Result<()> {
        let limits = Limits {
            connections_max: mqtt.connections_max,
            packet_bytes_max: usize::try_from(mqtt.packet_max.0).unwrap_or(usize::MAX),
            window: mqtt.window,
            ..mqtt.limits.clone()
        };
        let counters = Arc::new(MqttCounters::default());
        let (listeners, rules) = (keys::listeners(mqtt)?, keys::rules(mqtt)?);
        for warning in keys::warnings(mqtt) {
            tracing::warn!("{warning}");
        }
        let front = Front::bind(listeners, rules, limits, ground, counters.clone()).await;
        let front = front.context(
            "mqtt can't be served; if another program listens there (ss -ltnp), change `listen` in [mqtt] or its listeners",
        )?;
        self.mqtt_addresses = front.local_addrs().to_vec();
        self.seen.mqtt = Some(counters);
        self.seen.mqtt_keys = Some((front.local_addrs().to_vec(), front.keys()));
        let watch = Watch::new(mqtt.clone(), front.keys()).run(Arc::clone(&self.keys));
        self.seen.clients = Some(front.clients());
        self.seen.mqtt_holdings = Some(front.holdings());
        let stopped = self.stop.stopped();
        self.keep(supervise("mqtt", fail, async move {
            tokio::select! {
                () = front.run(stopped) => {}
                () = watch => {}
            }
            Ok(())
        }));
        Ok(())
    }

    fn start_broker(&mut self, broker: &Broker, state_dir: &Path, intake: &Arc<dyn Intake>, fail: &Fail) {
        let subscriptions = Arc::new(SubscriptionsFile::new(state_dir, broker));
        let source = BrokerSource::new(broker.clone(), BrokerPauses::default(), subscriptions, intake.clone());
        self.seen.brokers.push(BrokerSeen { name: broker.name.to_string(), status: source.status() });
        let stopped = self.stop.stopped();
        self.keep(supervise("broker", fail, source.run(stopped)));
    }

    fn start_serial(
        &mut self,
        serial: &config::Serial,
        intake: &Arc<dyn Intake>,
        (clock, link): (Arc<dyn Clock>, LinkOptions),
        fail: &Fail,
    ) -> anyhow::Result<()> {
        let (name, port, stopped) = (&serial.name, &serial.port, self.stop.stopped());
        let intake = intake.clone();
        let (seen, task) = match &serial.spoken {
            config::Spoken::Link => {
                let source = LinkSource::new(name, &port.path, port.baud, intake, link).with_clock(clock);
                let (source_name, port) = (name.clone(), source.path().to_owned());
                let (status, orders) = (source.status(), source.orders());
                let seen = SerialSeen::Link(LinkSeen { source: source_name, port, status, orders });
                (seen, supervise("serial", fail, async move { source.run(stopped).await }))
            }
            config::Spoken::Lines(options) => {
                let source = LinesSource::new(name, port.clone(), options.clone(), intake);
                let seen = SerialSeen::Lines(source.status());
                (seen, supervise("serial", fail, async move { source.run(stopped).await }))
            }
            config::Spoken::Modbus(options) => {
                let every = options.slaves.iter().map(|slave| slave.every).collect();
                let source = ModbusSource::new(name, port.clone(), options.clone(), intake);
                let source = source.with_context(|| format!("the serial source {name:?} can't be set up"))?;
                let seen = SerialSeen::Modbus(source.status(), every);
                (seen, supervise("serial", fail, async move { source.run(stopped).await }))
            }
            config::Spoken::Dust(options) => {
                let every = options.every;
                let source = DustSource::new(name, port.clone(), options.clone(), intake);
                let source = source.with_context(|| format!("the serial source {name:?} can't be set up"))?;
                let seen = SerialSeen::Dust(source.status(), every);
                (seen, supervise("serial", fail, async move { source.run(stopped).await }))
            }
        };
        self.seen.serial.push((name.clone(), seen));
        self.keep(task);
        Ok(())
    }

    fn start_i2c(
        &mut self,
        i2c: &config::I2c,
        (buses, gate): (Buses, Option<&Gate>),
        airs: &BTreeMap<String, Air>,
        intake: &Arc<dyn Intake>,
        fail: &Fail,
    ) -> anyhow::Result<()> {
        let address = BusAddress(i2c.address);
        let bus = through(opener(&i2c.bus, buses, address), gate, i2c.mux);
        let source = I2cSource::new(&i2c.name, bus, i2c.chip, address, i2c.every, i2c.device.clone(), intake.clone());
        let source = source.with_context(|| format!("the i2c source {:?} can't be set up", i2c.name))?;
        let source = match (airs.get(&i2c.name), i2c.pressure_from.as_ref().and_then(|from| airs.get(from))) {
            (Some(air), _) => source.telling(air.clone()),
            (None, Some(air)) => source.told_by(air.clone()),
            (None, None) => source,
        };
        self.seen.i2c.push(I2cSeen { name: i2c.name.clone(), every: i2c.every, counters: source.counters() });
        let stopped = self.stop.stopped();
        self.keep(supervise("i2c", fail, source.run(stopped)));
        Ok(())
    }

    fn keep(&self, task: JoinHandle<Result<(), JournalStopped>>) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    /// By which the watch over certificates, passwords and rules is told to look.
    pub(super) fn keys(&self) -> &Told {
        &self.keys
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.clone()
    }

    pub(crate) fn mqtt_addresses(&self) -> &[SocketAddr] {
        &self.mqtt_addresses
    }

    /// Stops all, once; what they have taken is acknowledged when this returns, as far as the senders listened.
    pub(crate) async fn stop(&self) {
        self.stop.stop();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let all = async {
            for task in tasks {
                // How it ended has been told to whoever waits for failures.
                drop(task.await);
            }
        };
        if timeout(STOP_MAX, all).await.is_err() {
            tracing::warn!("not all sources stopped in time");
        }
    }
}

/// The air at each barometer that somebody is told of, by its name.
fn airs(chips: &[config::I2c]) -> BTreeMap<String, Air> {
    chips.iter().filter_map(|chip| chip.pressure_from.clone()).map(|barometer| (barometer, Air::new())).collect()
}

/// A gate for each bus that has multiplexers.
fn gates(chips: &[config::I2c]) -> BTreeMap<&Path, Gate> {
    let mut muxes: BTreeMap<&Path, Vec<BusAddress>> = BTreeMap::new();
    for chip in chips {
        if let Some((mux, _)) = chip.mux {
            muxes.entry(&chip.bus).or_default().push(BusAddress(mux));
        }
    }
    muxes.into_iter().map(|(bus, muxes)| (bus, Gate::new(muxes))).collect()
}

fn through(bus: BusOpener, gate: Option<&Gate>, mux: Option<(u8, u8)>) -> BusOpener {
    let Some(gate) = gate else { return bus };
    let channel = mux.map(|(mux, channel)| MuxChannel { mux: BusAddress(mux), channel });
    BusOpener::Gated(Box::new(bus), gate.clone(), channel)
}

fn opener(path: &Path, buses: Buses, address: BusAddress) -> BusOpener {
    if buses == Buses::Real || path != Path::new(MODEL_BUS) {
        return BusOpener::Linux(path.to_owned());
    }
    let bus = ModelBus::new();
    bus.set_tmp105(address, Celsius::from_milli(MODEL_TEMPERATURE_MILLI));
    BusOpener::Model(bus)
}
