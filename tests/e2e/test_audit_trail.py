"""What the journal says of itself in the cluster: gaps, dead letters and how far it had come. `lamppost audit` tells by it what was dropped
from what was lost, without any ledger."""

import json
import random
import time
from datetime import UTC, datetime

import paho.mqtt.client as mqtt
import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from paho.mqtt.enums import CallbackAPIVersion

from rig.gateway import run

NOISE_BYTES = 12_000
"""Of which half is left when compressed."""

CONFIG = """
[journal]
segment = "1MiB"
quota = "8MiB"
event_max = "64KiB"

[[route]]
from = "city/bulk"
topic = "trail-bulk"
[topics.trail-bulk]
partitions = 1
priority = "bulk"
when_full = "give-up-oldest"

[[route]]
from = "city/small"
topic = "trail-small"
[topics.trail-small]
partitions = 1
"""


class Post:
    """Publishes to a gateway, and waits for each PUBACK."""

    def __init__(self, post, seed: int) -> None:
        self._random = random.Random(seed)
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, "trail", protocol=mqtt.MQTTv311)
        self._client.connect("127.0.0.1", post.mqtt_port)
        self._client.loop_start()

    def publish(self, topic: str, events: int, payload_bytes: int) -> None:
        window = []
        for _ in range(events):
            payload = self._random.randbytes(payload_bytes // 2).hex()
            window.append(self._client.publish(topic, payload, qos=1))
            if len(window) >= 16:
                window.pop(0).wait_for_publish(60)
        for sent in window:
            sent.wait_for_publish(60)
            assert sent.is_published()

    def end(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def wait_until_forwarded(post, timeout_s: float = 60) -> None:
    """All that was on disk when this was called, and the manifest that says so: written each second."""
    deadline = time.monotonic() + timeout_s
    quiet = 0
    while quiet < 25:
        metrics = post.metrics()
        quiet = quiet + 1 if metrics["lamppost_forward_backlog_events"] == 0 else 0
        assert time.monotonic() < deadline, metrics
        time.sleep(0.1)


def first_notice(post) -> dict:
    replayed = run("journal", "replay", "--dir", post.state_dir / "journal", "--topic", "audit-trail", "--json")
    assert replayed.returncode == 0, replayed.stderr
    notice = json.loads(json.loads(replayed.stdout.splitlines()[0])["payload"])
    assert notice["notice"] == "manifest", notice
    return notice


def audit(cluster, post, *more: str) -> tuple[int, dict, dict]:
    """Exit status, the report, and its partitions by topic, ours alone."""
    ours = ["--gateway", post.name, "--topic", "trail-bulk", "--topic", "trail-small"]
    done = run("audit", "--bootstrap", cluster.bootstrap, *ours, "--json", *more)
    assert done.stdout, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    sums: dict[str, dict[str, int]] = {}
    for partition in report["partitions"]:
        of_topic = sums.setdefault(partition["topic"], {})
        for count in ("delivered", "missing", "dropped", "buried", "lost_tail", "late"):
            of_topic[count] = of_topic.get(count, 0) + partition[count]
    return done.returncode, report, sums


@pytest.mark.needs("broker-kills")
def test_what_was_dropped_buried_or_skipped_is_told_from_what_was_lost(cluster, gateway, ending):
    seed = 20_261_122
    cluster.ensure_running()
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    small = NewTopic("trail-small", 1, 3, config={"max.message.bytes": "3000"})
    admin.create_topics([small])["trail-small"].result(30)
    cluster.stop_for_a_story()
    ending(cluster.ensure_running)

    # While the cluster is away, more comes than there is room for, and what is too large for its topic.
    post = gateway("trail", CONFIG)
    post.config.write_text(post.config.read_text().replace("create_topics = true", 'create_topics = true\nmanifest_every = "1s"'))
    post.start()
    sender = Post(post, seed)
    ending(sender.end)
    assert first_notice(post)["partitions"] == [], "a start says whose epoch it is, before anything else"
    sender.publish("city/small", 5, 500)
    sender.publish("city/small", 1, 9_000)
    sender.publish("city/small", 5, 500)
    sender.publish("city/bulk", 1_500, NOISE_BYTES)
    cluster.ensure_running()
    wait_until_forwarded(post)
    status, report, sums = audit(cluster, post)
    print(f"\nseed {seed}\n{sums}\n{report['dropped_for']}")
    assert sums["trail-small"] == {"delivered": 10, "missing": 0, "dropped": 0, "buried": 1, "lost_tail": 0, "late": 0}
    bulk = sums["trail-bulk"]
    assert bulk["dropped"] > 100 and bulk["delivered"] > 100, sums
    assert bulk["missing"] + bulk["lost_tail"] + bulk["late"] == 0, sums
    given_up = {reason: events for reason, events in report["dropped_for"].items() if "given up" in reason}
    assert sum(given_up.values()) >= bulk["dropped"], report["dropped_for"]
    assert status == 0, report

    # From some time on: what the gateway has received since, and nothing is missed of what was before.
    since = datetime.now(UTC).isoformat(timespec="milliseconds")
    sender.publish("city/small", 3, 500)
    wait_until_forwarded(post)
    status, report, sums = audit(cluster, post, "--since", since)
    assert (sums["trail-small"]["delivered"], sums["trail-small"]["missing"], status) == (3, 0, 0), (sums, status)
    assert report["trimmed_topics"] >= 1 and report["dropped"] == 0, report

    # Somebody sets the cursor to the end, over events that were acknowledged and never delivered.
    cluster.stop_for_a_story()
    sender.publish("city/small", 7, 500)
    assert post.stop() == 0
    reset = run("journal", "reset", "--config", post.config, "--group", "forward", "--to", "end", "--topic", "trail-small")
    assert reset.returncode == 0, reset.stderr
    cluster.ensure_running()
    post.start()
    wait_until_forwarded(post)
    status, report, sums = audit(cluster, post, "--late-after", "1h")
    assert (sums["trail-small"]["late"], sums["trail-small"]["lost_tail"], status) == (7, 0, 0), (sums, status)
    status, report, sums = audit(cluster, post, "--late-after", "0s")
    assert (sums["trail-small"]["late"], sums["trail-small"]["lost_tail"], status) == (0, 7, 1), (sums, status)
