"""The rules by which the week's memory is judged: a board whose memory follows its state passes, one that keeps something does not."""

import math

import pytest

from endurance.states import AWAY, CATCHING_UP, LIVE, OVER, PICTURES, growth

MIB = 1 << 20
EVENTS_PER_H, COMMITS_PER_H = 5 * 3600, 360

# Of a week of 168 hours: from which hour to which, what it takes at its mean, and how far it swings, in MiB.
WEEK = {
    LIVE[0]: (18, 24, 13.3, 0.2),
    AWAY[0]: (24, 96, 16.7, 1.3),
    CATCHING_UP[0]: (96, 106, 24.6, 4.8),
    LIVE[1]: (114, 120, 13.3, 0.2),
    AWAY[1]: (124, 132, 15.6, 0.6),
    CATCHING_UP[1]: (132, 134, 24.6, 4.8),
    LIVE[2]: (162, 168, 13.3, 0.2),
    PICTURES[0]: (168, 174, 36.0, 6.8),
    PICTURES[1]: (174, 180, 36.0, 6.8),
    OVER: (180, 181, 13.3, 0.6),
}


def week(more=lambda _state, _hour: 0.0) -> dict[str, list[float]]:
    """`more`: MiB that a board takes beyond what its state takes, at an hour of the week."""
    states = {}
    for state, (since, until, mean, swing) in WEEK.items():
        hours = [since + (until - since) * n / 100 for n in range(100)]
        states[state] = [mean + swing * math.sin(7 * hour) + more(state, hour) for hour in hours]
    return states


def test_a_board_whose_memory_follows_its_state_passes():
    assert growth(week()) == []


def test_what_the_first_outage_leaves_behind_once_passes():
    assert growth(week(lambda _state, hour: 8.0 if hour > 96 else 0.0)) == []


def test_a_byte_kept_of_each_event_is_seen():
    (broken,) = growth(week(lambda _state, hour: hour * EVENTS_PER_H / MIB))
    assert broken.startswith('"live after" took'), broken


def test_forty_eight_bytes_kept_of_each_commit_are_seen():
    (broken,) = growth(week(lambda _state, hour: hour * COMMITS_PER_H * 48 / MIB))
    assert broken.startswith('"live after" took'), broken


def test_what_each_outage_leaves_behind_is_seen():
    (broken,) = growth(week(lambda _state, hour: sum(1.0 for since in (96, 132) if hour > since)))
    assert broken.startswith('"live after" took'), broken


def test_a_first_outage_that_leaves_much_behind_is_seen():
    (broken,) = growth(week(lambda _state, hour: 11.0 if hour > 96 else 0.0))
    assert broken.startswith('"live between" took'), broken


@pytest.mark.parametrize("pair", [AWAY, CATCHING_UP, PICTURES])
def test_a_second_peak_above_the_first_is_seen(pair):
    (broken,) = growth(week(lambda state, _hour: 13.0 if state == pair[1] else 0.0))
    assert broken.startswith(f'"{pair[1]}" took'), broken


def test_what_pictures_leave_behind_is_seen():
    (broken,) = growth(week(lambda state, _hour: 3.0 if state == OVER else 0.0))
    assert broken.startswith('"after" took'), broken


def test_a_lower_second_peak_passes():
    assert growth(week(lambda state, _hour: -5.0 if state == CATCHING_UP[1] else 0.0)) == []


def test_a_state_that_was_not_looked_at_is_no_evidence():
    with pytest.raises(ValueError, match='0 samples of "live between" are too few'):
        growth({state: samples for state, samples in week().items() if state != LIVE[1]})
