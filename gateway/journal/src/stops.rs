//! Where reading stopped in cold segments, whose places and positions differ: who goes on there need not look for the place again from the
//! segment's beginning.
//!
//! **Invariant:** a stop only says where to begin to look. What stands there proves its own place, as everywhere.

use std::collections::VecDeque;

use lamppost_event::Position;

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

/// See the module.
#[derive(Default)]
pub(crate) struct Stops(Mutex<VecDeque<Stop>>);

impl Stops {
    /// Reading will go on at `position`, which is the byte `at`.
    pub(crate) fn note(&self, head: &SegmentHead, position: Position, at: u64) {
        if !head.cold {
            return;
        }
        let mut stops = hold(&self.0);
        stops.retain(|stop| stop.salt != head.salt || stop.position != position);
        if stops.len() >= STOPS_MAX {
            stops.pop_front();
        }
        stops.push_back(Stop { salt: head.salt, position, at });
    }

    /// The byte that `position` was known to be.
    pub(crate) fn find(&self, head: &SegmentHead, position: Position) -> Option<u64> {
        let stops = hold(&self.0);
        let of = |stop: &&Stop| head.cold && stop.salt == head.salt && stop.position == position;
        stops.iter().rev().find(of).map(|stop| stop.at)
    }
}
