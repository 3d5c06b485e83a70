"""Live first, backlog after: with a long backlog and a narrow link, what is published now arrives now, each lane in
order, also when the gateway is killed with two lanes open. Beside it a gateway in strict order."""

import json
import random
import secrets
import statistics
import time
from datetime import datetime

import pytest

from rig.audited import audited
from rig.gateway import Gateway, run
from rig.judge import judge
from rig.reader import Reader
from rig.seed import seed
from rig.senders.plan import Connection
from rig.sending import Sender, connections, read_ledgers, wait_for_all

EVENTS = 12_000
CONNECTIONS = 20
LIVE_CONNECTIONS = 4
LIVE_EACH = 25
LIVE_RATE = 5
"""Publishes a second on each connection."""
TOPICS = {"lanes-live": 4, "lanes-strict": 4}
KAFKA = 'create_topics = true\nbandwidth_max = "2 Mbit/s"\ncompression = "none"\nin_flight = "1MiB"'
LIVE_FIRST = KAFKA + '\nlive_first = ["lanes-*"]\nlive_first_after = "5s"'

CONFIG = """
[[route]]
from = "city/{{district}}/air/{{device}}/#"
topic = "{topic}"
device = "{{device}}"

[topics.{topic}]
partitions = 4
"""


def backlog_at(post, home, topic: str) -> Sender:
    lines = connections("old", CONNECTIONS, EVENTS // CONNECTIONS, "city/north/air/{client}/pm10", topic)
    return Sender("paho", home, f"old-{topic}", post.mqtt_port, lines, payload_bytes=200)


def live_at(post, home, topic: str, when: str) -> Sender:
    """Of devices that have a backlog: what is live overtakes events of its own key."""
    devices = [f"old-{n}" for n in range(LIVE_CONNECTIONS)]
    lines = [
        Connection(f"live-{when}-{device}", f"city/north/air/{device}/pm10", topic, device, LIVE_EACH)
        for device in devices
    ]
    return Sender("paho", home, f"live-{when}-{topic}", post.mqtt_port, lines, rate=LIVE_RATE)


def is_old(record) -> bool:
    return record.sender_id.startswith("old-")


def count(reader, prefix: str) -> int:
    return len({record.sender_id for record in reader.records if record.sender_id.startswith(prefix)})


class Arrivals:
    """When what was published as live came out of the cluster, by the gateway's word on when it came in."""

    def __init__(self, cluster, posts) -> None:
        self.readers = {name: Reader(cluster.bootstrap, post.name, {f"lanes-{name}"}) for name, post in posts.items()}
        self.seen = {name: 0 for name in self.readers}
        self.late_s = {name: [] for name in self.readers}
        self.old_before = {name: [] for name in self.readers}
        """How many of the backlog had come before each of them."""
        self.old = {name: 0 for name in self.readers}

    def take(self) -> None:
        for name, reader in self.readers.items():
            reader.take(0.1)
            now = time.time()
            for record in reader.records[self.seen[name] :]:
                if is_old(record):
                    self.old[name] += 1
                else:
                    came = datetime.fromisoformat(record.headers["ce_time"].replace("Z", "+00:00")).timestamp()
                    self.late_s[name].append(now - came)
                    self.old_before[name].append(self.old[name])
            self.seen[name] = len(reader.records)

    def until(self, done, what: str, limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        while not done():
            assert time.monotonic() < deadline, f"not within {limit_s} s: {what}; {self.old}"
            self.take()


def status(post) -> dict:
    asked = run("status", "--http", f"127.0.0.1:{post.http_port}", "--json")
    assert asked.returncode == 0, asked.stderr
    return json.loads(asked.stdout)["sinks"][0]


def audit(cluster, post: Gateway, topic: str, senders) -> dict:
    verdict, report = audited(cluster.bootstrap, post.name, [topic], senders)
    assert verdict == 0, report
    return report


def check_that_what_is_to_come_is_not_called_lost(cluster, live: Gateway) -> None:
    """An audit in the middle of the backfill. The only manifests are of the time before, or none is there yet: the audit trail is in strict order."""
    verdict, report = audited(cluster.bootstrap, live.name, ["lanes-live"])
    assert verdict in (0, 2), report
    counts = {name: report[name] for name in ("missing_offsets", "lost_tail", "late", "open", "backfilled")}
    print(f"an audit in the middle: status {verdict}, {counts}")
    assert report["missing_offsets"] == report["lost_tail"] == report["out_of_order_by_journal"] == 0, report
    assert report["late"] + report["open"] > 0, "the backfill was over"
    assert (verdict == 2) == (report["open"] > 0), report


def spread(seconds: list[float]) -> str:
    return f"p50 {statistics.median(seconds):.2f} s, most {max(seconds):.2f} s, of {len(seconds)}"


@pytest.mark.needs("broker-kills")
def test_what_is_live_overtakes_a_marked_backlog_also_through_a_kill(home, cluster, ending):
    chosen = seed()
    print(f"\nLAMPPOST_SEED={chosen}")
    chance = random.Random(chosen)
    cluster.stop_for_a_story()
    ending(cluster.ensure_running)
    posts = {}
    for name, kafka in (("live", LIVE_FIRST), ("strict", KAFKA)):
        (home / name).mkdir()
        config = CONFIG.format(topic=f"lanes-{name}")
        posts[name] = post = Gateway(home / name, f"{name}-{secrets.token_hex(3)}", cluster.bootstrap, config)
        ending(post.end)
        post.config.write_text(post.config.read_text().replace("create_topics = true", kafka))
        assert run("check", "--config", post.config).returncode == 0
        post.start()
    live = posts["live"]
    senders = {name: [backlog_at(post, home, f"lanes-{name}")] for name, post in posts.items()}
    wait_for_all([sender for each in senders.values() for sender in each], timeout_s=240)
    time.sleep(6)
    cluster.ensure_running()
    arrivals = Arrivals(cluster, posts)

    def is_split() -> bool:
        return live.metrics().get("lamppost_forward_backfill_events", 0) > 0

    arrivals.until(is_split, "two lanes", 120)
    for name, post in posts.items():
        senders[name].append(live_at(post, home, f"lanes-{name}", "one"))
    each = LIVE_CONNECTIONS * LIVE_EACH
    arrivals.until(lambda: len(arrivals.late_s["live"]) >= each, "the live ones", 120)
    told = status(live)
    text = run("status", "--http", f"127.0.0.1:{live.http_port}").stdout
    print(f"status with two lanes: {told}\n{text}")
    assert is_split() and told["backfill_events"] > 0 and "live first:" in text
    assert max(arrivals.old_before["live"]) < EVENTS, "before the backlog's end"

    arrivals.until(lambda: arrivals.old["live"] > EVENTS * chance.uniform(0.4, 0.6), "half of the backlog", 240)
    check_that_what_is_to_come_is_not_called_lost(cluster, live)
    assert is_split(), "killed with one lane"
    live.kill()
    live.start()
    senders["live"].append(live_at(live, home, "lanes-live", "two"))
    reader = arrivals.readers["live"]
    arrivals.until(lambda: count(reader, "live-two") >= each, "those after the kill", 120)
    behind = EVENTS - count(reader, "old-")
    print(f"all live ones are there, {behind} of the backlog to come")
    assert behind > 0, "the kill ended the lanes"

    def is_done() -> bool:
        told = (json.loads(post.get("/status"))["sinks"][0] for post in posts.values())
        one_lane = "lamppost_forward_backfill_events" not in live.metrics()
        return one_lane and all(sink["caught_up"] == {"when": "up"} for sink in told)

    arrivals.until(is_done, "both caught up, and one lane again", 600)
    wait_for_all([sender for each in senders.values() for sender in each], timeout_s=30)
    for name, reader in arrivals.readers.items():
        ledgers = read_ledgers(senders[name])
        reader.read_ids({entry.id for entry in ledgers})
        reader.close()
        verdict = judge(ledgers, reader.records, reader.partitions, lanes=name == "live")
        assert verdict.good, verdict
        report = audit(cluster, posts[name], f"lanes-{name}", senders[name])
        print(
            f"{name}: live events came {spread(arrivals.late_s[name])}; "
            f"delivered twice {report['delivered_twice']}, backfilled {report['backfilled']}"
        )
        assert (report["found"], report["lost"]) == (len(ledgers), 0)
        assert (report["backfilled"] > EVENTS // 4) == (name == "live")
        marked = [record for record in reader.records if record.headers.get("ce_lane") == "backfill"]
        # Who does not know of the lanes calls it disorder: the judge is not blind.
        in_one_lane = judge(ledgers, reader.records, reader.partitions)
        assert bool(marked) == (in_one_lane.out_of_order > 0) == (name == "live")
