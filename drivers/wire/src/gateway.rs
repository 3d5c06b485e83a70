//! The gateway's end: yields what a node says, readings of a boot in order and each once, and says what the caller has
//! on disk.
//!
//! A reading is taken if it is the next one, or if its [`Step`] shows that what lies between was dropped by the node. One
//! at or below the last is a resend and not yielded again; one further up means that a frame was lost: the node is
//! asked, once a round, to go back.

use crate::frame::{FrameBuffer, FrameDecoder, LinkCounters, MESSAGE_BYTES_MAX};
use crate::{
    Ack, Answer, Boot, Command, FromGateway, FromNode, Heartbeat, Hello, MessageError, Millis, Order, Quality,
};
use crate::{Reading, Refusal, Resend, Sequence, Step, Time, TimeAsked, VERSION, Wall, Welcome};

/// Between two requests to introduce itself to a node that doesn't.
const INTRODUCE_INTERVAL_MS: u32 = 500;
/// In so many sessions in a row a node begins with one and the same reading of a life that should be over, and with no other between: no echo does.
const INSISTENCE_ROUNDS: u8 = 3;
/// Between two sendings of an order that is not answered.
const ORDER_INTERVAL_MS: u32 = 1_000;

/// What a node said.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is no heap to put a hello on, and one event lives at a time")]
pub enum GatewayEvent {
    /// Who it is. Nothing of it is taken until [`GatewaySession::welcome`] answers; until everything taken from this
    /// device is on disk, don't: the node asks again, and can only then be told how far it has come.
    Hello(Hello),
    /// Readings of another boot follow. Answer with [`GatewaySession::open`] before the next [`GatewaySession::take`];
    /// else the reading is dropped, to be sent again.
    Boot(Boot),
    /// The next reading of the boot.
    Reading {
        /// What was measured.
        reading: Reading,
        /// How many before it the node has dropped for want of room (or had acknowledged by another gateway).
        passed_over: u64,
    },
    /// That it lives.
    Heartbeat(Heartbeat),
    /// That it wants to know the time: answer with [`GatewaySession::tell_time`].
    TimeAsked {
        /// The question.
        asked: TimeAsked,
        /// When that was sent to which it is an answer: the node's uptime was between then and now.
        answers: Option<Millis>,
    },
    /// What came of the order under way, which is now done with.
    Answer(Answer),
}

/// What a session has met, beside [`LinkCounters`]. They wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GatewayCounters {
    /// Readings yielded.
    pub readings: u32,
    /// Readings that had been yielded before.
    pub resent: u32,
    /// Readings that came before one that was lost: dropped, to be sent again.
    pub out_of_turn: u32,
    /// Readings and heartbeats before a welcome: dropped, to be sent again.
    pub before_welcome: u32,
    /// Readings of an earlier boot after a later one's first, and questions for the time of another boot, which no
    /// node sends: dropped.
    pub bygone: u32,
    /// Times that readings were taken all the same of a life before one that is on disk, since the node insisted: it has lost its count, and counts
    /// anew through numbers that it has used. What it has numbered twice may be lost; it has to be told its operator.
    pub recounted: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Unknown,
    /// A hello that waits for the caller's welcome.
    Introduced {
        version: u8,
        nonce: u32,
        sent: Sequence,
    },
    /// The node's life is `boot`. Once it has `begun` to send that life's readings it keeps none of an earlier one: such
    /// a reading is an echo of the past, and would come out of order.
    Welcomed {
        boot: Boot,
        begun: bool,
    },
}

/// How far one boot has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lane {
    boot: Boot,
    taken: Sequence,
    durable: Sequence,
    /// The last one out of turn since the lane last went on.
    out_of_turn: Option<Sequence>,
}

/// A reading that looks bygone, as the node's oldest one of its boot, session after session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Insistence {
    boot: Boot,
    sequence: Sequence,
    /// The last session's in which it came.
    nonce: u32,
    rounds: u8,
}

