"""The gateway is killed twenty times (LAMPPOST_KILLS) while fourteen connections publish, and two brokers are killed and
restarted."""

import os
import random
import time

import pytest

from rig.judge import judge
from rig.reader import Reader
from rig.repeats import events_in, repeats
from rig.seed import seed
from rig.sending import Sender, connections, read_ledgers, total, wait_for_all

KILLS = int(os.environ.get("LAMPPOST_KILLS", "20"))
ATTEMPTS_MAX = 3 * KILLS
RATE = 60
"""Publishes a second on each connection: some thirty in flight at any moment, by the linger of a commit alone."""
WINDOW_KIB = 256
CURSOR_LATE_S = 5
DELIVERED_PER_S_MAX = 14 * RATE
"""Of all partitions; each is measured by itself, which leaves room for catching up."""
TOPICS = {"kill-air": 4, "kill-energy": 2}
BROKER_DIES, BROKER_RETURNS = (KILLS // 5, 11 * KILLS // 20), (2 * KILLS // 5, 3 * KILLS // 4)
"""Before which kill (from 0) a broker is killed, and before which it is started again."""

CONFIG = """
[journal]
event_max = "64KiB"

[[route]]
from = "city/{district}/air/{device}/#"
topic = "kill-air"

[[route]]
from = "city/{district}/energy/{device}"
topic = "kill-energy"

[topics.kill-air]
partitions = 4
[topics.kill-energy]
partitions = 2
"""


def kill_with_publishes_in_flight(post, senders, chance: random.Random) -> bool:
    """One SIGKILL at a random moment; whether it counts: paho connections were cut with publishes in flight."""
    acknowledged = total(senders, "acknowledged")
    time.sleep(chance.uniform(0.1, 2.0))
    # Senders take a moment to come back after the last kill; a gateway that nobody has reached yet proves nothing.
    deadline = time.monotonic() + 30
    while total(senders, "acknowledged") == acknowledged or total(senders, "unacknowledged") == 0:
        for sender in senders:
            sender.check()
        assert time.monotonic() < deadline, (
            f"nothing is acknowledged any more; the gateway's log ends\n{post.child.tail()}"
        )
        time.sleep(0.001)
    cuts = total(senders, "cuts_in_flight")
    post.kill()
    time.sleep(0.3)
    return total(senders, "cuts_in_flight") > cuts


@pytest.mark.needs("broker-kills", "mosquitto")
def test_what_was_acknowledged_is_in_kafka_in_order_after_twenty_kills_and_two_dead_brokers(
    home, cluster, gateway, ending
):
    chosen = seed()
    ending(cluster.ensure_running)
    print(f"\nLAMPPOST_SEED={chosen}")
    chance = random.Random(chosen)
    post = gateway("kill", CONFIG)
    text = post.config.read_text()
    post.config.write_text(text.replace("create_topics = true\n", f'create_topics = true\nin_flight = "{WINDOW_KIB}KiB"\n'))
    post.start()
    air = connections("air", 10, 0, "city/north/air/{client}/pm10", "kill-air")
    energy = connections("meter", 4, 0, "city/north/energy/{client}", "kill-energy")
    senders = [
        Sender("paho", home, "air-5", post.mqtt_port, air[:6], rate=RATE),
        Sender("paho", home, "air-311", post.mqtt_port, air[6:], rate=RATE, protocol=4),
        Sender("mosquitto", home, "energy", post.mqtt_port, energy, rate=RATE),
    ]
    counted = attempts = uncounted_in_start = 0
    victims = chance.sample(range(3), 2)
    dead = None
    while counted < KILLS:
        if dead is None and victims and counted >= BROKER_DIES[2 - len(victims)]:
            dead = victims.pop()
            cluster.kill(dead)
        elif dead is not None and counted >= BROKER_RETURNS[1 - len(victims)]:
            cluster.start(dead)
            dead = None
        attempts += 1
        assert attempts <= ATTEMPTS_MAX, f"only {counted} of {attempts} kills met publishes in flight"
        counted += kill_with_publishes_in_flight(post, senders, chance)
        if chance.random() < 0.3:
            # Once more while it is recovering; nothing can be in flight, so this one does not count.
            post.launch()
            time.sleep(chance.uniform(0, 0.3))
            if post.child.alive():
                post.kill()
                uncounted_in_start += 1
        post.start()
    assert dead is None and not victims, "both brokers were to be killed and restarted"
    for sender in senders:
        sender.finish()
    wait_for_all(senders, timeout_s=120)
    cluster.wait_until_in_sync()

    ledgers = read_ledgers(senders)
    reader = Reader(cluster.bootstrap, post.name, TOPICS)
    reader.read_ids({entry.id for entry in ledgers})
    reader.close()
    verdict = judge(ledgers, reader.records, reader.partitions)
    print(
        f"{counted} kills with {total(senders, 'cut_publishes')} publishes in flight, {uncounted_in_start} more during "
        f"starts, {attempts - counted} that met nothing and did not count"
    )
    print(
        f"delivered twice (same ce_id): {verdict.delivered_twice}; sent twice (same sender's id): {verdict.sent_twice}"
    )
    again = repeats(reader.records)
    print(f"{again} in {attempts + uncounted_in_start} kills\n{verdict}")
    assert verdict.acknowledged > 1000
    # What was on its way, and what was delivered after the cursor was last made durable (gateway/forward/README.md: up to 5 s).
    assert again.furthest <= events_in(WINDOW_KIB << 10) + CURSOR_LATE_S * DELIVERED_PER_S_MAX, again
    assert again.records == verdict.delivered_twice, "every repetition has its ce_id and is where it was"
    assert verdict.good, verdict
    assert reader.partitions == TOPICS
