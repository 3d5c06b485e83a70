"""An existing mosquitto is read in both versions of MQTT while it is killed, the gateway is killed, and both at once.

What mosquitto itself lost is told apart by the senders' ledgers: an event that was acknowledged to its sender before mosquitto last saved
its file was in that file, or on its way to the gateway. Only what was acknowledged between that save and the kill may be missing.
"""

import json
import os
import random
import subprocess
import time
from collections import Counter

import pytest

from rig.gateway import Gateway, run
from rig.mosquitto import Mosquitto
from rig.seed import seed
from rig.sending import Sender, connections, total, wait_for_all

KILLS = int(os.environ.get("LAMPPOST_BROKER_KILLS", "12"))
RATE = 60
"""Publishes a second on each connection."""
NOBODY = "127.0.0.1:9"
"""A cluster that never answers: the journal is what is looked at."""

CONFIG = """
[journal]
linger = "50ms"

[[broker]]
name = "plant-five"
url = "mqtt://127.0.0.1:{port}"
version = "5"
subscribe = ["five/#"]
keep_alive = "5s"

[[broker]]
name = "plant-three"
url = "mqtt://localhost:{port}"
version = "3.1.1"
subscribe = ["three/+/air"]
keep_alive = "5s"

[[route]]
from = "+/{{device}}/air"
topic = "plant-air"
device = "{{device}}"

[topics.plant-air]
partitions = 3
"""


RETAINED_CONFIG = """
[[broker]]
name = "plant-five"
url = "mqtt://127.0.0.1:{port}"
version = "5"
subscribe = ["#"]
keep_alive = "5s"

[[broker]]
name = "plant-three"
url = "mqtt://127.0.0.1:{port}"
version = "3.1.1"
subscribe = ["#"]
keep_alive = "5s"

[[route]]
from = "#"
topic = "plant-air"
"""


def acknowledged(sender: Sender) -> list[str]:
    """The ids in a ledger, so far; a line that is being written does not count."""
    lines = sender.ledger_path.read_text().split("\n")[:-1]
    return [json.loads(line)["id"] for line in lines]


