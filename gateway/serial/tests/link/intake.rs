//! An intake whose durability and room the test decides.

use std::collections::HashMap;
use std::sync::Mutex;

use lamppost_event::{Arrival, Commit, DeviceId, Intake, JournalStopped, Origin, Refusal, Waiting};
use tokio::sync::watch;

#[derive(Default)]
struct State {
    /// Every offer that was taken, in order; the n-th went with commit n.
    offers: Vec<Arrival>,
    /// What came as undecodable, with the reasons; the commits count them too.
    dead: Vec<(Arrival, String)>,
    marks: HashMap<(String, u64), u64>,
    durable: u64,
    full: bool,
    /// Refused for want of room: how often for the first time, and how often again.
    refusals: (u64, u64),
    stopped: bool,
}

pub(crate) struct FakeIntake {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

impl FakeIntake {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::default(), changed: watch::Sender::new(()) }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.send_replace(());
    }

    /// The first `commits` are on disk.
    pub(crate) fn flush_to(&self, commits: u64) {
        self.change(|state| {
            for arrival in &state.offers[..commits as usize] {
                if let Origin::Sequence { boot, sequence } = arrival.origin {
                    let mark = state.marks.entry((arrival.device.to_string(), boot)).or_default();
                    *mark = sequence.max(*mark);
                }
            }
            state.durable = commits;
        });
    }

    pub(crate) fn flush(&self) {
        self.flush_to(self.offers().len() as u64);
    }

    pub(crate) fn set_mark(&self, device: &str, boot: u64, sequence: u64) {
        self.change(|state| {
            state.marks.insert((device.to_owned(), boot), sequence);
        });
    }

    pub(crate) fn set_full(&self, full: bool) {
        self.change(|state| state.full = full);
    }

    /// Offers refused for want of room: how many were the first of their event, and how many were not.
    pub(crate) fn refusals(&self) -> (u64, u64) {
        self.state.lock().unwrap().refusals
    }

    pub(crate) fn stop(&self) {
        self.change(|state| state.stopped = true);
    }

    pub(crate) fn offers(&self) -> Vec<Arrival> {
        self.state.lock().unwrap().offers.clone()
    }

    pub(crate) fn dead(&self) -> Vec<(Arrival, String)> {
        self.state.lock().unwrap().dead.clone()
    }

    /// The offered sequences, in order.
    pub(crate) fn sequences(&self) -> Vec<u64> {
        let sequence = |arrival: &Arrival| match arrival.origin {
            Origin::Sequence { sequence, .. } => sequence,
            _ => panic!("no sequence"),
        };
        self.offers().iter().map(sequence).collect()
    }
}

fn stopped() -> JournalStopped {
    JournalStopped { reason: "the test stopped it".to_owned() }
}

impl Intake for FakeIntake {
    fn offer(&self, arrival: Arrival) -> Result<Commit, Refusal> {
        let mut state = self.state.lock().unwrap();
        if state.stopped {
            return Err(stopped().into());
        }
        if state.full {
            let (first, again) = &mut state.refusals;
            *if arrival.refused { again } else { first } += 1;
            return Err(Refusal::Full(Box::new(Arrival { refused: true, ..arrival })));
        }
        state.offers.push(arrival);
        Ok(Commit(state.offers.len() as u64))
    }

    fn offer_dead(&self, arrival: Arrival, reason: &str) -> Result<Commit, Refusal> {
        let mut state = self.state.lock().unwrap();
        if state.stopped {
            return Err(stopped().into());
        }
        if state.full {
            return Err(Refusal::Full(Box::new(Arrival { refused: true, ..arrival })));
        }
        state.dead.push((arrival, reason.to_owned()));
        Ok(Commit((state.offers.len() + state.dead.len()) as u64))
    }

    fn room(&self) -> Waiting<'_, ()> {
        Box::pin(async {
            let mut changed = self.changed.subscribe();
            while self.state.lock().unwrap().full {
                changed.changed().await.unwrap();
            }
        })
    }

    fn durable(&self) -> Result<Commit, JournalStopped> {
        let state = self.state.lock().unwrap();
        if state.stopped { Err(stopped()) } else { Ok(Commit(state.durable)) }
    }

    fn durable_after(&self, seen: Commit) -> Waiting<'_, Result<Commit, JournalStopped>> {
        Box::pin(async move {
            let mut changed = self.changed.subscribe();
            loop {
                let durable = self.durable()?;
                if durable > seen {
                    return Ok(durable);
                }
                changed.changed().await.unwrap();
            }
        })
    }

    fn high_water(&self, device: &DeviceId, boot: u64) -> Option<u64> {
        self.state.lock().unwrap().marks.get(&(device.to_string(), boot)).copied()
    }
}
