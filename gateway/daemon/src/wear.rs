//! What a configuration means for the card: bytes a day, years of life, hours offline. An estimate from the journal's format, in whole
//! commits of 4 KiB pages, and from ratios that were measured on JSON telemetry (203 bytes an event with key and header, 4 partitions);
//! what really was written is a metric.

use std::time::Duration;

use lamppost_journal::{Compression, Options};

/// A frame is padded to this, bytes.
const PAGE_BYTES: f64 = 4096.0;
/// Frame header, table of topics and batch headers of a small commit, bytes.
const COMMIT_OVERHEAD_BYTES: f64 = 256.0;
/// A record's own overhead, key and Lamppost's header, bytes.
const EVENT_OVERHEAD_BYTES: f64 = 64.0;
/// What is left of a commit's records by LZ4 and by Zstandard: measured at 100 to 1000 events a commit.
const LZ4_RATIO: f64 = 0.42;
const ZSTD_RATIO: f64 = 0.28;
/// Cold bytes kept for a byte of events: the greatest measured at 5, 50 and 500 events/s (0.225, 0.209, 0.188).
const COLD_RATIO: f64 = 0.225;
/// What a plain card of 32 GB takes before it wears out, terabytes written. An assumption; the card's own figure (TBW) is better.
pub(crate) const ENDURANCE_TBW: f64 = 30.0;

const SECONDS_A_DAY: f64 = 86_400.0;
const DAYS_A_YEAR: f64 = 365.25;

/// How many years a card lasts.
pub(crate) fn years(endurance_tbw: f64, bytes_per_day: f64) -> f64 {
    endurance_tbw * 1e12 / (bytes_per_day * DAYS_A_YEAR)
}

/// What one rate of events means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Wear {
    pub(crate) events_per_s: f64,
    pub(crate) bytes_per_day: f64,
    pub(crate) card_years: f64,
    pub(crate) offline_hours: f64,
}

/// Estimates for events with a payload of `payload_bytes` that arrive evenly, all with this linger.
pub(crate) fn estimate(events_per_s: f64, payload_bytes: f64, linger: Duration, options: &Options) -> Wear {
    let bytes = payload_bytes + EVENT_OVERHEAD_BYTES;
    let by_linger = 1.0 + events_per_s * linger.as_secs_f64();
    let events_per_commit = by_linger.min((of(options.linger_bytes as u64) / bytes).max(1.0)).floor().max(1.0);
    let ratio = match options.compression {
        Compression::None => 1.0,
        Compression::Lz4 => LZ4_RATIO,
        Compression::Zstd => ZSTD_RATIO,
    };
    let commit_bytes = pages(COMMIT_OVERHEAD_BYTES + events_per_commit * bytes * ratio);
    let hot_per_s = events_per_s / events_per_commit * commit_bytes;
    let cold_per_s = events_per_s * bytes * COLD_RATIO;
    // What is not delivered fills the hot segments first; the rest of the quota, but for a segment to move in, with cold ones.
    let segment = of(options.segment_bytes);
    let hot = of(options.hot_segments_max() as u64) * segment;
    let cold = (of(options.quota_bytes) - hot - segment).max(0.0);
    Wear {
        events_per_s,
        bytes_per_day: hot_per_s * SECONDS_A_DAY,
        card_years: years(ENDURANCE_TBW, hot_per_s * SECONDS_A_DAY),
        offline_hours: (hot / hot_per_s + cold / cold_per_s) / 3600.0,
    }
}

fn pages(bytes: f64) -> f64 {
    (bytes / PAGE_BYTES).ceil() * PAGE_BYTES
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn of(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(events_per_s: f64, linger_ms: u64, compression: Compression) -> Wear {
        let options = Options { compression, ..Options::default() };
        estimate(events_per_s, 200.0, Duration::from_millis(linger_ms), &options)
    }

    #[test]
    fn lone_events_cost_a_page_each_whatever_the_compression() {
        for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
            let wear = at(5.0, 50, compression);
            assert!((wear.bytes_per_day - 5.0 * 4096.0 * 86_400.0).abs() < 1.0, "{wear:?}");
        }
    }

    /// The journal's benchmark counted 236 hours for a quota of 256 MiB at 5 events/s of 203 bytes in all.
    #[test]
    fn hours_offline_are_about_what_was_measured() {
        let wear = estimate(5.0, 203.0 - EVENT_OVERHEAD_BYTES, Duration::from_millis(50), &Options::default());
        assert!((0.9..=1.0).contains(&(wear.offline_hours / 236.0)), "{wear:?}");
    }

    /// Pages a commit of 250 events of 202 bytes, as measured: 14, 6 and 4.
    #[test]
    fn a_large_commit_takes_about_the_pages_that_were_measured() {
        for (compression, measured) in [(Compression::None, 14.0), (Compression::Lz4, 6.0), (Compression::Zstd, 4.0)] {
            let wear = estimate(
                2_490.0,
                202.0 + 18.0 - EVENT_OVERHEAD_BYTES,
                Duration::from_millis(100),
                &Options { compression, linger_bytes: 1 << 20, ..Options::default() },
            );
            let pages = wear.bytes_per_day / SECONDS_A_DAY / 2_490.0 * 250.0 / PAGE_BYTES;
            assert!((pages - measured).abs() < 1.0, "{compression:?}: {pages} pages");
        }
    }

    #[test]
    fn a_longer_linger_wears_the_card_less() {
        let at = |linger_ms| at(100.0, linger_ms, Compression::None);
        assert!(at(1000).bytes_per_day < at(50).bytes_per_day / 2.0);
        assert!(at(1000).card_years > at(50).card_years);
    }
}