/// The gateway's end of the link to one node.
#[derive(Debug, Clone)]
pub struct GatewaySession {
    decoder: FrameDecoder<MESSAGE_BYTES_MAX>,
    phase: Phase,
    lane: Option<Lane>,
    /// The latest life that the node has counted of which a reading was taken: it keeps none of those before.
    settled: Boot,
    /// What the node sends again and again, though it was dropped and the node asked to begin anew.
    insistence: Option<Insistence>,
    /// The first reading of a boot that the caller has yet to open.
    held: Option<(Step, Reading)>,
    introduce: bool,
    introduced_at: Option<Millis>,
    welcome: Option<Welcome>,
    ack: Option<Ack>,
    resend: Option<Resend>,
    time: Option<Time>,
    /// The last time's number, and when it was sent.
    told: Option<(u32, Millis)>,
    last_time: u32,
    /// The last welcome's.
    nonce: u32,
    last_order: u32,
    /// The order under way, and when it is to be sent.
    order: Option<(Order, Millis)>,
    counters: GatewayCounters,
}

impl Default for GatewaySession {
    fn default() -> Self {
        Self::new()
    }
}

impl GatewaySession {
    /// As [`GatewaySession::seeded`] with 0: enough where no echo of an earlier session can come.
    #[must_use]
    pub fn new() -> Self {
        Self::seeded(0)
    }

    /// A session on a line just opened. Asks whoever is there to introduce itself. `seed`, drawn at random, tells its
    /// times and commands from those of an earlier session.
    #[must_use]
    pub fn seeded(seed: u32) -> Self {
        Self {
            decoder: FrameDecoder::new(),
            phase: Phase::Unknown,
            lane: None,
            settled: Boot::UNNUMBERED,
            insistence: None,
            held: None,
            introduce: true,
            introduced_at: None,
            welcome: None,
            ack: None,
            resend: None,
            time: None,
            told: None,
            last_time: seed,
            nonce: 0,
            last_order: seed >> 1,
            order: None,
            counters: GatewayCounters::default(),
        }
    }

    /// What was met on the line.
    #[must_use]
    pub fn link_counters(&self) -> LinkCounters {
        self.decoder.counters()
    }

    /// What was met in the session.
    #[must_use]
    pub fn counters(&self) -> GatewayCounters {
        self.counters
    }

    /// Takes bytes off the front of `bytes` until they have told something, or there are none left. Call it until it
    /// returns `None`; then read more off the line.
    pub fn take(&mut self, bytes: &mut &[u8]) -> Option<GatewayEvent> {
        if let Some((step, reading)) = self.held.take()
            && self.lane.is_some_and(|lane| lane.boot == reading.boot)
            && let Some(event) = self.judge(step, reading)
        {
            return Some(event);
        }
        while let Some((byte, rest)) = bytes.split_first() {
            *bytes = rest;
            let Some(Ok(message)) = self.decoder.take(*byte) else { continue };
            let event = match FromNode::decode(message) {
                Ok(message) => self.hear(message),
                Err(MessageError::Unknown { .. }) => {
                    count(&mut self.decoder.counters_mut().frames_unknown);
                    None
                }
                Err(MessageError::Malformed { .. }) => {
                    count(&mut self.decoder.counters_mut().frames_malformed);
                    None
                }
            };
            if event.is_some() {
                return event;
            }
        }
        None
    }

    /// Answers the last hello: the node's life has the number `boot`, and `durable` of it are on disk. Where `boot` is
    /// not the hello's, the node takes it on and says hello again. At most `window` readings come before an
    /// acknowledgement, and are sent again after `patience_ms` without one. Does nothing where no hello waits.
    pub fn welcome(&mut self, boot: Boot, durable: Sequence, window: u16, patience_ms: u32) {
        let Phase::Introduced { version, nonce, sent } = self.phase else { return };
        self.phase = Phase::Welcomed { boot, begun: sent > Sequence::NONE };
        self.introduce = false;
        self.nonce = nonce;
        self.open(boot, durable);
        // What was to be acknowledged is within `durable`, or of the node that stood here before, whose numbers may be this one's too.
        self.ack = None;
        let version = version.min(VERSION);
        self.welcome = Some(Welcome { version, nonce, boot, resume_after: durable, window, patience_ms });
    }

    /// What lies before `boot` is settled, since a reading of `boot` is on disk ([`Boot::settled`]): a node sends a life's
    /// readings only once it keeps none of an earlier one. Say so before a [`GatewaySession::welcome`], else only what is
    /// taken after it is known.
    pub fn settle(&mut self, boot: Boot) {
        self.settled = boot;
    }

