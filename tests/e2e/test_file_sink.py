"""Two clusters that are away, and a file sink beside them: the gateway is killed twenty times (LAMPPOST_KILLS) while connections publish."""

import os
import random
import time
import urllib.error

import pytest

from rig.files import Files
from rig.gateway import Gateway
from rig.judge import judge
from rig.places import free_ports
from rig.sending import Sender, connections, read_ledgers, total, wait_for_all

KILLS = int(os.environ.get("LAMPPOST_KILLS", "20"))
RATE = 200
TOPICS = {"file-air": 4, "file-energy": 2}

CONFIG = """
[[route]]
from = "city/{{district}}/air/{{device}}/#"
topic = "file-air"

[[route]]
from = "city/{{district}}/energy/{{device}}"
topic = "file-energy"

[topics.file-air]
partitions = 4
[topics.file-energy]
partitions = 2

[[sink]]
name = "away"
required = false
[sink.kafka]
bootstrap = ["127.0.0.1:{closed}"]

[[sink]]
name = "disk"
[sink.files]
folder = "{folder}"
rotate = "64KiB"
rotate_after = "3s"
flush = "100ms"

[[sink]]
name = "energy"
topics = ["*-energy"]
[sink.files]
folder = "{other}"
"""


def wait_until_written(post: Gateway, sinks: list[str]) -> None:
    """Until no event is behind these sinks' cursors."""
    deadline = time.monotonic() + 60
    while True:
        metrics = post.metrics()
        behind = {sink: metrics[f'lamppost_forward_backlog_events{{sink="{sink}"}}'] for sink in sinks}
        if not any(behind.values()):
            return
        assert time.monotonic() < deadline, f"not written: {behind}; the gateway's log ends\n{post.child.tail()}"
        time.sleep(0.1)


@pytest.fixture
def post(home, ending):
    main, closed = free_ports(2)
    config = CONFIG.format(closed=closed, folder=home / "events", other=home / "energy")
    made = Gateway(home, "files", f"127.0.0.1:{main}", config)
    ending(made.end)
    return made


def health(post: Gateway) -> str:
    try:
        return post.get("/healthz")
    except urllib.error.HTTPError as error:
        return error.read().decode()


def test_files_hold_all_that_was_acknowledged_in_order_after_twenty_kills_with_both_clusters_away(home, post):
    given = os.environ.get("LAMPPOST_SEED")
    seed = int(given) if given else random.randrange(1 << 32)
    print(f"\nLAMPPOST_SEED={seed}")
    chance = random.Random(seed)
    post.start()
    air = connections("air", 6, 0, "city/north/air/{client}/pm10", "file-air")
    energy = connections("meter", 3, 0, "city/north/energy/{client}", "file-energy")
    senders = [Sender("paho", home, "file-senders", post.mqtt_port, air + energy, rate=RATE)]
    torn = 0.0
    for _ in range(KILLS):
        acknowledged = total(senders, "acknowledged")
        deadline = time.monotonic() + 30
        while total(senders, "acknowledged") == acknowledged:
            senders[0].check()
            assert time.monotonic() < deadline, f"nothing is acknowledged; the log ends\n{post.child.tail()}"
            time.sleep(0.01)
        time.sleep(chance.uniform(0.05, 1.5))
        post.kill()
        post.start()
        torn += post.metrics()['lamppost_files_torn_bytes_total{sink="disk"}']
    senders[0].finish()
    wait_for_all(senders, timeout_s=60)
    wait_until_written(post, ["disk", "energy"])
    assert '"sink/away"' in health(post) and '"sink/disk"' in health(post)
    post.stop()

    ledgers = read_ledgers(senders)
    files, other = Files(home / "events"), Files(home / "energy")
    assert files.parts == other.parts == [], "a stop finishes all files"
    wanted = {entry.topic for entry in ledgers}
    records = [record for record in files.records if record.topic in wanted]
    verdict = judge(ledgers, records, TOPICS)
    print(f"{len(files.names)} files, {torn:.0f} torn bytes cut off\n{verdict}")
    assert verdict.acknowledged > 1000
    assert verdict.good, verdict
    for (topic, partition), offsets in files.first_offsets().items():
        assert offsets == list(range(len(offsets))), f"{topic}/{partition} is not dense and in order"
    assert not files.gaps

    only = [entry for entry in ledgers if entry.topic == "file-energy"]
    taken = [record for record in other.records if record.topic == "file-energy"]
    assert judge(only, taken, TOPICS).good
    assert {record.topic for record in other.records} <= {"file-energy", "audit-trail"}
