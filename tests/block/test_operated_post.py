"""What an operator does to a post that runs, under the real systemd and dpkg, while devices publish to it: a reload that is right and one that is wrong, a
gateway that hangs, an upgrade, an upgrade that does not take the configuration, and a removal."""

import time

import pytest

from rig.audited import audited
from rig.client import Client
from rig.judge import judge
from rig.pi import card
from rig.pi.operated_post import CONFIG, TOPICS, OperatedPost, later
from rig.pi.package import package
from rig.reader import Reader
from rig.seed import seed
from rig.sending import Sender, connections, read_ledgers, total, wait_for_all

RATE = 5
"""Publishes a second on each connection."""
PATIENCE_S = 300


def until_acknowledged(senders: list[Sender], more: int) -> None:
    """Returns once so many more are acknowledged."""
    wanted = total(senders, "acknowledged") + more
    deadline = time.monotonic() + PATIENCE_S
    while total(senders, "acknowledged") < wanted:
        for sender in senders:
            sender.check()
        assert time.monotonic() < deadline, "nothing is acknowledged any more"
        time.sleep(0.05)


def test_a_post_is_reloaded_hangs_and_is_upgraded_under_systemd_and_loses_nothing(home, cluster, ending):
    chosen = seed()
    second, version = later(package(), home)
    post = OperatedPost(home, f"operated-{chosen:08x}", package(), cluster.guests)
    ending(post.end)
    post.start(card.luggage(home, {"later.deb": second}))
    assert post.service("ActiveState") == "active" and post.service("NRestarts") == "0"
    first_pid = post.service("MainPID")

    senders = [Sender("paho", home, "lamps", post.mqtt_port, connections("lamp", 4, 0, "city/north/traffic/{client}", "operated-traffic"), rate=RATE)]
    probe = Client(post.mqtt_port, "probe")
    ending(probe.close)
    until_acknowledged(senders, 20)
    probe.publish("probe/a", "a")

    # A reload: other routes, the same connection and process.
    post.shell(f"sed -i 's/topic = \"operated-before\"/topic = \"operated-after\"/' {CONFIG} && systemctl reload lamppost")
    post.wait_for_log("was read again: routes")
    probe.publish("probe/b", "b")
    # One that is wrong: systemctl says so, and the routes that were there go on.
    post.shell(f"cp {CONFIG} /etc/lamppost/right.toml && sed -i 's/topic = \"operated-after\"/topik = \"operated-before\"/' {CONFIG}")
    with pytest.raises(RuntimeError, match="Job for lamppost.service failed"):
        post.shell("systemctl reload lamppost")
    post.wait_for_log("did you mean `topic`?")
    probe.publish("probe/c", "c")
    assert post.service("ActiveState") == "active" and post.service("MainPID") == first_pid
    assert probe.ended == 0, "a reload ended a connection"

    # An upgrade whose program does not take the configuration: the old one goes on, though the new one is installed.
    said = post.shell("dpkg -i /luggage/later.deb", PATIENCE_S)
    assert "The old one goes on" in said, said
    assert post.service("MainPID") == first_pid and probe.ended == 0
    until_acknowledged(senders, 20)
    # With the mended file the same upgrade starts the new one; what the operator has changed stays.
    post.shell(f"cp /etc/lamppost/right.toml {CONFIG}")
    said = post.shell("dpkg -i /luggage/later.deb", PATIENCE_S)
    assert post.shell("dpkg-query -W -f '${Version}' lamppost") == version, said
    post.wait_until_ready()
    second_pid = post.service("MainPID")
    assert second_pid not in ("0", first_pid), said
    until_acknowledged(senders, 20)
    probe.publish("probe/d", "d", PATIENCE_S)

    # A gateway that does nothing any more: the watchdog ends it, and it is started again.
    restarts = int(post.service("NRestarts"))
    began = time.monotonic()
    post.shell(f"kill -STOP {second_pid}")
    post.wait_for_log("Watchdog timeout")
    deadline = time.monotonic() + PATIENCE_S
    while int(post.service("NRestarts")) == restarts:
        assert time.monotonic() < deadline, post.log()
        time.sleep(1)
    post.wait_until_ready()
    assert post.service("MainPID") not in ("0", second_pid)
    print(f"a gateway that was stopped is back after {time.monotonic() - began:.0f} s")
    until_acknowledged(senders, 20)
    probe.publish("probe/e", "e", PATIENCE_S)

    for sender in senders:
        sender.finish()
    wait_for_all(senders, timeout_s=PATIENCE_S)
    ledgers = read_ledgers(senders)
    reader = Reader(cluster.bootstrap, post.name, TOPICS)
    reader.read_ids({entry.id for entry in ledgers})

    def probes(topic: str) -> set[str]:
        return {record.value.decode() for record in reader.records if record.topic == topic}

    assert reader.read_until(lambda: "e" in probes("operated-after"), idle_s=120), probes("operated-after")
    reader.close()
    assert (probes("operated-before"), probes("operated-after")) == ({"a"}, set("bcde"))
    sent = [record for record in reader.records if record.topic == "operated-traffic"]
    verdict = judge(ledgers, sent, {"operated-traffic": reader.partitions["operated-traffic"]})
    print(verdict)
    assert verdict.good and verdict.acknowledged > 60, verdict
    status, report = audited(cluster.bootstrap, post.name, TOPICS, senders)
    assert status == 0, report

    # It goes, and what it has stored does not go along.
    before = post.shell("du -sb /var/lib/lamppost/journal | cut -f1")
    post.shell("dpkg -r lamppost", PATIENCE_S)
    assert post.shell("systemctl is-active lamppost || true") in ("inactive", "unknown")
    assert int(post.shell("du -sb /var/lib/lamppost/journal | cut -f1")) >= int(before) > 0
    assert post.shell(f"test -f {CONFIG} && echo there") == "there"
