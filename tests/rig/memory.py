"""Whether a process's memory is flat while it works: the medians of the two halves of the work, compared."""

import statistics
from dataclasses import dataclass

WARM_UP = 0.1
"""The first part of the work, in which buffers and pools reach their sizes."""
SAMPLES_MIN = 5


@dataclass(frozen=True)
class Memory:
    """In MiB."""

    first_half: float
    second_half: float
    most: float

    @property
    def growth(self) -> float:
        return self.second_half - self.first_half

    def __str__(self) -> str:
        return (
            f"first half {self.first_half:.1f} MiB, second half {self.second_half:.1f} MiB (medians), "
            f"most {self.most:.1f} MiB"
        )


def compare(samples: list[tuple[float, float]]) -> Memory:
    """`samples`: how much of the work was done, from 0 to 1, and the memory in MiB at that moment. Raises ValueError where
    they are too few to say anything."""
    first = [mib for done, mib in samples if WARM_UP <= done < 0.5]
    second = [mib for done, mib in samples if done >= 0.5]
    if min(len(first), len(second)) < SAMPLES_MIN:
        raise ValueError(f"{len(first)} and {len(second)} samples are too few; {SAMPLES_MIN} in each half are needed")
    return Memory(statistics.median(first), statistics.median(second), max(first + second))
