//! When a connection does what: it works off what is there, and waits for the first of many things to happen.
//!
//! What ends it comes first, then what is on disk. Reading and delivering take turns by chance, so that a subscriber whose messages never
//! end is still listened to.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use lamppost_event::{Commit, Waiting};
use tokio::sync::watch;
use tokio::task::consume_budget;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::{Connection, Ending, ROOM_POLL, Shared};
use crate::Cause;
use crate::access::Rules;
use crate::cause::Close;
use crate::fanout::{Delivery, LinkEnded};
use crate::registry::Ticket;
use crate::sessions::Kept;
use crate::waiters::Wait;

/// Longer than any connection.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// What a connection may do until something happens.
struct Gates {
    /// Its packets are not taken: the journal, its window, its pace or the rest of the clients are in the way.
    held_back: bool,
    /// Too much of all clients waits for the disk.
    crowded: bool,
    /// It has begun a packet, and too much of all clients is begun.
    squeezed: bool,
    read: bool,
    deliver: bool,
    /// When a pause is over: it goes faster than allowed, or what is retained waits for room among all that is handed out.
    pause: Option<Instant>,
    /// When the packet that it has begun has to be whole.
    late: Option<Instant>,
    waits_for: Option<Commit>,
}

impl Gates {
    fn listening(&self) -> bool {
        self.read || self.squeezed
    }
}

/// What happened.
enum Happened {
    Ended(Close),
    RulesChanged,
    OnDisk,
    Delivery(Result<Delivery, LinkEnded>),
    Readable,
    /// The journal may have room.
    Room,
    /// A pause is over.
    Rested,
    /// Silence, or a packet that is not finished, has lasted long enough to be looked at.
    Silence,
    /// Something that is seen by looking at everything again.
    Other,
}

/// What is waited for, beside what belongs to the connection.
struct Ears<'a> {
    stopping: watch::Receiver<bool>,
    rules: watch::Receiver<Arc<Rules>>,
    ticket: Ticket,
    kept: Arc<Kept>,
    wait: Wait,
    /// Of the journal, while a publish waits for it.
    room: Option<Waiting<'a, ()>>,
    /// When the client was heard last, or could not be.
    heard: Instant,
}

impl Connection {
    /// Runs until something ends it, which is the error.
    pub(super) async fn converse(&mut self) -> Result<std::convert::Infallible, Ending> {
        let shared = Arc::clone(&self.shared);
        let heard = Instant::now();
        let mut ears = Ears {
            stopping: shared.stopping.clone(),
            rules: shared.rules.clone(),
            ticket: self.client.claim.ticket.clone(),
            kept: Arc::clone(&self.client.outbound.kept),
            wait: Wait::default(),
            room: None,
            heard,
        };
        let mut silence = std::pin::pin!(sleep_until(heard + self.client.silence_max.unwrap_or_default()));
        loop {
            let more = self.work()?;
            if self.get_on()? {
                // However much is retained, others have their turn.
                consume_budget().await;
                continue;
            }
            let gates = self.gates();
            if more && !gates.held_back {
                continue;
            }
            if let Some(late) = gates.late
                && (self.client.silence_max.is_none() || late < silence.deadline())
            {
                silence.as_mut().reset(late);
            }
            match self.listen(&gates, &mut ears, silence.as_mut(), &shared).await? {
                Happened::Ended(close) => return Err(close.into()),
                Happened::RulesChanged => self.look_again()?,
                Happened::OnDisk => drop(self.on_disk()?),
                Happened::Delivery(Ok(delivery)) => self.deliver(delivery),
                Happened::Delivery(Err(ended)) => self.link_again(ended)?,
                Happened::Readable => {
                    if !self.wire.fill()? {
                        return Err(Ending::Lost);
                    }
                    ears.heard = Instant::now();
                }
                Happened::Room => {
                    ears.room = None;
                    self.store_again()?;
                    ears.heard = Instant::now();
                }
                Happened::Rested => self.client.outbound.try_again(Instant::now()),
                Happened::Silence => silence.as_mut().reset(self.bear(&gates, &mut ears.heard)?),
                Happened::Other => {}
            }
        }
    }

    /// Sends what can be sent. Returns whether there may be more at once.
    fn get_on(&mut self) -> Result<bool, Ending> {
        // What was on disk already when it was offered (a resend) is not reported again.
        if !self.client.session.acks.is_empty() && self.on_disk()? {
            return Ok(true);
        }
        self.send();
        self.wire.flush()?;
        Ok(self.wire.output.is_empty() && self.client.outbound.can_send(self.shared.durable_now()))
    }

