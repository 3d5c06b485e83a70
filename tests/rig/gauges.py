"""How far a sender is, in a file that both sides map: eight bytes a gauge, written by the sender's process alone, read at
any moment by a story without asking the sender."""

import mmap
import struct
from pathlib import Path

_NAMES = ("sent", "acknowledged", "unacknowledged", "cuts_in_flight", "cut_publishes", "connected", "finished")
_SIZE = 8 * len(_NAMES)


class Gauges:
    """
    | gauge | means |
    |---|---|
    | sent | publishes handed to a connection, resends included |
    | acknowledged | publishes acknowledged (in the ledger once it is flushed) |
    | unacknowledged | publishes in flight now |
    | cuts_in_flight | connections that were lost with publishes in flight (after reading all that had arrived) |
    | cut_publishes | publishes that were in flight on those |
    | connected | connections open now |
    | finished | 1 when all that was to be sent is acknowledged |
    """

    def __init__(self, path: Path, create: bool = False) -> None:
        if create:
            path.write_bytes(bytes(_SIZE))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _SIZE)

    def __getitem__(self, name: str) -> int:
        (value,) = struct.unpack_from("<q", self._map, 8 * _NAMES.index(name))
        return value

    def __setitem__(self, name: str, value: int) -> None:
        struct.pack_into("<q", self._map, 8 * _NAMES.index(name), value)

    def add(self, name: str, amount: int = 1) -> None:
        self[name] += amount

    def all(self) -> dict[str, int]:
        return {name: self[name] for name in _NAMES}
