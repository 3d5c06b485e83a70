//! Gaps of the journal, on their way to the audit trail.
//!
//! Invariants:
//! - A cursor passes a gap only once the notice is durable, or was given up for want of room (counted, and said).
//! - Nothing here waits for room: what is behind the gap goes on meanwhile, but for its own partition's cursor.
//! - A gap is told once, however often it is met again before it is passed. What is kept is bounded by the window.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::Ordering::Relaxed;

use lamppost_event::{Gap, JournalStopped, Offset, TopicPartition};
use tokio::time::Instant;

use crate::burial::{Grave, Mourner};
use crate::doubt::Reader;
use crate::engine::{Done, Engine};
use crate::window::Admission;

/// What a gap that is being told counts in the window, bytes: a task, and its notice.
pub(crate) const TELLING_BYTES: usize = 1024;

/// A gap's partition, and its first offset and the one behind it.
pub(crate) type Hole = (TopicPartition, Offset, Offset);

/// The gaps that are being told, or were and are not passed by their cursor.
#[derive(Debug, Default)]
pub(crate) struct Tellings(HashMap<Hole, Grave>);

impl Tellings {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many of the window's flights by that producer they are.
    pub(crate) fn in_flight(&self, session: u64) -> usize {
        self.0.values().filter(|grave| grave.is_in_flight(session)).count()
    }
}

impl Engine {
    /// Passes a gap once it has been told. False if a lane waits for that.
    pub(crate) fn tell(&mut self, gap: Gap, reader: &Reader) -> bool {
        let track = self.window.track(&gap.at.topic, gap.at.partition);
        let Some(trail) = self.trail.clone() else {
            self.window.lose(track, gap.from, gap.to);
            return true;
        };
        let mourner = match reader {
            Reader::Common => Mourner::Flight {
                session: self.session,
                slot: self.window.telling(track, gap.from, gap.to, TELLING_BYTES),
            },
            Reader::Lane(_) => Mourner::Lane,
        };
        let hole = (gap.at.clone(), gap.from, gap.to);
        match self.tellings.0.entry(hole.clone()) {
            Entry::Occupied(mut grave) => {
                if let Grave::Closed = grave.insert(Grave::Open(mourner)) {
                    self.work.spawn(async move { Done::Told { hole, result: Ok(true) } });
                }
            }
            Entry::Vacant(vacant) => {
                vacant.insert(Grave::Open(mourner));
                self.work.spawn(async move { Done::Told { hole, result: trail.tell(gap).await } });
            }
        }
        matches!(reader, Reader::Common)
    }

    /// A gap was told: the cursor may pass it.
    pub(crate) fn told(&mut self, hole: Hole, result: Result<bool, JournalStopped>) -> Result<(), JournalStopped> {
        let (at, from, to) = &hole;
        if !result? {
            self.counters.untold_gaps.fetch_add(1, Relaxed);
            tracing::error!(%at, %from, %to, "no room to tell the audit of a gap: it is passed without, and will look like a loss");
        }
        match self.tellings.0.remove(&hole) {
            Some(Grave::Open(Mourner::Flight { session, slot })) if session == self.session => {
                self.window.done(slot);
                let track = self.window.track(&at.topic, at.partition);
                if !self.window.has_passed(track, *to) {
                    // Something before it is not done: after a failure it is met again.
                    self.tellings.0.insert(hole, Grave::Closed);
                }
            }
            Some(Grave::Open(Mourner::Lane)) => {
                let track = self.window.track(&at.topic, at.partition);
                if self.window.admit(track, *from) == Admission::Next {
                    self.window.lose(track, *from, *to);
                }
                if let Some(lane) = self.lanes.get_mut(&at.topic) {
                    (lane.busy, lane.retry_at) = (false, Instant::now());
                }
            }
            // The producer was rebuilt meanwhile.
            Some(_) => {
                self.tellings.0.insert(hole, Grave::Closed);
            }
            None => {}
        }
        Ok(())
    }

    /// Forgets the gaps that cursors have passed.
    pub(crate) fn forget_passed_tellings(&mut self) {
        let window = &mut self.window;
        self.tellings.0.retain(|(at, _, to), grave| {
            let track = window.track(&at.topic, at.partition);
            !matches!(grave, Grave::Closed) || !window.has_passed(track, *to)
        });
    }
}
