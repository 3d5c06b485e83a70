"""The judge for millions has to notice what the other judge notices."""

import json

import pytest

from rig.judge import Record
from rig.murmur2 import partition_of
from rig.tally import Tally

TOPIC = "air"
PLACE = partition_of(b"dev", 4)


def record(number: int, offset: int, **other: object) -> Record:
    fields = {"topic": TOPIC, "partition": PLACE, "offset": offset, "key": b"dev", "value": json.dumps({"id": f"dev-{number}"}).encode()}
    fields |= other
    headers = {"ce_id": f"post/e/{TOPIC}/{fields['partition']}/{offset}", "ce_time": f"2026-03-02T06:00:{number:02}Z"}
    return Record(**fields, headers=headers)


def ledger(folder, *numbers: int):
    path = folder / "ledger"
    path.write_text("".join(json.dumps({"topic": TOPIC, "key": "dev", "id": f"dev-{number}"}) + "\n" for number in numbers))
    return [path]


def judged(*records: Record) -> Tally:
    tally = Tally({TOPIC: 4})
    tally.take(records)
    return tally


def test_what_is_there_once_and_in_order_is_good(tmp_path):
    tally = judged(record(1, 0), record(2, 1), record(5, 2))
    of = tally.compare(ledger(tmp_path, 1, 2, 5))[TOPIC]
    assert not tally.wrong and (of.acknowledged, of.delivered, of.missing) == (3, 3, 0)
    assert tally.span_s() == 4


def test_what_is_missing_is_counted_and_named(tmp_path):
    tally = judged(record(1, 0), record(4, 1))
    of = tally.compare(ledger(tmp_path, 1, 2, 3, 4))[TOPIC]
    assert (of.missing, list(of.missing_numbers)) == (2, [2, 3])


def test_a_second_delivery_is_counted_and_does_not_disturb_the_order():
    tally = judged(record(1, 0), record(2, 1), record(1, 0))
    assert tally.delivered_twice == 1 and not tally.wrong


@pytest.mark.parametrize(
    "what, wrong",
    [
        ("out of order", record(1, 2)),
        ("another partition than the key's", record(3, 2, partition=(PLACE + 1) % 4)),
        ("an id that is not the key's", record(3, 2, value=b'{"id":"other-3"}')),
        ("a ce_id of another place", Record(TOPIC, PLACE, 2, b"dev", b"{}", {})),
    ],
)
def test_each_fault_is_named(what, wrong):
    assert dict(judged(record(2, 0), wrong).wrong) == {what: 1}


def test_a_ledger_out_of_order_is_an_error_of_the_rig(tmp_path):
    with pytest.raises(ValueError, match="stands after"):
        judged().compare(ledger(tmp_path, 2, 1))
