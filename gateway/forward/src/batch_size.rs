//! How large a batch may be, in bytes. A cluster that answers MESSAGE_TOO_LARGE means a record or their sum, and does not say which. Pure.

/// Batches are never made smaller than this, in bytes, but where a single message may not be as large either.
const FLOOR: usize = 32 << 10;

/// The largest batch that is handed to the cluster, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchSize {
    now: usize,
    max: usize,
}

impl BatchSize {
    /// `max`: as large as a message may be.
    pub(crate) const fn new(max: usize) -> Self {
        Self { now: max, max }
    }

    pub(crate) const fn get(self) -> usize {
        self.now
    }

    /// A batch was refused for its size: perhaps no record was meant, but their sum.
    pub(crate) fn halve(&mut self) {
        self.now = (self.now / 2).max(FLOOR.min(self.max));
    }

    /// A record alone was refused for its size: not the sum of its batch was meant.
    pub(crate) fn restore(&mut self) {
        self.now = self.now.saturating_mul(2).min(self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_halved_to_the_floor_and_restored_to_what_it_was() {
        let mut size = BatchSize::new(1_000_000);
        let halved: Vec<_> = std::iter::repeat_with(|| (size.halve(), size.get()).1).take(6).collect();
        assert_eq!(halved, [500_000, 250_000, 125_000, 62_500, FLOOR, FLOOR]);
        let restored: Vec<_> = std::iter::repeat_with(|| (size.restore(), size.get()).1).take(6).collect();
        assert_eq!(restored, [65_536, 131_072, 262_144, 524_288, 1_000_000, 1_000_000]);
    }

    #[test]
    fn no_batch_is_larger_than_a_message_may_be() {
        let mut size = BatchSize::new(10_000);
        size.halve();
        assert_eq!(size.get(), 10_000, "the floor lies above it");
        size.restore();
        assert_eq!(size.get(), 10_000);
    }
}
