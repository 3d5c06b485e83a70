//! A will, from CONNECT to its publication or its end.
//!
//! ```text
//! CONNECT ── noted ──► here ── DISCONNECT ──────────────────────────────────► forgotten
//!                       ├───── gone without a word ── no delay ─────────────► published
//!                       │                          └─ waits ─┬ back ────────► withdrawn
//!                       │                                    └ over, or the session is ─► published
//!                       └───── the gateway ends (killed, or told to) ── waits after its start: 1.5 keepalives and the delay, then as above
//! ```
//!
//! - **Invariant:** CONNACK waits until the note of a will is on disk: whatever ends the gateway, a client that does not come back is told of.
//!   A gateway that is told to stop does not publish them either: nearly all clients come back at once, and the standard lets
//!   it wait for the restart (section 3.1.2.5 of both).
//! - **Invariant:** a note goes when its will is on disk as an event, or is not to be; never with another one's.
//! - **Invariant:** a will that was noted is kept until there is room for it, however long that takes; its client coming back does not take
//!   back what was due. One that was not noted for want of room is given up with the drain timeout, and counted.
//! - **Invariant:** a will is published by the rules as they are then, not as they were when its client came.
//!
//! A kill between the event's commit and the note's removal publishes it once more: at least once, as every event.
//!
//! A will costs the card one small note for each connection of a client that has one, and its removal.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lamppost_event::{Commit, DeviceId};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::Cause;
use crate::access::{Action, Denied, Permissions};
use crate::acks::{Pending, SUCCESS};
use crate::admission::{Proven, is_still_proven};
use crate::budget::{Budget, Share};
use crate::cause::Close;
use crate::connection::{ROOM_POLL, Shared};
use crate::counters::add;
use crate::durability::Durability;
use crate::message::Message;
use crate::session::{LastWill, Session};
use crate::sessions::{Fate, RestoredWill, Sessions, WillRecord};
use crate::storing::{Done, Patience, Storing};

/// How long a client without a keepalive may take to come back after a restart.
const BACK_WITHOUT_KEEP_ALIVE_S: u32 = 90;

/// How often it is tried to note that a will is due, while there is no room for it.
const NOTE_AGAIN: Duration = Duration::from_secs(1);

/// The note of a will, on the disk or wanted there.
pub(crate) struct NotedWill {
    pub(crate) number: u64,
    /// Of what all of them may hold.
    share: Share,
}

/// A note that is made while its client is let in. Who is not let in after all leaves none.
pub(crate) struct Noting<'a> {
    shared: &'a Shared,
    device: &'a DeviceId,
    noted: Option<NotedWill>,
    /// What it is on disk with.
    pub(crate) commit: Commit,
}

impl<'a> Noting<'a> {
    /// `None`: there is no room, and that is counted. A will waits no longer than its session.
    pub(crate) fn begin(
        will: &LastWill,
        (silence_max, session_expiry): (Option<Duration>, Duration),
        (device, permissions): (&'a DeviceId, &Permissions),
        shared: &'a Shared,
    ) -> Option<Self> {
        let mut share = Share::new(&shared.wills);
        if !share.is_open() {
            shared.sessions.tell_unnoted(device, "as many bytes of wills are noted as allowed");
            return None;
        }
        share.set(will.message.bytes());
        let silence = silence_max.map_or(0, |max| max.as_millis().div_ceil(1_000));
        let silence_s = Some(u32::try_from(silence).unwrap_or(u32::MAX));
        let delay_s = will.delay_s.min(u32::try_from(session_expiry.as_secs()).unwrap_or(u32::MAX));
        let user = permissions.user().map(Box::from);
        let record = WillRecord { delay_s, silence_s, expiry_s: will.expiry_s, user, message: will.message.clone() };
        match shared.sessions.note_will(device, None, &record) {
            Ok((number, commit)) => Some(Self { shared, device, noted: Some(NotedWill { number, share }), commit }),
            Err(refusal) => {
                shared.sessions.tell_unnoted(device, &refusal.to_string());
                None
            }
        }
    }

    /// Its client is in.
    pub(crate) fn keep(mut self) -> Option<NotedWill> {
        self.noted.take()
    }
}

impl Drop for Noting<'_> {
    fn drop(&mut self) {
        if let Some(noted) = self.noted.take() {
            self.shared.sessions.forget_will(self.device, noted.number);
        }
    }
}

