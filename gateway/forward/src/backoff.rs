//! Delays between tries: doubled each time, jittered so that a city's gateways do not come back all at once. Pure.

use std::time::Duration;

/// A growing, jittered, bounded delay.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    tries: u32,
    random: u64,
}

impl Backoff {
    /// The same `seed` makes the same delays.
    pub(crate) fn new(min: Duration, max: Duration, seed: u64) -> Self {
        Self { min: min.min(max), max, tries: 0, random: seed | 1 }
    }

    /// It worked: begin small again.
    pub(crate) const fn reset(&mut self) {
        self.tries = 0;
    }

    /// The next delay: between half and the whole of `min` doubled as often as this was called, at most `max`.
    pub(crate) fn next(&mut self) -> Duration {
        let whole = self.min.saturating_mul(2_u32.saturating_pow(self.tries)).min(self.max);
        self.tries = self.tries.saturating_add(1);
        // xorshift64 (Marsaglia, 2003): good enough to spread out.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let part = u32::try_from(self.random % 1000).unwrap_or(0);
        whole / 2 + whole / 2 * part / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_are_jittered_and_stay_bounded() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(30));
        let mut backoff = Backoff::new(min, max, 7);
        let delays: Vec<Duration> = (0..50).map(|_| backoff.next()).collect();
        assert!(delays[0] >= min / 2 && delays[0] <= min, "{:?}", delays[0]);
        assert!(delays[1] >= min && delays[1] <= 2 * min, "{:?}", delays[1]);
        assert!(delays.iter().all(|delay| *delay <= max));
        assert!(delays[20..].iter().all(|delay| *delay >= max / 2));
        assert!(delays[20..].windows(2).any(|pair| pair[0] != pair[1]), "no jitter");
        backoff.reset();
        assert!(backoff.next() <= min);
    }

    #[test]
    fn gateways_with_other_seeds_come_back_at_other_times() {
        let delay = |seed| Backoff::new(Duration::from_secs(1), Duration::from_secs(1), seed).next();
        assert_ne!(delay(0x1234_5678_9abc), delay(0xcba9_8765_4321));
    }
}
