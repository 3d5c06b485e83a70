"""What the emulated board says on its console and word by word; its README shows the same."""

import pytest

from rig.board import TMP105, Board, firmware_image

pytestmark = pytest.mark.needs("qemu")


@pytest.fixture
def board(home, ending):
    def start(*chips):
        board = Board(firmware_image(), home, chips)
        ending(board.stop)
        return board

    return start


def test_a_board_with_its_sensor_says_who_it_is_and_what_it_has_found(board):
    said = board(TMP105).said(2)
    assert said[0] == "lm3s6965evb: firmware lm3s6965evb 0.1.0"
    # Which of the two buses a chip is on depends on QEMU's version.
    assert said[1] in ("thermometer: TMP105 at 0x48 on I2c0", "thermometer: TMP105 at 0x48 on I2c1")


def test_a_board_without_its_sensor_says_which_register_failed_once_and_goes_on(board):
    started = board()
    lines = [
        "lm3s6965evb: firmware lm3s6965evb 0.1.0",
        "thermometer: writing TMP105 register configuration (0x01): ArbitrationLost",
    ]
    assert started.said(2) == lines
    # After the reset button the same again: nothing else was said between, and it is alive.
    started.reset()
    assert started.said(4) == lines * 2
