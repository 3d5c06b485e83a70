"""The judge for millions: judges as records come, keeps bits instead of records. It asks the same questions as judge.py of senders whose
events are numbered `CLIENT-1`, `CLIENT-2`, ... in the order in which they were made."""

import json
from array import array
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Iterable, Mapping

from rig.judge import Record
from rig.murmur2 import partition_of


class Numbers:
    """A set of small numbers, one bit each."""

    def __init__(self) -> None:
        self._bits = bytearray()
        self.count = 0

    def add(self, number: int) -> bool:
        """Whether it is new."""
        at, bit = number >> 3, 1 << (number & 7)
        if at >= len(self._bits):
            self._bits.extend(bytes(max(4096, at + 1 - len(self._bits))))
        if self._bits[at] & bit:
            return False
        self._bits[at] |= bit
        self.count += 1
        return True

    def __contains__(self, number: int) -> bool:
        at = number >> 3
        return at < len(self._bits) and bool(self._bits[at] & 1 << (number & 7))


@dataclass
class Of:
    """What there is of one topic."""

    acknowledged: int = 0
    delivered: int = 0
    missing: int = 0
    """Acknowledged, and not in the cluster."""
    missing_numbers: array = field(default_factory=lambda: array("L"))
    """Those events' numbers, of whichever client."""


class Tally:
    """`wrong` has to stay empty."""

    def __init__(self, partitions: Mapping[str, int]) -> None:
        self.wrong: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.records = self.delivered_twice = 0
        self.first_time = self.last_time = ""
        self._partitions = partitions
        self._places: dict[tuple[str, bytes], int] = {}
        self._offsets: dict[tuple[str, int, str], Numbers] = {}
        self._numbers: dict[tuple[str, str], Numbers] = {}
        self._latest: dict[tuple[str, str], int] = {}

    def _blame(self, what: str, record: Record) -> None:
        self.wrong[what] += 1
        self.examples.setdefault(what, f"{record.topic}/{record.partition}/{record.offset}, {record.event_id}")

    def take(self, records: Iterable[Record]) -> None:
        """Each partition's records in the order of their offsets."""
        for record in records:
            self.records += 1
            self._take(record)

    def _take(self, record: Record) -> None:
        parts = (record.event_id or "").split("/")
        if len(parts) != 5 or parts[2] != record.topic or int(parts[3]) != record.partition:
            return self._blame("a ce_id of another place", record)
        if not self._offsets.setdefault((record.topic, record.partition, parts[1]), Numbers()).add(int(parts[4])):
            self.delivered_twice += 1
            return None
        place = record.topic, record.key
        if place not in self._places:
            self._places[place] = partition_of(record.key, self._partitions[record.topic])
        if self._places[place] != record.partition:
            self._blame("another partition than the key's", record)
        client, _, number_text = (record.sender_id or "").rpartition("-")
        if client != record.key.decode() or not number_text.isdigit():
            return self._blame("an id that is not the key's", record)
        stream, number = (record.topic, client), int(number_text)
        if self._numbers.setdefault(stream, Numbers()).add(number):
            if number < self._latest.get(stream, 0):
                self._blame("out of order", record)
            self._latest[stream] = max(number, self._latest.get(stream, 0))
        told = record.headers.get("ce_time", "")
        self.first_time = min(self.first_time or told, told)
        self.last_time = max(self.last_time, told)
        return None

    def span_s(self) -> float:
        """Between the first and the last event, by the gateway's clock."""
        first, last = (datetime.fromisoformat(told[:19]) for told in (self.first_time, self.last_time))
        return (last - first).total_seconds()

    def compare(self, ledgers: Iterable[Path]) -> dict[str, Of]:
        """By topic. A line that stands twice in a ledger, or out of its order, is an error of the rig."""
        found: dict[str, Of] = {}
        last: dict[tuple[str, str], int] = {}
        for path in ledgers:
            with path.open(encoding="utf-8") as lines:
                for line in lines:
                    entry = json.loads(line)
                    client, _, number_text = entry["id"].rpartition("-")
                    stream, number = (entry["topic"], client), int(number_text)
                    if number <= last.get(stream, 0):
                        raise ValueError(f"{path}: {entry['id']} stands after {last[stream]}")
                    last[stream] = number
                    of = found.setdefault(entry["topic"], Of())
                    of.acknowledged += 1
                    if stream not in self._numbers or number not in self._numbers[stream]:
                        of.missing += 1
                        of.missing_numbers.append(number)
        for (topic, _), numbers in self._numbers.items():
            found.setdefault(topic, Of()).delivered += numbers.count
        return found
