//! A node with its own ledger, a gateway with a journal whose flushes take time, and the judgement.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use lamppost_wire::{
    Boot, Capabilities, FRAME_BYTES_MAX, GatewayEvent, GatewaySession, Hello, MeasureIndex, Millis, NodeSession,
    Reading, Sequence, Store, Value, text,
};

use crate::clockwork::Clockwork;
use crate::line::{Dice, Line};

/// What a node keeps over a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its readings and its boot counter.
    Persistent,
    /// Nothing, and it says so.
    Forgetful,
    /// Nothing, and it calls every life the same.
    Liar,
    /// As [`Kind::Persistent`], but once all of it is wiped, and it counts on from a number drawn at random, as the specification wants.
    Wiped,
    /// The same, but it counts from 1 anew, which the specification forbids.
    Recounting,
}

impl Kind {
    const fn is_wiped(self) -> bool {
        matches!(self, Self::Wiped | Self::Recounting)
    }

    /// It keeps its readings over a reset, mostly.
    const fn keeps(self) -> bool {
        matches!(self, Self::Persistent) || self.is_wiped()
    }

    /// No two of its lives have one number.
    const fn is_distinct(self) -> bool {
        !matches!(self, Self::Liar | Self::Recounting)
    }
}

/// What happened in all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    sampled: u64,
    acknowledged: u64,
    dropped: u64,
    lost_in_resets: u64,
    journaled: u64,
    resent: u64,
    harmed: u64,
    node_resets: u64,
    gateway_resets: u64,
    renumbered: u64,
    /// Times that the gateway took what the node insisted on.
    recounted: u64,
    /// Commands obeyed, moments measured by the gateway, wall times of the node's that were looked at.
    clockwork: [u64; 3],
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.sampled += other.sampled;
        self.acknowledged += other.acknowledged;
        self.dropped += other.dropped;
        self.lost_in_resets += other.lost_in_resets;
        self.journaled += other.journaled;
        self.resent += other.resent;
        self.harmed += other.harmed;
        self.node_resets += other.node_resets;
        self.gateway_resets += other.gateway_resets;
        self.renumbered += other.renumbered;
        self.recounted += other.recounted;
        for (sum, more) in self.clockwork.iter_mut().zip(other.clockwork) {
            *sum += more;
        }
    }

    /// A simulation in which nothing went wrong proves nothing.
    pub(crate) fn assert_everything_happened(&self, kind: Kind) {
        let happened = [self.acknowledged, self.dropped, self.resent, self.harmed, self.node_resets];
        assert!(happened.iter().all(|count| *count > 100), "{self:?}");
        assert!(self.gateway_resets > 100 && self.journaled > 100, "{self:?}");
        // Where lives can't be told apart, nothing is claimed of the moments of their clocks.
        let [commands, moments, walls] = self.clockwork;
        assert!(commands > 100 && walls > 100 && (moments > 100) == kind.is_distinct(), "{self:?}");
        let is_renumbered = !matches!(kind, Kind::Persistent | Kind::Wiped);
        assert_eq!(self.renumbered > 100, is_renumbered, "{self:?}");
        assert!(if kind == Kind::Recounting { self.recounted > 5 } else { self.recounted == 0 }, "{self:?}");
    }
}

/// The node's store and ledger. Values are never used twice, so they name a reading whatever its boot and sequence.
struct Ledger {
    kept: VecDeque<Reading>,
    capacity: usize,
    boot: Boot,
    last: Sequence,
    dropped: BTreeSet<i64>,
    acknowledged: Vec<Reading>,
    renumbered: u64,
}

impl Store for Ledger {
    fn kept(&self, position: usize) -> Option<Reading> {
        self.kept.get(position).copied()
    }
    fn len(&self) -> usize {
        self.kept.len()
    }
    fn last(&self) -> Sequence {
        self.last
    }
    fn dropped(&self) -> u64 {
        self.dropped.len() as u64
    }
    fn faults(&self) -> u64 {
        0
    }
    fn acknowledge(&mut self, boot: Boot, sequence: Sequence) {
        while self.kept.front().is_some_and(|reading| reading.boot == boot && reading.sequence <= sequence) {
            self.acknowledged.extend(self.kept.pop_front());
        }
    }
    fn renumber(&mut self, from: Boot, to: Boot) {
        self.renumbered += 1;
        self.kept.iter_mut().filter(|reading| reading.boot == from).for_each(|reading| reading.boot = to);
        self.boot = to;
    }
}

