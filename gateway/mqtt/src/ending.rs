//! What happens when a connection ends: the last word, the will, the events on their way to the disk, the session that stays.

use std::time::Duration;

use lamppost_event::{Commit, DeviceId};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::Cause;
use crate::acks::Pending;
use crate::budget::Share;
use crate::codec;
use crate::connection::{Ending, ROOM_POLL, Shared, acknowledge};
use crate::counters::add;
use crate::durability::Durability;
use crate::handshake::Client;
use crate::message::Message;
use crate::registry::Ticket;
use crate::session::LastWill;
use crate::storing::Storing;
use crate::wire::Wire;

/// A will that waits for its delay [MQTT-3.1.3-9].
pub(crate) struct DelayedWill {
    pub(crate) device: DeviceId,
    pub(crate) will: LastWill,
    pub(crate) delay: Duration,
    pub(crate) ticket: Ticket,
    /// Of what all such wills may hold.
    pub(crate) share: Share,
}

/// What is left of a connection when its client may be let in again.
pub(crate) struct Afterwards {
    wire: Wire,
    delayed: Option<DelayedWill>,
}

/// Says why, waits for what is on its way to the disk, stores the will, leaves the session. When it returns, the client's
/// place is free again.
pub(crate) async fn end(
    ending: Ending,
    mut wire: Wire,
    mut client: Client,
    mut durability: watch::Receiver<Durability>,
    shared: &Shared,
) -> Afterwards {
    let name = client.session.device.as_str();
    let mut with_will = true;
    let mut expiry = client.session_expiry;
    let mut stop = None;
    // Who has lost what it came in by has nothing to say any more.
    let barred = matches!(&ending, Ending::Refused(close) if close.cause == Cause::Credentials);
    match ending {
        Ending::Lost => tracing::debug!(client = name, "gone without a word"),
        Ending::Left { with_will: wanted, session_expiry_s } => {
            with_will = wanted;
            // A session that was to end with its connection can't be prolonged (MQTT 5.0, section 3.14.2.2.2).
            if let Some(seconds) = session_expiry_s.filter(|_| !expiry.is_zero()) {
                expiry = Duration::from_secs(seconds.into()).min(shared.limits.session_expiry_max);
            }
        }
        Ending::Refused(close) => {
            shared.counters.refuse(&close, name);
            if close.cause == Cause::ShuttingDown {
                stop = Some(close);
            } else {
                codec::disconnect(client.session.version, &close, client.explain, &mut wire.output);
            }
        }
    }
    // A server that stops may leave wills out until it starts again (section 3.1.2.5); all clients come back then.
    let Client { session, will, .. } = &mut client;
    let may_still = |will: &LastWill| session.permissions.may_publish(&session.device, will.message.topic.as_str());
    let will = will.take().filter(|will| with_will && stop.is_none() && !barred && may_still(will));
    let (will, delayed) = match will {
        // Beyond what all may hold, a will does not wait.
        Some(will) if will.delay_s > 0 && !expiry.is_zero() && Share::new(&shared.wills).is_open() => {
            (None, Some(will))
        }
        will => (will, None),
    };
    if let Some(close) = stop {
        // First the acknowledgements that become due, then the last word.
        drain(&mut client, None, &mut durability, shared, Some(&mut wire)).await;
        codec::disconnect(client.session.version, &close, client.explain, &mut wire.output);
    } else {
        wire.end_our_side().await;
        drain(&mut client, will, &mut durability, shared, None).await;
    }
    let delayed = delayed.map(|will| {
        let delay = Duration::from_secs(will.delay_s.into()).min(expiry);
        let device = client.session.device.clone();
        shared.sessions.note_will(&device, u32::try_from(delay.as_secs()).unwrap_or(u32::MAX), &will.message);
        let mut share = Share::new(&shared.wills);
        share.set(will.message.bytes());
        DelayedWill { device, will, delay, ticket: client.claim.ticket.clone(), share }
    });
    shared.sessions.leave(&client.outbound.kept, expiry);
    Afterwards { wire, delayed }
}

impl Afterwards {
    /// Sees the socket to its end. Returns the will that is to be stored later.
    pub(crate) async fn close(self) -> Option<DelayedWill> {
        self.wire.finish().await;
        self.delayed
    }
}

/// Stores the will and waits, for a limited time, until all that was offered is on disk. With a wire, PUBACKs are given.
async fn drain(
    client: &mut Client,
    will: Option<LastWill>,
    durability: &mut watch::Receiver<Durability>,
    shared: &Shared,
    mut wire: Option<&mut Wire>,
) {
    let deadline = Instant::now() + shared.limits.drain_timeout;
    if let Some(will) = will {
        match timeout_at(deadline, store(will, shared)).await {
            Ok(Some((commit, pending))) => client.session.taken(commit, pending),
            Ok(None) => {}
            Err(_) => add(&shared.counters.wills_dropped, 1),
        }
    }
    if wire.is_none() {
        // Nobody hears a PUBACK any more, so none is counted.
        client.session.acks.forget_packet_ids();
    }
    let mut unheard = bytes::BytesMut::new();
    let drained = async {
        // What became durable in between is seen first.
        durability.mark_changed();
        while !client.session.acks.is_empty() && durability.changed().await.is_ok() {
            let now = *durability.borrow_and_update();
            let out = wire.as_mut().map_or(&mut unheard, |wire| &mut wire.output);
            if acknowledge(now, client, shared, out).is_err() {
                break;
            }
            if let Some(wire) = wire.as_mut() {
                drop(wire.flush());
            }
        }
    };
    drop(timeout_at(deadline, drained).await);
    add(&shared.counters.fanout_shed, client.session.acks.abandon() as u64);
}

/// Stores a will by the way of all events. `None`: it never can be.
async fn store(will: LastWill, shared: &Shared) -> Option<(Commit, Pending)> {
    let expires = will.expiry_s.map(|seconds| Message::expires(shared.clock.now().monotonic, seconds));
    let message = Message { expires, ..will.message };
    let mut storing = Storing::new(*will.arrival, message.qos, Some(message));
    let bytes = storing.bytes();
    loop {
        match storing.attempt(shared) {
            Ok(Some((commit, message))) => {
                add(&shared.counters.wills, 1);
                return Some((
                    commit,
                    Pending { packet_id: None, bytes, answer: bytes::Bytes::new(), message, refused: false },
                ));
            }
            Ok(None) => {}
            Err(close) => {
                tracing::debug!(reason = close.detail, "a will could not be stored");
                add(&shared.counters.wills_dropped, 1);
                return None;
            }
        }
        drop(timeout(ROOM_POLL, shared.intake.room()).await);
    }
}

impl DelayedWill {
    /// Stores it when its delay or the session is over, unless the client comes back to it. A client that comes with Clean Start ends the
    /// session (MQTT 5.0, section 3.1.4).
    pub(crate) async fn publish(mut self, shared: &Shared) {
        if timeout(self.delay, self.ticket.superseded()).await == Ok(false) {
            shared.sessions.forget_will(&self.device);
            return;
        }
        drop(self.share);
        let Some((commit, pending)) = store(self.will, shared).await else { return };
        shared.sessions.forget_will(&self.device);
        let mut durability = shared.durability.clone();
        let settled = |durability: &Durability| !matches!(durability, Durability::Reached(at) if *at < commit);
        if let Ok(Durability::Reached(_)) = durability.wait_for(settled).await.as_deref()
            && let Some(message) = pending.message
        {
            shared.fanout.publish(message);
        }
    }
}
