//! What a configuration means for the card: bytes a day, years of life, hours offline. An estimate from the journal's format, in whole
//! commits of 4 KiB pages; what really was written is a metric.

use std::time::Duration;

use crate::config::value::Size;

/// A frame is padded to this, bytes.
const PAGE_BYTES: f64 = 4096.0;
/// Frame header, table of topics and batch headers of a small commit, bytes.
const COMMIT_OVERHEAD_BYTES: f64 = 256.0;
/// A record's own overhead and Lamppost's header, bytes.
const EVENT_OVERHEAD_BYTES: f64 = 64.0;
/// What a consumer SD card of 32 GB takes before it wears out, bytes: 32 GB x 500 full writes, by a write amplification of 4 inside the
/// card for 4 KiB writes. An assumption; a card's own figure (TBW) is better.
const CARD_ENDURANCE_BYTES: f64 = 32e9 * 500.0 / 4.0;

/// What one rate of events means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Wear {
    pub(crate) events_per_s: f64,
    pub(crate) bytes_per_day: f64,
    pub(crate) card_years: f64,
    pub(crate) offline_hours: f64,
}

/// Estimates for events of `event_bytes` that arrive evenly.
pub(crate) fn estimate(events_per_s: f64, event_bytes: f64, linger: Duration, linger_bytes: Size, quota: Size) -> Wear {
    let bytes = event_bytes + EVENT_OVERHEAD_BYTES;
    let by_linger = 1.0 + events_per_s * linger.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let (by_bytes, quota) = ((linger_bytes.0 as f64 / bytes).max(1.0), quota.0 as f64);
    let events_per_commit = by_linger.min(by_bytes).floor().max(1.0);
    let commit_bytes = ((COMMIT_OVERHEAD_BYTES + events_per_commit * bytes) / PAGE_BYTES).ceil() * PAGE_BYTES;
    let bytes_per_s = events_per_s / events_per_commit * commit_bytes;
    Wear {
        events_per_s,
        bytes_per_day: bytes_per_s * 86_400.0,
        card_years: CARD_ENDURANCE_BYTES / (bytes_per_s * 86_400.0 * 365.0),
        offline_hours: quota / bytes_per_s / 3600.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(events_per_s: f64, linger_ms: u64) -> Wear {
        estimate(events_per_s, 200.0, Duration::from_millis(linger_ms), Size(64 << 10), Size(256 << 20))
    }

    #[test]
    fn lone_events_cost_a_page_each() {
        let wear = at(5.0, 50);
        assert!((wear.bytes_per_day - 5.0 * 4096.0 * 86_400.0).abs() < 1.0, "{wear:?}");
        assert!((wear.offline_hours - 256.0 * 256.0 / 5.0 / 3600.0).abs() < 0.01, "{wear:?}");
    }

    #[test]
    fn a_longer_linger_wears_the_card_less() {
        assert!(at(100.0, 1000).bytes_per_day < at(100.0, 50).bytes_per_day / 2.0);
        assert!(at(100.0, 1000).card_years > at(100.0, 50).card_years);
    }
}
