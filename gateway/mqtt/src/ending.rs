//! What happens when a connection ends: the last word, the will, the events on their way to the disk, the session that stays.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::Cause;
use crate::budget::Share;
use crate::codec;
use crate::connection::{Ending, Shared, acknowledge};
use crate::counters::add;
use crate::durability::Durability;
use crate::handshake::Client;
use crate::session::LastWill;
use crate::wills::{DelayedWill, NotedWill, store};
use crate::wire::Wire;

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
    let noted = client.noted.take();
    let Client { session, will, .. } = &mut client;
    let may_still = |will: &LastWill| session.permissions.may_publish(&session.device, will.message.topic.as_str());
    let will = will.take().filter(|will| with_will && !barred && may_still(will));
    let fate = WillsFate::of(will, noted, expiry, stop.is_some(), shared);
    let (at_once, delayed, noted) = (fate.at_once, fate.delayed, fate.forget);
    let has_will = at_once.is_some();
    let will_stored;
    if let Some(close) = stop {
        // First the acknowledgements that become due, then the last word.
        will_stored = drain(&mut client, at_once, &mut durability, shared, Some(&mut wire)).await;
        codec::disconnect(client.session.version, &close, client.explain, &mut wire.output);
    } else {
        wire.end_our_side().await;
        will_stored = drain(&mut client, at_once, &mut durability, shared, None).await;
    }
    let device = &client.session.device;
    if let Some(noted) = noted.filter(|_| will_stored || !has_will) {
        shared.sessions.forget_will(device, noted.number);
    }
    let delayed = delayed.map(|(will, noted)| {
        let delay = Duration::from_secs(will.delay_s.into()).min(expiry);
        DelayedWill::of_gone(device, will, delay, noted, shared)
    });
    shared.sessions.leave(&client.outbound.kept, expiry);
    Afterwards { wire, delayed }
}

/// What becomes of a will when its client goes.
struct WillsFate {
    at_once: Option<LastWill>,
    delayed: Option<(LastWill, Option<NotedWill>)>,
    /// To be forgotten once what is published at once is stored.
    forget: Option<NotedWill>,
}

impl WillsFate {
    /// `will`: to be published. A gateway that stops leaves what is noted for its next start.
    fn of(will: Option<LastWill>, noted: Option<NotedWill>, expiry: Duration, stops: bool, shared: &Shared) -> Self {
        let none = Self { at_once: None, delayed: None, forget: None };
        match will {
            Some(_) if stops && noted.is_some() => none,
            // Beyond what all may hold, a will does not wait.
            Some(will)
                if will.delay_s > 0
                    && !expiry.is_zero()
                    && !stops
                    && (noted.is_some() || Share::new(&shared.wills).is_open()) =>
            {
                Self { delayed: Some((will, noted)), ..none }
            }
            will => Self { at_once: will, forget: noted, ..none },
        }
    }
}

impl Afterwards {
    /// Sees the socket to its end. Returns the will that is to be stored later.
    pub(crate) async fn close(self) -> Option<DelayedWill> {
        self.wire.finish().await;
        self.delayed
    }
}

/// Stores the will and waits, for a limited time, until all that was offered is on disk. With a wire, PUBACKs are given. Returns whether the
/// will was stored, or never can be.
async fn drain(
    client: &mut Client,
    will: Option<LastWill>,
    durability: &mut watch::Receiver<Durability>,
    shared: &Shared,
    mut wire: Option<&mut Wire>,
) -> bool {
    let deadline = Instant::now() + shared.limits.drain_timeout;
    let mut settled = true;
    if let Some(will) = will {
        match timeout_at(deadline, store(will, shared)).await {
            Ok(Ok((commit, pending))) => client.session.taken(commit, pending),
            Ok(Err(close)) => settled = close.cause != Cause::JournalStopped,
            Err(_) => {
                add(&shared.counters.wills_dropped, 1);
                settled = false;
            }
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
    settled
}
