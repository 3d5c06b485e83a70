"""Exactly once: a gateway is killed again and again under load, and a broker too, and who reads committed records sees every event
once, in order, none missing. The same in at-least-once mode shows events twice: the check can fail. And two processes of one
gateway: the newer goes on, the older stands by."""

import os
import random
import shutil
import time
from dataclasses import dataclass

import pytest

from rig.audited import audited
from rig.gateway import Gateway
from rig.judge import judge
from rig.reader import Reader
from rig.seed import seed
from rig.sending import Sender, connections, read_ledgers, total, wait_for_all

KILLS = int(os.environ.get("LAMPPOST_KILLS", "12"))
RATE = 40
"""Publishes a second on each of eight connections."""
PARTITIONS = {"air": 4, "energy": 2}

CONFIG = """
[[route]]
from = "city/{{district}}/air/{{device}}/#"
topic = "{name}-air"

[[route]]
from = "city/{{district}}/energy/{{device}}"
topic = "{name}-energy"

[topics.{name}-air]
partitions = 4
[topics.{name}-energy]
partitions = 2
"""


def set_delivery(post: Gateway, delivery: str) -> None:
    """`delivery` stands in the table that the rig writes."""
    text = post.config.read_text()
    assert text.count("create_topics = true\n") == 1
    post.config.write_text(text.replace("create_topics = true\n", f'create_topics = true\ndelivery = "{delivery}"\n'))


def topics(story: str) -> dict[str, int]:
    """Of one story alone: our own judge judges all of a topic."""
    return {f"{story}-{kind}": count for kind, count in PARTITIONS.items()}


def start_senders(home, port: int, name: str, story: str) -> list[Sender]:
    air = connections(f"{name}-air", 5, 0, "city/north/air/{client}/pm10", f"{story}-air")
    energy = connections(f"{name}-meter", 3, 0, "city/north/energy/{client}", f"{story}-energy")
    # Both speak MQTT 5: our own judge knows a sender's ids by a header, which 3.1.1 has none to carry.
    return [
        Sender("paho", home, f"{name}-air", port, air, rate=RATE),
        Sender("paho", home, f"{name}-energy", port, energy, rate=RATE),
    ]


def wait_for(what: str, is_so, timeout_s: float = 90) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.1)


@dataclass(frozen=True)
class Judged:
    status: int
    report: dict


def audit(cluster, post: Gateway, senders, story: str, *options: str) -> Judged:
    """Our own judge's verdict on the story's topics."""
    judged = Judged(*audited(cluster.bootstrap, post.name, topics(story), senders, *options))
    assert judged.status in (0, 1), judged
    return judged


def metric(post: Gateway, name: str) -> float:
    try:
        return post.metrics().get(name, 0.0)
    except OSError:
        return 0.0


def kill_again_and_again(post: Gateway, cluster, senders, chance: random.Random) -> None:
    """SIGKILL at random moments, once something new was acknowledged and some of it delivered; a broker dies at a third of the way, and
    comes back at two thirds."""
    victim = None
    for kill in range(KILLS):
        if kill == KILLS // 3:
            victim = chance.randrange(3)
            cluster.kill(victim)
        if kill == 2 * KILLS // 3:
            cluster.start(victim)
        before = total(senders, "acknowledged")
        wait_for("something is delivered", lambda: metric(post, "lamppost_forward_delivered_total") > 0)
        time.sleep(chance.uniform(0.0, 1.5))
        wait_for("something is acknowledged", lambda: total(senders, "acknowledged") > before)
        for sender in senders:
            sender.check()
        post.kill()
        post.start()
    assert victim is not None