    /// What may be done now. Tells all others what this one holds.
    fn gates(&mut self) -> Gates {
        let (limits, durable) = (&self.shared.limits, self.shared.durable_now());
        let acks = &self.client.session.acks;
        self.presence.tell(acks.taken(), acks.unacknowledged(), self.stalled.is_some());
        self.inflight.set(acks.bytes() + self.stalled.as_ref().map_or(0, |stalled| stalled.bytes));
        self.begun.set(self.wire.held());
        let output_low = self.wire.output.len() < limits.outgoing_bytes_max;
        let crowded = !self.inflight.is_open();
        let now = Instant::now();
        let pause = self.pace.as_mut().and_then(|pace| pace.wait(now)).map(|pause| now + pause);
        let held_back = self.stalled.is_some() || !self.client.session.may_read() || crowded || pause.is_some();
        // A packet goes on while there is room for all that are begun; its time runs on.
        let squeezed = self.wire.held() > 0 && !self.begun.is_open() && !held_back && output_low;
        let read = !held_back && output_low && !squeezed;
        if held_back || !output_low {
            self.wire.bear_with();
        }
        if read {
            self.wire.rest();
        }
        let outbound = &self.client.outbound;
        Gates {
            held_back,
            crowded,
            squeezed,
            read,
            deliver: output_low && outbound.may_deliver(limits),
            pause: pause.into_iter().chain(outbound.wants_room()).min(),
            late: self.wire.begun().map(|begun| begun + limits.packet_timeout),
            waits_for: acks.first().into_iter().chain(outbound.waits_for(durable)).min(),
        }
    }

    /// Waits for what comes first.
    async fn listen<'a>(
        &mut self,
        gates: &Gates,
        ears: &mut Ears<'a>,
        silence: Pin<&mut Sleep>,
        shared: &'a Shared,
    ) -> io::Result<Happened> {
        let Ears { stopping, rules, ticket, kept, wait, room, .. } = ears;
        let stalled = self.stalled.as_ref().map(|stalled| stalled.not_before);
        if stalled.is_none() {
            *room = None;
        }
        let timed = self.client.silence_max.is_some() || gates.late.is_some();
        let others = async {
            Ok(tokio::select! {
                delivery = self.client.outbound.next(), if gates.deliver => Happened::Delivery(delivery),
                readable = self.wire.readable(), if gates.read => readable.map(|()| Happened::Readable)?,
                writable = self.wire.writable(), if self.wire.has_unsent() => writable.map(|()| Happened::Other)?,
                () = kept.wake.notified(), if kept.durable => Happened::Other,
                () = wait_for_room(room, stalled, shared), if stalled.is_some() => Happened::Room,
                () = self.inflight.opened(), if gates.crowded => Happened::Other,
                () = self.begun.opened(), if gates.squeezed => Happened::Other,
                () = rest(gates.pause) => Happened::Rested,
                () = silence, if timed => Happened::Silence,
                else => std::future::pending().await,
            })
        };
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => {
                Ok(Happened::Ended(Close::new(Cause::ShuttingDown, "the gateway is being stopped")))
            }
            () = ticket.superseded() => {
                Ok(Happened::Ended(Close::new(Cause::TakenOver, "the same client id connected again")))
            }
            _ = rules.changed() => Ok(Happened::RulesChanged),
            // Who waits for nothing is not woken by every commit.
            () = wait.reached(gates.waits_for.unwrap_or_default(), &self.durability, &shared.waiters), if gates.waits_for.is_some() => {
                Ok(Happened::OnDisk)
            }
            other = others => other,
        }
    }

    /// The client has been silent, or has a packet unfinished, for a while. Returns when it is looked at again.
    fn bear(&self, gates: &Gates, heard: &mut Instant) -> Result<Instant, Close> {
        let now = Instant::now();
        if gates.listening() && gates.late.is_some_and(|late| late <= now) {
            return Err(Close::new(Cause::PacketTimeout, "a packet was begun and not finished in time"));
        }
        let silence_max = self.client.silence_max.unwrap_or(FOR_EVER);
        if gates.held_back {
            // It is us who do not listen: a PINGREQ may wait unread.
            *heard = now;
        } else if now.saturating_duration_since(*heard) >= silence_max {
            return Err(Close::new(Cause::KeepAlive, "silent for longer than 1.5 times its keepalive"));
        }
        Ok(*heard + silence_max)
    }
}

async fn rest(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Completes when a publish may be tried again: not before `not_before`, and should the journal's sign of room be missed, at some time.
async fn wait_for_room<'a>(room: &mut Option<Waiting<'a, ()>>, not_before: Option<Instant>, shared: &'a Shared) {
    if let Some(not_before) = not_before {
        sleep_until(not_before).await;
    }
    drop(timeout(ROOM_POLL, room.get_or_insert_with(|| shared.intake.room())).await);
}