/// What the gateway has on disk, and what it waits for.
#[derive(Default)]
struct Journal {
    durable: Vec<Reading>,
    marks: BTreeMap<u32, u64>,
    offered: VecDeque<(u64, Reading)>,
}

impl Journal {
    fn mark(&self, boot: Boot) -> Sequence {
        Sequence(self.marks.get(&boot.0).copied().unwrap_or(0))
    }

    /// A flush: what was offered long enough ago is on disk, once.
    fn flush(&mut self, now: u64) -> Option<Reading> {
        let mut last = None;
        while self.offered.front().is_some_and(|(at, _)| *at <= now) {
            let (_, reading) = self.offered.pop_front().unwrap();
            if reading.sequence > self.mark(reading.boot) {
                self.marks.insert(reading.boot.0, reading.sequence.0);
                self.durable.push(reading);
            }
            last = Some(reading);
        }
        last
    }
}

pub(crate) struct World {
    seed: u64,
    kind: Kind,
    dice: Dice,
    now: u64,
    born: u64,
    node: NodeSession,
    ledger: Ledger,
    gateway: GatewaySession,
    journal: Journal,
    up: Line,
    down: Line,
    mischief: u64,
    silence_ms: u64,
    first_lives: u64,
    next_value: i64,
    boots: u32,
    wiped: bool,
    lost: BTreeSet<i64>,
    /// Values with the number of the life they belong to.
    lives: Vec<u64>,
    tally: Tally,
    clockwork: Clockwork,
    live_ms: u64,
}

fn hello(kind: Kind, boots: u32, nonce: u32) -> Hello {
    Hello {
        version: 1,
        nonce,
        device: text("node").unwrap(),
        boot: match kind {
            Kind::Persistent | Kind::Wiped | Kind::Recounting => Boot(boots),
            Kind::Forgetful => Boot::UNNUMBERED,
            Kind::Liar => Boot(1),
        },
        sent: Sequence::NONE,
        firmware: text("simulated").unwrap(),
        capabilities: Capabilities(0),
        measures: heapless::Vec::new(),
    }
}

impl World {
    pub(crate) fn new(seed: u64, kind: Kind) -> Self {
        let mut dice = Dice(seed);
        let hello = hello(kind, 1, dice.roll() as u32);
        let ledger = Ledger {
            kept: VecDeque::new(),
            capacity: 10 + dice.below(100) as usize,
            boot: hello.boot,
            last: Sequence::NONE,
            dropped: BTreeSet::new(),
            acknowledged: Vec::new(),
            renumbered: 0,
        };
        let mischief = dice.below(40);
        let clockwork = Clockwork::new(&mut dice);
        Self {
            seed,
            kind,
            now: 0,
            born: 0,
            node: NodeSession::new(hello, Millis(0)),
            ledger,
            gateway: GatewaySession::seeded(dice.roll() as u32),
            journal: Journal::default(),
            up: Line::default(),
            down: Line::default(),
            mischief,
            silence_ms: dice.below(2) * 20_000,
            first_lives: if dice.in_100(50) { 60 } else { 4_000 },
            next_value: 0,
            boots: 1,
            wiped: false,
            lost: BTreeSet::new(),
            lives: Vec::new(),
            tally: Tally::default(),
            clockwork,
            live_ms: if seed.is_multiple_of(8) { 120_000 } else { 30_000 },
            dice,
        }
    }

    pub(crate) fn tally(&self) -> Tally {
        Tally {
            sampled: self.next_value.unsigned_abs(),
            acknowledged: self.ledger.acknowledged.len() as u64,
            dropped: self.ledger.dropped.len() as u64,
            lost_in_resets: self.lost.len() as u64,
            journaled: self.journal.durable.len() as u64,
            harmed: self.up.harmed + self.down.harmed,
            renumbered: self.ledger.renumbered,
            recounted: self.tally.recounted + u64::from(self.gateway.counters().recounted),
            clockwork: [self.clockwork.done, self.clockwork.bounds, self.clockwork.walls],
            ..self.tally.clone()
        }
    }

    pub(crate) fn journal(&self) -> &[Reading] {
        &self.journal.durable
    }

