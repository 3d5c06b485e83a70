"""From the emulated board's tmp105 to a Kafka consumer: the temperature that is set is what arrives, with its unit."""

import json
import time

import pytest

from rig.board import Board, firmware_image
from rig.reader import Reader

ARRIVES_S = 60

CONFIG = """
[[serial]]
name = "board"
port = "{port}"
baud = 115200
protocol = "link"

[[route]]
from = "link/{{device}}/{{measure}}"
topic = "board-readings"

[topics.board-readings]
partitions = 2
"""


def value(record) -> float:
    return json.loads(record.value)["value"]


def first_occurrences(reader: Reader) -> list:
    """The board's readings in the order of their sequence, each once."""
    by_sequence = {}
    for record in reader.records:
        by_sequence.setdefault(int(record.headers["ce_senderseq"]), record)
    return [record for _, record in sorted(by_sequence.items())]


def wait_for(reader: Reader, celsius: float) -> None:
    """Reads until a record with that temperature is in the cluster."""
    found = reader.read_until(lambda: any(value(record) == celsius for record in reader.records), idle_s=ARRIVES_S)
    seen = sorted({value(record) for record in reader.records})
    assert found, f"{celsius} °C has not arrived; of {len(reader.records)} readings the values are {seen}"


@pytest.mark.needs("qemu")
def test_the_temperature_set_on_the_emulated_sensor_arrives_in_kafka_with_its_unit(home, cluster, gateway, ending):
    board = Board(firmware_image(), home)
    ending(board.stop)
    board.set_temperature(21.5)
    post = gateway("board", CONFIG.format(port=board.port))
    post.start()
    reader = Reader(cluster.bootstrap, post.name, {"board-readings"})
    ending(reader.close)
    wait_for(reader, 21.5)
    board.set_temperature(-10.5)
    wait_for(reader, -10.5)

    # What is measured while the gateway is dead is kept by the board, and arrives later.
    post.kill()
    board.set_temperature(60.0)
    time.sleep(2)
    board.set_temperature(5.0)
    post.start()
    wait_for(reader, 5.0)
    wait_for(reader, 60.0)

    readings = first_occurrences(reader)
    changes = [v for n, v in enumerate(map(value, readings)) if n == 0 or v != value(readings[n - 1])]
    print(f"\n{len(reader.records)} records, {len(readings)} readings; temperatures in their order: {changes}")
    # The sensor is at QEMU's own 0 °C until the first is set.
    assert [v for v in changes if v != 0.0] == [21.5, -10.5, 60.0, 5.0]
    for record in readings:
        reading = json.loads(record.value)
        assert (reading["measure"], reading["unit"]) == ("temperature", "Cel"), reading
        assert record.headers["ce_source"] == f"/lamppost/{post.name}/serial"
        assert record.key.decode() == record.headers["ce_device"]
    assert len({record.headers["ce_senderboot"] for record in readings}) == 1
    sequences = [int(record.headers["ce_senderseq"]) for record in readings]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences))), "a reading is missing"
    # Each was stored once: the same reading under two identities would be a resend that was not recognised.
    assert len({record.event_id for record in reader.records}) == len(readings)
