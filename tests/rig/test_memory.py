"""A process that keeps the backlog in memory must be caught."""

import pytest

from rig.memory import compare


def samples(mib_at) -> list[tuple[float, float]]:
    return [(n / 100, mib_at(n / 100)) for n in range(101)]


def test_memory_that_grows_with_the_backlog_is_seen_to_grow():
    # 100 MiB of backlog, all of it kept.
    assert compare(samples(lambda done: 20 + 100 * done)).growth > 40


def test_memory_that_grows_with_an_eighth_of_the_backlog_is_seen_to_grow():
    assert compare(samples(lambda done: 20 + 100 / 8 * done)).growth > 5


def test_memory_that_is_flat_after_its_start_is_flat():
    assert compare(samples(lambda done: 20 + 10 * min(done, 0.08))).growth == pytest.approx(0)


def test_too_few_samples_are_no_evidence():
    with pytest.raises(ValueError, match="too few"):
        compare([(0.2, 20), (0.7, 20)])
