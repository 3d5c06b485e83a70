//! A journal in memory whose durability the test releases by hand, and a front over it.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

pub mod certificates;
pub mod raw;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lamppost_event::{Arrival, Commit, DeviceId, Intake, JournalStopped, Refusal, Waiting};
use lamppost_mqtt::{Counters, Front, Keys, Limits, Listener, Rules};
use tokio::sync::{oneshot, watch};

/// A free port of this machine.
pub const ANY_PORT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));

/// The test's journal. Every arrival is a commit of its own.
pub struct HandIntake {
    state: watch::Sender<State>,
    arrivals: Mutex<Vec<Arrival>>,
    bytes_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct State {
    offered: u64,
    durable: u64,
    capacity: u64,
    automatic: bool,
    stopped: bool,
}

impl HandIntake {
    /// Nothing is durable before [`HandIntake::release`].
    pub fn by_hand() -> Arc<Self> {
        Self::new(false)
    }

    /// Everything is durable at once.
    pub fn automatic() -> Arc<Self> {
        Self::new(true)
    }

    fn new(automatic: bool) -> Arc<Self> {
        let state = State { offered: 0, durable: 0, capacity: u64::MAX, automatic, stopped: false };
        Arc::new(Self { state: watch::Sender::new(state), arrivals: Mutex::default(), bytes_max: 100_000 })
    }

    /// Makes the first `commits` durable.
    pub fn release(&self, commits: u64) {
        self.state.send_modify(|state| state.durable = commits);
    }

    /// From now on there is room for so many arrivals in all.
    pub fn set_capacity(&self, capacity: u64) {
        self.state.send_modify(|state| state.capacity = capacity);
    }

    pub fn stop(&self) {
        self.state.send_modify(|state| state.stopped = true);
    }

    pub fn arrivals(&self) -> Vec<Arrival> {
        self.arrivals.lock().unwrap().clone()
    }

    /// Waits until so many have arrived.
    pub async fn arrived(&self, count: u64) -> Vec<Arrival> {
        let mut watched = self.state.subscribe();
        let reached = watched.wait_for(|state| state.offered >= count);
        tokio::time::timeout(Duration::from_secs(10), reached).await.expect("events did not arrive").unwrap();
        self.arrivals()
    }
}

fn stopped() -> JournalStopped {
    JournalStopped { reason: "the test stopped it".into() }
}

impl Intake for HandIntake {
    fn offer(&self, arrival: Arrival) -> Result<Commit, Refusal> {
        if arrival.payload.len() > self.bytes_max {
            return Err(Refusal::TooLarge { bytes: arrival.payload.len(), bytes_max: self.bytes_max });
        }
        let state = *self.state.borrow();
        if state.stopped {
            return Err(stopped().into());
        }
        let mut arrivals = self.arrivals.lock().unwrap();
        if arrivals.len() as u64 >= state.capacity {
            return Err(Refusal::Full(Box::new(arrival)));
        }
        arrivals.push(arrival);
        let offered = arrivals.len() as u64;
        self.state.send_modify(|state| {
            state.offered = offered;
            if state.automatic {
                state.durable = offered;
            }
        });
        Ok(Commit(offered))
    }

    fn room(&self) -> Waiting<'_, ()> {
        let mut watched = self.state.subscribe();
        Box::pin(async move {
            watched.wait_for(|state| state.stopped || state.offered < state.capacity).await.unwrap();
        })
    }

    fn durable(&self) -> Result<Commit, JournalStopped> {
        let state = *self.state.borrow();
        if state.stopped { Err(stopped()) } else { Ok(Commit(state.durable)) }
    }

    fn durable_after(&self, seen: Commit) -> Waiting<'_, Result<Commit, JournalStopped>> {
        let mut watched = self.state.subscribe();
        Box::pin(async move {
            let state = *watched.wait_for(|state| state.stopped || state.durable > seen.0).await.unwrap();
            if state.stopped { Err(stopped()) } else { Ok(Commit(state.durable)) }
        })
    }

    fn high_water(&self, _: &DeviceId, _: u64) -> Option<u64> {
        None
    }
}

/// A running front.
pub struct Running {
    pub address: SocketAddr,
    pub addresses: Vec<SocketAddr>,
    pub keys: Keys,
    pub intake: Arc<HandIntake>,
    pub counters: Arc<Counters>,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    pub async fn start(intake: Arc<HandIntake>, limits: Limits) -> Self {
        Self::start_with(vec![Listener::open(ANY_PORT)], Rules::default(), intake, limits).await
    }

    pub async fn start_with(listeners: Vec<Listener>, rules: Rules, intake: Arc<HandIntake>, limits: Limits) -> Self {
        let counters = Arc::new(Counters::default());
        let front = Front::bind(listeners, rules, limits, intake.clone(), counters.clone()).await.unwrap();
        let (addresses, keys) = (front.local_addrs().to_vec(), front.keys());
        let address = addresses[0];
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(front.run(async {
            drop(stopped.await);
        }));
        Self { address, addresses, keys, intake, counters, stop: Some(stop), task }
    }

    pub fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    pub async fn stop(mut self) {
        self.begin_stop();
        tokio::time::timeout(Duration::from_secs(10), self.task).await.expect("the front did not stop").unwrap();
    }
}
