//! Sampling, keeping and sending, one step at a time.

use heapless::Vec;
use lamppost_wire::{
    Boot, Capabilities, FRAME_BYTES_MAX, FrameBuffer, Hello, LinkCounters, MEASURES_MAX, MeasureIndex, Millis,
    NodeCounters, NodeSession, Reading, Sequence, Store, VERSION, Value, text,
};

use crate::channel::{Schedule, check_name, describe};
use crate::{Channel, Ring, SetupError};

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
    /// A gateway answers.
    pub is_up: bool,
    /// What the session did.
    pub session: NodeCounters,
    /// What was met on the line.
    pub link: LinkCounters,
}

/// The brain, with room for `CAPACITY` readings of 32 bytes each, and about 2 KiB besides.
#[derive(Debug, Clone)]
pub struct Node<const CAPACITY: usize> {
    session: NodeSession,
    keep: Keep<CAPACITY>,
    schedules: Vec<Schedule, MEASURES_MAX>,
    frame: FrameBuffer,
    /// What of `frame` is still to be sent.
    frame_from: usize,
    frame_to: usize,
}

#[derive(Debug, Clone)]
struct Keep<const CAPACITY: usize> {
    ring: Ring<CAPACITY>,
    acknowledged: u64,
    faults: u64,
}

/// The ring as the session sees it, which tells the board what leaves it.
struct Keeping<'a, const CAPACITY: usize, B> {
    keep: &'a mut Keep<CAPACITY>,
    board: &'a mut B,
}

impl<const CAPACITY: usize> Node<CAPACITY> {
    /// A node after a reset, with nothing kept.
    ///
    /// # Errors
    /// [`SetupError`] if a text does not fit the hello, or there are too many channels.
    pub fn new(identity: Identity<'_>, channels: &[Channel<'_>], now: Millis) -> Result<Self, SetupError> {
        check_name(identity.device)?;
        let mut hello = Hello {
            version: VERSION,
            nonce: identity.nonce,
            device: text(identity.device)?,
            boot: identity.boot,
            sent: Sequence::NONE,
            firmware: text(identity.firmware)?,
            capabilities: Capabilities::default(),
            measures: Vec::new(),
        };
        describe(channels, &mut hello)?;
        Ok(Self {
            session: NodeSession::new(hello, now),
            keep: Keep { ring: Ring::new(identity.boot), acknowledged: 0, faults: 0 },
            schedules: channels.iter().map(|channel| Schedule::new(now, channel.interval_ms)).collect(),
            frame: [0; FRAME_BYTES_MAX],
            frame_from: 0,
            frame_to: 0,
        })
    }

    /// Does what is due: takes the bytes `received` since the last call, samples, and sends what the line has room for.
    /// Returns when to call again though nothing was received; at once where the line was full.
    pub fn poll(&mut self, now: Millis, received: &[u8], board: &mut impl Board) -> Millis {
        self.session.receive(received, now, &mut Keeping { keep: &mut self.keep, board });
        for index in 0..self.schedules.len() {
            let Some(schedule) = self.schedules.get_mut(index) else { break };
            if schedule.take_if_due(now) {
                let measure = MeasureIndex(u8::try_from(index).unwrap_or(u8::MAX));
                match board.sample(measure) {
                    Ok(value) => self.record(measure, now, value, board),
                    Err(SensorFault) => self.keep.faults += 1,
                }
            }
        }
        if self.drain(now, board) {
            self.schedules.iter().fold(self.session.wake_at(), |at, schedule| at.min(schedule.due_at))
        } else {
            now
        }
    }

    /// Keeps a reading that no schedule asked for: an alarm, a vehicle that passed.
    pub fn record(&mut self, measure: MeasureIndex, now: Millis, value: Value, board: &mut impl Board) {
        if let Some(dropped) = self.keep.ring.push(measure, now, value) {
            board.dropped(&dropped);
        }
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

impl<const CAPACITY: usize, B: Board> Store for Keeping<'_, CAPACITY, B> {
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
        while let Some(reading) = self.keep.ring.forget(boot, sequence) {
            self.keep.acknowledged += 1;
            self.board.acknowledged(&reading);
        }
    }

    fn renumber(&mut self, from: Boot, to: Boot) {
        self.keep.ring.renumber(from, to);
    }
}

#[cfg(test)]
mod tests;