/// Whose will it is, for the rules.
pub(crate) struct Testator {
    pub(crate) device: DeviceId,
    pub(crate) permissions: Permissions,
    pub(crate) login: Option<Proven>,
}

impl Testator {
    /// Whether it may publish this by the rules as they are now. A refusal is counted, and told of the first time.
    pub(crate) fn may_publish(&mut self, message: &Message, shared: &Shared) -> bool {
        let rules = shared.rules.borrow().clone();
        let proven = is_still_proven(&self.permissions, self.login, &rules, shared);
        self.permissions.renew(Arc::clone(&rules.acl));
        let topic = message.topic.as_str();
        let may = proven && self.permissions.may_publish(&self.device, topic);
        if !may {
            let denied = Denied { action: Action::Publish, topic: topic.into(), count: 1 };
            shared.counters.deny(&denied, self.device.as_str());
        }
        may
    }
}

/// A will that outlives its connection.
pub(crate) enum Later {
    /// It waits.
    Delayed(Box<DelayedWill>),
    /// It is due, and there was no room for it.
    Due(Box<DueWill>),
}

impl Later {
    /// Stores it when its time has come and there is room, unless the client comes back before. A gateway that stops leaves it noted.
    pub(crate) async fn publish(self, shared: &Shared) {
        let mut stopping = shared.stopping.clone();
        let published = async {
            match self {
                Self::Delayed(will) => will.publish_or_withdraw(shared).await,
                Self::Due(will) => will.publish(shared).await,
            }
        };
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => {}
            () = published => {}
        }
    }
}

/// A will that waits for its delay, or for its client after a restart.
pub(crate) struct DelayedWill {
    testator: Testator,
    will: LastWill,
    delay: Duration,
    /// `None`: it is due whoever comes.
    fate: Option<oneshot::Receiver<Fate>>,
    /// Where there was no room for the note, a number all the same.
    noted: NotedWill,
}

impl DelayedWill {
    /// Of a client that has gone. `noted`: what was noted when it came.
    pub(crate) fn of_gone(
        testator: Testator,
        will: LastWill,
        delay: Duration,
        noted: Option<NotedWill>,
        shared: &Shared,
    ) -> Self {
        let before = noted.as_ref().map(|noted| noted.number);
        // What waits for less than a second is not due yet.
        let delay_s = u32::try_from(delay.as_secs()).unwrap_or(u32::MAX).max(1);
        let (user, message) = (testator.permissions.user().map(Box::from), will.message.clone());
        let record = WillRecord { delay_s, silence_s: None, expiry_s: will.expiry_s, user, message };
        let device = &testator.device;
        let number = match shared.sessions.note_will(device, before, &record) {
            Ok((number, _)) => number,
            Err(refusal) => {
                shared.sessions.tell_unnoted(device, &refusal.to_string());
                before.unwrap_or_else(|| shared.sessions.number_will())
            }
        };
        let mut share = noted.map_or_else(|| Share::new(&shared.wills), |noted| noted.share);
        share.set(will.message.bytes());
        let fate = Some(shared.sessions.await_fate(device, number, false));
        Self { testator, will, delay, fate, noted: NotedWill { number, share } }
    }

    /// Of an earlier life of the gateway.
    pub(crate) fn restored(will: RestoredWill, sessions: &Sessions, budget: &Arc<Budget>) -> Self {
        let RestoredWill { device, number, due, record } = will;
        let WillRecord { delay_s, silence_s, expiry_s, user, message } = record;
        let patience_s =
            silence_s.map_or(0, |silence_s| if silence_s == 0 { BACK_WITHOUT_KEEP_ALIVE_S } else { silence_s });
        let mut share = Share::new(budget);
        share.set(message.bytes());
        let fate = (!due).then(|| sessions.await_fate(&device, number, silence_s.is_some()));
        let delay = Duration::from_secs(u64::from(delay_s) + u64::from(patience_s));
        let will = Session::restored_will(message, delay_s, expiry_s);
        // The rules are looked at when it is published.
        let testator = Testator { device, permissions: Permissions::new(Arc::default(), user), login: None };
        Self { testator, will, delay, fate, noted: NotedWill { number, share } }
    }

