"""A traffic post, from the field at its magnetometer to a Kafka consumer: the vehicles that are simulated are those counted."""

import json
import math
import time

import pytest

from rig.board import LSM303DLHC, Board, firmware_image
from rig.reader import Reader

ARRIVES_S = 60

# In nanoteslas. QEMU's magnetometer takes no negative ones, so the background is far enough from 0 along each axis.
BACKGROUND = (40_000, 30_000, 45_000)

CONFIG = """
[[serial]]
name = "lane"
port = "{port}"
baud = 115200
protocol = "link"

[[route]]
from = "link/{{device}}/{{measure}}"
topic = "traffic"

[topics.traffic]
partitions = 1
"""


class Lane:
    """What is driven past the magnetometer, in the time of this machine, which is the board's."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def _field(self, deviation) -> None:
        for axis, background, change in zip(("mag-x", "mag-y", "mag-z"), BACKGROUND, deviation):
            self._board.set(LSM303DLHC, axis, background + round(change))

    def free(self, seconds: float) -> None:
        self._field((0, 0, 0))
        time.sleep(seconds)

    def vehicle(self, seconds: float, peak_nanotesla: int) -> None:
        """A smooth rise and fall; above 3 µT for about nine tenths of the time."""
        started = time.monotonic()
        while (now := (time.monotonic() - started) / seconds) < 1:
            strength = peak_nanotesla * math.sin(math.pi * now)
            self._field((0.3 * strength, -0.2 * strength, 0.93 * strength))
            time.sleep(0.005)
        self._field((0, 0, 0))


def readings(reader: Reader, measure: str) -> list[float]:
    """The values of a measure in the order of their sequence, each reading once."""
    by_sequence = {}
    for record in reader.records:
        content = json.loads(record.value)
        if content["measure"] == measure:
            by_sequence[int(record.headers["ce_senderseq"])] = content
    return [content["value"] for _, content in sorted(by_sequence.items())]


@pytest.mark.needs("qemu")
def test_vehicles_that_pass_the_magnetometer_are_counted_in_kafka_with_the_share_of_time(home, cluster, gateway, ending):
    board = Board(firmware_image("lm3s6965evb-traffic"), home, [LSM303DLHC])
    ending(board.stop)
    lane = Lane(board)
    lane.free(0)
    post = gateway("lane", CONFIG.format(port=board.port))
    post.start()
    reader = Reader(cluster.bootstrap, post.name, {"traffic"})
    ending(reader.close)
    assert board.said(6)[5].startswith("magnetometer: LSM303DLHC at 0x1e on I2c")

    # What it found before the field was set is not the road: it learns for 1.5 s, and may count one while it does.
    lane.free(5)
    before = sum("lane: vehicle" in line for line in board.console.read_text().splitlines())
    for seconds, peak in [(0.4, 20_000), (0.6, 25_000), (0.3, 12_000), (1.5, 40_000), (0.4, 20_000)]:
        lane.vehicle(seconds, peak)
        lane.free(1.5)
    occupied_s = 0.4 + 0.6 + 0.3 + 1.5 + 0.4
    counted = [line for line in board.console.read_text().splitlines() if "lane: vehicle" in line][before:]
    print("\n" + "\n".join(counted))
    assert len(counted) == 5, counted

    total = before + 5
    arrived = reader.read_until(lambda: sum(readings(reader, "vehicles")) >= total, idle_s=ARRIVES_S)
    vehicles = readings(reader, "vehicles")
    assert arrived and sum(vehicles) == total, f"{vehicles}, of {total}"
    for record in reader.records:
        content = json.loads(record.value)
        assert (content["measure"], content["unit"]) in {("vehicles", "count"), ("occupancy", "/")}, content
    assert reader.read_until(lambda: len(readings(reader, "occupancy")) >= len(vehicles), idle_s=ARRIVES_S)
    # Shares of intervals of 5 s each. On a busy machine the emulated board's clock is slow, and a passage is told from its first to its
    # last sample: less than what was driven.
    shares = readings(reader, "occupancy")
    assert all(0 <= share <= 1 for share in shares)
    occupied_found_s = 5 * sum(shares)
    print(f"occupied {occupied_found_s:.2f} s of {occupied_s:.1f} s; vehicles {vehicles}, occupancy {shares}")
    assert 0.5 * occupied_s < occupied_found_s < 1.1 * occupied_s


@pytest.mark.needs("qemu")
def test_a_post_without_its_magnetometer_says_so_and_reports_no_empty_road(home, cluster, gateway, ending):
    board = Board(firmware_image("lm3s6965evb-traffic"), home, [])
    ending(board.stop)
    post = gateway("blind", CONFIG.format(port=board.port))
    post.start()
    said = board.said(7)
    assert said[5] == "magnetometer: reading LSM303DLHC register IRA (0x0a): ArbitrationLost"
    assert said[6].startswith("link: up as boot ")
    reader = Reader(cluster.bootstrap, post.name, {"traffic"})
    ending(reader.close)
    # Two intervals and more.
    assert not reader.read_until(lambda: bool(reader.records), idle_s=13), "it reports a road that it does not see"
    assert board.console.read_text().splitlines() == said
