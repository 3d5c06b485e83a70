"""Which samples of the emulated board's thermometer become readings: what its program says to the brain, as it arrives in the journal."""

import json
import time

import pytest

from rig.board import Board, firmware_image
from rig.gateway import Gateway

CONFIG = """
[[serial]]
name = "board"
port = "{port}"
protocol = "link"

[[route]]
from = "link/{{device}}/{{measure}}"
topic = "board-readings"
"""

NOISE_S = 3
"""Fifteen samples."""
SAMPLED_MS = 200
REPEATED_S = 60
"""By SAMPLE_INTERVAL_MS and policy() of firmware/boards/lm3s6965evb/src/main.rs."""


def temperatures(post: Gateway) -> list[float]:
    return [json.loads(event["payload"])["value"] for event in post.stored("board-readings")]


def wait_for_last(post: Gateway, wanted: list[float], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while (last := temperatures(post)[-len(wanted) :]) != wanted:
        assert time.monotonic() < deadline, f"{wanted} has not arrived; the last are {last}"
        time.sleep(0.2)


@pytest.mark.needs("qemu")
def test_a_temperature_is_a_reading_when_it_has_moved_by_two_steps_of_the_chip_or_has_stayed_for_a_minute(home, ending):
    board = Board(firmware_image(), home)
    ending(board.stop)
    post = Gateway(home, "keeps", "127.0.0.1:9", CONFIG.format(port=board.port))
    ending(post.end)
    board.set_temperature(20)
    post.start()
    wait_for_last(post, [20.0])
    readings = len(temperatures(post))
    # One step of a sixteenth up and down is noise. (QEMU cuts off what is below a step.)
    for celsius in [20.07, 20.0] * 3:
        board.set_temperature(celsius)
        time.sleep(NOISE_S / 6)
    assert len(temperatures(post)) == readings, temperatures(post)
    board.set_temperature(20.13)
    wait_for_last(post, [20.0, 20.125])
    board.set_temperature(-5)
    wait_for_last(post, [20.0, 20.125, -5.0])
    # By the board's own clock, which is slow where the machine is busy.
    wait_for_last(post, [20.125, -5.0, -5.0], 10 * REPEATED_S)
    *_, first, again = [json.loads(event["payload"])["uptime_ms"] for event in post.stored("board-readings")]
    assert 0 <= again - first - REPEATED_S * 1000 < 2 * SAMPLED_MS, (first, again)
