//! Sampling, keeping and sending, one step at a time.

use heapless::Vec;
use lamppost_wire::{
    Boot, Capabilities, FRAME_BYTES_MAX, FrameBuffer, Hello, LinkCounters, MEASURES_MAX, MeasureIndex, Millis,
    NodeCounters, NodeSession, Reading, Refusal, Sequence, Store, VERSION, Value, WallNow, text,
};

use crate::channel::{Schedule, check_name, describe};
use crate::orders::obey;
use crate::policy::{Gate, Outcome};
use crate::{Channel, Policy, Ring, Saved, SetupError};

/// A sensor did not answer, or with nonsense. The board knows why; the brain counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SensorFault;

/// What the brain needs of the world.
pub trait Board {
    /// Measures now, in the channel's unit and scale.
    ///
    /// # Errors
    /// [`SensorFault`] if there is no value: it is counted, and the channel sampled again when it is next due.
    fn sample(&mut self, measure: MeasureIndex) -> Result<Value, SensorFault>;

    /// Sends as many of these bytes as the line has room for without waiting, from the first on, and says how many.
    fn send(&mut self, bytes: &[u8]) -> usize;

    /// The gateway has this reading on its disk. Called once for each, in order.
    fn acknowledged(&mut self, reading: &Reading) {
        let _ = reading;
    }

    /// This reading was dropped for want of room.
    fn dropped(&mut self, reading: &Reading) {
        let _ = reading;
    }

    /// Shows which board it is for so long, without waiting. Called only if [`Node::offer`] has offered it.
    ///
    /// # Errors
    /// [`Refusal`] if it can't now.
    fn identify(&mut self, for_ms: u32) -> Result<(), Refusal> {
        let _ = for_ms;
        Err(Refusal::Unsupported)
    }

    /// Starts anew, as after a loss of power. Called only if [`Node::offer`] has offered it.
    fn reset(&mut self) {}

    /// The node gets on: the place to feed a watchdog. Not called by a poll that hangs in a sensor or the line, nor while
    /// the clock stands still, in which nothing would ever be due.
    fn alive(&mut self) {}
}

/// Who a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity<'a> {
    /// The device's name, unique in the city: 1 to 32 bytes, without `/`, `+`, `#` and control characters.
    pub device: &'a str,
    /// The firmware's name and version, for people. At most 32 bytes.
    pub firmware: &'a str,
    /// Which life this is, counted from 1 over resets; [`Boot::UNNUMBERED`] if the board can't count them.
    pub boot: Boot,
    /// As random as the board can make it; 0 if it can't.
    pub nonce: u32,
}

/// What a node has done since its reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeReport {
    /// Readings taken.
    pub sampled: u64,
    /// Measurements that failed.
    pub faults: u64,
    /// Readings that the gateway has on disk.
    pub acknowledged: u64,
    /// Readings dropped for want of room.
    pub dropped: u64,
    /// Readings kept now.
    pub kept: usize,
    /// Readings that could not be saved: a reset would cost them.
    pub unsaved: u64,
    /// A gateway answers.
    pub is_up: bool,
    /// What the session did.
    pub session: NodeCounters,
    /// What was met on the line.
    pub link: LinkCounters,
}

/// The brain, with room for `CAPACITY` readings of 32 bytes each, and about 2.8 KiB besides. What is in `S` survives a
/// reset.
#[derive(Debug, Clone)]
pub struct Node<const CAPACITY: usize, S = ()> {
    session: NodeSession,
    keep: Keep<CAPACITY, S>,
    schedules: Vec<Schedule, MEASURES_MAX>,
    gates: [Gate; MEASURES_MAX],
    can: Capabilities,
    /// The ring is fuller than three quarters, and was since not emptier than a half.
    crowded: bool,
    reset_at: Option<Millis>,
    alive_at: Option<Millis>,
    frame: FrameBuffer,
    /// What of `frame` is still to be sent.
    frame_from: usize,
    frame_to: usize,
}

#[derive(Debug, Clone)]
struct Keep<const CAPACITY: usize, S> {
    ring: Ring<CAPACITY>,
    saved: S,
    acknowledged: u64,
    faults: u64,
    unsaved: u64,
}

/// The ring as the session sees it, which tells the board what leaves it.
struct Keeping<'a, const CAPACITY: usize, S, B> {
    keep: &'a mut Keep<CAPACITY, S>,
    board: &'a mut B,
}

impl<const CAPACITY: usize> Node<CAPACITY> {
    /// A node after a reset, with nothing kept and nothing that survives the next one.
    ///
    /// # Errors
    /// [`SetupError`] if a text does not fit the hello, or there are too many channels.
    pub fn new(identity: Identity<'_>, channels: &[Channel<'_>], now: Millis) -> Result<Self, SetupError> {
        Self::with_saved(identity, channels, now, ())
    }
}

