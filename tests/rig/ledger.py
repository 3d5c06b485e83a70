"""What a sender knows to have been acknowledged: append-only JSON lines, one for each acknowledged publish, in the order
of the acknowledgements; written and fsynced by the sender's own process, so that nothing that happens to the gateway or
the rig can touch it.

    {"topic":"air-quality","key":"dev-3","id":"dev-3-17"}

`topic` and `key` are Kafka's, as the sender expects them; `id` is the sender's own, unique in the city.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable


@dataclass(frozen=True)
class Entry:
    topic: str
    key: str
    id: str


class Ledger:
    """The writing end. `flush` makes all lines so far durable."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._dirty = False

    def acknowledged(self, entry: Entry) -> None:
        line = json.dumps({"topic": entry.topic, "key": entry.key, "id": entry.id}, separators=(",", ":"))
        self._file.write(line + "\n")
        self._dirty = True

    def flush(self) -> None:
        if self._dirty:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._dirty = False


def read(paths: Iterable[Path]) -> list[Entry]:
    """All entries of some ledgers. The order within each is kept."""
    entries = []
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                fields = json.loads(line)
                entries.append(Entry(fields["topic"], fields["key"], fields["id"]))
            except (ValueError, KeyError) as error:
                raise ValueError(f"{path}:{number} is not a ledger's line: {error}") from error
    return entries
