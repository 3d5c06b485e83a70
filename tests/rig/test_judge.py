"""The judge must be able to condemn: each kind of wrong, alone, is found."""

from dataclasses import replace

import pytest

from rig.judge import Record, judge
from rig.ledger import Entry
from rig.murmur2 import murmur2, partition_of

PARTITIONS = {"air": 4, "traffic": 4}


def right(keys: int = 3, events: int = 5) -> tuple[list[Entry], list[Record]]:
    """A few devices' events, all acknowledged, all delivered once and in order."""
    entries, records, offsets = [], [], [0] * PARTITIONS["air"]
    for number in range(1, events + 1):
        for device in range(keys):
            key = f"dev-{device}"
            partition = partition_of(key.encode(), PARTITIONS["air"])
            offset = offsets[partition]
            offsets[partition] += 1
            entries.append(Entry("air", key, f"{key}-{number}"))
            headers = {
                "ce_specversion": "1.0",
                "ce_id": f"post-17/00c0ffee00000001/air/{partition}/{offset}",
                "ce_senderid": f"{key}-{number}",
            }
            value = b'{"id":"%s-%d"}' % (key.encode(), number)
            records.append(Record("air", partition, offset, key.encode(), value, headers))
    return entries, records


def with_headers(record: Record, **headers: str) -> Record:
    return replace(record, headers={**record.headers, **headers})


def test_what_is_right_is_found_right():
    verdict = judge(*right(), PARTITIONS)
    assert verdict.good, verdict
    assert (verdict.acknowledged, verdict.records) == (15, 15)
    assert (verdict.delivered_twice, verdict.sent_twice, verdict.unacknowledged) == (0, 0, 0)


@pytest.mark.parametrize("victim", [0, 7, 14])
def test_a_dropped_record_is_lost(victim):
    entries, records = right()
    del records[victim]
    verdict = judge(entries, records, PARTITIONS)
    assert not verdict.good
    assert verdict.lost == 1 and verdict.out_of_order == 0


def test_an_empty_cluster_has_lost_everything():
    entries, _ = right()
    assert judge(entries, [], PARTITIONS).lost == len(entries)


def live_first(marked: bool) -> tuple[list[Entry], list[Record]]:
    """Of one device's ten events the fourth to the seventh come last, marked or not."""
    entries, records = right(keys=1, events=10)
    placed = records[:3] + records[7:] + [with_headers(record, ce_lane="backfill") for record in records[3:7]]
    if not marked:
        placed = records[:3] + records[7:] + records[3:7]
    return entries, [replace(record, offset=offset) for offset, record in enumerate(placed)]


def test_a_marked_backlog_may_stand_behind_what_came_later_and_an_unmarked_one_may_not():
    assert judge(*live_first(marked=True), PARTITIONS, lanes=True).good
    assert judge(*live_first(marked=False), PARTITIONS, lanes=True).out_of_order == 3


def test_the_mark_is_no_excuse_for_a_gateway_in_strict_order():
    assert judge(*live_first(marked=True), PARTITIONS).out_of_order == 3


def test_a_marked_event_may_not_stand_before_an_older_live_one():
    entries, records = live_first(marked=True)
    # The first of the backlog, the fourth event, comes before the three that are older: each lane by itself is in order.
    placed = records[6:7] + records[:6] + records[7:]
    placed = [replace(record, offset=offset) for offset, record in enumerate(placed)]
    assert judge(entries, placed, PARTITIONS, lanes=True).out_of_order == 1


@pytest.mark.parametrize("at", [0, 4, 7])
def test_each_lane_is_in_order_by_itself(at):
    entries, records = live_first(marked=True)
    records[at], records[at + 1] = (
        replace(records[at + 1], offset=records[at].offset),
        replace(records[at], offset=records[at + 1].offset),
    )
    assert judge(entries, records, PARTITIONS, lanes=True).out_of_order == 1


def test_two_swapped_records_of_a_key_are_out_of_order():
    entries, records = right(keys=1)
    one, other = records[1], records[3]
    records[1] = replace(other, offset=one.offset)
    records[3] = replace(one, offset=other.offset)
    verdict = judge(entries, records, PARTITIONS)
    assert not verdict.good
    # The third and the fourth were acknowledged after the second, and stand before it.
    assert verdict.out_of_order == 2 and verdict.lost == 0


