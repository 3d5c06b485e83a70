"""Whether memory grows with time. A board that has lived through more has no need of more memory: states that are equal, at different times, are
compared, the earlier with the later one.

What is in flight has a bound, so that catching up takes more than living on does, and is no leak. What may differ all the same:

- `GROWN_ONCE_MIB`: the first outage makes things grow that stay. glibc keeps a freed block that lies below one in use (two heaps,
  MALLOC_ARENA_MAX=2), tables and buffers keep their capacity, and librdkafka its pools. Measured in weeks of 14 hours: 7.3 and 7.6 MiB, about the 8
  that are in flight at most. The second time without the cluster has them, the first has not.
- `FLAT_MIB`: after that nothing is left that grows once. The medians of some hundred samples at the same hour of the day differ by what the
  allocator's fragmentation does: less than this.
- `PEAK_MIB`: the highest of samples, five a second, of something that swings by what is in flight. Two such maxima of the same thing differ by less
  than half a window where a backlog goes out, which fills it.
- `SWING_MIB`: how many pictures are in flight at once depends on who is faster, cameras or cluster, from one second to the next: a whole window. Three
  pairs of maxima: 45.9 and 44.8, 36.1 and 40.7, 42.7 and 44.9.
- `LEFT_MIB`: when they are over nothing of that is left; measured: medians of 16.3 before and after. Freed blocks of such a size go back to the
  system, but not each of them at once.

What that catches in a week of 168 hours, in which five events and a tenth of a commit come each second:

| between | events | commits | seen is a leak of more than |
|---|---|---|---|
| live before and between, 96 h | 1.72 million | 35,000 | 6.1 bytes an event, 300 a commit |
| live between and after, 48 h with an outage | 0.86 million | 17,000 | 0.9 bytes an event, 45 a commit; 0.75 MiB an outage |
| catching up and again, 48 h | 0.86 million | 17,000 | 4 MiB an outage; a backlog that is kept in memory, of 28 MB of payloads |
| live after and when all is over | 36,000 pictures of 24 kB | | 58 bytes a picture: one kept of each four hundred |

Less than that a week can't tell from an allocator's noise: 16 bytes a commit are 0.26 MiB. A week of seven hours sees a leak of an event or a commit
only if it is 24 times as large."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rig.memory import SAMPLES_MIN

GROWN_ONCE_MIB = 10
FLAT_MIB = 0.75
PEAK_MIB = 4
SWING_MIB = 8
LEFT_MIB = 2

LIVE = ("live before", "live between", "live after")
AWAY = ("away", "away again")
CATCHING_UP = ("catching up", "catching up again")
PICTURES = ("pictures", "pictures again")
OVER = "after"


@dataclass(frozen=True)
class Rule:
    """`later` takes no more than `earlier` did and `more_mib`."""

    earlier: str
    later: str
    measure: Callable[[Sequence[float]], float]
    more_mib: float

    def broken_by(self, states: Mapping[str, Sequence[float]]) -> str | None:
        """How, if it is. Raises ValueError where the samples are too few to say anything."""
        for state in (self.earlier, self.later):
            if len(states.get(state, ())) < SAMPLES_MIN:
                raise ValueError(f'{len(states.get(state, ()))} samples of "{state}" are too few; {SAMPLES_MIN} are needed')
        was, became = self.measure(states[self.earlier]), self.measure(states[self.later])
        if became <= was + self.more_mib:
            return None
        return f'"{self.later}" took {became:.1f} MiB, "{self.earlier}" {was:.1f} MiB; {self.more_mib} MiB more are allowed'


RULES = (
    Rule(LIVE[0], LIVE[1], statistics.median, GROWN_ONCE_MIB),
    Rule(LIVE[1], LIVE[2], statistics.median, FLAT_MIB),
    Rule(*AWAY, max, GROWN_ONCE_MIB),
    Rule(*CATCHING_UP, max, PEAK_MIB),
    Rule(*PICTURES, max, SWING_MIB),
    Rule(LIVE[2], OVER, statistics.median, LEFT_MIB),
)


def growth(states: Mapping[str, Sequence[float]]) -> list[str]:
    """Which rules the samples break, in MiB by state; none if memory doesn't grow with time."""
    return [broken for rule in RULES if (broken := rule.broken_by(states))]
