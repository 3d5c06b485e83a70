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
//!
//! A will costs the card one small note for each connection of a client that has one, and its removal.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lamppost_event::{Commit, DeviceId};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::Cause;
use crate::acks::{Pending, SUCCESS};
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

/// The note of a will.
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
        device: &'a DeviceId,
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
        let record = WillRecord { delay_s, silence_s, expiry_s: will.expiry_s, message: will.message.clone() };
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

/// A will that waits for its delay, or for its client after a restart.
pub(crate) struct DelayedWill {
    device: DeviceId,
    will: LastWill,
    delay: Duration,
    fate: oneshot::Receiver<Fate>,
    number: u64,
    _share: Share,
}

impl DelayedWill {
    /// Of a client that has gone. `noted`: what was noted when it came.
    pub(crate) fn of_gone(
        device: &DeviceId,
        will: LastWill,
        delay: Duration,
        noted: Option<NotedWill>,
        shared: &Shared,
    ) -> Self {
        let before = noted.as_ref().map(|noted| noted.number);
        let delay_s = u32::try_from(delay.as_secs()).unwrap_or(u32::MAX);
        let record = WillRecord { delay_s, silence_s: None, expiry_s: will.expiry_s, message: will.message.clone() };
        let number = match shared.sessions.note_will(device, before, &record) {
            Ok((number, _)) => number,
            Err(refusal) => {
                shared.sessions.tell_unnoted(device, &refusal.to_string());
                before.unwrap_or(0)
            }
        };
        let mut share = noted.map_or_else(|| Share::new(&shared.wills), |noted| noted.share);
        share.set(will.message.bytes());
        let fate = shared.sessions.await_fate(device, number, false);
        Self { device: device.clone(), will, delay, fate, number, _share: share }
    }

    /// Of an earlier life of the gateway.
    pub(crate) fn restored(will: RestoredWill, sessions: &Sessions, budget: &Arc<Budget>) -> Self {
        let RestoredWill { device, number, record: WillRecord { delay_s, silence_s, expiry_s, message } } = will;
        let patience_s =
            silence_s.map_or(0, |silence_s| if silence_s == 0 { BACK_WITHOUT_KEEP_ALIVE_S } else { silence_s });
        let mut share = Share::new(budget);
        share.set(message.bytes());
        let fate = sessions.await_fate(&device, number, silence_s.is_some());
        let delay = Duration::from_secs(u64::from(delay_s) + u64::from(patience_s));
        let will = Session::restored_will(message, delay_s, expiry_s);
        Self { device, will, delay, fate, number, _share: share }
    }

    /// Stores it when its delay or the session is over, unless the client comes back. A gateway that stops leaves it noted.
    pub(crate) async fn publish(self, shared: &Shared) {
        let mut stopping = shared.stopping.clone();
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => {}
            () = self.publish_or_withdraw(shared) => {}
        }
    }

    async fn publish_or_withdraw(self, shared: &Shared) {
        // Nobody tells its fate any more where a later will of the same client has taken its place.
        if let Ok(Ok(Fate::Withdrawn) | Err(_)) = timeout(self.delay, self.fate).await {
            return shared.sessions.forget_will(&self.device, self.number);
        }
        let stored = store(self.will, shared).await;
        if !matches!(&stored, Err(close) if close.cause == Cause::JournalStopped) {
            shared.sessions.forget_will(&self.device, self.number);
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
}

/// Stores a will by the way of all events.
///
/// # Errors
/// It can't be stored now, or never: counted.
pub(crate) async fn store(will: LastWill, shared: &Shared) -> Result<(Commit, Pending), Close> {
    let expires = will.expiry_s.map(|seconds| Message::expires(shared.clock.now().monotonic, seconds));
    let message = Message { expires, ..will.message };
    let mut storing = Storing::new(*will.arrival, message.qos, Some(message));
    let bytes = storing.bytes();
    let mut patience = Patience::default();
    loop {
        match storing.attempt(shared) {
            Ok(Some(Done { commit, message, .. })) => {
                add(&shared.counters.wills, 1);
                return Ok((
                    commit,
                    Pending { packet_id: None, bytes, answer: Bytes::new(), message, reason: SUCCESS },
                ));
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
