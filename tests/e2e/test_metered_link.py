"""A link that is paid for by the byte: a backlog goes out at the configured ceiling, counted by the brokers' other side."""

import json
import time
from typing import Optional

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from rig.gateway import run
from rig.judge import judge
from rig.reader import Reader
from rig.sending import Sender, connections, read_ledgers, wait_for_all

CEILING = 250_000
"""Bytes a second: 2 Mbit/s."""
TOPIC = "metered-air"
PARTITIONS = 4
CONNECTIONS = 20
EVENTS_EACH = 150
PAYLOAD_BYTES = 2_000
SPAN_S = 10
OVER_MAX = 1.05

CONFIG = f"""
[[route]]
from = "city/{{district}}/air/{{device}}/#"
topic = "{TOPIC}"

[topics.{TOPIC}]
partitions = {PARTITIONS}
"""
# What the senders make compresses to almost nothing: as it is, some seconds of it are something.
METERED = 'create_topics = true\nbandwidth_max = "2 Mbit/s"\ncompression = "none"'


class Meter:
    """Counts what the brokers hand out of the topic as it lies there: the very batches that came in."""

    def __init__(self, bootstrap: str) -> None:
        self.samples: list[tuple[float, int]] = []
        self.records = 0
        settings = {
            "bootstrap.servers": bootstrap,
            "group.id": "meter",
            "enable.auto.commit": False,
            "statistics.interval.ms": 250,
            "stats_cb": self._told,
            "log_level": 0,
        }
        self._consumer = Consumer(settings)
        self._consumer.assign([TopicPartition(TOPIC, n, OFFSET_BEGINNING) for n in range(PARTITIONS)])

    def _told(self, text: str) -> None:
        brokers = json.loads(text)["brokers"].values()
        self.samples.append((time.monotonic(), sum(broker["rxbytes"] for broker in brokers)))

    def read_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            messages = self._consumer.consume(500, timeout=0.1)
            self.records += sum(message.error() is None for message in messages)

    def most_over(self, span_s: float) -> Optional[float]:
        """The most bytes a second over any stretch of so many seconds."""
        rates = []
        for at, (began, before) in enumerate(self.samples):
            later = next(((end, after) for end, after in self.samples[at:] if end - began >= span_s), None)
            if later:
                rates.append((later[1] - before) / (later[0] - began))
        return max(rates, default=None)

    def close(self) -> None:
        self._consumer.close()


def test_a_metered_link_carries_no_more_than_its_ceiling_and_the_operator_is_told_when_it_will_be_done(
    home, cluster, gateway, ending
):
    post = gateway("metered", CONFIG)
    post.config.write_text(post.config.read_text().replace("create_topics = true", METERED))
    post.start()
    lines = connections("air", CONNECTIONS, EVENTS_EACH, "city/north/air/{client}/pm10", TOPIC)
    sender = Sender("paho", home, "air", post.mqtt_port, lines, payload_bytes=PAYLOAD_BYTES)
    while post.metrics().get("lamppost_forward_delivered_total", 0) == 0:
        sender.check()
        time.sleep(0.1)
    meter = Meter(cluster.bootstrap)
    ending(meter.close)
    wait_for_all([sender], timeout_s=120)
    # What came before is fetched at the cluster's own speed.
    meter.read_for(2)
    meter.samples.clear()
    meter.read_for(3)
    asked = run("status", "--http", f"127.0.0.1:{post.http_port}", "--json")
    assert asked.returncode == 0, asked.stderr
    (status,) = json.loads(asked.stdout)["sinks"]
    wire_before, began = post.metrics()["lamppost_forward_wire_bytes_total"], time.monotonic()
    meter.read_for(SPAN_S)
    wire = (post.metrics()["lamppost_forward_wire_bytes_total"] - wire_before) / (time.monotonic() - began)
    most = meter.most_over(SPAN_S)
    print(f"\nceiling {CEILING} B/s; the brokers' other side saw {most:.0f} B/s over {SPAN_S} s, the gateway says {wire:.0f} B/s")
    print(f"status meanwhile: {status}")
    assert most is not None and most <= OVER_MAX * CEILING
    assert wire <= OVER_MAX * CEILING
    assert status["backlog_events"] > 0, "the ceiling held nothing back: send more"
    assert status["backlog_bytes"] > PAYLOAD_BYTES * status["backlog_events"]
    assert 0 < status["oldest_age_s"] < 300
    assert status["forwarded_per_s"] > 0

    ledgers = read_ledgers([sender])
    reader = Reader(cluster.bootstrap, post.name, {TOPIC})
    reader.read_ids({entry.id for entry in ledgers})
    reader.close()
    verdict = judge(ledgers, reader.records, reader.partitions)
    assert len(ledgers) == CONNECTIONS * EVENTS_EACH and verdict.good, verdict
    deadline = time.monotonic() + 30
    while json.loads(post.get("/status"))["sinks"][0]["caught_up"] != {"when": "up"}:
        assert time.monotonic() < deadline, post.get("/status")
        time.sleep(0.2)
    assert "caught up: all" in run("status", "--http", f"127.0.0.1:{post.http_port}").stdout
