"""A sender's plan (see the package's head), and what is published by it."""

import json
import random
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Optional

from rig.course import Course
from rig.gauges import Gauges
from rig.ledger import Entry, Ledger


@dataclass
class Connection:
    client: str
    address: str
    topic: str
    key: str
    events: int

    def id(self, number: int) -> str:
        """The sender's own id of its `number`th event, from 1."""
        return f"{self.client}-{number}"

    def entry(self, number: int) -> Entry:
        return Entry(self.topic, self.key, self.id(number))

    def payload(self, number: int, bytes_min: int = 0) -> str:
        """JSON with the id in it; filled up to `bytes_min`."""
        text = json.dumps({"id": self.id(number), "n": number, "value": number % 997 / 10}, separators=(",", ":"))
        missing = bytes_min - len(text) - len(',"fill":""')
        return f'{text[:-1]},"fill":"{_filling(number, missing)}"}}' if missing > 0 else text


def _filling(number: int, length: int) -> str:
    """Hexadecimal digits that hardly compress, the same for the same number."""
    return random.Random(number).randbytes(length // 2 + 1).hex()[:length]


@dataclass
class Plan:
    host: str
    port: int
    ledger: str
    gauges: str
    connections: list[Connection]
    protocol: int = 5
    window: int = 16
    rate: float = 0
    payload_bytes: int = 0
    keepalive_s: int = 30
    flush_s: float = 0
    """So long may an acknowledgement wait for the ledger's fsync."""
    course: Optional[Course] = None
    """In place of the even rate: its rate is meant in simulated seconds, on the mean of a day."""

    def write(self, path: Path) -> Path:
        path.write_text(json.dumps(asdict(self)))
        return path

    @staticmethod
    def read(path: str) -> "Plan":
        fields = json.loads(Path(path).read_text())
        fields["connections"] = [Connection(**connection) for connection in fields["connections"]]
        fields["course"] = Course(**fields["course"]) if fields["course"] else None
        return Plan(**fields)

    def due(self, started: float, now: float) -> float:
        """How many events each connection should have made by now."""
        if self.course:
            return self.rate * self.course.mean_seconds(now)
        return (now - started) * self.rate if self.rate else float("inf")

    def payload(self, connection: Connection, number: int, now: float) -> str:
        if self.course:
            return self.course.report(connection.id(number), number, now)
        return connection.payload(number, self.payload_bytes)

    def open(self) -> tuple[Ledger, Gauges]:
        return Ledger(Path(self.ledger)), Gauges(Path(self.gauges))


class Ending:
    """Whether SIGTERM has asked for the end."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, _number: int, _frame: object) -> None:
        self.asked = True
