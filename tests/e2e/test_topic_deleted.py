"""A topic is deleted under the gateway while it delivers. Where the gateway may make topics it is made again; where it may not, that topic alone waits until
an operator has made it. What the cluster had taken before goes with the topic; that and nothing else."""

import random
import time
from dataclasses import replace

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from rig.judge import Record
from rig.ledger import Entry
from rig.pair import PARTITIONS, RATE, Pair, Post
from rig.reader import Reader
from rig.seed import seed

BEHIND = 1 << 40
"""Added to the offsets of the topic that was made anew: they begin with 0, and come after."""
UNSEEN_S_MAX = 5
"""So long before the topic's end a record may have come that our reader had no time to see."""
GONE_S = 3
"""So long after its deletion no broker takes anything for the old topic any more."""
OTHER = """
[[route]]
from = "city/{{district}}/noise/{{device}}/#"
topic = "{topic}-other"

[topics.{topic}-other]
partitions = 4
"""


class Operator:
    """Makes topics and deletes them."""

    def __init__(self, cluster) -> None:
        self._admin = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})

    def delete(self, topic: str) -> None:
        self._admin.delete_topics([topic])[topic].result(30)

    def make(self, topic: str, partitions: int = PARTITIONS, **settings: str) -> None:
        """Unless it is there."""
        if topic not in self._admin.list_topics(timeout=20).topics:
            self._admin.create_topics([NewTopic(topic, partitions, 3, config=settings)])[topic].result(30)


def read_for(reader: Reader, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        reader.take(0.05)


def gone_with_the_topic(before: list[Record], after: list[Record]) -> list[tuple[str, int]]:
    """What stood in the deleted topic and no reader saw: offsets of the journal between the last that was seen there and the first of the new one.
    A hole anywhere else is a loss, which the judge finds."""
    gone = []
    for partition in range(PARTITIONS):
        seen = [int(record.event_id.rsplit("/", 1)[-1]) for record in before if record.partition == partition]
        anew = [int(record.event_id.rsplit("/", 1)[-1]) for record in after if record.partition == partition]
        if anew:
            gone += [(partition, offset) for offset in range(max(seen, default=-1) + 1, min(anew))]
    return gone


def judge(post: Post, ledger: list[Entry], by_then: int, before: list[Record], after: list[Record]) -> None:
    """As always, but for what went with the topic: those entries of each key that lie between its last in the old topic and its first in the new one.
    `by_then`: how many entries there were when the old topic was gone; what was acknowledged later can't have gone with it."""
    gone = gone_with_the_topic(before, after)
    assert len(gone) <= UNSEEN_S_MAX * RATE * 6, f"{len(gone)} records went with the topic"
    records = before + [replace(record, offset=record.offset + BEHIND) for record in after]
    known = {record.sender_id for record in records}
    missing = [entry for entry in ledger if entry.id not in known]
    assert len(missing) <= len(gone), f"{len(missing)} are missing, {len(gone)} went with the topic: {missing[:5]}"
    later = set(ledger[by_then:])
    assert later, "nothing was acknowledged once the topic was gone"
    lost_later = [entry for entry in missing if entry in later]
    assert not lost_later, f"{len(lost_later)} are missing that were acknowledged once the topic was gone: {lost_later[:5]}"
    for entry in missing:
        own = [int(e.id.rsplit("-", 1)[-1]) for e in missing if e.key == entry.key]
        assert max(own) - min(own) == len(own) - 1, f"those that are missing of {entry.key} are not one stretch: {own}"
    print(f"{len(before)} records before, {len(after)} after; {len(missing)} went with the topic before our reader saw them")
    lost = {entry.id for entry in missing}
    post.judge([entry for entry in ledger if entry.id not in lost], records, {post.topic: PARTITIONS})


@pytest.mark.needs("broker-kills")
@pytest.mark.parametrize("may_create", [True, False], ids=["made-again", "only-it-waits"])
def test_a_topic_that_is_deleted_under_load(may_create, home, cluster, ending):
    number = seed()
    print(f"\nLAMPPOST_SEED={number}")
    chance = random.Random(number)
    cluster.ensure_running()
    operator = Operator(cluster)
    pair = Pair("deleted-again" if may_create else "deleted", home, cluster, ending, extra=OTHER)
    if not may_create:
        for post in pair.posts:
            forbid(post, operator)
    pair.start()
    for post in pair.posts:
        post.send("noise", topic=f"{post.topic}-other", kind="noise")
    old = [Reader(cluster.bootstrap, post.gateway.name, {post.topic}) for post in pair.posts]
    for reader in old:
        read_for(reader, 2 + chance.uniform(0, 1))
    for post, reader in zip(pair.posts, old):
        reader.read_to_end()
        operator.delete(post.topic)
    time.sleep(GONE_S)
    # Of the senders the first alone sends to that topic.
    by_then = [post.senders[0].gauges["acknowledged"] for post in pair.posts]
    if not may_create:
        for post in pair.posts:
            only_it_waits(post)
            operator.make(post.topic)
    pair.flow(10 * RATE)
    for post, reader, acknowledged in zip(pair.posts, old, by_then):
        reader.close()
        ledger = post.finish()
        others = [entry for entry in ledger if entry.topic != post.topic]
        own = [entry for entry in ledger if entry.topic == post.topic]
        last = {entry.key: entry.id for entry in own}
        judge(post, own, acknowledged, reader.records, post.read(cluster.bootstrap, set(last.values())).records)
        judge_other(post, others, cluster)
        post.wait("no topic is paused", lambda post=post: post.metric("lamppost_forward_paused_topics") == 0)


def forbid(post: Post, operator: Operator) -> None:
    """The gateway makes no topics: an operator has made them."""
    text = post.gateway.config.read_text()
    post.gateway.config.write_text(text.replace("create_topics = true", "create_topics = false"))
    for topic in (post.topic, f"{post.topic}-other"):
        operator.make(topic)
    operator.make("lamppost-cursors", 16, **{"cleanup.policy": "compact"})
    operator.make("audit-trail", 1)
    operator.make("dead-letters", 1)


def only_it_waits(post: Post) -> None:
    post.wait("the topic is paused", lambda: post.metric("lamppost_forward_paused_topics") == 1)
    post.flows(4 * RATE)
    assert post.metric("lamppost_forward_paused_topics") == 1


def judge_other(post: Post, ledger: list[Entry], cluster) -> None:
    reader = Reader(cluster.bootstrap, post.gateway.name, {f"{post.topic}-other"})
    reader.read_ids({entry.id for entry in ledger})
    reader.close()
    post.judge(ledger, reader.records, reader.partitions)
