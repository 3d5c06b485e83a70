//! Where reading stopped: in cold segments, whose places and positions differ, and in a partition, whose offsets name no position. Who
//! goes on there need not look for the place again from the segment's beginning.
//!
//! **Invariant:** a stop only says where to begin to look. What stands there proves its own place, as everywhere.

use std::collections::VecDeque;

use lamppost_event::{Offset, Position, TopicPartition};

use crate::format::segment::SegmentHead;
use crate::sync::Mutex;
use crate::waiting::hold;

/// So many are remembered, the latest: some for each of several readers.
const STOPS_MAX: usize = 64;

/// The byte behind the frame that reading ended with, where it goes on at `position`.
struct Stop {
    /// The segment's, drawn anew whenever one is written.
    salt: u64,
    position: Position,
    at: u64,
}

/// Reading a partition ended before the offset `next`; no frame with later ones lies before `position`.
struct PartitionStop {
    at: TopicPartition,
    next: Offset,
    position: Position,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Stops {
    cold: Mutex<VecDeque<Stop>>,
    partitions: Mutex<VecDeque<PartitionStop>>,
}

impl Stops {
    /// Reading will go on at `position`, which is the byte `at`.
    pub(crate) fn note(&self, head: &SegmentHead, position: Position, at: u64) {
        if !head.cold {
            return;
        }
        let mut stops = hold(&self.cold);
        stops.retain(|stop| stop.salt != head.salt || stop.position != position);
        if stops.len() >= STOPS_MAX {
            stops.pop_front();
        }
        stops.push_back(Stop { salt: head.salt, position, at });
    }

    /// The byte that `position` was known to be.
    pub(crate) fn find(&self, head: &SegmentHead, position: Position) -> Option<u64> {
        let stops = hold(&self.cold);
        let of = |stop: &&Stop| head.cold && stop.salt == head.salt && stop.position == position;
        stops.iter().rev().find(of).map(|stop| stop.at)
    }

    /// Reading this partition will go on with the offset `next`, not before `position`.
    pub(crate) fn note_partition(&self, at: &TopicPartition, next: Offset, position: Position) {
        let mut stops = hold(&self.partitions);
        stops.retain(|stop| stop.at != *at || stop.next != next);
        if stops.len() >= STOPS_MAX {
            stops.pop_front();
        }
        stops.push_back(PartitionStop { at: at.clone(), next, position });
    }

    /// Where that offset of the partition, and all behind it, were known to come.
    pub(crate) fn find_partition(&self, at: &TopicPartition, next: Offset) -> Option<Position> {
        let stops = hold(&self.partitions);
        stops.iter().rev().find(|stop| stop.at == *at && stop.next == next).map(|stop| stop.position)
    }
}
