//! The node's end: introduces itself, sends what the store keeps within the gateway's window, sends again what is not
//! acknowledged in time, and lets the store forget what is.
//!
//! ```text
//!                 welcome with our boot
//!   Introducing ──────────────────────────► Up
//!        ▲  │ hello, again with back-off     │ readings, heartbeats; acknowledgement or time-out
//!        │  └── welcome with another boot:   │
//!        │      take it on, hello again      │
//!        └───────────────────────────────────┘ introduce yourself
//! ```
//!
//! Readings under way are always of one boot: the next boot's wait until the last one's are acknowledged. So the
//! gateway receives them in order across resets too.

use crate::clock::{FIRST_MS, Timekeeper};
use crate::command::Obedience;
use crate::frame::{FrameBuffer, FrameDecoder, LinkCounters};
use crate::message::encode_hello;
use crate::{
    Ack, Boot, Capabilities, FromGateway, FromNode, Heartbeat, Hello, MessageError, Millis, Order, Reading, Refusal,
};
use crate::{Resend, Sequence, Step, VERSION, WallNow, Welcome};

/// The longest message that a node takes, in bytes. Kept apart from the gateway's to save RAM.
const MESSAGE_BYTES_MAX: usize = 128;
/// The first wait for a welcome.
const HELLO_INTERVAL_MS_MIN: u32 = 250;
/// The longest.
const HELLO_INTERVAL_MS_MAX: u32 = 8_000;
/// The longest wait for an acknowledgement, however often it failed to come.
const PATIENCE_MS_MAX: u32 = 30_000;
/// The shortest, whatever the gateway asks for.
const PATIENCE_MS_MIN: u32 = 20;
/// Between heartbeats.
const HEARTBEAT_INTERVAL_MS: u32 = 10_000;

/// What the node keeps until it is acknowledged: readings in the order in which they were measured, boots one after
/// another, sequences rising within a boot.
pub trait Store {
    /// The reading at `position`, counted from the oldest, from 0.
    fn kept(&self, position: usize) -> Option<Reading>;

    /// How many are kept.
    fn len(&self) -> usize;

    /// Nothing is kept.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The highest sequence given out in the present boot.
    fn last(&self) -> Sequence;

    /// Readings of the present boot, and of those before, that were dropped for want of room since the reset.
    fn dropped(&self) -> u64;

    /// Measurements that failed since the reset.
    fn faults(&self) -> u64;

    /// Everything of that boot up to `sequence` is on the gateway's disk: forget it.
    fn acknowledge(&mut self, boot: Boot, sequence: Sequence);

    /// What was kept under the number `from` belongs to boot `to`, and so does what follows.
    fn renumber(&mut self, from: Boot, to: Boot);
}

/// What a session has done. They wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeCounters {
    /// Hellos sent.
    pub hellos: u32,
    /// Readings sent, first or again.
    pub readings_sent: u32,
    /// Times that no acknowledgement came in time.
    pub timeouts: u32,
    /// Times that the gateway missed one.
    pub resends: u32,
    /// Acknowledgements of what was never sent, welcomes of a version that we do not speak: ignored.
    pub refused: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The next hello is due then, the one after it that much later.
    Introducing { hello_at: Millis, interval_ms: u32 },
    /// Welcomed.
    Up { window: u16, patience_ms: u32 },
}

/// The node's end of the link.
#[derive(Debug, Clone)]
pub struct NodeSession {
    decoder: FrameDecoder<MESSAGE_BYTES_MAX>,
    hello: Hello,
    /// The hello of that nonce was sent and not answered: only so is a welcome an answer and no echo of one.
    hello_out: bool,
    phase: Phase,
    /// The last reading sent since we last went back to the oldest.
    sent: Option<(Boot, Sequence)>,
    /// When to go back to the oldest; none while nothing is under way.
    resend_at: Option<Millis>,
    /// How long to wait for the next acknowledgement: the gateway's wish, doubled with each time-out.
    patience_ms: u32,
    heartbeat_at: Millis,
    /// After a welcome readings wait for the first exchange of times, or until then: only after it a gateway that was started
    /// anew knows how old they are.
    readings_at: Millis,
    timekeeper: Timekeeper,
    obedience: Obedience,
    counters: NodeCounters,
}

impl NodeSession {
    /// A session after a reset. `hello.sent` must be [`Sequence::NONE`], and its nonce as random as the node can make
    /// it. The store's new readings must carry [`NodeSession::boot`].
    #[must_use]
    pub fn new(hello: Hello, now: Millis) -> Self {
        Self {
            decoder: FrameDecoder::new(),
            hello: Hello { version: VERSION, sent: Sequence::NONE, ..hello },
            hello_out: false,
            phase: Phase::Introducing { hello_at: now, interval_ms: HELLO_INTERVAL_MS_MIN },
            sent: None,
            resend_at: None,
            patience_ms: PATIENCE_MS_MIN,
            heartbeat_at: now,
            readings_at: now,
            timekeeper: Timekeeper::new(now),
            obedience: Obedience::default(),
            counters: NodeCounters::default(),
        }
    }

