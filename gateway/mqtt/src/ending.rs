//! What happens when a connection ends: the last word, the will, the events on their way to the disk, the session that stays.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::Cause;
use crate::budget::Share;
use crate::codec;
use crate::connection::{Ending, Shared, acknowledge};
use crate::counters::add;
use crate::handshake::Client;
use crate::session::LastWill;
use crate::wills::{DelayedWill, DueWill, Later, NotedWill, Publication, Testator};
use crate::wire::Wire;

/// What is left of a connection when its client may be let in again.
pub(crate) struct Afterwards {
    wire: Wire,
    later: Option<Later>,
}

/// Says why, waits for what is on its way to the disk, stores the will, leaves the session. When it returns, the client's
/// place is free again.
pub(crate) async fn end(ending: Ending, mut wire: Wire, mut client: Client, shared: &Shared) -> Afterwards {
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
    let Client { session, will, login, .. } = &mut client;
    let mut testator =
        Testator { device: session.device.clone(), permissions: session.permissions.clone(), login: *login };
    let will = will.take().filter(|will| with_will && !barred && testator.may_publish(&will.message, shared));
    let WillsFate { at_once, delayed, forget } = WillsFate::of(will, noted, expiry, stop.is_some(), shared);
    let stored;
    if let Some(close) = stop {
        // First the acknowledgements that become due, then the last word.
        stored = drain(&mut client, at_once, shared, Some(&mut wire)).await;
        codec::disconnect(client.session.version, &close, client.explain, &mut wire.output);
    } else {
        wire.end_our_side().await;
        stored = drain(&mut client, at_once, shared, None).await;
    }
    let later = match (stored, delayed) {
        (Stored::Stopped, _) => None,
        (Stored::NoRoom(publication), _) => {
            let due = DueWill::of(&testator, *publication, forget);
            add(&shared.counters.wills_dropped, u64::from(due.is_none()));
            due.map(|due| Later::Due(Box::new(due)))
        }
        (Stored::Settled, delayed) => {
            if let Some(noted) = forget {
                shared.sessions.forget_will(&testator.device, noted.number);
            }
            delayed.map(|(will, noted)| {
                let delay = Duration::from_secs(will.delay_s.into()).min(expiry);
                Later::Delayed(Box::new(DelayedWill::of_gone(testator, will, delay, noted, shared)))
            })
        }
    };
    shared.sessions.leave(&client.outbound.kept, expiry);
    Afterwards { wire, later }
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
    pub(crate) async fn close(self) -> Option<Later> {
        self.wire.finish().await;
        self.later
    }
}

/// What became of a will that was to be published at once.
enum Stored {
    /// It was, or never can be; or there was none.
    Settled,
    /// There was no room for it in time.
    NoRoom(Box<Publication>),
    /// Nothing is stored any more.
    Stopped,
}

/// Stores the will and waits, for a limited time, until all that was offered is on disk. With a wire, PUBACKs are given.
async fn drain(client: &mut Client, will: Option<LastWill>, shared: &Shared, mut wire: Option<&mut Wire>) -> Stored {
    let deadline = Instant::now() + shared.limits.drain_timeout;
    let mut stored = Stored::Settled;
    if let Some(will) = will {
        let mut publication = Box::new(Publication::of(will, shared));
        match timeout_at(deadline, publication.store(shared)).await {
            Ok(Ok((commit, pending))) => client.session.taken(commit, pending),
            Ok(Err(close)) if close.cause == Cause::JournalStopped => stored = Stored::Stopped,
            Ok(Err(_)) => {}
            Err(_) => stored = Stored::NoRoom(publication),
        }
    }
    if wire.is_none() {
        // Nobody hears a PUBACK any more, so none is counted.
        client.session.acks.forget_packet_ids();
    }
    let mut unheard = bytes::BytesMut::new();
    let mut durability = shared.durability.clone();
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
    stored
}