    /// Readings of `boot` go on after `durable`, which is the highest sequence of it on disk.
    pub fn open(&mut self, boot: Boot, durable: Sequence) {
        self.lane = Some(Lane { boot, taken: durable, durable, out_of_turn: None });
        self.resend = None;
    }

    /// Everything of `boot` up to `sequence` is on disk.
    pub fn acknowledge(&mut self, boot: Boot, sequence: Sequence) {
        let Some(lane) = self.lane.as_mut().filter(|lane| lane.boot == boot) else { return };
        if sequence > lane.durable {
            lane.durable = sequence;
            // What was taken before the lane was last opened may only now have come to disk.
            lane.taken = lane.taken.max(sequence);
            self.ack = Some(Ack { boot, sequence });
        }
    }

    /// Says what the gateway's clock says, to the node that is welcome: in answer to the question of that uptime, or
    /// unasked after a welcome and when the clock was set or has jumped (`epoch` is another one then).
    pub fn tell_time(&mut self, asked: Option<Millis>, wall: Wall, quality: Quality, epoch: u32) {
        let Phase::Welcomed { boot, .. } = self.phase else { return };
        self.last_time = self.last_time.wrapping_add(1).max(1);
        let number = self.last_time;
        self.time = Some(Time { boot, number, asked, wall, quality, epoch });
    }

    /// Sends a command, again and again until [`GatewayEvent::Answer`], a [`GatewayEvent::Hello`] or
    /// [`GatewaySession::withdraw`]: after the latter two nobody knows whether it was obeyed. False where no node is
    /// welcome or another command is under way.
    pub fn order(&mut self, command: Command) -> bool {
        let Phase::Welcomed { boot, .. } = self.phase else { return false };
        if self.order.is_some() {
            return false;
        }
        self.last_order = self.last_order.saturating_add(1);
        self.order = Some((command.order(boot, self.nonce, self.last_order), Millis(0)));
        true
    }

    /// Sends the order under way no more.
    pub fn withdraw(&mut self) {
        self.order = None;
    }

    /// Writes the next frame into `out` and says how many bytes it has; 0 if there is none to send now. Call it until
    /// then.
    pub fn transmit(&mut self, now: Millis, out: &mut FrameBuffer) -> usize {
        if let Some(welcome) = self.welcome.take() {
            return FromGateway::Welcome(welcome).encode(out);
        }
        if let Some(time) = self.time.take() {
            self.told = Some((time.number, now));
            return FromGateway::Time(time).encode(out);
        }
        if let Some(ack) = self.ack.take() {
            return FromGateway::Ack(ack).encode(out);
        }
        if let Some(resend) = self.resend.take() {
            return FromGateway::Resend(resend).encode(out);
        }
        if let Some((order, at)) = self.order.as_mut().filter(|(_, at)| *at <= now) {
            *at = now.plus_ms(ORDER_INTERVAL_MS);
            return FromGateway::Order(*order).encode(out);
        }
        let rested = self.introduced_at.is_none_or(|at| at.plus_ms(INTRODUCE_INTERVAL_MS) <= now);
        if self.introduce && rested {
            self.introduce = false;
            self.introduced_at = Some(now);
            return FromGateway::Introduce.encode(out);
        }
        0
    }

    fn hear(&mut self, message: FromNode) -> Option<GatewayEvent> {
        match (message, self.phase) {
            (FromNode::Hello(hello), _) => self.meet(hello),
            (FromNode::Reading(step, reading), Phase::Welcomed { boot, begun }) => {
                let bygone = reading.boot != boot && (begun || self.is_before_settled(reading.boot));
                if bygone && !begun && step == Step::OLDEST && self.insists(&reading) {
                    self.settled = Boot::UNNUMBERED;
                    count(&mut self.counters.recounted);
                    return self.receive(step, reading, false);
                }
                self.receive(step, reading, bygone)
            }
            (FromNode::Heartbeat(heartbeat), Phase::Welcomed { .. }) => Some(GatewayEvent::Heartbeat(heartbeat)),
            (FromNode::TimeAsked(asked), Phase::Welcomed { boot, .. }) if asked.boot == boot => {
                let answers = self.told.take_if(|(number, _)| *number == asked.heard).map(|(_, at)| at);
                Some(GatewayEvent::TimeAsked { asked, answers })
            }
            (FromNode::Answer(answer), Phase::Welcomed { .. }) => self.conclude(answer),
            (FromNode::TimeAsked(_), Phase::Welcomed { .. }) => {
                // As for a reading that is bygone.
                count(&mut self.counters.bygone);
                self.introduce = true;
                None
            }
            (FromNode::TimeAsked(_) | FromNode::Answer(_), _) => None,
            (FromNode::Reading(..) | FromNode::Heartbeat(_), Phase::Unknown | Phase::Introduced { .. }) => {
                count(&mut self.counters.before_welcome);
                // Also after a hello: an old one, doubled on the line, must not leave a node unheard that thinks it is up.
                self.introduce = true;
                None
            }
        }
    }

