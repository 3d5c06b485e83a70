"""The cluster is gone for the whole ingest, and comes back."""

import time

import pytest

from rig.judge import judge
from rig.memory import compare
from rig.reader import Reader
from rig.sending import Sender, connections, read_ledgers, total, wait_for_all

EVENTS_EACH = 2_500
CONNECTIONS = 40
PAYLOAD_BYTES = 1_000
GROWTH_MIB_MAX = 8
"""Between the halves; a gateway that kept the backlog in memory would grow by more than 40."""

CONFIG = """
[journal]
quota = "512MiB"

[[route]]
from = "city/{district}/air/{device}/#"
topic = "away-air"

[topics.away-air]
partitions = 4
"""


def watch_memory(post, senders) -> list[tuple[float, float]]:
    """Until all is acknowledged: how much of it is, from 0 to 1, and the gateway's memory in MiB at that moment."""
    samples = []
    while any(sender.child.alive() for sender in senders):
        for sender in senders:
            sender.check()
        samples.append((total(senders, "acknowledged") / (CONNECTIONS * EVENTS_EACH), post.rss_mib()))
        time.sleep(0.1)
    wait_for_all(senders, timeout_s=1)
    return samples


@pytest.mark.needs("broker-kills")
def test_nothing_is_lost_and_memory_stays_flat_while_the_cluster_is_gone(home, cluster, gateway, ending):
    cluster.stop_for_a_story()
    ending(cluster.ensure_running)
    post = gateway("away", CONFIG)
    post.start()
    lines = connections("air", CONNECTIONS, EVENTS_EACH, "city/north/air/{client}/pm10", "away-air")
    halves = (lines[: CONNECTIONS // 2], lines[CONNECTIONS // 2 :])
    senders = [
        Sender("paho", home, f"air-{n}", post.mqtt_port, half, payload_bytes=PAYLOAD_BYTES)
        for n, half in enumerate(halves)
    ]
    samples = watch_memory(post, senders)

    memory = compare(samples)
    backlog_mib = CONNECTIONS * EVENTS_EACH * PAYLOAD_BYTES / (1 << 20)
    print(f"\nbacklog {backlog_mib:.0f} MiB of payloads; memory of the gateway: {memory}")
    assert memory.growth <= GROWTH_MIB_MAX, f"memory grew between the halves of the ingest: {memory}"

    ledgers = read_ledgers(senders)
    assert len(ledgers) == CONNECTIONS * EVENTS_EACH
    back = time.monotonic()
    cluster.ensure_running()
    reader = Reader(cluster.bootstrap, post.name, {"away-air"})
    reader.read_ids({entry.id for entry in ledgers})
    reader.close()
    verdict = judge(ledgers, reader.records, reader.partitions)
    print(
        f"drained and read {time.monotonic() - back:.1f} s after the cluster's return began; "
        f"memory then {post.rss_mib():.1f} MiB\n{verdict}"
    )
    assert verdict.good, verdict
    assert reader.partitions == {"away-air": 4}
