//! Commands: what a gateway may ask of a node beyond readings, and the node's answers.
//!
//! A command names the life and the session it is meant for and has a number; the gateway repeats it until it is
//! answered or another session begins. A node obeys rising numbers of the present session only, and gives its last answer
//! again: so a reset that is asked for twice happens once, and the echo of an old command is not obeyed.

use serde::{Deserialize, Serialize};

use crate::{Boot, Capabilities, MeasureIndex};

/// The longest interval that can be set: a day.
pub const INTERVAL_MS_MAX: u32 = 86_400_000;

/// A gateway's command, as it is on the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Order {
    /// The life it is meant for.
    pub boot: Boot,
    /// The session it is meant for: the welcome's nonce.
    pub session: u32,
    /// Its number, from 1, higher for each command of a session.
    pub id: u32,
    /// What to do: 1 set interval, 2 identify, 3 reset, 4 update (kept).
    pub kind: u8,
    /// Of which measure; 0 where none is meant.
    pub measure: MeasureIndex,
    /// How long, in ms; 0 where nothing is meant.
    pub value: u32,
}

/// What a node can be told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Sample this measure at another interval, until the next reset.
    SetInterval {
        /// Which one.
        measure: MeasureIndex,
        /// 1 to [`INTERVAL_MS_MAX`].
        interval_ms: u32,
    },
    /// Show which node it is, as by blinking.
    Identify {
        /// For how long.
        for_ms: u32,
    },
    /// Start anew.
    Reset,
}

impl Command {
    /// The command of an order.
    #[must_use]
    pub const fn of(order: &Order) -> Option<Self> {
        match order.kind {
            1 => Some(Self::SetInterval { measure: order.measure, interval_ms: order.value }),
            2 => Some(Self::Identify { for_ms: order.value }),
            3 => Some(Self::Reset),
            _ => None,
        }
    }

    /// As it goes on the line.
    #[must_use]
    pub const fn order(self, boot: Boot, session: u32, id: u32) -> Order {
        let (kind, measure, value) = match self {
            Self::SetInterval { measure, interval_ms } => (1, measure, interval_ms),
            Self::Identify { for_ms } => (2, MeasureIndex(0), for_ms),
            Self::Reset => (3, MeasureIndex(0), 0),
        };
        Order { boot, session, id, kind, measure, value }
    }

    /// The capability that it needs.
    #[must_use]
    pub const fn needs(self) -> Capabilities {
        match self {
            Self::SetInterval { .. } => Capabilities::SET_INTERVAL,
            Self::Identify { .. } => Capabilities::IDENTIFY,
            Self::Reset => Capabilities::RESET,
        }
    }
}

/// Why a node does not obey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It can't do that.
    Unsupported,
    /// It has no such measure.
    NoSuchMeasure,
    /// The value is out of range.
    OutOfRange,
    /// Another command is being obeyed.
    Busy,
    /// The command was meant for another life or session.
    AnotherSession,
    /// It tried and failed.
    Failed,
    /// A reason that this version does not know.
    Other(u8),
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Unsupported => f.write_str("the node can't do that"),
            Self::NoSuchMeasure => f.write_str("the node has no such measure"),
            Self::OutOfRange => f.write_str("the value is out of range"),
            Self::Busy => f.write_str("the node is obeying another command"),
            Self::AnotherSession => f.write_str("the link was begun anew since"),
            Self::Failed => f.write_str("the node tried and failed"),
            Self::Other(reason) => write!(f, "the node refuses for a reason unknown here ({reason})"),
        }
    }
}

impl core::error::Error for Refusal {}

/// A node's answer to an [`Order`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Answer {
    /// The order's.
    pub boot: Boot,
    /// The order's.
    pub session: u32,
    /// The order's.
    pub id: u32,
    /// 0 done; else refused: 1 unsupported, 2 no such measure, 3 out of range, 4 busy, 5 another session, 6 failed.
    pub outcome: u8,
}

impl Answer {
    /// The answer to an order.
    #[must_use]
    pub const fn new(order: &Order, outcome: Result<(), Refusal>) -> Self {
        let outcome = match outcome {
            Ok(()) => 0,
            Err(Refusal::Unsupported) => 1,
            Err(Refusal::NoSuchMeasure) => 2,
            Err(Refusal::OutOfRange) => 3,
            Err(Refusal::Busy) => 4,
            Err(Refusal::AnotherSession) => 5,
            Err(Refusal::Failed) => 6,
            Err(Refusal::Other(reason)) => reason,
        };
        Self { boot: order.boot, session: order.session, id: order.id, outcome }
    }

    /// What came of it.
    ///
    /// # Errors
    /// [`Refusal`]: why the node did not obey.
    pub const fn outcome(&self) -> Result<(), Refusal> {
        Err(match self.outcome {
            0 => return Ok(()),
            1 => Refusal::Unsupported,
            2 => Refusal::NoSuchMeasure,
            3 => Refusal::OutOfRange,
            4 => Refusal::Busy,
            5 => Refusal::AnotherSession,
            6 => Refusal::Failed,
            reason => Refusal::Other(reason),
        })
    }
}

/// A node's side: the order to obey, and what was answered last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Obedience {
    session: u32,
    /// The highest number taken in this session.
    last: u32,
    waiting: Option<Order>,
    obeying: Option<Order>,
    answered: Option<Answer>,
    to_send: Option<Answer>,
}

impl Obedience {
    /// A welcome has come: commands of sessions before are not obeyed any more.
    pub(crate) fn welcomed(&mut self, nonce: u32) {
        if nonce == self.session {
            // The echo of a welcome that was heard: what was obeyed under it stays obeyed.
            return;
        }
        *self = Self { session: nonce, obeying: self.obeying, ..Self::default() };
    }

    pub(crate) fn hear(&mut self, order: Order, boot: Boot) {
        let refuse = |refusal| Some(Answer::new(&order, Err(refusal)));
        if (order.boot, order.session) != (boot, self.session) {
            self.to_send = refuse(Refusal::AnotherSession);
        } else if order.id > self.last {
            if self.waiting.is_some() || self.obeying.is_some() {
                self.to_send = refuse(Refusal::Busy);
                return;
            }
            self.last = order.id;
            self.waiting = Some(order);
        } else {
            // The last one's answer again; nothing for the echo of an older one.
            self.to_send = self.answered.filter(|answered| answered.id == order.id).or(self.to_send);
        }
    }

    pub(crate) fn take(&mut self) -> Option<Order> {
        if let Some(order) = self.waiting.take() {
            self.obeying = Some(order);
            return Some(order);
        }
        None
    }

    pub(crate) fn answer(&mut self, outcome: Result<(), Refusal>) {
        let Some(order) = self.obeying.take() else { return };
        if order.session == self.session {
            self.answered = Some(Answer::new(&order, outcome));
            self.to_send = self.answered;
        }
    }

    pub(crate) fn transmit(&mut self) -> Option<Answer> {
        self.to_send.take()
    }
}
