//! What sources see of the gateway: decode, route, store once, and learn when it is on disk.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use lamppost_event::{
    Arrival, Clock, Commit, DeviceId, Event, Intake, JournalStopped, Origin, Refusal, Topic, Waiting, encode_event,
    into_record,
};
use lamppost_forward::{DeadLetters, Poison};
use lamppost_journal::{AppendError, Journal, Mark, Marked, Priority};
use lamppost_route::{Routed, Routes};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;
use tokio::time::timeout;

use super::devices::Devices;

/// A dead letter may be larger than an event by this, for its reason, bytes.
pub(crate) const REASON_ROOM_BYTES: usize = 2_048;
/// The longest reason that is kept, bytes.
const REASON_BYTES_MAX: usize = 1_024;
/// Before a dead letter that found no room is offered again.
const BURY_PAUSE: Duration = Duration::from_millis(50);
/// It is offered again at least as often.
const BURY_PATIENCE: Duration = Duration::from_secs(1);
/// How many senders' high-water marks are kept at hand; beyond, they are looked up again.
const AT_HAND_MAX: usize = 16_384;

/// What was offered, since the start. Events.
#[derive(Debug, Default)]
pub(crate) struct IntakeCount {
    /// Taken and stored.
    pub(crate) taken: AtomicU64,
    /// Taken and known already: acknowledged, not stored again.
    pub(crate) resent: AtomicU64,
    /// Stored as dead letters.
    pub(crate) dead_letters: AtomicU64,
    /// Given back for want of room, each once: not again when what was given back finds none again.
    pub(crate) refused: AtomicU64,
    /// Larger than an event may be.
    pub(crate) too_large: AtomicU64,
}

/// The journal behind the routes.
pub(crate) struct JournalIntake {
    journal: Journal,
    /// Exchanged whole by a reload.
    routes: RwLock<Arc<Routes>>,
    clock: Arc<dyn Clock>,
    devices: Arc<Devices>,
    /// The largest event (key, value and header), bytes.
    event_bytes_max: usize,
    /// Held over look-up and append, so that a sequence is stored once whichever port it comes by.
    at_hand: Mutex<HashMap<(DeviceId, u64), Marked>>,
    /// The last commit that an event was taken for.
    latest: AtomicU64,
    pub(crate) count: IntakeCount,
}

impl JournalIntake {
    pub(crate) fn new(
        journal: Journal,
        routes: Routes,
        clock: Arc<dyn Clock>,
        devices: Arc<Devices>,
        event_bytes_max: usize,
    ) -> Self {
        Self {
            journal,
            routes: RwLock::new(Arc::new(routes)),
            clock,
            devices,
            event_bytes_max,
            at_hand: Mutex::default(),
            latest: AtomicU64::new(0),
            count: IntakeCount::default(),
        }
    }

    /// Devices that their view has forgotten since the start.
    pub(crate) fn devices_forgotten(&self) -> u64 {
        self.devices.forgotten()
    }

    /// The last commit that an event was taken for since the start: on disk once it is durable.
    pub(crate) fn latest(&self) -> Commit {
        Commit(self.latest.load(Ordering::Relaxed))
    }

    fn routes(&self) -> Arc<Routes> {
        Arc::clone(&self.routes.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on by these.
    pub(crate) fn exchange(&self, routes: Routes) {
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(routes);
    }

    /// Routes and stores. What finds no room is given back.
    fn store(&self, arrival: Arrival, mark: Option<&Mark>) -> Result<Commit, Refusal> {
        self.store_routed(arrival, mark, |arrival| self.routes().route(arrival, self.clock.now()))
    }

    fn store_routed(
        &self,
        arrival: Arrival,
        mark: Option<&Mark>,
        route: impl FnOnce(Arrival) -> Routed,
    ) -> Result<Commit, Refusal> {
        // All but the payload, which comes back with the record: two names and nothing else to be counted, mostly.
        let kept = Arrival {
            device: arrival.device.clone(),
            address: arrival.address.clone(),
            origin: arrival.origin.clone(),
            content_type: arrival.content_type.clone(),
            payload: Bytes::new(),
            ..arrival
        };
        let Routed { event, partition } = route(arrival);
        let is_dead_letter = event.reason.is_some();
        let (topic, record) = into_record(event);
        let bytes = record.bytes();
        if !is_dead_letter && bytes > self.event_bytes_max {
            one_more(&self.count.too_large);
            return Err(Refusal::TooLarge { bytes, bytes_max: self.event_bytes_max });
        }
        match self.journal.append(&topic, partition, record, mark) {
            Ok(appended) => {
                one_more(&self.count.taken);
                self.latest.fetch_max(appended.commit.0, Ordering::Relaxed);
                if is_dead_letter {
                    one_more(&self.count.dead_letters);
                }
                Ok(appended.commit)
            }
            Err(AppendError::Full(record)) => {
                if !kept.refused {
                    one_more(&self.count.refused);
                }
                let payload = record.value.unwrap_or_default();
                Err(Refusal::Full(Box::new(Arrival { payload, refused: true, ..kept })))
            }
            Err(AppendError::TooLarge { bytes, bytes_max }) => {
                one_more(&self.count.too_large);
                Err(Refusal::TooLarge { bytes, bytes_max })
            }
            Err(AppendError::Unknown(at)) => {
                Err(JournalStopped { reason: format!("an event was routed to {at}, which the journal does not have") }
                    .into())
            }
            Err(AppendError::Stopped(stopped)) => Err(stopped.into()),
        }
    }

    /// Stores what carries a sequence, once.
    fn offer_once(&self, arrival: Arrival, boot: u64, sequence: u64) -> Result<Commit, Refusal> {
        let sender = (arrival.device.clone(), boot);
        let mut at_hand = self.at_hand.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match at_hand.get(&sender) {
            Some(marked) => Some(*marked),
            None => aside(|| self.devices.marked(&self.journal, &sender.0, boot))?,
        };
        if let Some(marked) = known.filter(|marked| sequence <= marked.sequence) {
            one_more(&self.count.resent);
            return Ok(marked.commit);
        }
        let mark = Mark { device: sender.0.clone(), boot, sequence };
        let commit = self.store(arrival, Some(&mark))?;
        if at_hand.len() >= AT_HAND_MAX {
            at_hand.clear();
        }
        at_hand.insert(sender, Marked { sequence, commit });
        Ok(commit)
    }
}

impl Intake for JournalIntake {
    fn offer(&self, arrival: Arrival) -> Result<Commit, Refusal> {
        if let Origin::Sequence { boot, sequence } = arrival.origin {
            return self.offer_once(arrival, boot, sequence);
        }
        self.store(arrival, None)
    }

    fn offer_dead(&self, arrival: Arrival, reason: &str) -> Result<Commit, Refusal> {
        self.store_routed(arrival, None, |arrival| self.routes().bury(arrival, reason, self.clock.now()))
    }

    fn room(&self) -> Waiting<'_, ()> {
        self.journal.room()
    }

    fn durable(&self) -> Result<Commit, JournalStopped> {
        self.journal.durable()
    }

    fn durable_after(&self, seen: Commit) -> Waiting<'_, Result<Commit, JournalStopped>> {
        self.journal.durable_after(seen)
    }