impl<const CAPACITY: usize, S: Saved> Node<CAPACITY, S> {
    /// A node after a reset, with what was saved before it. `identity.boot` must be above those of all that is saved.
    ///
    /// # Errors
    /// [`SetupError`] if a text does not fit the hello, or there are too many channels.
    pub fn with_saved(
        identity: Identity<'_>,
        channels: &[Channel<'_>],
        now: Millis,
        saved: S,
    ) -> Result<Self, SetupError> {
        check_name(identity.device)?;
        let can = Capabilities::SET_INTERVAL;
        let mut hello = Hello {
            version: VERSION,
            nonce: identity.nonce,
            device: text(identity.device)?,
            boot: identity.boot,
            sent: Sequence::NONE,
            firmware: text(identity.firmware)?,
            capabilities: can,
            measures: Vec::new(),
        };
        describe(channels, &mut hello)?;
        let mut keep = Keep { ring: Ring::new(identity.boot), saved, acknowledged: 0, faults: 0, unsaved: 0 };
        keep.restore();
        Ok(Self {
            session: NodeSession::new(hello, now),
            keep,
            schedules: channels.iter().map(|channel| Schedule::new(now, channel.interval_ms)).collect(),
            gates: [Gate::default(); MEASURES_MAX],
            can,
            crowded: false,
            reset_at: None,
            alive_at: None,
            frame: [0; FRAME_BYTES_MAX],
            frame_from: 0,
            frame_to: 0,
        })
    }

    /// Keeps the samples of a measure by this policy. The measures that get its lowest and highest are not sampled from then on. Before the
    /// first poll; a measure that is none is passed over.
    pub fn set_policy(&mut self, measure: MeasureIndex, policy: Policy) {
        for derived in [policy.lowest, policy.highest].into_iter().flatten() {
            if let Some(schedule) = self.schedules.get_mut(usize::from(derived.0)) {
                *schedule = Schedule::never();
            }
        }
        if let Some(gate) = self.gates.get_mut(usize::from(measure.0)) {
            gate.policy = policy;
        }
    }

    /// The board can do this too ([`Capabilities::IDENTIFY`], [`Capabilities::RESET`]). Before the first poll.
    pub fn offer(&mut self, more: Capabilities) {
        self.can = self.can.and(more);
        self.session.set_capabilities(self.can);
    }

    /// Does what is due: takes the bytes `received` since the last call, obeys, samples, and sends what the line has room
    /// for. Returns when to call again though nothing was received; at once where the line was full.
    pub fn poll(&mut self, now: Millis, received: &[u8], board: &mut impl Board) -> Millis {
        self.session.receive(received, now, &mut Keeping { keep: &mut self.keep, board });
        if let Some(order) = self.session.take_order() {
            let outcome = obey(&order, self.can, &mut self.schedules, now, &mut self.reset_at, board);
            self.session.answer(outcome);
        }
        for index in 0..self.schedules.len() {
            let Some(schedule) = self.schedules.get_mut(index) else { break };
            if schedule.take_if_due(now) {
                let measure = MeasureIndex(u8::try_from(index).unwrap_or(u8::MAX));
                match board.sample(measure) {
                    Ok(value) => self.judge(measure, now, value, board),
                    Err(SensorFault) => self.keep.faults += 1,
                }
            }
        }
        let drained = self.drain(now, board);
        if self.reset_at.take_if(|at| *at <= now).is_some() {
            board.reset();
        }
        if self.alive_at.is_none_or(|at| at < now) {
            self.alive_at = Some(now);
            board.alive();
        }
        if !drained {
            return now;
        }
        let wake_at = self.schedules.iter().fold(self.session.wake_at(), |at, schedule| at.min(schedule.due_at));
        self.reset_at.map_or(wake_at, |at| at.min(wake_at))
    }

    /// Keeps a reading that no schedule asked for, whatever its policy says but that it is an alarm: a vehicle that passed,
    /// a door that was opened.
    pub fn record(&mut self, measure: MeasureIndex, now: Millis, value: Value, board: &mut impl Board) {
        let alarm = self.gates.get(usize::from(measure.0)).is_some_and(|gate| gate.policy.alarm);
        self.keep.take(measure, alarm, now, value, board);
    }

    /// Makes of a sample what the policy says.
    fn judge(&mut self, measure: MeasureIndex, now: Millis, value: Value, board: &mut impl Board) {
        let kept = self.keep.ring.len();
        self.crowded = kept >= CAPACITY - CAPACITY / 4 || (self.crowded && kept > CAPACITY / 2);
        let Some(gate) = self.gates.get_mut(usize::from(measure.0)) else { return };
        if !gate.moved(now, value) {
            return;
        }
        let Policy { alarm, lowest, highest, .. } = gate.policy;
        match gate.gather(value, self.crowded) {
            Outcome::Nothing => {}
            Outcome::Reading => self.keep.take(measure, alarm, now, value, board),
            Outcome::Aggregate(aggregate) => {
                self.keep.take(measure, false, now, aggregate.mean(), board);
                for (measure, value) in [(lowest, aggregate.lowest), (highest, aggregate.highest)] {
                    if let Some(measure) = measure {
                        self.keep.take(measure, false, now, value, board);
                    }
                }
            }
        }
    }

    /// The wall time by the gateway's clock, if it has told one.
    #[must_use]
    pub fn wall(&self, now: Millis) -> Option<WallNow> {
        self.session.wall(now)
    }

    /// What was done since the reset.
    #[must_use]
    pub fn report(&self) -> NodeReport {
        NodeReport {
            sampled: self.keep.ring.last().0,
            faults: self.keep.faults,
            acknowledged: self.keep.acknowledged,
            dropped: self.keep.ring.dropped(),
            kept: self.keep.ring.len(),
            unsaved: self.keep.unsaved,
            is_up: self.session.is_up(),
            session: self.session.counters(),
            link: self.session.link_counters(),
        }
    }

    /// The number of this life, which the gateway may have given.
    #[must_use]
    pub fn boot(&self) -> Boot {
        self.session.boot()
    }

    /// Sends frames until there are none, and says so; or until the line is full.
    fn drain(&mut self, now: Millis, board: &mut impl Board) -> bool {
        loop {
            let rest = self.frame.get(self.frame_from..self.frame_to).unwrap_or_default();
            if !rest.is_empty() {
                let sent = board.send(rest).min(rest.len());
                self.frame_from += sent;
                if self.frame_from < self.frame_to {
                    return false;
                }
            }
            let keeping = Keeping { keep: &mut self.keep, board };
            (self.frame_from, self.frame_to) = (0, self.session.transmit(now, &keeping, &mut self.frame));
            if self.frame_to == 0 {
                return true;
            }
        }
    }
}

impl<const CAPACITY: usize, S: Saved> Keep<CAPACITY, S> {
    /// Takes over what was saved in the lives before.
    fn restore(&mut self) {
        let Self { ring, saved, .. } = self;
        let (mut bulk, mut alarm) = (None, None);
        saved.restore(&mut |reading, is_alarm| match ring.keep(reading, is_alarm) {
            Some((dropped, true)) => alarm = Some(dropped),
            Some((dropped, false)) => bulk = Some(dropped),
            None => {}
        });
        for (dropped, is_alarm) in [(bulk, false), (alarm, true)] {
            if let Some(dropped) = dropped {
                saved.forget(&dropped, is_alarm);
            }
        }
        let (mut at, mut before) = (0, None);
        while let Some(Reading { boot, .. }) = ring.kept(at) {
            at += 1;
            if before.replace(boot) != Some(boot)
                && let Some(given) = saved.given(boot)
            {
                ring.renumber(boot, given);
                before = Some(given);
            }
        }
    }

