//! Where to begin to read a journal that is looked at, for who does not want all of it.

use lamppost_event::{Offset, Position, TopicPartition, WallTime};

use crate::inspect::Inspect;
use crate::recover::Surveyed;
use crate::times::{JUMP_MS, Times};
use crate::waiting::hold;

impl Inspect {
    /// Before this place there is no event of the partition from `offset` on, and no gap of it that reaches beyond `offset`.
    #[must_use]
    pub fn begin_at_offset(&self, at: &TopicPartition, offset: Offset) -> Position {
        let holds = |segment: &&Surveyed| segment.survey.ranges.get(at).is_some_and(|(_, next)| *next > offset);
        let segment = self.surveyed().iter().find(holds).map(|segment| segment.head.base);
        let known = hold(&self.known);
        let gaps = known.gaps.iter().filter(|(_, gaps)| gaps.iter().any(|gap| gap.at == *at && gap.to > offset));
        let gap = gaps.map(|(position, _)| *position).next();
        segment.into_iter().chain(gap).min().unwrap_or_else(|| self.behind())
    }

    /// Before this place no event was received at `from` or later, by `times`, or may have been where its clock was never set.
    #[must_use]
    pub fn begin_at_time(&self, times: &Times, from: WallTime) -> Position {
        let may_hold = |segment: &&Surveyed| {
            // One boot's frames rise in time, and an event is older than its frame; of several, one may have had a clock that went wrong.
            let end = segment.survey.span.filter(|(first, last)| first.boot == last.boot).map(|(_, last)| last);
            end.is_none_or(|last| times.between(&last).1.0.saturating_add(JUMP_MS) >= from.0)
        };
        self.surveyed().iter().find(may_hold).map_or_else(|| self.behind(), |segment| segment.head.base)
    }
}
