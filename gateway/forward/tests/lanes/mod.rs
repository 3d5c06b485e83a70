//! A backlog and what comes in beside it, and what the cluster made of both: what the tests of live first share.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU64;
use std::time::Duration;

use lamppost_event::{BootId, Clock as _, ClockQuality, EventTime, Interest, WallTime};
use lamppost_forward::{ForwardConfig, LiveFirst};

use crate::journal::{Journal, Seen, Still, read_topic};
use crate::running::{Cluster, config};

/// Hardly to be compressed: the ceiling is in bytes.
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn payload(&mut self) -> Vec<u8> {
        (0..25).flat_map(|_| self.next().to_le_bytes()).collect()
    }
}

/// Events that were received an hour ago.
pub fn backlog(journal: &Journal, topic: &str, events: u64, noise: &mut Noise) {
    let now = Still.now();
    let hour_ago = WallTime(now.wall.0 - 3_600_000);
    for n in 0..events {
        let received = EventTime::received(now, None);
        let time = EventTime { quality: ClockQuality::Synced, boot: BootId(6), wall: hour_ago, ..received };
        journal.append_with(topic, &format!("dev-{}", n % 20), &noise.payload(), time);
    }
}

pub fn live(journal: &Journal, topic: &str, events: u64, noise: &mut Noise) {
    for n in 0..events {
        journal.append(topic, &format!("dev-{}", n % 20), &noise.payload());
    }
}

pub fn live_first(cluster: &Cluster) -> ForwardConfig {
    let mut config = config(cluster);
    config.live_first = Some(LiveFirst { topics: Interest::new(["air"]).unwrap(), after: Duration::from_secs(60) });
    config.in_flight_bytes_max = 64 << 10;
    config.bandwidth_max = NonZeroU64::new(40_000);
    config
}

pub fn is_backfill(record: &Seen) -> bool {
    record.headers.get("ce_lane").is_some_and(|lane| lane == "backfill")
}

/// First occurrences, by partition: of the live lane and of the backfill, each in the cluster's order.
pub fn by_lane(seen: &[Seen]) -> [BTreeMap<u16, Vec<u64>>; 2] {
    let (mut lanes, mut known) = ([BTreeMap::new(), BTreeMap::new()], HashSet::new());
    for record in seen {
        let (partition, offset) = record.place();
        if known.insert((partition, offset)) {
            let lane: &mut BTreeMap<u16, Vec<u64>> = &mut lanes[usize::from(is_backfill(record))];
            lane.entry(partition).or_default().push(offset);
        }
    }
    lanes
}

/// Nothing is lost, each lane is in order; gives how many records there are.
pub fn assert_whole_and_in_order_by_lane(cluster: &Cluster, journal: &Journal, topic: &str) -> usize {
    let seen = read_topic(&cluster.bootstrap_servers(), topic);
    let lanes = by_lane(&seen);
    for lane in lanes.iter().flat_map(BTreeMap::values) {
        assert!(lane.is_sorted(), "within its lane: {lane:?}");
    }
    for (partition, expected) in journal.expected(topic) {
        let mut all: Vec<u64> = lanes.iter().filter_map(|lane| lane.get(&partition)).flatten().copied().collect();
        all.sort_unstable();
        assert_eq!(all, expected, "partition {partition}");
    }
    seen.len()
}