    fn high_water(&self, device: &DeviceId, boot: u64) -> Option<u64> {
        // A node that is told nothing sends from its oldest kept reading on, and the resends are recognised.
        aside(|| self.journal.mark(device, boot))
            .inspect_err(|error| tracing::warn!(%device, boot, %error, "a mark can't be read"))
            .ok()?
    }
}

/// What the cluster can never accept is stored again, as a dead letter with the reason.
impl DeadLetters for JournalIntake {
    fn bury(&self, poison: Poison) -> Waiting<'_, Result<(), JournalStopped>> {
        Box::pin(async move {
            let reason = Some(shortened(poison.reason).into());
            let mut event = Event { topic: dead_letters(), reason, ..poison.stored.event };
            let partition = lamppost_event::partition_of(&event.key, self.partitions_of(&event.topic));
            let mut record = encode_event(&event);
            let commit = loop {
                match self.journal.append(&event.topic, partition, record.clone(), None) {
                    Ok(appended) => break appended.commit,
                    // Dead letters have a reserve: what they wait for must not be everybody's room.
                    Err(AppendError::Full(_)) => {
                        // The sign of room may be for something larger that was refused since.
                        drop(timeout(BURY_PATIENCE, self.journal.room_for(Priority::DeadLetter)).await);
                        // There may be room for a small event and none for this one.
                        tokio::time::sleep(BURY_PAUSE).await;
                    }
                    // It was stored while more was allowed. Its beginning, or nothing behind it would ever be delivered.
                    Err(AppendError::TooLarge { bytes, bytes_max }) if !event.payload.is_empty() => {
                        event = beginning(event, bytes.saturating_sub(bytes_max));
                        record = encode_event(&event);
                    }
                    Err(AppendError::Stopped(stopped)) => return Err(stopped),
                    Err(error) => return Err(JournalStopped { reason: format!("a dead letter was refused: {error}") }),
                }
            };
            one_more(&self.count.dead_letters);
            let mut durable = self.journal.durable()?;
            while durable < commit {
                durable = self.journal.durable_after(durable).await?;
            }
            Ok(())
        })
    }
}

impl JournalIntake {
    fn partitions_of(&self, topic: &Topic) -> u16 {
        self.routes().topics().iter().find(|shape| shape.topic == *topic).map_or(1, |shape| shape.partitions)
    }
}

/// A dead letter that has so many bytes less, of its payload; its reason says so.
fn beginning(event: Event, less: usize) -> Event {
    let whole = event.payload.len();
    let reason = format!("{}; of its {whole} bytes this is the beginning", event.reason.unwrap_or_default());
    // The longer reason comes on top: some 50 bytes, and its length may take one more.
    let kept = whole.saturating_sub(less.saturating_add(64));
    Event { payload: event.payload.slice(..kept), reason: Some(reason.into()), ..event }
}

fn shortened(mut reason: String) -> String {
    let end = (0..=REASON_BYTES_MAX.min(reason.len())).rev().find(|at| reason.is_char_boundary(*at));
    reason.truncate(end.unwrap_or(0));
    reason
}

/// Runs what may read the disk; on a worker of the runtime, so that the other tasks go on meanwhile.
fn aside<T>(look_up: impl FnOnce() -> T) -> T {
    let flavor = Handle::try_current().map(|handle| handle.runtime_flavor());
    if matches!(flavor, Ok(RuntimeFlavor::MultiThread)) { block_in_place(look_up) } else { look_up() }
}

/// The topic of what could not be routed, decoded or delivered.
pub(crate) fn dead_letters() -> Topic {
    #[expect(clippy::unwrap_used, reason = "a literal that is legal")]
    Topic::new(lamppost_route::DEAD_LETTERS).unwrap()
}

fn one_more(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests;