    fn is_before_settled(&self, boot: Boot) -> bool {
        boot.is_counted() && boot < self.settled
    }

    /// Whether the node has begun with this reading in so many sessions in a row that it is no echo.
    fn insists(&mut self, reading: &Reading) -> bool {
        let known = self.insistence.filter(|it| (it.boot, it.sequence) == (reading.boot, reading.sequence));
        let rounds = match known {
            Some(it) if it.nonce == self.nonce => it.rounds,
            Some(it) => it.rounds.saturating_add(1),
            None => 1,
        };
        self.insistence =
            Some(Insistence { boot: reading.boot, sequence: reading.sequence, nonce: self.nonce, rounds });
        rounds >= INSISTENCE_ROUNDS
    }

    fn meet(&mut self, hello: Hello) -> Option<GatewayEvent> {
        if hello.version == 0 {
            count(&mut self.decoder.counters_mut().frames_malformed);
            return None;
        }
        self.phase = Phase::Introduced { version: hello.version, nonce: hello.nonce, sent: hello.sent };
        // Perhaps of another node.
        self.settled = Boot::UNNUMBERED;
        self.introduce = false;
        self.order = None;
        Some(GatewayEvent::Hello(hello))
    }

    fn conclude(&mut self, answer: Answer) -> Option<GatewayEvent> {
        let ours = |(order, _): &mut (Order, Millis)| {
            (order.boot, order.session, order.id) == (answer.boot, answer.session, answer.id)
        };
        let order = self.order.take_if(ours);
        // The hello that was answered last may have been an echo.
        self.introduce |= order.is_some() && answer.outcome() == Err(Refusal::AnotherSession);
        order.map(|_| GatewayEvent::Answer(answer))
    }

    fn receive(&mut self, step: Step, reading: Reading, bygone: bool) -> Option<GatewayEvent> {
        if bygone {
            count(&mut self.counters.bygone);
            // Unless it was the hello that was the echo: then the answer sets things right.
            self.introduce = true;
            return None;
        }
        self.insistence = None;
        if self.lane.is_none_or(|lane| lane.boot != reading.boot) {
            self.held = Some((step, reading));
            return Some(GatewayEvent::Boot(reading.boot));
        }
        self.judge(step, reading)
    }

    fn judge(&mut self, step: Step, reading: Reading) -> Option<GatewayEvent> {
        let lane = self.lane.as_mut()?;
        if reading.sequence <= lane.taken {
            count(&mut self.counters.resent);
            if reading.sequence <= lane.durable {
                self.ack = Some(Ack { boot: lane.boot, sequence: lane.durable });
            }
            return None;
        }
        let follows = step == Step::OLDEST || reading.sequence.0.saturating_sub(step.0) <= lane.taken.0;
        if !follows {
            count(&mut self.counters.out_of_turn);
            // Rising ones belong to the round that is told already.
            if lane.out_of_turn.is_none_or(|seen| reading.sequence <= seen) {
                self.resend = Some(Resend { boot: lane.boot, after: lane.taken });
            }
            lane.out_of_turn = Some(reading.sequence);
            return None;
        }
        let passed_over = reading.sequence.0.saturating_sub(lane.taken.0).saturating_sub(1);
        lane.taken = reading.sequence;
        lane.out_of_turn = None;
        if reading.boot.is_counted() {
            self.settled = self.settled.max(reading.boot);
        }
        if let Phase::Welcomed { boot, begun } = &mut self.phase {
            *begun |= *boot == reading.boot;
        }
        count(&mut self.counters.readings);
        Some(GatewayEvent::Reading { reading, passed_over })
    }
}

fn count(counter: &mut u32) {
    *counter = counter.wrapping_add(1);
}
