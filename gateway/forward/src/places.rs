//! The places of topics apart. What a topic apart holds, a chunk and at least once a producer, it holds in one of them; the others wait their turn.
//!
//! Invariants:
//! - There are never more chunks and producers of topics apart than places, those that are being closed among them, however many topics are apart.
//! - No topic waits for ever: who has no use of its place now gives it up to who could go, and who goes is done with it in the end.

use lamppost_event::Topic;

use crate::engine::{Done, Engine};

/// How many there are.
const PLACES: usize = 4;

impl Engine {
    /// Whether a topic apart has a place, or one is free. Otherwise one is made free, if somebody can't use it now.
    pub(crate) fn has_place(&mut self, topic: &Topic) -> bool {
        let placed = self.lanes.values().filter(|lane| lane.placed).count();
        if self.lanes.get(topic).is_some_and(|lane| lane.placed) || placed + self.closing < PLACES {
            return true;
        }
        // One that is being closed is free soon.
        self.closing == 0 && self.free_place()
    }

    /// Takes its place from a topic that takes no step: it waits for its next try, or to be buried or told. True if it is free already. Whoever can
    /// use its place has begun its step when others are looked at.
    fn free_place(&mut self) -> bool {
        let idle = self.lanes.values_mut().filter(|lane| lane.placed && lane.alone.is_some());
        let Some(lane) = idle.max_by_key(|lane| (lane.busy, lane.retry_at)) else { return false };
        lane.placed = false;
        let Some(kafka) = lane.alone.as_mut().and_then(|alone| alone.leave()) else { return true };
        self.closing += 1;
        self.work.spawn(async move {
            drop(kafka.close().await);
            Done::Closed
        });
        false
    }
}