    /// Half a minute, or two, with samples, resets and a bad line.
    pub(crate) fn live(&mut self) {
        while self.now < self.live_ms {
            self.now += 5;
            // Now and then nothing gets through for 20 s, longer than the ring lasts.
            let silent = self.now % (self.live_ms / 2) < self.silence_ms.min(self.live_ms / 5);
            let mischief = if silent { 100 } else { self.mischief };
            (self.up.mischief, self.down.mischief) = (mischief, mischief);
            if self.dice.in_100(3) {
                self.sample();
            }
            // Some nodes can't stay up at first: their first life ends while its first readings are being flushed.
            let is_first = self.now < 2_000 || self.kind.is_wiped() && self.now % (self.live_ms / 3) < 2_000;
            let node_period = if is_first { self.first_lives } else { 4_000 };
            if self.dice.below(node_period) == 0 {
                self.reset_node();
            }
            if self.dice.below(4_000) == 0 {
                self.reset_gateway();
            }
            self.step();
        }
    }

    /// The line is good again: what the node keeps must go through.
    pub(crate) fn heal_and_drain(&mut self) {
        (self.up.mischief, self.down.mischief) = (0, 0);
        let deadline = self.now + 120_000;
        while !self.ledger.kept.is_empty() && self.now < deadline {
            self.now += 5;
            self.step();
        }
        // The longest patience.
        let calm = self.now + 35_000;
        while self.now < calm {
            self.now += 25;
            self.step();
        }
        let context = (self.seed, self.kind);
        self.clockwork.judge(&self.node, self.born, self.now, &context);
    }

    fn sample(&mut self) {
        self.ledger.last = self.ledger.last.next();
        let reading = Reading {
            boot: self.ledger.boot,
            sequence: self.ledger.last,
            measure: MeasureIndex(0),
            uptime: self.clockwork.uptime(self.now - self.born),
            value: Value(self.next_value),
        };
        self.next_value += 1;
        self.lives.push(self.tally.node_resets);
        self.ledger.kept.push_back(reading);
        if self.ledger.kept.len() > self.ledger.capacity {
            // Mostly the oldest; now and then one in the middle, as a node with priorities does.
            let at = if self.dice.in_100(70) { 0 } else { self.dice.below(self.ledger.kept.len() as u64 - 1) as usize };
            let dropped = self.ledger.kept.remove(at).unwrap();
            self.ledger.dropped.insert(dropped.value.0);
        }
    }

    fn reset_node(&mut self) {
        self.tally.node_resets += 1;
        self.boots += 1;
        let is_wiped = self.kind.is_wiped() && !self.wiped && self.now >= self.live_ms / 3;
        if is_wiped {
            self.wiped = true;
            self.boots = if self.kind == Kind::Wiped { 1 + self.dice.below(1 << 23) as u32 } else { 1 };
        }
        self.born = self.now;
        self.clockwork.node_is_reset(&mut self.dice);
        if !self.kind.keeps() || is_wiped {
            self.lost.extend(self.ledger.kept.drain(..).map(|reading| reading.value.0));
        }
        let hello = hello(self.kind, self.boots, self.dice.roll() as u32);
        self.ledger.boot = hello.boot;
        self.ledger.last = Sequence::NONE;
        self.node = NodeSession::new(hello, Millis(0));
        if self.kind == Kind::Liar {
            // Nothing tells its lives apart where the first has nothing on disk yet: an echo of it can't be known for one.
            self.up.forget();
            self.down.forget();
        }
        if self.mischief > 0 {
            self.up.echo(self.now, &mut self.dice);
            self.down.echo(self.now, &mut self.dice);
        }
    }

    fn reset_gateway(&mut self) {
        self.tally.gateway_resets += 1;
        self.tally.resent += u64::from(self.gateway.counters().resent);
        self.tally.recounted += u64::from(self.gateway.counters().recounted);
        self.gateway = GatewaySession::seeded(self.dice.roll() as u32);
        self.journal.offered.clear();
        self.clockwork.gateway_is_reset(&mut self.dice);
    }

