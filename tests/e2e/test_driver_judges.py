"""The drivers against chips that people made who never saw them: QEMU's. The firmware asks the chip by the driver; this
test sets over QMP what the chip measures, and compares. No value is computed with the driver's own code."""

import time
from datetime import datetime, timezone

import pytest

from rig.board import DPS310, DS1338, LSM303DLHC, PCA9548, TMP105, Judge, behind

pytestmark = pytest.mark.needs("qemu")

# In milli-degrees. The chip measures in steps of 1/16 °C; QEMU cuts what is set to 1/256 °C towards 0, and that to a step towards colder.
TEMPERATURES_MILLI_CELSIUS = [0, 62, 63, 1_000, 21_500, 25_000, 36_600, 60_000, 100_000, 125_000, 127_937]
TEMPERATURES_MILLI_CELSIUS += [-62, -63, -125, -250, -1_000, -10_500, -25_000, -39_999, -40_000, -55_000, -128_000]

# The data sheet's table 75: full scale in gauss, and steps per gauss along X and Y, and along Z.
GAINS = [(1.3, 1100, 980), (1.9, 855, 760), (2.5, 670, 600), (4.0, 450, 400)]
GAINS += [(4.7, 400, 355), (5.6, 330, 295), (8.1, 230, 205)]


@pytest.fixture
def judge(home, ending):
    def start(*chips):
        judge = Judge(home, chips)
        ending(judge.stop)
        return judge

    return start


def test_the_thermometers_driver_reads_what_is_set_over_its_whole_range(judge):
    board = judge(TMP105)
    for milli_celsius in TEMPERATURES_MILLI_CELSIUS:
        board.board.set(TMP105, "temperature", milli_celsius)
        read = int(board.ask("tmp105"))
        assert read % 625 == 0, f"{read} is no multiple of 1/16 °C"
        too_cold = milli_celsius * 10 - read
        assert -10_000 / 256 < too_cold < 625, f"set {milli_celsius / 1000} °C, read {read / 10_000} °C"


def test_the_magnetometers_driver_reads_each_axis_with_each_gain_as_it_is_set(judge):
    board = judge(LSM303DLHC)
    for number, (full_scale, xy, z) in enumerate(GAINS):
        question = f"lsm303 {number}"
        # What QEMU keeps is steps of the gain that is set: the gain first, then the field.
        board.ask(question)
        edge = int(full_scale * 100_000)
        for x, y, z_set in [(0, 0, 0), (edge, 0, 0), (0, edge, 0), (0, 0, edge), (18_000, 2_000, 45_000), (1_000, 90_000, 30)]:
            for name, value in (("mag-x", x), ("mag-y", y), ("mag-z", z_set)):
                board.board.set(LSM303DLHC, name, value)
            read = [int(value) for value in board.ask(question).split()]
            # QEMU cuts what is set down to a step.
            steps = [100_000 / gain for gain in (xy, xy, z)]
            for axis, value, set_value, step in zip("XYZ", read, (x, y, z_set), steps):
                assert -1 <= set_value - value < step + 1, f"±{full_scale} gauss: {axis} set {set_value} nT, read {value} nT"


def test_every_step_of_the_finest_gain_is_read_as_itself(judge):
    board = judge(LSM303DLHC)
    board.ask("lsm303 0")
    read = []
    for step in [*range(1, 40), 511, 512, 1023, 1024, 1430, 2046, 2047]:
        # In the middle of the step along X.
        board.board.set(LSM303DLHC, "mag-x", round((step + 0.5) * 100_000 / 1100))
        read.append(int(board.ask("lsm303 0").split()[0]))
        assert abs(read[-1] - step * 100_000 / 1100) <= 0.5, f"step {step}: {read[-1]} nT"
    assert read == sorted(set(read))


def signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


def test_the_barometers_driver_compensates_as_the_data_sheets_formulas_do_with_real_numbers(judge):
    """QEMU's model always reads the same, with coefficients of a real chip: they are read here past the driver."""
    board = judge(DPS310)
    read = board.ask("dps310 unidentified")
    coefficients = int(board.ask(f"read {DPS310.address} 16 18"), 16)
    raw = int(board.ask(f"read {DPS310.address} 0 6"), 16)

    # Data sheet sections 4.9.1 and 8.11: how many bits each has, from the front.
    c, left = [], 18 * 8
    for bits in (12, 12, 20, 20, 16, 16, 16, 16, 16):
        left -= bits
        c.append(signed(coefficients >> left & (1 << bits) - 1, bits))
    c0, c1, c00, c10, c01, c11, c20, c21, c30 = c
    # One sample each: both scale factors are 524288.
    p, t = (signed(raw >> shift & 0xFFFFFF, 24) / 524_288 for shift in (24, 0))
    celsius = c0 / 2 + c1 * t
    pascals = c00 + p * (c10 + p * (c20 + p * c30)) + t * c01 + t * p * (c11 + p * c21)
    print(f"\n{read} of {pascals} Pa, {celsius} °C")

    milli_pascals, ten_thousandths = (int(number) for number in read.split())
    assert abs(milli_pascals - pascals * 1_000) < 20
    assert abs(ten_thousandths - celsius * 10_000) <= 1
    assert 300_00 < pascals < 1200_00 and -40 < celsius < 85, "no reading of a barometer: the formulas here are wrong"