def test_two_swapped_records_of_different_keys_are_not_out_of_order():
    entries, records = right(keys=1, events=1)
    entries.append(Entry("air", "dev-0b", "dev-0b-1"))
    partition = partition_of(b"dev-0b", 4)
    headers = {
        "ce_specversion": "1.0",
        "ce_id": f"post-17/00c0ffee00000001/air/{partition}/99",
        "ce_senderid": "dev-0b-1",
    }
    records.insert(0, Record("air", partition, 0, b"dev-0b", b"{}", headers))
    assert judge(entries, records, PARTITIONS).good


def test_a_record_with_the_same_event_id_was_delivered_twice():
    entries, records = right()
    records.append(replace(records[4], offset=99))
    verdict = judge(entries, records, PARTITIONS)
    assert verdict.good, verdict
    assert (verdict.delivered_twice, verdict.sent_twice) == (1, 0)


def test_a_record_with_the_same_sender_id_under_another_event_id_was_sent_twice():
    entries, records = right()
    again = with_headers(records[4], ce_id="post-17/00c0ffee00000001/air/1/99")
    records.append(replace(again, offset=99))
    verdict = judge(entries, records, PARTITIONS)
    assert verdict.good, verdict
    assert (verdict.delivered_twice, verdict.sent_twice) == (0, 1)


def test_a_resend_that_comes_after_later_events_is_not_out_of_order():
    entries, records = right(keys=1)
    records.append(replace(with_headers(records[0], ce_id="post-17/00c0ffee00000001/air/1/99"), offset=99))
    assert judge(entries, records, PARTITIONS).out_of_order == 0


def test_a_resend_does_not_hide_a_late_first_occurrence():
    entries, records = right(keys=1)
    # The second event is missing at its place and stands at the end, twice.
    late = records.pop(1)
    records.append(replace(late, offset=98))
    records.append(replace(with_headers(late, ce_id="post-17/00c0ffee00000001/air/1/99"), offset=99))
    # All that were acknowledged after it stand before it.
    assert judge(entries, records, PARTITIONS).out_of_order == 3


@pytest.mark.parametrize(
    "wrong",
    [
        lambda record: replace(record, topic="traffic"),
        lambda record: replace(record, key=b"somebody"),
        lambda record: replace(record, partition=(record.partition + 1) % 4),
    ],
    ids=["topic", "key", "partition"],
)
def test_a_record_in_the_wrong_place_is_misplaced(wrong):
    entries, records = right(keys=1)
    records[2] = wrong(records[2])
    verdict = judge(entries, records, PARTITIONS)
    assert not verdict.good
    assert verdict.misplaced >= 1


def test_another_payload_under_the_senders_id_is_altered():
    entries, records = right()
    records[2] = replace(records[2], value=b'{"id":"somebody-1"}')
    verdict = judge(entries, records, PARTITIONS)
    assert not verdict.good and verdict.altered == 1


def test_an_event_id_that_names_two_events_is_conflicting():
    entries, records = right(keys=1)
    records[2] = with_headers(records[2], ce_id=records[1].headers["ce_id"])
    verdict = judge(entries, records, PARTITIONS)
    assert not verdict.good
    assert verdict.conflicting == 1 and verdict.lost == 1


@pytest.mark.parametrize("header, value", [("ce_id", "17"), ("ce_specversion", "0.3"), ("ce_id", "g/0/traffic/0/1")])
def test_a_record_without_a_true_event_id_is_condemned(header, value):
    entries, records = right()
    records[2] = with_headers(records[2], **{header: value})
    verdict = judge(entries, records, PARTITIONS)
    assert not verdict.good and verdict.without_id == 1


def test_what_is_in_no_ledger_is_counted_apart():
    entries, records = right()
    verdict = judge(entries[:-2], records, PARTITIONS)
    assert verdict.good and verdict.unacknowledged == 2


def test_an_id_twice_in_the_ledgers_is_refused():
    entries, records = right()
    with pytest.raises(ValueError, match="twice"):
        judge([*entries, entries[0]], records, PARTITIONS)


def test_the_id_of_a_client_without_headers_is_read_from_the_payload():
    entries, records = right()
    bare = [replace(r, headers={k: v for k, v in r.headers.items() if k != "ce_senderid"}) for r in records]
    assert judge(entries, bare, PARTITIONS).good


def test_the_judges_murmur2_is_that_of_kafkas_own_client():
    vectors = {"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "abc": 479470107}
    for key, signed in vectors.items():
        assert murmur2(key.encode()) == signed & 0xFFFFFFFF, key