def wait_until(what: str, post: Gateway, condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"{what}; the gateway's log ends\n{post.child.tail()}"
        time.sleep(0.1)


def is_connected(post: Gateway) -> bool:
    metrics = post.metrics()
    names = ("plant-five", "plant-three")
    return all(metrics.get(f'lamppost_broker_connected{{source="{name}"}}') == 1 for name in names)


def stored(post: Gateway) -> list[dict]:
    """All events in the journal, in its order."""
    done = run("journal", "replay", "--dir", post.state_dir / "journal", "--topic", "plant-air", "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def both_brokers(post: Gateway, metric: str) -> float:
    return sum(value for name, value in post.metrics().items() if name.startswith(f"{metric}{{"))


@pytest.mark.needs("mosquitto")
def test_nothing_that_mosquitto_still_had_is_lost_whoever_is_killed(home, ending):
    chosen = seed()
    print(f"\nLAMPPOST_SEED={chosen}")
    chance = random.Random(chosen)
    broker = Mosquitto(home)
    ending(broker.end)
    broker.start()
    post = Gateway(home, "upstream", NOBODY, CONFIG.format(port=broker.port))
    ending(post.end)
    post.start()
    wait_until("the brokers are not connected", post, lambda: is_connected(post))
    broker.save()

    five = connections("five", 4, 0, "five/{client}/air", "plant-air")
    three = connections("three", 4, 0, "three/{client}/air", "plant-air")
    senders = [
        Sender("paho", home, "five", broker.port, five, rate=RATE),
        Sender("paho", home, "three", broker.port, three, rate=RATE, protocol=4),
    ]
    ids: set[str] = set()
    in_doubt: set[str] = set()
    met = Counter()
    for kill in range(KILLS):
        victim = ("mosquitto", "gateway", "both")[kill % 3]
        before = total(senders, "acknowledged")
        wait_until("nothing is acknowledged to the senders", post, lambda: total(senders, "acknowledged") > before + 50)
        time.sleep(chance.uniform(0.1, 1.0))
        if victim != "mosquitto":
            post.kill()
        if victim != "gateway":
            # While the gateway is away, mosquitto has a queue to save as well.
            time.sleep(chance.uniform(0, 0.5))
            safe = {sender.name: len(acknowledged(sender)) for sender in senders}
            broker.save()
            time.sleep(chance.uniform(0, 0.3))
            broker.kill()
            # Nobody can acknowledge anything to them now; what was still on its way to a ledger gets there.
            time.sleep(0.5)
            for sender in senders:
                in_doubt.update(acknowledged(sender)[safe[sender.name] :])
            broker.start()
        if victim != "mosquitto":
            time.sleep(chance.uniform(0, 0.5))
            post.start()
        wait_until("the brokers are not connected again", post, lambda: is_connected(post))
        met[victim] += 1
        for sender in senders:
            sender.check()
    again = both_brokers(post, "lamppost_broker_sessions_resumed_total")
    assert again > 0, "no session was there again: nothing of this shows anything"
    for sender in senders:
        sender.finish()
    wait_for_all(senders, timeout_s=60)
    for sender in senders:
        ids.update(acknowledged(sender))

    def missing() -> set[str]:
        return ids - in_doubt - {json.loads(event["payload"])["id"] for event in stored(post)}

    wait_until("events are missing", post, lambda: not missing())
    events = stored(post)
    seen: dict[str, list[int]] = {}
    for event in events:
        device, number = json.loads(event["payload"])["id"].rsplit("-", 1)
        assert (event["device"], event["key"], event["source"]) == (device, device, "broker"), event
        assert event["address"] == f"{device.split('-')[0]}/{device}/air"
        seen.setdefault(device, []).append(int(number))
    twice = len(events) - sum(len(set(numbers)) for numbers in seen.values())
    lost_by_mosquitto = in_doubt - {f"{device}-{number}" for device, numbers in seen.items() for number in numbers}
    print(
        f"{dict(met)} kills; {len(ids)} acknowledged to the senders, {len(in_doubt)} of them between a save and a kill; of those "
        f"mosquitto lost {len(lost_by_mosquitto)}; {len(events)} stored, {twice} more than once"
    )
    assert len(seen) == 8 and len(ids) > 1000
    for device, numbers in seen.items():
        first = list(dict.fromkeys(numbers))
        assert first == sorted(first), f"{device} is out of order"
    assert post.stop() == 0


def publish(broker: Mosquitto, topic: str, payload: str, *options: str) -> None:
    line = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(broker.port), "-q", "1", "-t", topic, "-m", payload, *options]
    subprocess.run(line, check=True, timeout=20)


@pytest.mark.needs("mosquitto")
def test_a_retained_message_is_stored_once_and_not_at_each_connecting(home, ending):
    broker = Mosquitto(home)
    ending(broker.end)
    broker.start()
    publish(broker, "door/1", "open", "--retain")
    post = Gateway(home, "retained", NOBODY, RETAINED_CONFIG.format(port=broker.port))
    ending(post.end)
    post.start()

    def settled() -> int:
        return sum("settled" in file.read_text() for file in (post.state_dir / "brokers").glob("[0-9a-f]*"))

    def count() -> Counter:
        return Counter((event["device"], event["payload"]) for event in stored(post))

    both = ("plant-five", "plant-three")
    pubacks = "lamppost_broker_pubacks_total"
    wait_until("the retained message is not acknowledged", post, lambda: both_brokers(post, pubacks) == 2)
    assert count() == Counter([(name, "open") for name in both])
    wait_until("the retained messages are not known to have come", post, lambda: settled() == 2)
    for number in range(3):
        # Both ends begin anew, in turns; each connecting subscribes again.
        broker.save()
        broker.kill()
        broker.start()
        wait_until("the brokers are not connected again", post, lambda: is_connected(post))
        assert post.stop() == 0
        post.start()
        wait_until("the brokers are not connected again", post, lambda: is_connected(post))
        publish(broker, "door/2", str(number))
        wait_until("what is published is not stored", post, lambda: all(count()[name, str(number)] for name in both))
    assert count() == Counter([(name, "open") for name in both] + [(name, str(n)) for name in both for n in range(3)])
    metrics = post.metrics()
    again = {name: metrics[f'lamppost_broker_retained_again_total{{source="{name}"}}'] for name in both}
    assert again["plant-five"] == 0, "5.0 has Retain Handling"
    assert again["plant-three"] >= 1, "mosquitto did not send it again, so that nothing of this shows anything"
