"""A gateway in a network of its own, behind a line that is pulled out, that loses what comes back, and that is late, slow, and cut in the middle of
messages. Each fire burns two gateways, one of each delivery; each is held against the ledger of its own senders."""

import contextlib
import random
import time

import pytest

from rig.apart import Cable
from rig.cluster import GUESTS_SEE_US_AT
from rig.middleman import Middleman, Mood
from rig.pair import Pair
from rig.seed import seed

# The listener that is used is one of our own cluster.
pytestmark = pytest.mark.needs("namespaces", "broker-kills")

GONE_S = 9
"""Longer than a request may take (below), so that what was on its way is given up and sent again."""
REQUESTS = """
[kafka.properties]
"socket.timeout.ms" = "5000"
"""
BAD_S = 20


class Post(Pair):
    """Two gateways at the far end of a line, and their devices with them."""

    def __init__(self, story: str, home, cluster, ending) -> None:
        number = seed()
        print(f"\nLAMPPOST_SEED={number}")
        self.chance = random.Random(number)
        self.cable = Cable()
        ending(self.cable.close)
        ports = [int(address.rsplit(":")[-1]) for address in cluster.guests.split(",")]
        self.line = Middleman(self.cable.far, GUESTS_SEE_US_AT, ports, self.chance)
        ending(self.line.close)
        super().__init__(story, home, cluster, ending, self.cable.gateway, cluster.guests, REQUESTS)

    def start(self) -> None:
        # The senders begin in here too, and have the gateways' loopback.
        with self.cable.post.inside():
            super().start()

    @contextlib.contextmanager
    def nothing_gets_through(self):
        """Holds for a while after what was under way has had its time."""
        time.sleep(1)
        before = [post.delivered() for post in self.posts]
        yield
        assert [post.delivered() for post in self.posts] == before, "the line was to be dead"


def test_the_cable_is_pulled_out_and_then_only_answers_are_lost(home, cluster, ending):
    cluster.ensure_running()
    post = Post("parted", home, cluster, ending)
    post.start()
    straight = post.line.carried
    post.cable.pull_out()
    with post.nothing_gets_through():
        time.sleep(GONE_S)
    post.cable.plug_in()
    post.flow()

    # What was sent arrives, and nobody at the post is told: worse than a line that is dead.
    post.cable.lose_answers()
    with post.nothing_gets_through():
        time.sleep(GONE_S)
    post.cable.lose_nothing()
    post.flow()
    print(f"through the line: {straight >> 10} KiB before, {post.line.carried >> 10} KiB in all, {post.line.connections} connections")
    post.judge()


def test_a_line_that_is_late_and_slow_and_cut_in_the_middle_of_messages_loses_nothing(home, cluster, ending):
    cluster.ensure_running()
    post = Post("late", home, cluster, ending)
    post.start()
    began, refused = time.monotonic(), 0
    while time.monotonic() - began < BAD_S:
        post.line.mood = Mood(
            delay_s=post.chance.uniform(0.05, 0.4),
            bytes_per_s=post.chance.choice((16_000, 64_000, 256_000)),
            refuses=post.chance.random() < 0.2,
        )
        refused += post.line.mood.refuses
        time.sleep(post.chance.uniform(0.5, 2.5))
        post.line.reset_some()
    post.line.mood = Mood()
    post.flow()
    print(f"{post.line.cuts} cuts of {post.line.connections} connections, {post.line.carried >> 10} KiB; refused {refused} times for a while")
    assert post.line.cuts > 5, "the line was to be bad"
    post.judge()
