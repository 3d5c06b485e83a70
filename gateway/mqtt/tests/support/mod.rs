//! A journal in memory whose durability the test releases by hand, and a front over it.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

pub mod broker;
pub mod certificates;
pub mod log;
pub mod raw;
pub mod sessions;
pub mod v5;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use lamppost_event::{
    Arrival, BootId, Clock, ClockQuality, Commit, DeviceId, Intake, JournalStopped, Monotonic, NoteRefusal, Notes,
    NotesUnreadable, Now, Refusal, Waiting, WallTime,
};
use lamppost_mqtt::{Clients, Counters, Front, Ground, Holdings, Keys, Limits, Listener, Rules};
use tokio::sync::{oneshot, watch};

/// A free port of this machine.
pub const ANY_PORT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));

/// What was put, under which key, with which commit.
type Note = (Commit, Vec<u8>, Option<Bytes>);

/// The test's journal. Every arrival and every note is a commit of its own.
pub struct HandIntake {
    state: watch::Sender<State>,
    arrivals: Mutex<Vec<Arrival>>,
    /// Of the dead letters among them.
    reasons: Mutex<Vec<String>>,
    /// In order.
    notes: Mutex<Vec<Note>>,
    refused: AtomicU64,
    refusals: [AtomicU64; 2],
    bytes_max: usize,
    ms: AtomicU64,
    boot: u64,
    /// The clock was never set.
    unset: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct State {
    offered: u64,
    commits: u64,
    notes_max: u64,
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
        let notes_max = u64::MAX;
        let state =
            State { offered: 0, commits: 0, notes_max, durable: 0, capacity: u64::MAX, automatic, stopped: false };
        Arc::new(Self {
            state: watch::Sender::new(state),
            arrivals: Mutex::default(),
            reasons: Mutex::default(),
            notes: Mutex::default(),
            refused: AtomicU64::new(0),
            refusals: Default::default(),
            bytes_max: 100_000,
            ms: AtomicU64::new(1_000_000),
            boot: 1,
            unset: AtomicBool::new(false),
        })
    }

    /// The journal after the gateway was killed: it has what was durable. `boots`: the machine was, too, and took that long, in ms.
    pub fn after_a_crash(&self, boots: Option<u64>) -> Arc<Self> {
        let state = *self.state.borrow();
        let durable = |(commit, ..): &&Note| commit.0 <= state.durable;
        let notes = self.notes.lock().unwrap().iter().filter(durable).cloned().collect();
        Arc::new(Self {
            state: watch::Sender::new(State { commits: state.durable, offered: 0, capacity: u64::MAX, ..state }),
            arrivals: Mutex::default(),
            reasons: Mutex::default(),
            notes: Mutex::new(notes),
            refused: AtomicU64::new(0),
            refusals: Default::default(),
            bytes_max: self.bytes_max,
            ms: AtomicU64::new(self.ms.load(Relaxed) + boots.unwrap_or(0)),
            boot: self.boot + u64::from(boots.is_some()),
            unset: AtomicBool::new(self.unset.load(Relaxed)),
        })
    }

    pub fn ground(self: &Arc<Self>) -> Ground {
        Ground { intake: self.clone(), notes: self.clone(), clock: self.clone() }
    }

    /// Time passes.
    pub fn advance(&self, ms: u64) {
        self.ms.fetch_add(ms, Relaxed);
    }

    /// Nobody has set the clock.
    pub fn unset_clock(&self) {
        self.unset.store(true, Relaxed);
    }

    /// From now on there is room for so many notes in all.
    pub fn set_notes_max(&self, notes: u64) {
        self.state.send_modify(|state| state.notes_max = notes);
    }

    /// How many commits there are, durable or not.
    pub fn commits(&self) -> u64 {
        self.state.borrow().commits
    }

    /// How many notes were put, removals among them.
    pub fn notes_put(&self) -> usize {
        self.notes.lock().unwrap().len()
    }

    /// How often an event found no room: when it was offered first, and when it was offered again.
    pub fn refusals(&self) -> [u64; 2] {
        [self.refusals[0].load(Relaxed), self.refusals[1].load(Relaxed)]
    }

