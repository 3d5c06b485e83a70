//! A node over flash that loses power, a gateway with a journal, and the judgement.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use lamppost_node::{
    Board, Boot, Channel, Identity, MeasureIndex, Millis, Node, Policy, Reading, Saved, Scale, SensorFault, Sequence,
    Value,
};
use lamppost_node_flash::{FlashSaved, Places};
use lamppost_wire::{FRAME_BYTES_MAX, GatewayEvent, GatewaySession};

use crate::flash::{Chip, FakeFlash, PAGE_BYTES};

const CAPACITY: usize = 12;
const PAGES: [usize; 3] = [4, 2, 2];
const TICK_MS: u64 = 100;
/// How long each world lives, and how long the gateway is deaf now and then.
const LIVE_MS: u64 = 30_000;
const TEMPERATURE: Channel<'static> =
    Channel { name: "temperature", unit: "Cel", scale: Scale(-3), range: None, interval_ms: 500 };
const DOOR: Channel<'static> = Channel { name: "door", interval_ms: 2_300, ..TEMPERATURE };

fn places() -> Places {
    let page = PAGE_BYTES as u32;
    let ends: Vec<u32> = PAGES
        .iter()
        .scan(0, |end, pages| {
            *end += *pages as u32 * page;
            Some(*end)
        })
        .collect();
    Places { bulk: 0..ends[0], alarms: ends[0]..ends[1], lives: ends[1]..ends[2] }
}

/// What the node has promised, by value: values name readings.
#[derive(Debug, Default)]
struct Ledger {
    saved: BTreeSet<i64>,
    dropped: BTreeSet<i64>,
    acknowledged: BTreeSet<i64>,
}

/// Notes what is saved; what is said after power was lost was never said.
struct Witness {
    inner: FlashSaved<FakeFlash>,
    ledger: Rc<RefCell<Ledger>>,
}

impl Saved for Witness {
    fn restore(&mut self, keep: &mut dyn FnMut(Reading, bool)) {
        self.inner.restore(keep);
    }
    fn given(&mut self, boot: Boot) -> Option<Boot> {
        self.inner.given(boot)
    }
    fn save(&mut self, reading: &Reading, alarm: bool) -> bool {
        let is_saved = self.inner.save(reading, alarm);
        if is_saved {
            self.ledger.borrow_mut().saved.insert(reading.value.0);
        }
        is_saved
    }
    fn forget(&mut self, reading: &Reading, alarm: bool) {
        self.inner.forget(reading, alarm);
    }
    fn renumber(&mut self, from: Boot, to: Boot) {
        self.inner.renumber(from, to);
    }
}

struct Bench {
    chip: Rc<Chip>,
    ledger: Rc<RefCell<Ledger>>,
    next_value: Rc<RefCell<i64>>,
    line: Vec<u8>,
}

impl Board for Bench {
    fn sample(&mut self, _measure: MeasureIndex) -> Result<Value, SensorFault> {
        *self.next_value.borrow_mut() += 1;
        Ok(Value(*self.next_value.borrow()))
    }
    fn send(&mut self, bytes: &[u8]) -> usize {
        if !self.chip.is_dead.get() {
            self.line.extend_from_slice(bytes);
        }
        bytes.len()
    }
    fn acknowledged(&mut self, reading: &Reading) {
        self.ledger.borrow_mut().acknowledged.insert(reading.value.0);
    }
    fn dropped(&mut self, reading: &Reading) {
        self.ledger.borrow_mut().dropped.insert(reading.value.0);
    }
}

#[derive(Default)]
struct Gateway {
    session: GatewaySession,
    marks: BTreeMap<u32, u64>,
    journal: Vec<Reading>,
    given: u32,
}

impl Gateway {
    fn mark(&self, boot: Boot) -> Sequence {
        Sequence(self.marks.get(&boot.0).copied().unwrap_or(0))
    }

    fn answer(&mut self, now: u64, line: &[u8]) -> Vec<u8> {
        let mut bytes = line;
        while let Some(event) = self.session.take(&mut bytes) {
            match event {
                GatewayEvent::Hello(hello) => {
                    let used = self.mark(hello.boot) > hello.sent;
                    self.given += u32::from(used);
                    let boot = if used { Boot(Boot::GIVEN_MIN.0 + self.given) } else { hello.boot };
                    self.session.welcome(boot, self.mark(boot), 4, 300);
                }
                GatewayEvent::Boot(boot) => self.session.open(boot, self.mark(boot)),
                GatewayEvent::Reading { reading, .. } => {
                    self.marks.insert(reading.boot.0, reading.sequence.0);
                    self.journal.push(reading);
                    self.session.acknowledge(reading.boot, reading.sequence);
                }
                GatewayEvent::Heartbeat(_) | GatewayEvent::TimeAsked { .. } | GatewayEvent::Answer(_) => {}
            }
        }
        let (mut answer, mut out) = (Vec::new(), [0; FRAME_BYTES_MAX]);
        loop {
            match self.session.transmit(Millis(now), &mut out) {
                0 => return answer,
                length => answer.extend_from_slice(&out[..length]),
            }
        }
    }
}

/// A line that loses, cuts, flips and doubles what is sent over it. One seed gives one line.
struct Line {
    state: u64,
    spoiled: u64,
}

impl Line {
    const fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, spoiled: 0 }
    }

    /// Xorshift, of 64 bits (G. Marsaglia, 2003).
    const fn draw(&mut self, below: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 33) as usize % below
    }

    fn carry(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        if bytes.is_empty() || self.draw(3) > 0 {
            return bytes;
        }
        self.spoiled += 1;
        let at = self.draw(bytes.len());
        match self.draw(4) {
            0 => bytes.clear(),
            1 => bytes.truncate(at),
            2 => bytes[at] ^= 1 << self.draw(8),
            _ => bytes.extend_from_within(at..),
        }
        bytes
    }
}

