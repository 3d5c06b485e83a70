//! A topic that is paused, or whose events are looked at one by one. Pure, but for what it carries.

use std::collections::BTreeMap;

use lamppost_event::{Offset, Partition, Position};
use tokio::time::Instant;

use crate::alone::Alone;
use crate::backoff::Backoff;

/// Why a topic is not sent with the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It can't be written to: not there, no rights.
    Refused(String),
    /// Its next event can never be accepted, and there is nowhere to bury it.
    Poison(String),
    /// A batch was refused: its events go one by one, up to these offsets.
    Suspects(BTreeMap<Partition, Offset>),
}

impl Cause {
    /// The words for a human; `None`: it is not paused, only slow.
    pub(crate) fn paused(&self) -> Option<&str> {
        match self {
            Self::Refused(why) | Self::Poison(why) => Some(why),
            Self::Suspects(_) => None,
        }
    }

    /// An event is done. True if the topic may go with the others again.
    pub(crate) fn clear(&mut self, partition: Partition, offset: Offset) -> bool {
        if let Self::Suspects(suspects) = self {
            if suspects.get(&partition).is_some_and(|last| offset >= *last) {
                suspects.remove(&partition);
            }
            return suspects.is_empty();
        }
        true
    }
}

/// One topic apart.
pub(crate) struct Lane {
    /// Where its first undone event is, or earlier.
    pub(crate) at: Position,
    pub(crate) cause: Cause,
    pub(crate) retry_at: Instant,
    pub(crate) backoff: Backoff,
    pub(crate) busy: bool,
    /// Whether it has one of the places ([`crate::places`]).
    pub(crate) placed: bool,
    /// `None` before the first step, and while one is taken.
    pub(crate) alone: Option<Box<Alone>>,
}

impl Lane {
    pub(crate) fn new(at: Position, cause: Cause, mut backoff: Backoff) -> Self {
        let now = Instant::now();
        let retry_at = if cause.paused().is_some() { now + backoff.next() } else { now };
        Self { at, cause, retry_at, backoff, busy: false, placed: false, alone: None }
    }

    /// It failed again.
    pub(crate) fn postpone(&mut self) {
        self.retry_at = Instant::now() + self.backoff.next();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suspects_are_cleared_partition_by_partition() {
        let suspects = BTreeMap::from([(Partition(0), Offset(5)), (Partition(1), Offset(9))]);
        let mut cause = Cause::Suspects(suspects);
        assert!(!cause.clear(Partition(0), Offset(4)));
        assert!(!cause.clear(Partition(0), Offset(5)));
        assert!(!cause.clear(Partition(2), Offset(50)));
        assert!(cause.clear(Partition(1), Offset(9)));
        assert_eq!(cause.paused(), None);
    }

    #[test]
    fn one_accepted_event_ends_a_pause() {
        let mut cause = Cause::Refused("no rights".into());
        assert_eq!(cause.paused(), Some("no rights"));
        assert!(cause.clear(Partition(0), Offset(0)));
    }
}