    fn step(&mut self) {
        let mut out = [0; FRAME_BYTES_MAX];
        let uptime = self.clockwork.uptime(self.now - self.born);
        let heard = self.down.receive(self.now);
        self.node.receive(&heard, uptime, &mut self.ledger);
        let distinct = self.kind.is_distinct();
        let context = (self.seed, self.kind);
        self.clockwork.node_turn(&mut self.node, self.born, self.now, distinct, &context);
        loop {
            let length = self.node.transmit(uptime, &self.ledger, &mut out);
            if length == 0 {
                break;
            }
            self.up.send(&out[..length], self.now, &mut self.dice);
        }
        let heard = self.up.receive(self.now);
        let mut bytes = &heard[..];
        while let Some(event) = self.gateway.take(&mut bytes) {
            self.hear(event);
        }
        if let Some(reading) = self.journal.flush(self.now) {
            self.gateway.acknowledge(reading.boot, reading.sequence);
        }
        self.clockwork.gateway_turn(&mut self.gateway, self.now, &mut self.dice);
        loop {
            let length = self.gateway.transmit(Millis(self.now), &mut out);
            if length == 0 {
                break;
            }
            self.down.send(&out[..length], self.now, &mut self.dice);
        }
    }

    fn hear(&mut self, event: GatewayEvent) {
        if matches!(event, GatewayEvent::Hello(_)) {
            self.clockwork.begun_anew();
        }
        match event {
            // As the serial source does: only when all that was offered is on disk.
            GatewayEvent::Hello(hello) if self.journal.offered.is_empty() => {
                let mark = self.journal.mark(hello.boot);
                let boot = if hello.boot == Boot::UNNUMBERED || mark > hello.sent {
                    Boot(Boot::GIVEN_MIN.0 | self.dice.roll() as u32)
                } else {
                    hello.boot
                };
                self.gateway.settle(boot.settled(|boot| self.journal.mark(boot)));
                self.gateway.welcome(boot, self.journal.mark(boot), 16, 300);
                self.clockwork.welcomed(&mut self.gateway, self.now);
            }
            GatewayEvent::Hello(_) | GatewayEvent::Heartbeat(_) => {}
            GatewayEvent::TimeAsked { asked, answers } => {
                let context = (self.seed, self.kind);
                self.clockwork.asked(asked, answers, &mut self.gateway, self.now, &context);
            }
            GatewayEvent::Answer(answer) => self.clockwork.answered(answer, &(self.seed, self.kind)),
            GatewayEvent::Boot(boot) => self.gateway.open(boot, self.journal.mark(boot)),
            GatewayEvent::Reading { reading, .. } => {
                let last = self.journal.offered.back().map_or(0, |(at, _)| *at);
                let flushed = (self.now + 10 + self.dice.below(100)).max(last);
                self.journal.offered.push_back((flushed, reading));
            }
        }
    }

    pub(crate) fn judge(&self) {
        let context = format!("seed {}, {:?}, {:?}", self.seed, self.kind, self.tally());
        let durable: Vec<i64> = self.journal.durable.iter().map(|reading| reading.value.0).collect();
        let once: BTreeSet<i64> = durable.iter().copied().collect();
        assert_eq!(once.len(), durable.len(), "a reading is stored twice: {context}");
        assert!(self.ledger.kept.is_empty(), "the node still keeps {}: {context}", self.ledger.kept.len());
        if self.kind == Kind::Recounting {
            // What it has numbered twice the gateway can't tell apart, so no more is claimed: it gets on, and nothing comes twice.
            return;
        }
        for reading in &self.ledger.acknowledged {
            assert!(once.contains(&reading.value.0), "{reading:?} was acknowledged and is not stored: {context}");
        }
        for value in 0..self.next_value {
            let accounted = once.contains(&value) || self.ledger.dropped.contains(&value) || self.lost.contains(&value);
            assert!(accounted, "{value} is nowhere: {context}");
        }
        // Values rise with time, so rising in the journal is in order. Across resets too where a node keeps its readings;
        // of what a forgetful one has lost, an echo may bring a piece after a later life's.
        assert!(self.kind != Kind::Persistent || durable.is_sorted(), "out of order: {context}");
        let mut last_of_boot = BTreeMap::new();
        for reading in &self.journal.durable {
            let last = last_of_boot.insert(reading.boot.0, reading.value);
            assert!(last < Some(reading.value), "{reading:?} out of order in its boot: {context}");
        }
        let life = |reading: &Reading| self.lives[usize::try_from(reading.value.0).unwrap()];
        let numbers: BTreeSet<(u32, u64)> =
            self.journal.durable.iter().map(|reading| (reading.boot.0, life(reading))).collect();
        let boots: BTreeSet<u32> = numbers.iter().map(|(boot, _)| *boot).collect();
        assert_eq!(numbers.len(), boots.len(), "two lives under one number: {context}");
    }
}
