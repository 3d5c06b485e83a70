"""The disk of one broker is full, then that of a second one: each gives up, as Kafka does. Room is made, they are started again; and the third after
them where Kafka's fault was met, which the gateway has to say then.

A leader that is about to give up answers the end of a transaction with an error that the coordinator does not expect ("Unexpected error … while sending
txn marker"; 4.3.1, some one in twenty of these stories): it forgets to end it, and says CONCURRENT_TRANSACTIONS for ever to whom it belongs to. Only another
coordinator, or the same one restarted, ends it. The gateway waits for that, and says so; delivery at least once goes on without."""

import random
import time

import pytest

from rig.cluster import BROKERS
from rig.pair import Pair
from rig.seed import seed

FREE_MIB = 24
GIVES_UP_S = 60
FAULT = "__transaction_state"
"""In what the gateway says of it."""
SETTLED_S = 5
"""After which what was on its way has come back or never will; and so long nothing more may be taken."""


@pytest.mark.needs("small-disks", "broker-kills")
def test_brokers_whose_disks_are_full_cost_nothing_once_there_is_room_again(home, cluster, ending):
    number = seed()
    print(f"\nLAMPPOST_SEED={number}")
    cluster.ensure_running()
    ending(cluster.ensure_running)
    victims = random.Random(number).sample(range(BROKERS), 2)
    disks = {}
    for broker in victims:
        ending(lambda broker=broker: cluster.from_small_disk(broker))
        disks[broker] = cluster.onto_small_disk(broker, FREE_MIB)
    cluster.wait_until_in_sync()
    pair = Pair("full", home, cluster, ending)
    pair.start()

    first, second = victims
    filled = disks[first].fill()
    cluster.bury(first, GIVES_UP_S)
    pair.flow()
    disks[second].fill()
    cluster.bury(second, GIVES_UP_S)
    time.sleep(SETTLED_S)
    stood = [post.delivered() for post in pair.posts]
    time.sleep(SETTLED_S)
    for post in pair.posts:
        post.wait("a backlog", lambda post=post: post.metric("lamppost_forward_backlog_events") > 500)
    assert [post.delivered() for post in pair.posts] == stood, "the last broker alone has taken events"
    print(f"brokers {victims} gave up on full disks, the first with {filled >> 20} MiB of filling")

    for broker in victims:
        disks[broker].free()
        cluster.start(broker)
    cluster.wait_until_in_sync()
    at_least_once, exactly_once = pair.posts
    at_least_once.flows()
    try:
        exactly_once.flows()
    except AssertionError:
        assert FAULT in exactly_once.gateway.log.read_text(errors="replace"), "it stands, and does not say why"
        (third,) = set(range(BROKERS)) - set(victims)
        print(f"the gateway says that its transaction was forgotten: broker {third} is restarted")
        cluster.stop_orderly(third)
        cluster.start(third)
        cluster.wait_until_in_sync()
    pair.flow()
    pair.judge()
