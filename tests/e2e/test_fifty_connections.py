"""Fifty connections publish fifty thousand events; all are in Kafka under the right topics, keys and partitions."""

import json
import time

import pytest

from rig.gateway import run
from rig.judge import judge
from rig.reader import Reader
from rig.sending import Sender, connections, read_ledgers, wait_for_all

CONNECTIONS = 50
EVENTS_EACH = 1000
PARTITIONS = {"fifty-air": 4, "fifty-traffic": 3, "events": 2}

CONFIG = """
[[route]]
from = "city/{district}/air/{device}/#"
topic = "fifty-air"
key = "{device}"
device = "{device}"

[[route]]
from = "city/{district}/traffic/{device}"
topic = "fifty-traffic"
key = "{device}"
decode = "json"

[topics.fifty-air]
partitions = 4
[topics.fifty-traffic]
partitions = 3
linger = "0ms"
[topics.events]
partitions = 2
"""


@pytest.mark.needs("mosquitto")
def test_fifty_thousand_events_of_fifty_connections_are_all_in_kafka_at_their_right_places(home, cluster, gateway):
    post = gateway("fifty", CONFIG)
    post.start()
    air = connections("air", 20, EVENTS_EACH, "city/north/air/{client}/pm10", "fifty-air")
    traffic = connections("loop", 20, EVENTS_EACH, "city/south/traffic/{client}", "fifty-traffic")
    # No route of ours: the default keeps everything, under the MQTT client's name.
    energy = connections("meter", 10, EVENTS_EACH, "anything/else/{client}", "events")
    started = time.monotonic()
    senders = [
        Sender("paho", home, "air", post.mqtt_port, air),
        Sender("paho", home, "traffic-5", post.mqtt_port, traffic[:10]),
        Sender("paho", home, "traffic-311", post.mqtt_port, traffic[10:], protocol=4),
        Sender("mosquitto", home, "energy", post.mqtt_port, energy, window=50),
    ]
    assert sum(sender.connections for sender in senders) == CONNECTIONS
    wait_for_all(senders, timeout_s=300)
    published_s = time.monotonic() - started

    ledgers = read_ledgers(senders)
    assert len(ledgers) == CONNECTIONS * EVENTS_EACH
    reader = Reader(cluster.bootstrap, post.name, PARTITIONS)
    reader.read_ids({entry.id for entry in ledgers})
    delivered_s = time.monotonic() - started
    reader.close()
    verdict = judge(ledgers, reader.records, reader.partitions)
    print(
        f"\n{len(ledgers)} acknowledged after {published_s:.1f} s, read from Kafka after {delivered_s:.1f} s\n{verdict}"
    )
    assert verdict.good, verdict
    assert reader.partitions == PARTITIONS
    assert verdict.unacknowledged == 0
    # Nothing failed meanwhile, so nothing was repeated.
    assert (verdict.delivered_twice, verdict.sent_twice) == (0, 0), verdict
    # The sender's id is its user property where the protocol has one.
    assert all("ce_senderid" in record.headers for record in reader.records if record.topic == "fifty-air")
    check_the_gateways_own_audit(
        cluster, post, home, [sender.ledger_path for sender in senders if sender.name in ("air", "traffic-5")]
    )


def check_the_gateways_own_audit(cluster, post, home, ledgers) -> None:
    """`lamppost audit` comes to the same verdict, and is not blind: an entry that was never sent is lost. It is given the
    ledgers of senders whose ids are in the headers; the others' are in their payloads, which it does not read."""
    invented = home / "invented.ledger"
    invented.write_text('{"topic":"fifty-air","key":"air-0","id":"air-0-never"}\n')
    for more, lost in (([], 0), ([invented], 1)):
        arguments = [argument for path in (*ledgers, *more) for argument in ("--ledger", path)]
        topics = [argument for topic in PARTITIONS for argument in ("--topic", topic)]
        done = run("audit", "--bootstrap", cluster.bootstrap, "--gateway", post.name, *topics, *arguments, "--json")
        report = json.loads(done.stdout.splitlines()[-1])
        assert report["lost"] == lost, done.stdout + done.stderr
        assert (done.returncode == 0) == (lost == 0), f"status {done.returncode}: {done.stdout}{done.stderr}"
        assert report["acknowledged"] == 30_000 + lost
