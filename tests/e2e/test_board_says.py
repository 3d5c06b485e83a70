"""What the emulated board says on its console and word by word; its README shows the same."""

import time

import pytest

from rig.board import LSM303DLHC, TMP105, Board, firmware_image

pytestmark = pytest.mark.needs("qemu")


BANNER = [
    "lm3s6965evb: firmware lm3s6965evb 0.1.0",
    "measures: temperature in Cel, -128 to 127.9375, every 200 ms",
]
TRAFFIC_BANNER = [
    "lm3s6965evb: firmware lm3s6965evb-traffic 0.1.0",
    "measures: vehicles in count, 0 to 4294967295, every 5000 ms",
    "measures: occupancy in /, 0 to 1, every 5000 ms",
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
    said = board(TMP105).said(3)
    assert said[:2] == BANNER
    assert said[2] in [f"thermometer: TMP105 at 0x48 on {bus}" for bus in BUSES]


def test_a_board_without_its_sensor_says_which_register_failed_once_and_goes_on(board):
    started = board()
    lines = [*BANNER, "thermometer: writing TMP105 register configuration (0x01): ArbitrationLost"]
    assert started.said(3) == lines
    # After the reset button the same again: nothing else was said between, and it is alive.
    started.reset()
    assert started.said(6) == lines * 2


def test_a_traffic_post_says_who_it_is_what_it_measures_and_that_it_watches(board):
    said = board(LSM303DLHC, program="lm3s6965evb-traffic").said(5)
    assert said[:3] == TRAFFIC_BANNER
    assert said[3] in [f"magnetometer: LSM303DLHC at 0x1e on {bus}" for bus in BUSES]
    assert said[4] == "lane: watched"


def test_a_traffic_post_without_its_magnetometer_says_which_register_failed(board):
    said = board(program="lm3s6965evb-traffic").said(4)
    assert said == [*TRAFFIC_BANNER, "magnetometer: reading LSM303DLHC register IRA (0x0a): ArbitrationLost"]


@pytest.mark.parametrize("program, lines", [("lm3s6965evb", 3), ("lm3s6965evb-traffic", 4)])
def test_a_program_that_hangs_is_started_anew_by_the_watchdog_and_one_that_does_not_is_left_alone(board, program, lines):
    started = board(program=program)
    said = started.said(lines)
    time.sleep(WATCHDOG_S + 2)
    assert started.console.read_text().splitlines() == said, "it was reset though it came round"
    started.hang()
    assert started.said(2 * lines, timeout_s=WATCHDOG_S + 30) == said * 2