@pytest.mark.needs("broker-kills")
@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
def test_who_reads_committed_records_sees_each_event_once_and_only_in_exactly_once_mode(
    delivery, home, cluster, gateway, ending
):
    chosen = seed()
    print(f"\nLAMPPOST_SEED={chosen} {delivery}")
    chance = random.Random(chosen)
    ending(cluster.ensure_running)
    post = gateway("once", CONFIG.format(name=delivery))
    set_delivery(post, delivery)
    post.start()
    senders = start_senders(home, post.mqtt_port, "one", delivery)
    kill_again_and_again(post, cluster, senders, chance)
    for sender in senders:
        sender.finish()
    wait_for_all(senders, timeout_s=120)
    cluster.wait_until_in_sync()

    ledgers = read_ledgers(senders)
    reader = Reader(cluster.bootstrap, post.name, topics(delivery))
    reader.read_ids({entry.id for entry in ledgers})
    reader.close()
    verdict = judge(ledgers, reader.records, reader.partitions)
    skipped = metric(post, "lamppost_forward_already_there_total")
    print(f"{KILLS} kills, {delivery}: {verdict.delivered_twice} records twice; not sent again since the last start: {skipped:.0f}")
    print(verdict)
    assert verdict.acknowledged > 500
    assert verdict.good, verdict
    judged = audit(cluster, post, senders, delivery, "--exactly-once")
    if delivery == "exactly-once":
        assert verdict.delivered_twice == 0, verdict
        assert judged.status == 0 and judged.report["delivered_twice"] == 0, judged
        # What the killed ones left was aborted, and went again: who reads that sees it twice.
        assert audit(cluster, post, senders, delivery, "--uncommitted").report["delivered_twice"] > 0
    else:
        assert verdict.delivered_twice > 0, "the control shows nothing twice: the check proves nothing"
        assert judged.status == 1 and judged.report["delivered_twice"] == verdict.delivered_twice, judged


def test_of_two_processes_with_one_name_the_newer_goes_on_and_nothing_is_seen_twice(home, cluster, gateway, ending):
    old = gateway("twins", CONFIG.format(name="twins"))
    set_delivery(old, "exactly-once")
    old.start()
    senders = start_senders(home, old.mqtt_port, "old", "twins")
    wait_for("something is delivered", lambda: metric(old, "lamppost_forward_delivered_total") > 100)
    old.kill()
    # The card is copied as it is, with events that are acknowledged and not delivered.
    twin_home = home / "twin"
    twin_home.mkdir()
    new = Gateway(twin_home, old.name, cluster.bootstrap, CONFIG.format(name="twins"))
    ending(new.end)
    set_delivery(new, "exactly-once")
    # A socket is no file that could be copied.
    shutil.copytree(old.state_dir, new.state_dir, ignore=shutil.ignore_patterns("control.sock"))
    old.start()
    wait_for("the old one forwards again", lambda: metric(old, "lamppost_forward_transactions_total") > 0)
    assert metric(old, "lamppost_forward_fenced") == 0
    new.start()
    senders += start_senders(home, new.mqtt_port, "new", "twins")
    wait_for("the old one stands by", lambda: metric(old, "lamppost_forward_fenced") == 1)
    wait_for("it says so", lambda: "another process forwards as gateway" in old.log.read_text())
    delivered = metric(new, "lamppost_forward_delivered_total")
    wait_for("the new one goes on", lambda: metric(new, "lamppost_forward_delivered_total") > delivered + 200)
    assert metric(new, "lamppost_forward_fenced") == 0 and metric(old, "lamppost_forward_fenced") == 1

    # Events that came to the old one meanwhile wait on its disk until it takes the place back.
    for sender in senders:
        sender.finish()
    wait_for_all(senders, timeout_s=60)
    wait_for("the new one has delivered all", lambda: metric(new, "lamppost_forward_backlog_events") == 0)
    assert metric(old, "lamppost_forward_backlog_events") > 0
    assert new.stop() == 0
    old.kill()
    old.start()

    ledgers = read_ledgers(senders)
    reader = Reader(cluster.bootstrap, old.name, topics("twins"))
    reader.read_ids({entry.id for entry in ledgers})
    reader.close()
    verdict = judge(ledgers, reader.records, reader.partitions)
    print(verdict)
    assert verdict.good, verdict
    assert verdict.delivered_twice == 0, verdict
    assert verdict.acknowledged > 500
