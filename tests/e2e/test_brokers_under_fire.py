"""Brokers that are restarted one after the other, killed at the worst places, and fewer than the topic's minimum, under load. Each fire burns two
gateways, one of each delivery; each is held against the ledger of its own senders."""

import os
import random
import time
from typing import Callable

import pytest

from rig.cluster import BROKERS
from rig.pair import PARTITIONS, Pair, wait_for
from rig.seed import seed

pytestmark = pytest.mark.needs("broker-kills")

MINORITY_S = int(os.environ.get("LAMPPOST_MINORITY_S", "10"))
"""So long one broker alone is left: more than its session's time, so that the cluster has noticed."""
VOTE_S_MAX = 30


def chosen() -> random.Random:
    number = seed()
    print(f"\nLAMPPOST_SEED={number}")
    return random.Random(number)


def found(role: str, find: Callable[[], int]) -> int:
    """The broker in that role: while there is a vote there is none."""
    deadline = time.monotonic() + VOTE_S_MAX
    while (broker := find()) < 0:
        assert time.monotonic() < deadline, f"no {role} within {VOTE_S_MAX} s"
        time.sleep(0.1)
    return broker


def test_all_brokers_are_restarted_one_after_the_other_under_load(home, cluster, ending):
    chance = chosen()
    ending(cluster.ensure_running)
    pair = Pair("rolling", home, cluster, ending)
    pair.start()
    began = time.monotonic()
    for broker in chance.sample(range(BROKERS), BROKERS):
        cluster.stop_orderly(broker)
        pair.flow()
        cluster.start(broker)
        cluster.wait_until_in_sync()
        pair.flow()
    print(f"{BROKERS} brokers restarted within {time.monotonic() - began:.0f} s")
    pair.judge()


def test_a_leader_and_then_the_controller_are_killed_under_load(home, cluster, ending):
    chance = chosen()
    ending(cluster.ensure_running)
    pair = Pair("beheaded", home, cluster, ending)
    pair.start()
    post = chance.choice(pair.posts)
    partition = chance.randrange(PARTITIONS)
    roles = {
        "leader": lambda: cluster.leader(post.topic, partition),
        "controller": cluster.controller,
    }
    for role, find in roles.items():
        time.sleep(chance.uniform(0, 0.5))
        broker = found(role, find)
        cluster.kill(broker)
        print(f"broker {broker} was killed, the {role}")
        pair.flow()
        cluster.start(broker)
        cluster.wait_until_in_sync()
    pair.judge()


def test_two_of_three_brokers_are_gone_for_a_while_and_what_waits_comes_when_they_are_back(home, cluster, ending):
    chance = chosen()
    ending(cluster.ensure_running)
    pair = Pair("minority", home, cluster, ending)
    pair.start()
    gone = chance.sample(range(BROKERS), 2)
    for broker in gone:
        cluster.kill(broker)
    time.sleep(MINORITY_S / 2)
    # What was on its way has come back by now or never will: nothing is taken by fewer than the two of min.insync.replicas.
    stood = [post.delivered() for post in pair.posts]
    time.sleep(MINORITY_S / 2)
    assert [post.delivered() for post in pair.posts] == stood, "one broker alone has taken events"
    wait_for("the backlog is told", lambda: all(post.metric("lamppost_forward_backlog_events") > 0 for post in pair.posts), 10)
    print(f"brokers {gone} were gone; backlog {[post.metric('lamppost_forward_backlog_events') for post in pair.posts]} events")
    chance.shuffle(gone)
    cluster.start(gone[0])
    pair.flow()
    cluster.start(gone[1])
    pair.flow()
    cluster.wait_until_in_sync()
    pair.judge()