    /// Numbers, saves and keeps a reading.
    fn take(&mut self, measure: MeasureIndex, alarm: bool, now: Millis, value: Value, board: &mut impl Board) {
        let reading = self.ring.number(measure, now, value);
        let dropped = self.ring.keep(reading, alarm);
        if let Some((dropped, was_alarm)) = dropped {
            board.dropped(&dropped);
            if dropped.sequence == reading.sequence && dropped.boot == reading.boot {
                return;
            }
            self.saved.forget(&dropped, was_alarm);
        }
        if !self.saved.save(&reading, alarm) {
            self.unsaved += 1;
        }
    }
}

impl<const CAPACITY: usize, S: Saved, B: Board> Store for Keeping<'_, CAPACITY, S, B> {
    fn kept(&self, position: usize) -> Option<Reading> {
        self.keep.ring.kept(position)
    }

    fn len(&self) -> usize {
        self.keep.ring.len()
    }

    fn last(&self) -> Sequence {
        self.keep.ring.last()
    }

    fn dropped(&self) -> u64 {
        self.keep.ring.dropped()
    }

    fn faults(&self) -> u64 {
        self.keep.faults
    }

    fn acknowledge(&mut self, boot: Boot, sequence: Sequence) {
        let (mut bulk, mut alarm) = (None, None);
        while let Some((reading, is_alarm)) = self.keep.ring.forget(boot, sequence) {
            self.keep.acknowledged += 1;
            self.board.acknowledged(&reading);
            *(if is_alarm { &mut alarm } else { &mut bulk }) = Some(reading);
        }
        for (last, is_alarm) in [(bulk, false), (alarm, true)] {
            if let Some(last) = last {
                self.keep.saved.forget(&last, is_alarm);
            }
        }
    }

    fn renumber(&mut self, from: Boot, to: Boot) {
        self.keep.ring.renumber(from, to);
        self.keep.saved.renumber(from, to);
    }
}

#[cfg(test)]
mod tests;