    async fn publish_or_withdraw(mut self, shared: &Shared) {
        let withdrawn = match self.fate {
            // Nobody tells its fate any more where a later will of the same client has taken its place.
            Some(fate) => matches!(timeout(self.delay, fate).await, Ok(Ok(Fate::Withdrawn) | Err(_))),
            None => false,
        };
        if withdrawn || !self.testator.may_publish(&self.will.message, shared) {
            return shared.sessions.forget_will(&self.testator.device, self.noted.number);
        }
        let mut publication = Publication::of(self.will, shared);
        // Where there is room at once, nothing is noted of its being due.
        if let Ok(stored) = timeout(Duration::ZERO, publication.store(shared)).await {
            return settle(stored, &self.testator.device, self.noted.number, shared).await;
        }
        if let Some(due) = DueWill::of(&self.testator, publication, Some(self.noted)) {
            due.publish(shared).await;
        }
    }
}

/// A will that is due, and found no room in time. That its client comes back changes nothing any more.
pub(crate) struct DueWill {
    device: DeviceId,
    publication: Publication,
    record: WillRecord,
    noted: NotedWill,
}

impl DueWill {
    /// `None`: there was no room to note it among all wills: it is given up.
    pub(crate) fn of(testator: &Testator, publication: Publication, noted: Option<NotedWill>) -> Option<Self> {
        let user = testator.permissions.user().map(Box::from);
        let message = publication.message.clone();
        let record = WillRecord { delay_s: 0, silence_s: None, expiry_s: publication.expiry_s, user, message };
        Some(Self { device: testator.device.clone(), publication, record, noted: noted? })
    }

    async fn publish(mut self, shared: &Shared) {
        let (device, number) = (&self.device, Some(self.noted.number));
        let mut marked = false;
        let stored = loop {
            // From then on it is published after a kill, also where a later will of the client is noted.
            marked = marked || shared.sessions.note_will(device, number, &self.record).is_ok();
            if let Ok(stored) = timeout(NOTE_AGAIN, self.publication.store(shared)).await {
                break stored;
            }
        };
        settle(stored, device, self.noted.number, shared).await;
    }
}

/// What was stored is forgotten as a will, and goes to subscribers once it is on disk.
async fn settle(stored: Result<(Commit, Pending), Close>, device: &DeviceId, number: u64, shared: &Shared) {
    if !matches!(&stored, Err(close) if close.cause == Cause::JournalStopped) {
        shared.sessions.forget_will(device, number);
    }
    let Ok((commit, pending)) = stored else { return };
    let mut durability = shared.durability.clone();
    let settled = |durability: &Durability| !matches!(durability, Durability::Reached(at) if *at < commit);
    if let Ok(Durability::Reached(_)) = durability.wait_for(settled).await.as_deref()
        && let Some(message) = pending.message
    {
        shared.fanout.publish(message);
    }
}

/// A will on its way to the disk by the way of all events.
pub(crate) struct Publication {
    storing: Storing,
    message: Message,
    expiry_s: Option<u32>,
}

impl Publication {
    /// Its Message Expiry Interval begins now.
    pub(crate) fn of(will: LastWill, shared: &Shared) -> Self {
        let LastWill { arrival, message, expiry_s, .. } = will;
        let expires = expiry_s.map(|seconds| Message::expires(shared.clock.now().monotonic, seconds));
        let sent = Message { expires, ..message.clone() };
        Self { storing: Storing::new(*arrival, message.qos, Some(sent)), message, expiry_s }
    }

    /// Waits for room. Safe to cancel: what is stored of it is not stored again.
    ///
    /// # Errors
    /// It can't be stored, now or ever: counted.
    pub(crate) async fn store(&mut self, shared: &Shared) -> Result<(Commit, Pending), Close> {
        let bytes = self.storing.bytes();
        let mut patience = Patience::default();
        loop {
            match self.storing.attempt(shared) {
                Ok(Some(Done { commit, message, .. })) => {
                    add(&shared.counters.wills, 1);
                    let answer = Bytes::new();
                    return Ok((commit, Pending { packet_id: None, bytes, answer, message, reason: SUCCESS }));
                }
                Ok(None) => {}
                Err(close) => {
                    tracing::debug!(reason = close.detail, "a will could not be stored");
                    add(&shared.counters.wills_dropped, 1);
                    return Err(close);
                }
            }
            sleep(patience.pause()).await;
            drop(timeout(ROOM_POLL, shared.intake.room()).await);
        }
    }
}
