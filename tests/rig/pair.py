"""Two gateways under one fire, each with senders and a ledger of its own: one delivers at least once, one exactly once."""

import time
from pathlib import Path
from typing import Callable, Optional

from rig.gateway import Gateway
from rig.judge import Record, Verdict, judge
from rig.ledger import Entry
from rig.reader import Reader
from rig.repeats import events_in, repeats
from rig.sending import Sender, connections, read_ledgers, wait_for_all

DELIVERIES = ("at-least-once", "exactly-once")
PARTITIONS = 4
DEVICES = 6
RATE = 40
"""Publishes a second of each device."""
WINDOW_KIB = 256
FLOWS_S = 90
METRICS_RETRIES = 5

_ROUTE = """
[journal]
event_max = "64KiB"

[[route]]
from = "city/{{district}}/air/{{device}}/#"
topic = "{topic}"

[topics.{topic}]
partitions = {partitions}
"""
_KAFKA = """create_topics = true
delivery = "{delivery}"
in_flight = "{window}KiB"
"""

Make = Callable[[Path, str, str, str], Gateway]


def wait_for(what: str, is_so: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.1)


class Post:
    """A gateway, its senders, and how it is judged."""

    def __init__(self, story: str, delivery: str, gateway: Gateway, home: Path) -> None:
        """`gateway`: not started yet; its configuration is completed here."""
        self.delivery, self.gateway, self.home = delivery, gateway, home
        self.topic = f"{story}-{delivery}"
        self.senders: list[Sender] = []

    def start(self) -> None:
        self.gateway.start()
        self.send("air")

    def send(self, name: str, topic: Optional[str] = None, kind: str = "air", events: int = 0) -> Sender:
        """Devices that publish until they are asked to end, or so many events each."""
        lines = connections(f"{self.topic}-{name}", DEVICES, events, f"city/north/{kind}/{{client}}/x", topic or self.topic)
        sender = Sender("paho", self.home, name, self.gateway.mqtt_port, lines, rate=RATE)
        self.senders.append(sender)
        return sender

    def delivered(self) -> float:
        """As the gateway counts since its start; only to go on in a story at the right moment, never to judge by."""
        return self.metric("lamppost_forward_delivered_total")

    def metric(self, name: str) -> float:
        """0 for one that has no value yet. Raises OSError where the page does not answer: that is no figure."""
        for _ in range(METRICS_RETRIES):
            try:
                return self.gateway.metrics().get(name, 0.0)
            except OSError:
                time.sleep(0.2)
        return self.gateway.metrics().get(name, 0.0)

    def log_tail(self) -> str:
        return self.gateway.child.tail() if self.gateway.child else "(never started)"

    def wait(self, what: str, is_so: Callable[[], bool], timeout_s: float = FLOWS_S) -> None:
        try:
            wait_for(f"{self.delivery}: {what}", is_so, timeout_s)
        except AssertionError as late:
            raise AssertionError(f"{late}; the gateway's log ends\n{self.log_tail()}") from None

    def flows(self, events: int = 2 * RATE) -> None:
        """Returns once so many more were delivered."""
        for sender in self.senders:
            sender.check()
        before = self.delivered()
        self.wait(f"{events} more are delivered", lambda: self.delivered() >= before + events)

    def finish(self) -> list[Entry]:
        """Ends the senders; what was acknowledged to them."""
        for sender in self.senders:
            sender.finish()
        wait_for_all(self.senders, timeout_s=60)
        return read_ledgers(self.senders)

    def read(self, bootstrap: str, ids: set[str]) -> Reader:
        reader = Reader(bootstrap, self.gateway.name, {self.topic})
        reader.read_ids(ids)
        reader.close()
        return reader

    def judge(self, ledger: list[Entry], records: list[Record], partitions: dict[str, int]) -> Verdict:
        """Prints what is found, and holds it against the promise of this gateway's mode."""
        verdict, again = judge(ledger, records, partitions), repeats(records)
        rebuilds = self.metric("lamppost_forward_rebuilds_total")
        aborted = self.metric("lamppost_forward_transactions_aborted_total")
        print(f"{self.delivery}: {again}; {rebuilds:.0f} producers built anew, {aborted:.0f} transactions aborted\n{verdict}")
        assert verdict.good, verdict
        assert verdict.acknowledged > 500, "the fire was over before there was a load"
        assert again.records == verdict.delivered_twice, "every repetition has its ce_id and is where it was"
        if self.delivery == "exactly-once":
            assert again.records == 0, again
        most = events_in(WINDOW_KIB << 10)
        assert again.furthest <= most, f"{again}; no more than {most} fit the window"
        return verdict


class Pair:
    """Both."""

    def __init__(
        self, story: str, home: Path, cluster, ending, make: Make = Gateway, bootstrap: str = "", extra: str = ""
    ) -> None:
        """`make`: another kind of Gateway. `bootstrap`: another way to the cluster; who reads and judges goes the straight one. `extra`: more
        tables of the configuration, with `{topic}` for the pair's topic."""
        self.cluster = cluster
        self.posts = []
        for delivery in DELIVERIES:
            own = home / delivery
            own.mkdir()
            route = (_ROUTE + extra).format(topic=f"{story}-{delivery}", partitions=PARTITIONS)
            name = f"{story}-{delivery}-{time.time_ns() % 0xFFFFFF:06x}"
            gateway = make(own, name, bootstrap or cluster.bootstrap, route)
            ending(gateway.end)
            text = gateway.config.read_text()
            assert text.count("create_topics = true\n") == 1
            table = _KAFKA.format(delivery=delivery, window=WINDOW_KIB)
            gateway.config.write_text(text.replace("create_topics = true\n", table))
            self.posts.append(Post(story, delivery, gateway, own))

    def start(self) -> None:
        for post in self.posts:
            post.start()
        self.flow()

    def flow(self, events: int = 2 * RATE) -> None:
        for post in self.posts:
            post.flows(events)

    def judge(self) -> None:
        """Ends the load and holds both against their ledgers."""
        for post in self.posts:
            ledger = post.finish()
            reader = post.read(self.cluster.bootstrap, {entry.id for entry in ledger})
            assert reader.partitions == {post.topic: PARTITIONS}
            post.judge(ledger, reader.records, reader.partitions)