    /// The number of this life; changes when the gateway gives another ([`Store::renumber`]).
    #[must_use]
    pub fn boot(&self) -> Boot {
        self.hello.boot
    }

    /// What the node can do beyond readings, for the hellos from now on.
    pub fn set_capabilities(&mut self, capabilities: Capabilities) {
        self.hello.capabilities = capabilities;
    }

    /// A gateway has answered.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up { .. })
    }

    /// The wall time by the gateway's clock, with the error that was measured; none while the gateway has not told it, or
    /// has no clock that is set.
    #[must_use]
    pub fn wall(&self, now: Millis) -> Option<WallNow> {
        self.timekeeper.wall(now)
    }

    /// An order that has come: obey it, and [`NodeSession::answer`] before the next call. Each comes once.
    pub fn take_order(&mut self) -> Option<Order> {
        self.obedience.take()
    }

    /// Answers the order taken last.
    pub fn answer(&mut self, outcome: Result<(), Refusal>) {
        self.obedience.answer(outcome);
    }

    /// What was met on the line.
    #[must_use]
    pub fn link_counters(&self) -> LinkCounters {
        self.decoder.counters()
    }

    /// What was done.
    #[must_use]
    pub fn counters(&self) -> NodeCounters {
        self.counters
    }

    /// Takes bytes off the line.
    pub fn receive(&mut self, bytes: &[u8], now: Millis, store: &mut impl Store) {
        for byte in bytes {
            let Some(Ok(message)) = self.decoder.take(*byte) else { continue };
            match FromGateway::decode(message) {
                Ok(message) => self.obey(message, now, store),
                Err(MessageError::Unknown { .. }) => count(&mut self.decoder.counters_mut().frames_unknown),
                Err(MessageError::Malformed { .. }) => count(&mut self.decoder.counters_mut().frames_malformed),
            }
        }
    }

    /// Writes the next frame into `out` and says how many bytes it has; 0 if there is none to send now. Call it again
    /// until then, as far as the line has room.
    pub fn transmit(&mut self, now: Millis, store: &impl Store, out: &mut FrameBuffer) -> usize {
        match self.phase {
            Phase::Introducing { hello_at, interval_ms } if hello_at <= now => self.introduce(now, interval_ms, out),
            Phase::Introducing { .. } => 0,
            Phase::Up { window, .. } => {
                if let Some(asked) = self.timekeeper.ask(self.hello.boot, now) {
                    return FromNode::TimeAsked(asked).encode(out);
                }
                if let Some(answer) = self.obedience.transmit() {
                    return FromNode::Answer(answer).encode(out);
                }
                self.go_back_if_late(now);
                match self.next_reading(window, store).filter(|_| self.readings_at <= now) {
                    Some((step, reading)) => self.send(step, reading, now, out),
                    None if self.heartbeat_at <= now => self.beat(now, store, out),
                    None => 0,
                }
            }
        }
    }

    /// When to call [`NodeSession::transmit`] again though nothing was received or measured.
    #[must_use]
    pub fn wake_at(&self) -> Millis {
        match self.phase {
            Phase::Introducing { hello_at, .. } => hello_at,
            Phase::Up { .. } => {
                let at = self.heartbeat_at.min(self.timekeeper.ask_at());
                self.resend_at.map_or(at, |resend_at| at.min(resend_at))
            }
        }
    }

    fn obey(&mut self, message: FromGateway, now: Millis, store: &mut impl Store) {
        match message {
            FromGateway::Welcome(welcome) => self.be_welcomed(welcome, now, store),
            FromGateway::Ack(ack) if self.is_up() => self.be_acknowledged(ack, now, store),
            FromGateway::Resend(resend) if self.is_up() => self.go_back_to(resend),
            FromGateway::Introduce => self.begin_again(now),
            FromGateway::Time(time) if self.is_up() && time.boot == self.hello.boot => {
                self.readings_at = now;
                self.timekeeper.hear(&time, now);
            }
            FromGateway::Order(order) if self.is_up() => self.obedience.hear(order, self.hello.boot),
            FromGateway::Ack(_) | FromGateway::Resend(_) | FromGateway::Time(_) | FromGateway::Order(_) => {
                count(&mut self.counters.refused);
            }
        }
    }

    fn be_welcomed(&mut self, welcome: Welcome, now: Millis, store: &mut impl Store) {
        if self.is_up() || !self.hello_out || welcome.nonce != self.hello.nonce {
            return;
        }
        if welcome.version != VERSION {
            count(&mut self.counters.refused);
            return;
        }
        self.hello_out = false;
        if welcome.boot != self.hello.boot {
            store.renumber(self.hello.boot, welcome.boot);
            self.hello.boot = welcome.boot;
            self.hello.sent = Sequence::NONE;
            self.phase = Phase::Introducing { hello_at: now, interval_ms: HELLO_INTERVAL_MS_MIN };
            return;
        }
        self.phase = Phase::Up { window: welcome.window.max(1), patience_ms: welcome.patience_ms };
        self.sent = None;
        self.resend_at = None;
        self.patience_ms = welcome.patience_ms.clamp(PATIENCE_MS_MIN, PATIENCE_MS_MAX);
        self.heartbeat_at = now;
        self.readings_at = now.plus_ms(FIRST_MS);
        self.timekeeper.welcomed(now);
        self.obedience.welcomed(welcome.nonce);
        self.be_acknowledged(Ack { boot: welcome.boot, sequence: welcome.resume_after }, now, store);
    }

    fn be_acknowledged(&mut self, ack: Ack, now: Millis, store: &mut impl Store) {
        if ack.boot == self.hello.boot && ack.sequence > self.hello.sent {
            count(&mut self.counters.refused);
            return;
        }
        let kept_before = store.len();
        store.acknowledge(ack.boot, ack.sequence);
        if store.len() == kept_before {
            return;
        }
        let Phase::Up { patience_ms, .. } = self.phase else { return };
        self.patience_ms = patience_ms.clamp(PATIENCE_MS_MIN, PATIENCE_MS_MAX);
        let under_way = self
            .sent
            .zip(store.kept(0))
            .is_some_and(|(sent, oldest)| sent.0 == oldest.boot && sent.1 >= oldest.sequence);
        self.resend_at = under_way.then(|| now.plus_ms(self.patience_ms));
    }

    fn go_back_to(&mut self, resend: Resend) {
        let Some((boot, sequence)) = self.sent else { return };
        if boot == resend.boot && resend.after < sequence {
            count(&mut self.counters.resends);
            self.sent = Some((boot, resend.after));
        }
    }

    fn go_back_if_late(&mut self, now: Millis) {
        if self.resend_at.is_some_and(|at| at <= now) {
            count(&mut self.counters.timeouts);
            self.sent = None;
            self.resend_at = None;
            self.patience_ms = self.patience_ms.saturating_mul(2).min(PATIENCE_MS_MAX);
        }
    }

    fn begin_again(&mut self, now: Millis) {
        let soon = Phase::Introducing { hello_at: now, interval_ms: HELLO_INTERVAL_MS_MIN };
        match self.phase {
            Phase::Up { .. } => self.phase = soon,
            // Asked while a hello is on its way: only a long wait is cut short.
            Phase::Introducing { hello_at, .. } if hello_at > now.plus_ms(HELLO_INTERVAL_MS_MIN) => self.phase = soon,
            Phase::Introducing { .. } => {}
        }
    }

    fn introduce(&mut self, now: Millis, interval_ms: u32, out: &mut FrameBuffer) -> usize {
        self.hello.nonce = self.hello.nonce.wrapping_add(1);
        self.hello_out = true;
        let next_ms = interval_ms.saturating_mul(2).min(HELLO_INTERVAL_MS_MAX);
        self.phase = Phase::Introducing { hello_at: now.plus_ms(interval_ms), interval_ms: next_ms };
        count(&mut self.counters.hellos);
        encode_hello(&self.hello, out)
    }

    /// The oldest reading of the oldest boot that was not sent yet, if the window has room for it.
    fn next_reading(&self, window: u16, store: &impl Store) -> Option<(Step, Reading)> {
        let oldest = store.kept(0)?;
        let mut before = None;
        for position in 0..usize::from(window) {
            let reading = store.kept(position).filter(|reading| reading.boot == oldest.boot)?;
            if self.sent.is_none_or(|(boot, sent)| boot != reading.boot || sent < reading.sequence) {
                let step =
                    before.map_or(Step::OLDEST, |before: Sequence| Step(reading.sequence.0.saturating_sub(before.0)));
                return Some((step, reading));
            }
            before = Some(reading.sequence);
        }
        None
    }

    fn send(&mut self, step: Step, reading: Reading, now: Millis, out: &mut FrameBuffer) -> usize {
        self.sent = Some((reading.boot, reading.sequence));
        if reading.boot == self.hello.boot {
            self.hello.sent = self.hello.sent.max(reading.sequence);
        }
        if self.resend_at.is_none() {
            self.resend_at = Some(now.plus_ms(self.patience_ms));
        }
        count(&mut self.counters.readings_sent);
        FromNode::Reading(step, reading).encode(out)
    }

    fn beat(&mut self, now: Millis, store: &impl Store, out: &mut FrameBuffer) -> usize {
        self.heartbeat_at = now.plus_ms(HEARTBEAT_INTERVAL_MS);
        let heartbeat = Heartbeat {
            boot: self.hello.boot,
            uptime: now,
            last: store.last(),
            kept: u32::try_from(store.len()).unwrap_or(u32::MAX),
            dropped: store.dropped(),
            faults: store.faults(),
        };
        FromNode::Heartbeat(heartbeat).encode(out)
    }
}

fn count(counter: &mut u32) {
    *counter = counter.wrapping_add(1);
}
