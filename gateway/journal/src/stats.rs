//! Figures.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lamppost_event::{Commit, Epoch, Group, Topic};

use crate::shared::Shared;
use crate::sync::Mutex;
use crate::waiting::hold;

/// What the journal has done since it was opened, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// The last durable commit.
    pub durable: Commit,
    /// The journal's incarnation.
    pub epoch: Epoch,
    /// Commits written since opening.
    pub commits: u64,
    /// Events written since opening.
    pub events: u64,
    /// Key, value and header bytes of events written since opening.
    pub event_bytes: u64,
    /// Bytes written to files since opening, padding, zeros and checkpoints included (not the file system's own).
    pub bytes_written: u64,
    /// Flushes of files since opening.
    pub flushes: u64,
    /// Median time of a commit's flush.
    pub flush_p50: Duration,
    /// 99th percentile of a commit's flush.
    pub flush_p99: Duration,
    /// Segments with events.
    pub segments_used: usize,
    /// Segments prepared for use.
    pub segments_free: usize,
    /// Bytes of all files.
    pub disk_bytes: u64,
    /// The most they may take.
    pub quota_bytes: u64,
    /// Bytes gathered for the next commit, its frame included; 0 while nothing waits.
    pub gathered_bytes: usize,
    /// No event is taken now, for want of space.
    pub full: bool,
    /// Appends refused for want of room since opening.
    pub refused_full: u64,
    /// State that others put ([`crate::Journal::put_state`]) leaves no room in the quota: no more of it is taken.
    pub values_refused: bool,
    /// Gaps that readers meet.
    pub gaps: usize,
    /// Files that were set aside as damaged, or left as they are because the disk refuses to read them, and are still there.
    pub set_aside: usize,
    /// Checkpoints written since opening.
    pub checkpoints: u64,
    /// Bytes of checkpoints written since opening.
    pub checkpoint_bytes_written: u64,
    /// Segments recycled since opening.
    pub recycled: u64,
    /// Hot segments rewritten into cold ones since opening.
    pub cooled: u64,
    /// Bytes of cold segments written since opening.
    pub cold_bytes_written: u64,
    /// Cold segments.
    pub segments_cold: usize,
    /// Bytes of cold segments.
    pub cold_bytes: u64,
    /// Events given up before they were delivered since opening, by topic.
    pub given_up: BTreeMap<Topic, u64>,
    /// Events that went since opening before a required group had them, because they had been held back for it for as long as
    /// [`crate::Options::hold_max`] says. Counted as they go, whether the group is there or not: it meets a gap when it comes back.
    pub let_go: BTreeMap<Group, BTreeMap<Topic, u64>>,
    /// Frames that could not be read back since opening.
    pub unreadable: u64,
    /// Marks of devices forgotten since opening, because all together took more than [`crate::Options::marks_bytes_max`].
    pub marks_crowded_out: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) event_bytes: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) refused_full: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    pub(crate) checkpoint_bytes: AtomicU64,
    pub(crate) recycled: AtomicU64,
    pub(crate) unreadable: AtomicU64,
    pub(crate) marks_crowded_out: AtomicU64,
    pub(crate) given_up: Mutex<BTreeMap<Topic, u64>>,
    pub(crate) let_go: Mutex<BTreeMap<Group, BTreeMap<Topic, u64>>>,
    pub(crate) cooled: AtomicU64,
    pub(crate) cold_bytes: AtomicU64,
    pub(crate) flush_times: FlushTimes,
}

/// Counts one up by `more`.
pub(crate) fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

impl Shared {
    pub(crate) fn stats(&self) -> Stats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (gathered_bytes, full) = {
            let gather = hold(&self.gather);
            (if gather.is_empty() { 0 } else { gather.bytes() }, !gather.has_space())
        };
        let book = hold(&self.book);
        let counters = &self.counters;
        let cold = || book.segments.iter().filter(|segment| segment.lease.head.cold);
        Stats {
            durable: book.durable,
            epoch: book.epoch,
            commits: load(&counters.commits),
            events: load(&counters.events),
            event_bytes: load(&counters.event_bytes),
            bytes_written: load(&counters.bytes_written),
            flushes: load(&counters.flushes),
            flush_p50: counters.flush_times.percentile(50),
            flush_p99: counters.flush_times.percentile(99),
            segments_used: book.segments.len(),
            segments_free: book.free.len(),
            disk_bytes: book.bytes(self.options.segment_bytes),
            quota_bytes: self.options.quota_bytes,
            gathered_bytes,
            full,
            refused_full: load(&counters.refused_full),
            values_refused: self.values_refused.load(Ordering::Relaxed),
            gaps: book.gaps.values().map(Vec::len).sum(),
            set_aside: book.aside.len(),
            checkpoints: load(&counters.checkpoints),
            checkpoint_bytes_written: load(&counters.checkpoint_bytes),
            recycled: load(&counters.recycled),
            cooled: load(&counters.cooled),
            cold_bytes_written: load(&counters.cold_bytes),
            segments_cold: cold().count(),
            cold_bytes: cold().map(|segment| segment.lease.head.bytes).sum(),
            given_up: hold(&counters.given_up).clone(),
            let_go: hold(&counters.let_go).clone(),
            unreadable: load(&counters.unreadable),
            marks_crowded_out: load(&counters.marks_crowded_out),
        }
    }
}

const BUCKETS: usize = 128;

/// Times in microseconds, four buckets to each power of two (so within 25 %).
pub(crate) struct FlushTimes([AtomicU64; BUCKETS]);

impl Default for FlushTimes {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; BUCKETS])
    }
}

fn bucket(us: u64) -> usize {
    if us < 4 {
        return us as usize;
    }
    let power = us.ilog2();
    (4 * (power as usize - 1) + ((us >> (power - 2)) & 3) as usize).min(BUCKETS - 1)
}

/// The greatest time that falls into a bucket.
fn upper_us(bucket: usize) -> u64 {
    if bucket < 4 {
        return bucket as u64;
    }
    let power = bucket / 4 + 1;
    ((5 + (bucket % 4) as u64) << (power - 2)) - 1
}

impl FlushTimes {
    pub(crate) fn add(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if let Some(counter) = self.0.get(bucket(us)) {
            count(counter, 1);
        }
    }

    pub(crate) fn percentile(&self, percent: u64) -> Duration {
        let counts: Vec<u64> = self.0.iter().map(|counter| counter.load(Ordering::Relaxed)).collect();
        let rank = (counts.iter().sum::<u64>() * percent).div_ceil(100);
        let mut seen = 0;
        for (index, count) in counts.iter().enumerate() {
            seen += count;
            if seen >= rank.max(1) {
                return Duration::from_micros(upper_us(index));
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_lies_within_a_quarter_below_its_buckets_upper_bound() {
        for us in (0..100_000_u64).chain([1 << 30, 1 << 31]) {
            let upper = upper_us(bucket(us));
            assert!(us <= upper && upper <= us + us / 4, "{us} in a bucket up to {upper}");
        }
    }

    #[test]
    fn percentiles_come_from_what_was_added() {
        let times = FlushTimes::default();
        assert_eq!(times.percentile(50), Duration::ZERO);
        for _ in 0..99 {
            times.add(Duration::from_micros(100));
        }
        times.add(Duration::from_millis(50));
        assert!(times.percentile(50) < Duration::from_micros(126));
        assert!(times.percentile(100) >= Duration::from_millis(50));
    }
}