def test_the_barometers_driver_refuses_a_chip_that_does_not_say_what_it_is(judge):
    answer = judge(DPS310).ask("dps310")
    assert answer.startswith("error: ") and "0xff" in answer, answer


# QEMU takes the registers one by one, and makes a real date of what is there after each: a 31st can't be set while its own
# month is shorter.
DATES = ["2000-01-01 00:00:00", "2019-02-28 12:00:00", "2024-02-28 09:08:07", "2033-05-18 03:33:20", "2037-12-28 21:59:50"]
ROLLS = [("2024-02-28 23:59:57", "2024-02-29"), ("2023-02-28 23:59:57", "2023-03-01"), ("2025-04-28 23:59:57", "2025-04-29")]


def unix_s(date: str) -> int:
    return int(datetime.fromisoformat(date).replace(tzinfo=timezone.utc).timestamp())


def test_the_clocks_driver_reads_this_machines_time_and_what_it_has_set_itself(judge):
    board = judge(DS1338)
    assert abs(int(board.ask("ds1338")) - time.time()) < 3
    for date in DATES:
        assert board.ask(f"ds1338 {unix_s(date)}") == "set"
        # The clock goes on while it is asked.
        assert 0 <= int(board.ask("ds1338")) - unix_s(date) < 3, date


def test_the_clocks_driver_follows_into_the_next_day_and_the_leap_day(judge):
    board = judge(DS1338)
    for date, next_day in ROLLS:
        board.ask(f"ds1338 {unix_s(date)}")
        time.sleep(4)
        read = datetime.fromtimestamp(int(board.ask("ds1338")), timezone.utc)
        assert read.date().isoformat() == next_day, f"{date}: {read}"


def test_the_clocks_driver_reads_hours_of_twelve(judge):
    board = judge(DS1338)
    # Bit 6: of twelve; bit 5: in the afternoon.
    for register, hour in [(0x52, 0), (0x41, 1), (0x51, 11), (0x72, 12), (0x61, 13), (0x71, 23)]:
        assert board.ask(f"ds1338 {unix_s('2026-03-15 05:20:00')}") == "set"
        assert board.ask(f"write {DS1338.address} 2 {register}") == "written"
        read = datetime.fromtimestamp(int(board.ask("ds1338")), timezone.utc)
        assert (read.hour, read.minute, read.date().isoformat()) == (hour, 20, "2026-03-15"), f"{register:#x}: {read}"


def test_a_chip_that_is_not_there_is_an_error_with_the_registers_name(judge):
    board = judge()
    assert board.ask("tmp105") == "error: writing TMP105 register configuration (0x01): ArbitrationLost"
    assert board.ask("lsm303 0") == "error: reading LSM303DLHC register IRA (0x0a): ArbitrationLost"
    assert board.ask("ds1338") == "error: reading clock register seconds (0x00): ArbitrationLost"
    answer = board.ask("dps310")
    assert answer.startswith("error: reading DPS310 register ") and "(0x0d): ArbitrationLost" in answer, answer


def test_another_chip_at_the_magnetometers_address_is_refused_by_its_identity(judge):
    board = judge(type(TMP105)("tmp105", LSM303DLHC.address))
    answer = board.ask("lsm303 0")
    assert answer.startswith("error: LSM303DLHC register IRA (0x0a): [") and answer.endswith("instead of [48, 34, 33]"), answer


def test_a_multiplexers_channels_lead_to_chips_of_one_address_and_are_opened_by_a_byte_of_their_bits(judge):
    """What gateway/i2c writes to open a channel (src/mux.rs), and the chips that then answer."""
    chips = {channel: behind(channel, "tmp105", TMP105.address, f"behind-{channel}") for channel in (0, 3, 7)}
    board = judge(PCA9548, *chips.values())
    for channel, chip in chips.items():
        board.board.set(chip, "temperature", 10_000 + 1_000 * channel)

    def select(channels: int) -> str:
        # It gives back what it was given.
        return board.ask(f"read {PCA9548.address} {channels} 1")

    absent = "error: writing TMP105 register configuration (0x01): ArbitrationLost"
    assert board.ask("tmp105") == absent, "all are closed when it has power"
    for channel in (3, 0, 7, 3):
        assert select(1 << channel) == f"{1 << channel:02x}"
        assert int(board.ask("tmp105")) == 100_000 + 10_000 * channel
    board.board.set(chips[3], "temperature", -5_500)
    assert int(board.ask("tmp105")) == -55_000
    assert select(1 << 5) == "20"
    assert board.ask("tmp105") == absent, "there is nothing behind it"
    assert select(0) == "00"
    assert board.ask("tmp105") == absent


def test_what_is_no_question_is_answered_as_such(judge):
    board = judge()
    for nonsense in ("", "lsm303", "lsm303 7", "lsm303 -1", "tmp105 now", "read 1 2 33", "read", "x" * 300):
        assert board.ask(nonsense).startswith("error: "), nonsense
