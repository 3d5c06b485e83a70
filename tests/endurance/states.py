"""Whether memory grows with time. A board that has lived through more has no need of more memory: states that are equal, at different times, are
compared, the earlier with the later one.

What is in flight has a bound, so that catching up takes more than living on does, and is no leak. What may differ all the same:

- `GROWN_ONCE_MIB`: the first outage makes things grow that stay. glibc keeps a freed block that lies below one in use (two heaps,
  MALLOC_ARENA_MAX=2), tables and buffers keep their capacity, and librdkafka its pools. Measured in weeks of 14 hours: 7.3 and 7.6 MiB, about the 8
  that are in flight at most. The second time without the cluster has them, the first has not.
- `FLAT_MIB`: after that nothing is left that grows once. The medians of some hundred samples at the same hour of the day differ by what the
  allocator's fragmentation does: less than this.
- `PEAK_MIB`: the highest of samples, five a second, of something that swings by what is in flight. Two such maxima of the same thing differ by less
  than half a window.

What that catches in a week of 168 hours, in which five events and a tenth of a commit come each second:

| between | events | commits | seen is a leak of more than |
|---|---|---|---|
| live before and between, 96 h | 1.72 million | 35,000 | 6.1 bytes an event, 300 a commit |
| live between and after, 48 h with an outage | 0.86 million | 17,000 | 0.9 bytes an event, 45 a commit; 0.75 MiB an outage |
| catching up and again, 48 h | 0.86 million | 17,000 | 4 MiB an outage; a backlog that is kept in memory, of 28 MB of payloads |
| pictures and again | 18,000 pictures of 24 kB | | 233 bytes a picture: one kept of each hundred |

Less than that a week can't tell from an allocator's noise: 16 bytes a commit are 0.26 MiB. A week of seven hours sees a leak of an event or a commit
only if it is 24 times as large."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rig.memory import SAMPLES_MIN

GROWN_ONCE_MIB = 10
FLAT_MIB = 0.75
PEAK_MIB = 4

LIVE = ("live before", "live between", "live after")
AWAY = ("away", "away again")
CATCHING_UP = ("catching up", "catching up again")
PICTURES = ("pictures", "pictures again")


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
    *(Rule(*states, max, PEAK_MIB) for states in (CATCHING_UP, PICTURES)),
)


def growth(states: Mapping[str, Sequence[float]]) -> list[str]:
    """Which rules the samples break, in MiB by state; none if memory doesn't grow with time."""
    return [broken for rule in RULES if (broken := rule.broken_by(states))]
