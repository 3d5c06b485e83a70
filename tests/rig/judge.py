"""Judges what is in the cluster against the senders' own ledgers. It shares nothing with the gateway: it consumes with
confluent-kafka, has its own murmur2, and knows the gateway only by the headers of a delivered record.

Order is judged on first occurrences: a resend after a lost acknowledgement may stand again later, and must not count.
What was *delivered* twice has the same `ce_id` again; what was *sent* twice has the sender's id under another `ce_id`.
"""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field, fields
from typing import Iterable, Mapping, Optional

from rig.ledger import Entry
from rig.murmur2 import partition_of

_EXAMPLES = 5


@dataclass(frozen=True)
class Record:
    """A record of the cluster."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: Mapping[str, str]
    time_ms: int = 0
    """The record's timestamp, ms since 1970."""

    @property
    def event_id(self) -> Optional[str]:
        """The event's identity, the same on every retry of the delivery."""
        return self.headers.get("ce_id")

    @property
    def sender_id(self) -> Optional[str]:
        """The sender's own id: from the header; of a link's node its name, boot and sequence; of an MQTT 3.1.1 client,
        which has no headers to give, from the payload."""
        if "ce_senderid" in self.headers:
            return self.headers["ce_senderid"]
        if "ce_senderseq" in self.headers:
            return "/".join(self.headers.get(name, "?") for name in ("ce_device", "ce_senderboot", "ce_senderseq"))
        return _id_in(self.value)


def _id_in(payload: bytes) -> Optional[str]:
    try:
        found = json.loads(payload)["id"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


@dataclass
class Verdict:
    """Counts; the first group has to be zero always."""

    lost: int = 0
    """In a ledger, not in the cluster."""
    out_of_order: int = 0
    """First occurrence before that of an earlier one of the same key."""
    misplaced: int = 0
    """Under another topic, key or partition than it should be."""
    altered: int = 0
    """The payload's id is not the header's."""
    conflicting: int = 0
    """One `ce_id` naming two different events."""
    without_id: int = 0
    """A record without `ce_id`, or with a header that is not as CloudEvents has it."""

    acknowledged: int = 0
    """Entries in the ledgers."""
    records: int = 0
    """Records in the cluster."""
    delivered_twice: int = 0
    """Records whose `ce_id` was there already."""
    sent_twice: int = 0
    """Events whose sender's id was there already under another `ce_id`."""
    unacknowledged: int = 0
    """Sender's ids in the cluster that are in no ledger: sent, and not acknowledged before the end."""

    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def blame(self, what: str, example: object) -> None:
        setattr(self, what, getattr(self, what) + 1)
        if len(self.examples[what]) < _EXAMPLES:
            self.examples[what].append(str(example))

    @property
    def good(self) -> bool:
        return not (
            self.lost or self.out_of_order or self.misplaced or self.altered or self.conflicting or self.without_id
        )

    def __str__(self) -> str:
        counts = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "examples"}
        lines = [json.dumps(counts)]
        lines += [f"  {what}: {', '.join(examples)}" for what, examples in self.examples.items()]
        return "\n".join(lines)


def judge(
    ledgers: Iterable[Entry], records: Iterable[Record], partitions: Mapping[str, int], *, lanes: bool = False
) -> Verdict:
    """`ledgers`: what was acknowledged, each key's entries in the order of acknowledgement. `records`: all of the
    cluster, each partition in the order of its offsets. `partitions`: how many a topic has. `lanes`: the gateway was set
    up to send what is live first, and what it marks as backlog may stand behind what came later. Without, no mark excuses
    disorder."""
    verdict = Verdict()
    entries = list(ledgers)
    verdict.acknowledged = len(entries)
    if len({entry.id for entry in entries}) != len(entries):
        raise ValueError("a sender's id stands twice in the ledgers: the judge can't tell their events apart")
    first = _first_occurrences(records, {entry.id: entry for entry in entries}, partitions, verdict)
    _judge_order(entries, first, lanes, verdict)
    verdict.unacknowledged = len(first.keys() - {entry.id for entry in entries})
    return verdict


def _first_occurrences(records, expected, partitions, verdict) -> dict[str, Record]:
    first: dict[str, Record] = {}
    events: dict[str, tuple] = {}
    events_of_sender: Counter[str] = Counter()
    for record in records:
        verdict.records += 1
        _judge_alone(record, partitions, verdict)
        sender_id, event_id = record.sender_id, record.event_id
        content = (record.topic, record.partition, record.key, record.value, sender_id)
        if event_id is not None:
            if event_id in events:
                verdict.delivered_twice += 1
                if events[event_id] != content:
                    verdict.blame("conflicting", event_id)
                continue
            events[event_id] = content
        if sender_id is None:
            continue
        events_of_sender[sender_id] += 1
        if sender_id not in first:
            first[sender_id] = record
            entry = expected.get(sender_id)
            if entry and (record.topic, record.key) != (entry.topic, entry.key.encode()):
                verdict.blame("misplaced", f"{sender_id} is in {record.topic} under {record.key!r}, expected {entry}")
    verdict.sent_twice = sum(count - 1 for count in events_of_sender.values())
    return first


def _judge_alone(record: Record, partitions: Mapping[str, int], verdict: Verdict) -> None:
    where = f"{record.topic}/{record.partition}/{record.offset}"
    if record.partition != partition_of(record.key, partitions[record.topic]):
        verdict.blame("misplaced", f"{where} has key {record.key!r}")
    if record.event_id is None or record.headers.get("ce_specversion") != "1.0":
        verdict.blame("without_id", f"{where} has headers {dict(record.headers)}")
    elif len(record.event_id.split("/")) != 5 or record.event_id.split("/")[2] != record.topic:
        verdict.blame("without_id", f"{where} has ce_id {record.event_id}")
    in_header, in_payload = record.headers.get("ce_senderid"), _id_in(record.value)
    if in_header is not None and in_payload is not None and in_header != in_payload:
        verdict.blame("altered", f"{where} has id {in_header} with the payload of {in_payload}")


def _judge_order(entries: list[Entry], first: Mapping[str, Record], lanes: bool, verdict: Verdict) -> None:
    latest: dict[tuple[str, str, bool], int] = {}
    for entry in entries:
        record = first.get(entry.id)
        if record is None:
            verdict.blame("lost", entry.id)
            continue
        # What is live may stand before an older one of the backlog; nothing stands before an older one that is live.
        marked = lanes and record.headers.get("ce_lane") == "backfill"
        stream, live = (entry.topic, entry.key, marked), (entry.topic, entry.key, False)
        if record.offset < max(latest.get(stream, -1), latest.get(live, -1)):
            verdict.blame("out_of_order", f"{entry.id} at {record.topic}/{record.partition}/{record.offset}")
        latest[stream] = max(latest.get(stream, -1), record.offset)
