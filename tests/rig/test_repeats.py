"""Steps back of a partition, by hand."""

from rig.judge import Record
from rig.repeats import Repeats, events_in, repeats


def records(*offsets: int, partition: int = 0, epoch: str = "e1") -> list[Record]:
    """Of one partition, by their offsets in the journal."""
    return [
        Record("air", partition, at, b"k", b"", {"ce_id": f"post/{epoch}/air/{partition}/{offset}"})
        for at, offset in enumerate(offsets)
    ]


def test_a_partition_that_only_goes_on_repeats_nothing_also_over_holes():
    assert repeats(records(0, 1, 2, 5, 6)) == Repeats()


def test_a_step_back_is_measured_from_the_newest_that_stood_there():
    assert repeats(records(0, 1, 2, 3, 1, 2, 3, 4)) == Repeats(records=3, steps=1, furthest=3)


def test_each_step_back_counts_and_the_furthest_is_told():
    assert repeats(records(0, 1, 2, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5)) == Repeats(records=7, steps=2, furthest=5)


def test_the_same_record_at_once_again_is_a_step_of_one():
    assert repeats(records(0, 1, 1, 2)) == Repeats(records=1, steps=1, furthest=1)


def test_partitions_and_epochs_of_a_journal_are_apart():
    mixed = records(7, 8) + records(0, 1, partition=1) + records(0, 1, epoch="e2")
    assert repeats(mixed) == Repeats()


def test_a_window_holds_no_more_than_its_bytes_by_the_least_that_an_event_counts():
    assert events_in(8_000) == 11
