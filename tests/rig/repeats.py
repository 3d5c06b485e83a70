"""How far back deliveries reach when they are repeated: told from the cluster's records alone.

After a failure a gateway begins again where it knows of no delivery. In a partition that is a step back: behind offset 120 of its journal
stands 97 again. What it repeats there was on its way, and how much can be on its way has a bound in bytes.
"""

from dataclasses import dataclass
from typing import Iterable

from rig.judge import Record

EVENT_BYTES_MIN = 800
"""So much is counted at least for an event on its way: gateway/forward/src/record.rs."""


@dataclass(frozen=True)
class Repeats:
    records: int = 0
    """Records whose event stood in their partition already."""
    steps: int = 0
    """How often a partition went back."""
    furthest: int = 0
    """Events between the newest that stood there and the one that it went back to, both counted."""


def repeats(records: Iterable[Record]) -> Repeats:
    """`records`: each partition's in the order of its offsets. Of one epoch of one gateway's journal, or of several: each counts by itself."""
    newest: dict[tuple, int] = {}
    latest: dict[tuple, int] = {}
    found = steps = furthest = 0
    for record in records:
        gateway, epoch, topic, partition, offset = record.event_id.split("/")
        stream, offset = (record.topic, record.partition, gateway, epoch, topic, partition), int(offset)
        if offset <= newest.get(stream, -1):
            found += 1
            furthest = max(furthest, newest[stream] - offset + 1)
            steps += offset <= latest[stream]
        newest[stream] = max(newest.get(stream, -1), offset)
        latest[stream] = offset
    return Repeats(found, steps, furthest)


def events_in(window_bytes: int) -> int:
    """The most events that such a window holds."""
    return window_bytes // EVENT_BYTES_MIN + 1
