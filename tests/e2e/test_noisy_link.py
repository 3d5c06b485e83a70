"""Two nodes on bad lines: link frames with garbage, cut frames, flipped bits and resent readings between."""

import json
import os
import random

from rig.judge import judge
from rig.node import Node
from rig.noise import NoisyLine
from rig.reader import Reader

READINGS = 1_000
INTERVAL_MS = 5
RATE = 0.05
"""How often each kind of noise strikes a frame."""

CONFIG = """
[[serial]]
name = "one"
port = "{ports[0]}"
baud = 115200
protocol = "link"

[[serial]]
name = "two"
port = "{ports[1]}"
baud = 115200

[[route]]
from = "link/{{device}}/{{measure}}"
topic = "noisy"

[topics.noisy]
partitions = 3
"""


def test_the_good_readings_of_a_bad_line_arrive_exactly_once(home, cluster, gateway, ending):
    seed = int(os.environ.get("LAMPPOST_SEED") or random.randrange(1 << 32))
    print(f"\nLAMPPOST_SEED={seed}")
    nodes = [Node(home, name, READINGS, INTERVAL_MS) for name in ("node-one", "node-two")]
    lines = []
    for n, node in enumerate(nodes):
        ending(node.child.kill)
        (home / node.device).mkdir()
        lines.append(NoisyLine(node.port, home / node.device, seed + n, RATE))
        ending(lines[n].stop)
    post = gateway("noisy", CONFIG.format(ports=[line.port for line in lines]))
    post.start()
    for node in nodes:
        assert node.child.wait(300) == 0, node.child.tail()
    counts = [line.counts() for line in lines]
    print(f"noise: {counts}")
    for count in counts:
        struck = ("garbage", "flipped", "cut", "resent")
        assert all(count[kind] > 10 for kind in struck), f"too little noise to prove anything: {count}"

    ledger = [entry for node in nodes for entry in node.entries("noisy")]
    assert len(ledger) == len(nodes) * READINGS
    reader = Reader(cluster.bootstrap, post.name, {"noisy"})
    ending(reader.close)
    reader.read_ids({entry.id for entry in ledger})
    verdict = judge(ledger, reader.records, reader.partitions)
    print(verdict)
    assert verdict.good, verdict
    # Exactly once: nothing beside the readings, and none of them again, under whatever identity.
    assert verdict.records == len(ledger), verdict
    assert (verdict.delivered_twice, verdict.sent_twice, verdict.unacknowledged) == (0, 0, 0), verdict

    measured = {reading: line for node in nodes for reading, line in node.readings().items()}
    for record in reader.records:
        said, meant = json.loads(record.value), measured[record.sender_id]
        assert (said["measure"], said["value"], said["unit"]) == (meant["measure"], meant["value"], "Cel"), record
