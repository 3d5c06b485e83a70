//! Numbers that must not be taken for one another.

use serde::{Deserialize, Serialize};

/// Milliseconds since the node's reset, or on the gateway since some fixed moment. Never jumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Millis(pub u64);

impl Millis {
    /// That much later. Saturates.
    #[must_use]
    pub const fn plus_ms(self, ms: u32) -> Self {
        Self(self.0.saturating_add(ms as u64))
    }
}

/// One life of a node, from reset to reset. A node that can count its resets numbers them upwards, from a number drawn at random where it
/// has no count yet or has lost it; one that can't says [`Boot::UNNUMBERED`] and is given a number by the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Boot(pub u32);

impl Boot {
    /// "I can't count my resets: give me a number."
    pub const UNNUMBERED: Self = Self(0);
    /// The first of the numbers that gateways give. Nodes that count stay below.
    pub const GIVEN_MIN: Self = Self(1 << 24);
    /// How many lives [`Boot::settled`] looks back.
    const SETTLED_LOOKS_MAX: usize = 16;

    /// Given by the node itself, which counts its resets: a later life has a higher one.
    #[must_use]
    pub const fn is_counted(self) -> bool {
        self.0 > Self::UNNUMBERED.0 && self.0 < Self::GIVEN_MIN.0
    }

    /// The latest of a node's lives up to this one, which it says hello with, of which `durable` has a reading on disk; at most 16 are
    /// asked for. [`Boot::UNNUMBERED`] if there is none. Not above this one: a node whose count was lost begins lower anew,
    /// and what it keeps then must not be taken for the past.
    #[must_use]
    pub fn settled(self, mut durable: impl FnMut(Self) -> Sequence) -> Self {
        if !self.is_counted() {
            return Self::UNNUMBERED;
        }
        let mut lives = (1..=self.0).rev().take(Self::SETTLED_LOOKS_MAX).map(Self);
        lives.find(|life| durable(*life) > Sequence::NONE).unwrap_or(Self::UNNUMBERED)
    }
}

/// A reading's number within its boot. The first is 1; 0 is "before the first".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Sequence(pub u64);

impl Sequence {
    /// Before the first reading of a boot.
    pub const NONE: Self = Self(0);

    /// The one after this. Saturates: 2^64 is out of reach.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Which of the measures that the hello described, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct MeasureIndex(pub u8);

/// What was measured, as an integer: times ten to the measure's [`crate::Scale`], in the measure's unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Value(pub i64);
