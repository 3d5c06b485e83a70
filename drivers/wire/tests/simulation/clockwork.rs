//! Clocks that drift and jump, and commands: what both ends know of them, checked against what is so.

use std::collections::{BTreeMap, BTreeSet};

use lamppost_wire::{Answer, Boot, Command, GatewaySession, Millis, NodeSession, Quality, TimeAsked, Wall};

use crate::line::Dice;
use crate::world::Kind;

/// The seed, and the kind of node.
type Context = (u64, Kind);

const HOUR_MS: i64 = 3_600_000;
const THEN: i64 = 1_767_225_600_000;

/// What the gateway's wall clock says from a moment on: that much more than the simulated time.
struct Span {
    from: u64,
    ahead_ms: i64,
    quality: Quality,
}

pub(crate) struct Clockwork {
    /// In millionths; another one in each life.
    drift_ppm: i64,
    /// By boot: when that life began, and its drift.
    lives: BTreeMap<u32, (u64, i64)>,
    spans: Vec<Span>,
    epoch: u32,
    /// The epoch is yet to be announced.
    announce: bool,
    next_id: u32,
    under_way: Option<u32>,
    obeyed: BTreeSet<u32>,
    pub(crate) done: u64,
    pub(crate) bounds: u64,
    pub(crate) walls: u64,
}

impl Clockwork {
    pub(crate) fn new(dice: &mut Dice) -> Self {
        let set_at = dice.below(10_000);
        let back_at = set_at + 2_000 + dice.below(8_000);
        Self {
            drift_ppm: drift(dice),
            lives: BTreeMap::new(),
            spans: vec![
                Span { from: 0, ahead_ms: 0, quality: Quality::Unset },
                Span { from: set_at, ahead_ms: THEN, quality: Quality::Holdover },
                Span { from: back_at, ahead_ms: THEN - HOUR_MS, quality: Quality::Synced },
            ],
            epoch: dice.roll() as u32,
            announce: false,
            next_id: 1,
            under_way: None,
            obeyed: BTreeSet::new(),
            done: 0,
            bounds: 0,
            walls: 0,
        }
    }

    pub(crate) fn node_is_reset(&mut self, dice: &mut Dice) {
        self.drift_ppm = drift(dice);
    }

    pub(crate) fn gateway_is_reset(&mut self, dice: &mut Dice) {
        self.epoch = dice.roll() as u32;
        self.under_way = None;
    }

    /// A hello has come: what is under way is not waited for.
    pub(crate) fn begun_anew(&mut self) {
        self.under_way = None;
    }

    /// What the node counts after so many milliseconds.
    pub(crate) fn uptime(&self, ms: u64) -> Millis {
        let ms = ms.cast_signed();
        Millis((ms + ms * self.drift_ppm / 1_000_000).cast_unsigned())
    }

    fn span(&self, now: u64) -> &Span {
        self.spans.iter().rev().find(|span| span.from <= now).unwrap()
    }

    fn tell(&self, asked: Option<Millis>, gateway: &mut GatewaySession, now: u64) {
        let span = self.span(now);
        gateway.tell_time(asked, Wall(now.cast_signed() + span.ahead_ms), span.quality, self.epoch);
    }

    pub(crate) fn welcomed(&self, gateway: &mut GatewaySession, now: u64) {
        self.tell(None, gateway, now);
    }

    /// As the serial source does: a jump is announced until the node has asked again.
    pub(crate) fn gateway_turn(&mut self, gateway: &mut GatewaySession, now: u64, dice: &mut Dice) {
        if self.spans.iter().any(|span| span.from > 0 && (now - 4..=now).contains(&span.from)) {
            self.epoch = self.epoch.wrapping_add(1);
            self.announce = true;
        }
        if self.announce && now.is_multiple_of(1_000) {
            self.tell(None, gateway, now);
        }
        if self.under_way.is_none() && dice.in_100(1) && gateway.order(Command::Identify { for_ms: self.next_id }) {
            self.under_way = Some(self.next_id);
            self.next_id += 1;
        }
    }

    pub(crate) fn asked(
        &mut self,
        asked: TimeAsked,
        answers: Option<Millis>,
        gateway: &mut GatewaySession,
        now: u64,
        context: &Context,
    ) {
        self.announce &= answers.is_none();
        self.tell(Some(asked.uptime), gateway, now);
        let Some((sent, (born, drift_ppm))) = answers.zip(self.lives.get(&asked.boot.0).copied()) else { return };
        let uptime = asked.uptime.0.cast_signed();
        let was = born.cast_signed() + uptime - uptime * drift_ppm / 1_000_000;
        let within = sent.0.cast_signed() - 1..=now.cast_signed() + 1;
        assert!(within.contains(&was), "{asked:?} was said at {was}, not in {within:?}: {context:?}");
        self.bounds += 1;
    }

    pub(crate) fn answered(&mut self, answer: Answer, context: &Context) {
        let asked = self.under_way.take().unwrap_or_else(|| panic!("{answer:?} to nothing: {context:?}"));
        assert!(answer.outcome().is_err() || self.obeyed.contains(&asked), "{answer:?} is not true: {context:?}");
        self.done += u64::from(answer.outcome().is_ok());
    }

    /// `distinct`: no two lives have one number.
    pub(crate) fn node_turn(&mut self, node: &mut NodeSession, born: u64, now: u64, distinct: bool, context: &Context) {
        if let Some(order) = node.take_order() {
            let Some(Command::Identify { for_ms }) = Command::of(&order) else { panic!("{order:?}: {context:?}") };
            assert!(!distinct || self.obeyed.insert(for_ms), "{order:?} is obeyed twice: {context:?}");
            self.obeyed.insert(for_ms);
            node.answer(Ok(()));
        }
        if distinct && node.boot() != Boot::UNNUMBERED {
            self.lives.insert(node.boot().0, (born, self.drift_ppm));
        }
        let Some(known) = node.wall(self.uptime(now - born)) else { return };
        assert!(known.quality > Quality::Unset);
        let error_ms = |span: &Span| (known.wall.0 - now.cast_signed() - span.ahead_ms).unsigned_abs();
        let error_ms = self.spans[1..].iter().map(error_ms).min().unwrap();
        assert!(error_ms <= u64::from(known.error_ms), "{error_ms} ms wrong, {known:?}: {context:?}");
        self.walls += 1;
    }

    /// On a good line, some time after the last jump: the node knows the time that is.
    pub(crate) fn judge(&self, node: &NodeSession, born: u64, now: u64, context: &Context) {
        let known = node.wall(self.uptime(now - born));
        let known = known.unwrap_or_else(|| panic!("the node does not know the time: {context:?}"));
        let wall = now.cast_signed() + self.span(now).ahead_ms;
        let error_ms = (known.wall.0 - wall).unsigned_abs();
        assert!(error_ms <= u64::from(known.error_ms), "{error_ms} ms wrong, {known:?}: {context:?}");
        assert!(known.error_ms < 6_000, "{known:?}: {context:?}");
    }
}

fn drift(dice: &mut Dice) -> i64 {
    dice.below(481).cast_signed() - 240
}
