"""The board's example of each chip, as a newcomer starts it: with the chip where QEMU, or this test, has a model of it; and without
one, where it has to say what did not answer."""

import os
import select
import struct
import threading
import tty
from datetime import datetime, timedelta, timezone

import pytest

from rig.board import DPS310, DS1338, LSM303DLHC, TMP105, Board, example_image
from rig.meters import Meters
from rig.places import ROOT

pytestmark = pytest.mark.needs("qemu")

# What each says first where no chip answers: QEMU's bus calls that a lost arbitration.
WITHOUT_A_CHIP = {
    "bme280": "reading BME280 register id (0xd0)",
    "dps310": "reading DPS310 register Product ID (0x0d)",
    "ds1338": "reading clock register seconds (0x00)",
    "ina226": "reading INA226 register manufacturer ID (0xfe)",
    "lsm303dlhc": "reading LSM303DLHC register IRA (0x0a)",
    "scd41": "sending SCD41 command stop_periodic_measurement (0x3f86)",
    "sps30": "sending SPS30 command stop measurement (0x0104)",
    "tmp105": "writing TMP105 register configuration (0x01)",
}


@pytest.fixture
def example(home, ending):
    def start(chip, *models):
        board = Board(example_image(chip), home, models)
        ending(board.stop)
        return board

    return start


@pytest.fixture
def line(ending):
    def open_line(board):
        port = os.open(board.port, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(port)
        ending(lambda: os.close(port))
        return port

    return open_line


def test_there_is_an_example_of_each_chip_for_linux_and_for_a_board():
    # What is in drivers/ and no chip: shared code, the link, and the pure logic over the magnetometer.
    rest = {"both-ways", "sensirion", "units", "vehicle", "wire"}
    chips = {path.parent.name for path in (ROOT / "drivers").glob("*/Cargo.toml")} - rest
    on_board = {path.stem for path in (ROOT / "firmware/boards/lm3s6965evb/examples").glob("*.rs")}
    on_linux = {chip for chip in chips if (ROOT / f"drivers/{chip}/examples/read_{chip}.rs").exists()}
    assert on_board == on_linux == chips == {*WITHOUT_A_CHIP, "pms5003", "sdm"}
    table = (ROOT / "drivers" / "README.md").read_text()
    assert [chip for chip in sorted(chips) if f"read_{chip}" not in table or f"examples/{chip}.rs" not in table] == []


def test_the_thermometers_example_says_what_is_set(example):
    board = example("tmp105", TMP105)
    board.set_temperature(21.5)
    # The first line may be of the time before.
    assert board.said(2)[-1] == "21.5 °C"


def test_the_magnetometers_example_says_what_is_set(example):
    board = example("lsm303dlhc", LSM303DLHC)
    board.said(1)
    board.set(LSM303DLHC, "mag-z", 45_000)
    *_, last = board.said(3)
    x, y, z = last.split(", ")
    assert (x, y) == ("0 µT", "0 µT") and z.endswith(" µT") and abs(float(z.split()[0]) - 45) < 0.11, last


def test_the_clocks_example_says_this_machines_time(example):
    board = example("ds1338", DS1338)
    (said,) = board.said(1)
    read = datetime.fromisoformat(said).replace(tzinfo=timezone.utc)
    assert abs(read - datetime.now(timezone.utc)) < timedelta(seconds=5), said


def test_the_barometers_example_refuses_qemus_chip_which_does_not_say_what_it_is(example):
    (said,) = example("dps310", DPS310).said(1)
    assert "0xff" in said, said


@pytest.mark.parametrize("chip", sorted(WITHOUT_A_CHIP))
def test_an_example_without_its_chip_says_what_did_not_answer_and_tries_again(example, chip):
    assert example(chip).said(2) == [f"{WITHOUT_A_CHIP[chip]}: ArbitrationLost"] * 2


def test_the_dust_sensors_example_says_what_comes_over_the_line_and_what_is_no_frame(example, line):
    board = example("pms5003")
    port = line(board)
    body = struct.pack(">2sH12H2B", b"BM", 28, 11, 12, 13, 21, 22, 23, 0, 0, 0, 0, 0, 0, 0x97, 0)
    frame = body + struct.pack(">H", sum(body))
    os.write(port, frame)
    said = "PM1 21 µg/m³, PM2.5 22 µg/m³, PM10 23 µg/m³"
    assert board.said(1) == [said]
    os.write(port, body + struct.pack(">H", sum(body) + 1))
    assert "sum" in board.said(2)[1]
    # It rests for a second, and takes the next frame.
    os.write(port, frame)
    assert board.said(3)[2] == said


def test_the_meters_example_reads_pymodbus_slave(example, line, home, ending):
    board = example("sdm")
    (first,) = board.said(1)
    assert first == "SDM register 30001 (voltage): 0 bytes of an answer of 9"
    meters = Meters(home)
    ending(meters.stop)
    bus = os.open(meters.port, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(bus)
    stop = threading.Event()
    pump = threading.Thread(target=join, args=(line(board), bus, stop))
    pump.start()
    ending(lambda: (stop.set(), pump.join(), os.close(bus)))
    # At each address, the address and a half.
    said = wait_for(board, "power: ")
    assert said[-2:] == ["voltage: 0.5 V", "power: 12.5 W"], said


def wait_for(board, prefix, lines_max=30):
    for count in range(1, lines_max):
        said = board.said(count)
        if said[-1].startswith(prefix):
            return said
    raise AssertionError(f"no line begins with {prefix!r}: {said}")


def join(one, other, stop):
    while not stop.is_set():
        for ready in select.select([one, other], [], [], 0.1)[0]:
            os.write(other if ready == one else one, os.read(ready, 256))
