"""A gateway's clock is not set, then right, ahead, days behind, lost again, and right at last, under load. Its events go out once their time can be known,
with that time, in order, none lost.

It is ahead by less than the hour that brokers take (`message.timestamp.after.max.ms`): a topic that is refused for the time of sending waits."""

import time
from dataclasses import dataclass
from datetime import datetime

import pytest

from rig.judge import Record
from rig.pair import Pair, Post
from rig.wrong_clock import FELT_S, WrongClock

AHEAD_S = 40 * 60
BEHIND_S = 2 * 86_400
PHASE_S = 5
SLACK_S = 2 * FELT_S + 1
"""What a setting takes to be felt, on both sides, and what the clocks of two readings differ by."""


@dataclass(frozen=True)
class Phase:
    """What the gateway's clock was off by, and from when to when by the machine's."""

    off_s: float
    began: float
    ended: float

    def holds(self, seconds: float) -> bool:
        """Whether this was then, by the machine's clock."""
        return self.began - SLACK_S <= seconds <= self.ended + SLACK_S


@pytest.mark.needs("faketime")
def test_a_clock_that_jumps_costs_no_event_and_no_order_and_times_are_corrected_where_they_can_be(home, cluster, ending):
    cluster.ensure_running()
    pair = Pair("jumps", home, cluster, ending, make=WrongClock)
    phases = []

    def phase(off_s: float, begin=None) -> None:
        for post in pair.posts:
            post.gateway.set_off(off_s)
        began = time.time()
        if begin:
            begin()
        time.sleep(PHASE_S)
        phases.append(Phase(off_s, began, time.time()))

    def right() -> None:
        phase(0)
        pair.flow()

    unset = 12_345 - time.time()
    phase(unset, lambda: [post.start() for post in pair.posts])
    assert [post.delivered() for post in pair.posts] == [0, 0], "sent with a time that nobody knows"
    right()
    phase(AHEAD_S)
    right()
    phase(-BEHIND_S)
    right()
    phase(unset)
    right()
    for post in pair.posts:
        ledger = post.finish()
        whole = Phase(0, phases[0].began, time.time())
        reader = post.read(cluster.bootstrap, {entry.id for entry in ledger})
        post.judge(ledger, reader.records, reader.partitions)
        judge_times(post, reader.records, whole, phases)


def received(record: Record) -> float:
    return datetime.fromisoformat(record.headers["ce_time"]).timestamp()


def off_by(record: Record, whole: Phase) -> float:
    """What the clock was off by as it went out: an event bears the time at which it came in, by the clock as it is when it goes."""
    for off_s in (0, AHEAD_S, -BEHIND_S):
        if whole.holds(received(record) - off_s):
            return off_s
    raise AssertionError(f"a time of no clock there ever was: {record}")


def judge_times(post: Post, records: list[Record], whole: Phase, phases: list[Phase]) -> None:
    """Each record has the time at which it came in; of what went out while the clock was set and wrong, by that clock."""
    lost = [phase for phase in phases if phase.off_s < -BEHIND_S]
    until = {phase.off_s: phase.ended for phase in phases}
    wrong = {AHEAD_S: 0, -BEHIND_S: 0}
    unset = 0
    for record in records:
        off_s = off_by(record, whole)
        came_in = received(record) - off_s
        assert abs(record.time_ms / 1000 - received(record)) < 0.01, record
        if off_s:
            wrong[off_s] += 1
            assert came_in <= until[off_s] + SLACK_S, record
        if record.headers["ce_clock"] == "unset":
            unset += 1
            assert any(phase.holds(came_in) for phase in lost), record
    told = ", ".join(f"{found} by a clock {off_s:+} s off" for off_s, found in wrong.items())
    print(f"{post.delivery}: of {len(records)}, {unset} came in while the clock was not set; went out with a wrong time: {told}")
    assert unset and all(wrong.values()), "the clock did not jump"
