//! When a connection does what: it works off what is there, and waits for the first of many things to happen.
//!
//! What ends it comes first, then what is on disk. Reading and delivering take turns, so that a subscriber whose messages never end is still
//! listened to. It is one task that looks at everything when it is woken, and has one timer: see [`crate::bell`].

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use lamppost_event::{Commit, Waiting};
use tokio::sync::watch;
use tokio::task::consume_budget;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Connection, Ending, ROOM_POLL, Shared};
use crate::Cause;
use crate::access::Rules;
use crate::cause::Close;
use crate::fanout::{Delivery, LinkEnded};
use crate::waiters::Wait;

/// Answers that may wait behind deliveries which fill all room. What is read at once has none that are longer.
const ANSWERS_BYTES_MAX: usize = 16 * 1024;

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
    /// A time has come: a pause is over, or silence, or a packet that is not finished, has lasted long enough to be looked at.
    Time,
    /// Something that is seen by looking at everything again.
    Other,
}

/// What is waited for, beside what belongs to the connection.
struct Ears<'a> {
    rules: watch::Receiver<Arc<Rules>>,
    wait: Wait,
    /// Of the journal, while a publish waits for it.
    room: Option<Waiting<'a, ()>>,
    /// When the client was heard last, or could not be.
    heard: Instant,
    /// What has its turn first changes.
    turn: bool,
}

impl Connection {
    /// Runs until something ends it, which is the error.
    pub(super) async fn converse(&mut self) -> Result<std::convert::Infallible, Ending> {
        let shared = Arc::clone(&self.shared);
        let heard = Instant::now();
        let mut ears = Ears {
            rules: shared.rules.clone(),
            wait: Wait::new(Arc::clone(&shared.waiters)),
            room: None,
            heard,
            turn: false,
        };
        let mut timer = std::pin::pin!(sleep_until(heard + self.client.silence_max.unwrap_or(FOR_EVER)));
        loop {
            let more = self.work()?;
            // One look for all of it: what gets on disk after this, and so is not sent now, is what is waited for below.
            let durable = shared.durable_now();
            if self.get_on(durable)? {
                // However much is retained, others have their turn.
                consume_budget().await;
                continue;
            }
            let gates = self.gates(durable);
            if more && !gates.held_back {
                continue;
            }
            if let Some(due) = gates.late.into_iter().chain(gates.pause).chain(self.room_due()).min()
                && due < timer.deadline()
            {
                timer.as_mut().reset(due);
            }
            let happened = poll_fn(|context| self.poll_listen(&gates, &mut ears, timer.as_mut(), &shared, context));
            match happened.await? {
                Happened::Ended(close) => return Err(close.into()),
                Happened::RulesChanged => self.look_again()?,
                Happened::OnDisk => drop(self.on_disk()?),
                Happened::Delivery(Ok(delivery)) => {
                    self.deliver(delivery);
                    // However much there is, others have their turn.
                    consume_budget().await;
                }
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
                Happened::Time => {
                    let next = self.bear(&gates, &mut ears.heard)?;
                    self.client.outbound.try_again(Instant::now());
                    timer.as_mut().reset(next);
                }
                Happened::Other => {}
            }
        }
    }

    /// Sends what can be sent now that so much is on disk. Returns whether there may be more at once.
    fn get_on(&mut self, durable: Commit) -> Result<bool, Ending> {
        // What was on disk already when it was offered (a resend) is not reported again.
        if !self.client.session.acks.is_empty() && self.on_disk()? {
            return Ok(true);
        }
        self.send(durable);
        self.wire.flush()?;
        Ok(self.wire.output.is_empty() && self.client.outbound.can_send(durable))
    }

