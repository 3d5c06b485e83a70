"""What the emulated board says on its console and word by word; its README shows the same."""

import time

import pytest

from rig.board import LSM303DLHC, TMP105, Board, firmware_image

pytestmark = pytest.mark.needs("qemu")


BANNER = [
    "lm3s6965evb: firmware lm3s6965evb 0.1.0",
    "measures: temperature in Cel, -128 to 127.9375, every 200 ms",
    "keeps: temperature, moved by 0.125 or after 60000 ms, means of 8 where room is short",
]
TRAFFIC_BANNER = [
    "lm3s6965evb: firmware lm3s6965evb-traffic 0.1.0",
    "measures: vehicles in count, 0 to 4294967295, every 5000 ms",
    "keeps: vehicles, each, before all others",
    "measures: occupancy in /, 0 to 1, every 5000 ms",
    "keeps: occupancy, each, means of 12 where room is short",
]
# As firmware/boards/lm3s6965evb/src/watchdog.rs has it.
WATCHDOG_S = 8
# Which of the two buses a chip is on depends on QEMU's version.
BUSES = ("I2c0", "I2c1")


@pytest.fixture
def board(home, ending):
    def start(*chips, program="lm3s6965evb"):
        board = Board(firmware_image(program), home, chips)
        ending(board.stop)
        return board

    return start


def test_a_board_with_its_sensor_says_who_it_is_what_it_measures_and_what_it_has_found(board):
    *banner, found = board(TMP105).said(len(BANNER) + 1)
    assert banner == BANNER
    assert found in [f"thermometer: TMP105 at 0x48 on {bus}" for bus in BUSES]


def test_a_board_without_its_sensor_says_which_register_failed_once_and_goes_on(board):
    started = board()
    lines = [*BANNER, "thermometer: writing TMP105 register configuration (0x01): ArbitrationLost"]
    assert started.said(len(lines)) == lines
    # After the reset button the same again: nothing else was said between, and it is alive.
    started.reset()
    assert started.said(2 * len(lines)) == lines * 2


def test_a_traffic_post_says_who_it_is_what_it_measures_and_that_it_watches(board):
    *banner, found, lane = board(LSM303DLHC, program="lm3s6965evb-traffic").said(len(TRAFFIC_BANNER) + 2)
    assert banner == TRAFFIC_BANNER
    assert found in [f"magnetometer: LSM303DLHC at 0x1e on {bus}" for bus in BUSES]
    assert lane == "lane: watched"


def test_a_traffic_post_without_its_magnetometer_says_which_register_failed(board):
    said = board(program="lm3s6965evb-traffic").said(len(TRAFFIC_BANNER) + 1)
    assert said == [*TRAFFIC_BANNER, "magnetometer: reading LSM303DLHC register IRA (0x0a): ArbitrationLost"]


@pytest.mark.parametrize("program, banner", [("lm3s6965evb", BANNER), ("lm3s6965evb-traffic", TRAFFIC_BANNER)])
def test_a_program_that_hangs_is_started_anew_by_the_watchdog_and_one_that_does_not_is_left_alone(board, program, banner):
    started = board(program=program)
    # And that its chip is missing.
    lines = len(banner) + 1
    said = started.said(lines)
    time.sleep(WATCHDOG_S + 2)
    assert started.console.read_text().splitlines() == said, "it was reset though it came round"
    started.hang()
    assert started.said(2 * lines, timeout_s=WATCHDOG_S + 30) == said * 2