/// What one world came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) operations: u64,
    pub(crate) saved: usize,
    pub(crate) dropped: usize,
    pub(crate) lives: usize,
    pub(crate) given: u32,
    /// How often the line spoiled what was sent.
    pub(crate) spoiled: u64,
    /// The operation before which the first life had its number for good.
    pub(crate) numbered_at: u64,
}

pub(crate) struct World {
    seed: u64,
    flash: FakeFlash,
    gateway: Gateway,
    line: Line,
    ledger: Rc<RefCell<Ledger>>,
    next_value: Rc<RefCell<i64>>,
    now: u64,
    boots: Vec<Boot>,
    numbered_at: Option<u64>,
}

impl World {
    /// `used`: the gateway knows the device's first lives already, as after its flash was wiped.
    pub(crate) fn new(seed: u64, cut_at: Option<u64>, used: bool) -> Self {
        let flash = FakeFlash::new(PAGES.iter().sum(), seed);
        flash.0.cut_at.set(cut_at);
        let mut gateway = Gateway::default();
        if used {
            gateway.marks.insert(seed as u32 + 1, 5);
        }
        Self {
            seed,
            flash,
            gateway,
            line: Line::new(seed),
            ledger: Rc::default(),
            next_value: Rc::default(),
            now: 0,
            boots: Vec::new(),
            numbered_at: None,
        }
    }

    /// Lives until the end: one life after another, a new one wherever power is lost.
    pub(crate) fn live(mut self) -> Told {
        while !self.live_once() {}
        self.judge()
    }

    /// Whether it came to the end, with nothing kept any more.
    fn live_once(&mut self) -> bool {
        let Ok(saved) = FlashSaved::begin(self.flash.clone(), places(), self.seed as u32) else {
            self.power_on();
            return false;
        };
        let boot = saved.boot();
        let saved = Witness { inner: saved, ledger: Rc::clone(&self.ledger) };
        let identity = Identity { device: "node", firmware: "f", boot, nonce: boot.0 * 100 };
        let born = self.now;
        let mut node = Node::<CAPACITY, _>::with_saved(identity, &[TEMPERATURE, DOOR], Millis(0), saved).unwrap();
        node.set_policy(MeasureIndex(1), Policy { alarm: true, ..Policy::default() });
        let (chip, ledger) = (Rc::clone(&self.flash.0), Rc::clone(&self.ledger));
        let mut board = Bench { chip, ledger, next_value: Rc::clone(&self.next_value), line: Vec::new() };
        if !self.flash.0.is_dead.get() {
            self.boots.push(boot);
        }
        // Each node is reset by hand once, at the end of an outage; and calms down at the end.
        let reset_at = 14_000;
        let mut answer = Vec::new();
        while self.now < LIVE_MS || node.report().kept > 0 {
            self.now += TICK_MS;
            let is_calm = self.now >= LIVE_MS;
            assert!(self.now < LIVE_MS + 60_000, "seed {}: {:?} does not come to an end", self.seed, node.report());
            let before = self.ledger.borrow().acknowledged.clone();
            node.poll(Millis(self.now - born), &answer, &mut board);
            if node.report().is_up {
                self.numbered_at.get_or_insert(self.flash.0.operations.get());
            }
            if self.flash.0.is_dead.get() {
                self.ledger.borrow_mut().acknowledged = before;
                self.power_on();
                return false;
            }
            let deaf = !is_calm && (4_000..13_000).contains(&(self.now % 15_000));
            let said = std::mem::take(&mut board.line);
            answer = if deaf {
                Vec::new()
            } else if is_calm {
                self.gateway.answer(self.now, &said)
            } else {
                let heard = self.line.carry(said);
                self.line.carry(self.gateway.answer(self.now, &heard))
            };
            if self.now == reset_at {
                return false;
            }
        }
        true
    }

    fn power_on(&mut self) {
        self.flash.0.is_dead.set(false);
        self.flash.0.cut_at.set(None);
        self.now += TICK_MS;
    }

    fn judge(&self) -> Told {
        let context = format!("seed {}, cut of {} operations", self.seed, self.flash.0.operations.get());
        assert!(self.boots.windows(2).all(|pair| pair[0] < pair[1]), "{context}: {:?}", self.boots);
        let values: Vec<i64> = self.gateway.journal.iter().map(|reading| reading.value.0).collect();
        let once: BTreeSet<i64> = values.iter().copied().collect();
        assert_eq!(once.len(), values.len(), "a reading is in the journal twice: {context}");
        assert!(values.is_sorted(), "out of order: {context}: {values:?}");
        let ledger = self.ledger.borrow();
        let lost: Vec<&i64> =
            ledger.saved.iter().filter(|value| !once.contains(value) && !ledger.dropped.contains(value)).collect();
        assert!(lost.is_empty(), "saved, not dropped, and nowhere: {lost:?}: {context}");
        let unstored: Vec<&i64> = ledger.acknowledged.iter().filter(|value| !once.contains(value)).collect();
        assert!(unstored.is_empty(), "acknowledged and not stored: {unstored:?}: {context}");
        Told {
            operations: self.flash.0.operations.get(),
            saved: ledger.saved.len(),
            dropped: ledger.dropped.len(),
            lives: self.boots.len(),
            given: self.gateway.given,
            spoiled: self.line.spoiled,
            numbered_at: self.numbered_at.unwrap_or(0),
        }
    }
}
