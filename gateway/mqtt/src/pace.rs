//! How often something may happen: a bucket that fills at a rate. It may be overdrawn once, and is then waited for.

use std::time::Duration;

use tokio::time::Instant;

use crate::Limits;

/// Fills with `per_s` tokens a second up to `burst`. No clock of its own.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    per_s: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// Full. Neither number is 0.
    pub(crate) fn new(per_s: u64, burst: u64, now: Instant) -> Self {
        let burst = burst.max(1) as f64;
        Self { per_s: per_s.max(1) as f64, burst, tokens: burst, at: now }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_s).min(self.burst);
        self.at = now;
    }

    /// Takes `count` now, whether they are there or not.
    pub(crate) fn charge(&mut self, count: u64, now: Instant) {
        self.fill(now);
        self.tokens -= count as f64;
    }

    /// How long until there is one. `None`: there is.
    pub(crate) fn wait(&mut self, now: Instant) -> Option<Duration> {
        self.fill(now);
        (self.tokens < 1.0).then(|| Duration::from_secs_f64((1.0 - self.tokens) / self.per_s))
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let there = self.wait(now).is_none();
        if there {
            self.tokens -= 1.0;
        }
        there
    }

    /// Whether nothing has been taken out of it for as long as it needs to fill.
    pub(crate) fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.tokens >= self.burst
    }
}

/// Seconds' worth of subscriptions that may come at once: a client that connects makes all of its own.
const SUBSCRIBES_BURST_S: u64 = 10;

/// What one client may publish and subscribe to in a second. Who goes faster is not read from for a while.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    publishes: Option<Bucket>,
    bytes: Option<Bucket>,
    /// From the first one on.
    filters: Option<Bucket>,
}

impl Pace {
    /// `None`: there is no limit.
    pub(crate) fn new(limits: &Limits, now: Instant) -> Option<Box<Self>> {
        // As much as a second brings may come at once.
        let bucket = |per_s: u64| (per_s > 0).then(|| Bucket::new(per_s, per_s, now));
        let pace = Self { publishes: bucket(limits.publishes_per_s), bytes: bucket(limits.bytes_per_s), filters: None };
        (pace.publishes.is_some() || pace.bytes.is_some()).then(|| Box::new(pace))
    }

    pub(crate) fn charge(&mut self, bytes: usize, now: Instant) {
        if let Some(publishes) = &mut self.publishes {
            publishes.charge(1, now);
        }
        if let Some(bucket) = &mut self.bytes {
            bucket.charge(bytes as u64, now);
        }
    }

    /// A SUBSCRIBE or UNSUBSCRIBE with so many filters: each may bring all that is retained, or be a write to the card.
    pub(crate) fn charge_filters(pace: &mut Option<Box<Self>>, filters: usize, limits: &Limits, now: Instant) {
        let per_s = limits.subscribes_per_s;
        if per_s > 0 {
            let bucket = || Bucket::new(per_s, per_s.saturating_mul(SUBSCRIBES_BURST_S), now);
            pace.get_or_insert_default().filters.get_or_insert_with(bucket).charge(filters as u64, now);
        }
    }

    /// How long nothing more may be taken.
    pub(crate) fn wait(&mut self, now: Instant) -> Option<Duration> {
        let waits = [&mut self.publishes, &mut self.bytes, &mut self.filters].map(|bucket| bucket.as_mut()?.wait(now));
        waits.into_iter().flatten().max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 3, start);
        assert_eq!((0..5).filter(|_| bucket.take(start)).count(), 3);
        assert_eq!(bucket.wait(start), Some(Duration::from_millis(100)));
        let later = start + Duration::from_secs(1);
        assert_eq!((0..50).filter(|number| bucket.take(later + Duration::from_millis(number * 20))).count(), 3 + 9);
        assert!(!bucket.is_full(later + Duration::from_secs(1)) && bucket.is_full(later + Duration::from_secs(9)));
    }

    #[test]
    fn a_large_publish_is_taken_and_then_paid_for() {
        let start = Instant::now();
        let limits = Limits { bytes_per_s: 1_000, ..Limits::default() };
        let mut pace = Pace::new(&limits, start).unwrap();
        assert_eq!(pace.wait(start), None);
        pace.charge(5_000, start);
        let wait = pace.wait(start).unwrap();
        assert!((Duration::from_secs(4)..Duration::from_millis(4_010)).contains(&wait), "{wait:?}");
        assert_eq!(pace.wait(start + wait + Duration::from_millis(1)), None);
    }

    #[test]
    fn without_limits_there_is_no_pace() {
        assert!(Pace::new(&Limits::default(), Instant::now()).is_none());
    }
}