    /// How many notes found no room.
    pub fn notes_refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// The last value of each key that is durable.
    pub fn noted(&self) -> BTreeMap<Vec<u8>, Bytes> {
        let durable = self.state.borrow().durable;
        let mut noted = BTreeMap::new();
        for (commit, key, value) in self.notes.lock().unwrap().iter() {
            if commit.0 <= durable {
                match value {
                    Some(value) => noted.insert(key.clone(), value.clone()),
                    None => noted.remove(key),
                };
            }
        }
        noted
    }

    fn commit(&self) -> Commit {
        let mut commit = 0;
        self.state.send_modify(|state| {
            state.commits += 1;
            commit = state.commits;
            if state.automatic {
                state.durable = state.commits;
            }
        });
        Commit(commit)
    }

    /// Makes the first `commits` durable.
    pub fn release(&self, commits: u64) {
        self.state.send_modify(|state| state.durable = commits);
    }

    /// What has come and what comes is durable at once.
    pub fn automatic_from_now(&self) {
        self.state.send_modify(|state| (state.automatic, state.durable) = (true, state.commits));
    }

    /// What comes from now on is not durable before [`HandIntake::release`].
    pub fn by_hand_from_now(&self) {
        self.state.send_modify(|state| state.automatic = false);
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

    /// Why those that are dead letters are.
    pub fn reasons(&self) -> Vec<String> {
        self.reasons.lock().unwrap().clone()
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
            self.refusals[usize::from(arrival.refused)].fetch_add(1, Relaxed);
            return Err(Refusal::Full(Box::new(Arrival { refused: true, ..arrival })));
        }
        arrivals.push(arrival);
        let offered = arrivals.len() as u64;
        self.state.send_modify(|state| state.offered = offered);
        Ok(self.commit())
    }

    fn offer_dead(&self, arrival: Arrival, reason: &str) -> Result<Commit, Refusal> {
        let commit = self.offer(arrival)?;
        self.reasons.lock().unwrap().push(reason.to_owned());
        Ok(commit)
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

impl Notes for HandIntake {
    fn put(&self, key: &[u8], value: Option<Bytes>) -> Result<Commit, NoteRefusal> {
        let state = *self.state.borrow();
        if state.stopped {
            return Err(stopped().into());
        }
        let mut notes = self.notes.lock().unwrap();
        if notes.len() as u64 >= state.notes_max {
            self.refused.fetch_add(1, Relaxed);
            return Err(NoteRefusal::Full);
        }
        let commit = self.commit();
        notes.push((commit, key.to_vec(), value));
        Ok(commit)
    }

    fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    fn visit(&self, prefix: &[u8], each: &mut dyn FnMut(&[u8], &Bytes)) -> Result<(), NotesUnreadable> {
        self.noted().iter().filter(|(key, _)| key.starts_with(prefix)).for_each(|(key, value)| each(key, value));
        Ok(())
    }
}

impl Clock for HandIntake {
    fn now(&self) -> Now {
        let ms = self.ms.load(Relaxed);
        let wall = WallTime(1_800_000_000_000 + ms as i64);
        let quality = if self.unset.load(Relaxed) { ClockQuality::Unset } else { ClockQuality::Synced };
        Now { wall, monotonic: Monotonic(ms), boot: BootId(self.boot), quality }
    }
}

/// A running front.
pub struct Running {
    pub address: SocketAddr,
    pub addresses: Vec<SocketAddr>,
    pub keys: Keys,
    pub intake: Arc<HandIntake>,
    pub counters: Arc<Counters>,
    pub clients: Arc<Clients>,
    pub holdings: Holdings,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    pub async fn start(intake: Arc<HandIntake>, limits: Limits) -> Self {
        Self::start_with(vec![Listener::open(ANY_PORT)], Rules::default(), intake, limits).await
    }

    pub async fn start_with(listeners: Vec<Listener>, rules: Rules, intake: Arc<HandIntake>, limits: Limits) -> Self {
        let counters = Arc::new(Counters::default());
        let front = Front::bind(listeners, rules, limits, intake.ground(), counters.clone()).await.unwrap();
        let (addresses, keys) = (front.local_addrs().to_vec(), front.keys());
        let (address, clients, holdings) = (addresses[0], front.clients(), front.holdings());
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(front.run(async {
            drop(stopped.await);
        }));
        Self { address, addresses, keys, intake, counters, clients, holdings, stop: Some(stop), task }
    }

    pub fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    pub async fn stop(mut self) {
        self.begin_stop();
        tokio::time::timeout(Duration::from_secs(10), self.task).await.expect("the front did not stop").unwrap();
    }
}