    /// What may be done now; `durable` is what [`Self::get_on`] had. Tells all others what this one holds.
    fn gates(&mut self, durable: Commit) -> Gates {
        let limits = &self.shared.limits;
        let acks = &self.client.session.acks;
        self.presence.tell(acks.taken(), acks.unacknowledged(), self.stalled.is_some());
        self.inflight.set(acks.bytes() + self.stalled.as_ref().map_or(0, |stalled| stalled.bytes));
        self.begun.set(self.wire.held());
        let waiting = self.wire.output.len();
        let output_low = waiting < limits.outgoing_bytes_max;
        self.full_at = match self.full_at {
            _ if output_low => 0,
            0 => waiting,
            before => before,
        };
        // However much is on its way to it: it is heard, or its pings would be missed, for as long as its answers find room.
        let hears = output_low || waiting < self.full_at + ANSWERS_BYTES_MAX;
        let crowded = !self.inflight.is_open();
        let pause = self.pace.as_mut().and_then(|pace| {
            let now = Instant::now();
            pace.wait(now).map(|pause| now + pause)
        });
        let held_back = self.stalled.is_some() || !self.client.session.may_read() || crowded || pause.is_some();
        // A packet goes on while there is room for all that are begun; its time runs on.
        let squeezed = self.wire.held() > 0 && !self.begun.is_open() && !held_back && hears;
        let read = !held_back && hears && !squeezed;
        if held_back || !hears {
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

    /// What comes first. Else the task is woken by whatever may.
    fn poll_listen<'a>(
        &mut self,
        gates: &Gates,
        ears: &mut Ears<'a>,
        timer: Pin<&mut Sleep>,
        shared: &'a Shared,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Happened>> {
        if let Some(happened) = self.poll_first(gates, ears, shared, context) {
            return Poll::Ready(Ok(happened));
        }
        if self.poll_room(&mut ears.room, shared, context).is_ready() {
            return Poll::Ready(Ok(Happened::Room));
        }
        if timer.poll(context).is_ready() {
            return Poll::Ready(Ok(Happened::Time));
        }
        ears.turn = !ears.turn;
        for delivers in [ears.turn, !ears.turn] {
            if delivers
                && gates.deliver
                && let Poll::Ready(delivery) = self.client.outbound.poll_next(context)
            {
                return Poll::Ready(Ok(Happened::Delivery(delivery)));
            }
            if !delivers
                && gates.read
                && let Poll::Ready(readable) = self.wire.poll_readable(context)
            {
                return Poll::Ready(readable.map(|()| Happened::Readable));
            }
        }
        if self.wire.has_unsent()
            && let Poll::Ready(writable) = self.wire.poll_writable(context)
        {
            return Poll::Ready(writable.map(|()| Happened::Other));
        }
        let kept = &self.client.outbound.kept;
        if (kept.durable && kept.wake.poll(context).is_ready())
            || (gates.crowded && self.inflight.poll_opened(context).is_ready())
            || (gates.squeezed && self.begun.poll_opened(context).is_ready())
        {
            return Poll::Ready(Ok(Happened::Other));
        }
        Poll::Pending
    }

    /// What comes before all else.
    fn poll_first(
        &mut self,
        gates: &Gates,
        ears: &mut Ears<'_>,
        shared: &Shared,
        context: &Context<'_>,
    ) -> Option<Happened> {
        // Whoever rings says first why. It is polled until it says nothing, so that the waker is there.
        while self.presence.poll_rung(context).is_ready() {}
        // It changes once, to the end, and this receiver never looks.
        if shared.stopping.has_changed().unwrap_or(true) {
            let close = Close::new(Cause::ShuttingDown, "the gateway is being stopped");
            return Some(Happened::Ended(close));
        }
        if self.client.claim.ticket.poll_superseded(context).is_ready() {
            let close = Close::new(Cause::TakenOver, "the same client id connected again");
            return Some(Happened::Ended(close));
        }
        if ears.rules.has_changed().unwrap_or(false) {
            ears.rules.mark_unchanged();
            return Some(Happened::RulesChanged);
        }
        // Who waits for nothing is not woken by every commit.
        let reached = gates.waits_for.is_some_and(|commit| ears.wait.poll(commit, context).is_ready());
        reached.then_some(Happened::OnDisk)
    }

    /// Whether a publish that waits may be tried again: the journal says that it has room, and not before its time; [`Self::room_due`] looks
    /// at it again should the journal's sign be missed.
    fn poll_room<'a>(
        &self,
        room: &mut Option<Waiting<'a, ()>>,
        shared: &'a Shared,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let now = Instant::now;
        match &self.stalled {
            None => {
                *room = None;
                Poll::Pending
            }
            Some(stalled) if now() < stalled.not_before => Poll::Pending,
            Some(stalled) if now() >= stalled.not_before + ROOM_POLL => Poll::Ready(()),
            Some(_) => room.get_or_insert_with(|| shared.intake.room()).as_mut().poll(context),
        }
    }

    /// When a publish that waits is looked at again.
    fn room_due(&self) -> Option<Instant> {
        let not_before = self.stalled.as_ref()?.not_before;
        Some(if Instant::now() < not_before { not_before } else { not_before + ROOM_POLL })
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
