"""The whole city block: an emulated Raspberry Pi with Lamppost from its package, a thermometer on its I2C bus, a node with our firmware on
its serial pins, devices that publish to it over the network, and the real cluster. Its plug is pulled LAMPPOST_PI_CUTS times."""

import json
import os
import random
import time

from rig.audited import audited
from rig.judge import Record, judge
from rig.pi.package import package
from rig.pi.post import TOPICS, Post
from rig.reader import Reader
from rig.seed import seed
from rig.sending import Sender, connections, read_ledgers, total, wait_for_all

CUTS = int(os.environ.get("LAMPPOST_PI_CUTS", "30"))
RATE = 5
"""Publishes a second on each connection: the emulated card takes some twenty flushes a second."""
WINDOW = 256
"""Readings that a node may have sent and not heard of."""
FIRST, BETWEEN, LAST = 21.5, 5.25, -10.5
"""What the thermometer measures before the first cut, between two, and after the last, in degrees Celsius."""


def temperatures(reader: Reader) -> list[float]:
    return [json.loads(record.value)["value"] for record in reader.records if record.topic == "block-air"]


def of_the_node(reader: Reader) -> list[Record]:
    return [record for record in reader.records if record.topic == "block-node"]


def last_of_the_node_ms(reader: Reader) -> int:
    """When the node measured last, of what is in the cluster; ms since 1970."""
    return max((record.time_ms for record in of_the_node(reader)), default=0)


def test_every_acknowledged_event_of_a_post_is_in_kafka_after_its_plug_was_pulled_again_and_again(home, cluster, ending):
    chosen = seed()
    chance = random.Random(chosen)
    print(f"\nLAMPPOST_SEED={chosen}")
    post = Post(home, f"pi-{chosen:08x}", package(), cluster.guests)
    ending(post.end)
    post.node.keep_warming()
    began = time.monotonic()
    post.start()
    post.set_street(FIRST)
    post.wait_until_ready()
    print(f"the first boot took {time.monotonic() - began:.0f} s")
    devices = connections("lamp", 8, 0, "city/north/traffic/{client}", "block-traffic")
    senders = [
        Sender("paho", home, "lamps-5", post.mqtt_port, devices[:4], rate=RATE),
        Sender("paho", home, "lamps-311", post.mqtt_port, devices[4:], rate=RATE, protocol=4),
    ]
    for cut in range(CUTS):
        acknowledged = total(senders, "acknowledged")
        deadline = time.monotonic() + 300
        wanted = chance.randrange(20, 400)
        while total(senders, "acknowledged") < acknowledged + wanted:
            for sender in senders:
                sender.check()
            post.machine.console.drain()
            assert time.monotonic() < deadline, f"nothing is acknowledged any more; the Pi said\n{post.machine.console.tail()}"
            time.sleep(chance.uniform(0, 0.2))
        post.pull()
        began = time.monotonic()
        post.start()
        post.set_street(LAST if cut == CUTS - 1 else BETWEEN)
        post.wait_until_ready()
        print(f"cut {cut + 1} after {wanted} acknowledgements; the gateway is back after {time.monotonic() - began:.0f} s", flush=True)
    back_ms = time.time() * 1_000
    for sender in senders:
        sender.finish()
    wait_for_all(senders, timeout_s=300)

    ledgers = read_ledgers(senders)
    reader = Reader(cluster.bootstrap, post.name, TOPICS)
    reader.read_ids({entry.id for entry in ledgers})
    assert reader.read_until(lambda: LAST in temperatures(reader), idle_s=120), temperatures(reader)
    assert reader.read_until(lambda: last_of_the_node_ms(reader) > back_ms, idle_s=120), "no reading of the node came after the last cut"
    reader.close()
    sent = [record for record in reader.records if record.topic == "block-traffic"]
    verdict = judge(ledgers, sent, {"block-traffic": reader.partitions["block-traffic"]})
    print(verdict)
    assert verdict.acknowledged > 20 * CUTS
    assert verdict.good, verdict
    assert FIRST in temperatures(reader), "the thermometer's first reading is missing"
    told = max(value for name, value in post.metrics().items() if name.startswith("lamppost_link_node_dropped"))
    readings = of_the_node(reader)
    sequences = sorted({int(record.headers["ce_senderseq"]) for record in readings})
    assert len({record.headers["ce_senderboot"] for record in readings}) == 1, "the node was never reset"
    # While the Pi boots, the node's ring fills: what it had to drop it has counted itself, and nothing else is missing. It may count more, by
    # a window for each cut: what is on the card, and whose acknowledgement the cut took along, can be dropped before it is sent again.
    missing = sequences[-1] - len(sequences)
    print(
        f"{len(temperatures(reader))} readings of the thermometer, {len(sequences)} of the node; {missing} of the node missing, "
        f"{told:.0f} dropped by its own count for want of room"
    )
    assert missing <= told <= missing + CUTS * WINDOW, "a reading of the node is missing that it did not drop"
    status, report = audited(cluster.bootstrap, post.name, TOPICS, senders)
    assert status == 0, report
