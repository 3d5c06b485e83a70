"""A week of a city on a small board, in simulated time: 64 MB of memory, a card of 256 MB, and no cluster from the second day to the fourth, and
again for some hours of the sixth. Then, twice, more comes than the card holds."""

import json
import os
import time

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from endurance.board import CARD_MIB, MEMORY_MIB, QUOTA_MIB, Board, Watch
from endurance.city import (
    AGAIN_FOR_S,
    AGAIN_FROM_S,
    AWAY_FROM_S,
    AWAY_UNTIL_S,
    CAMERAS,
    CAUGHT_UP,
    CONFIG,
    DAY,
    GATHERED_MIN,
    HOURS,
    KAFKA,
    KEEP_S,
    LINGER_S,
    LOOK_S,
    PARTITIONS,
    PEACE_S,
    PICTURE_BYTES,
    PICTURES_EACH,
    SETTLE_S,
    SPEED,
    STREAMS,
    TOPICS,
)
from endurance.report import End, age_of_newest_given_up_s, figures
from endurance.states import AWAY, CATCHING_UP, LIVE, OVER, PICTURES, growth
from endurance.week import Week
from rig.cluster import BROKERS
from rig.confined import Confined
from rig.course import DAY_S
from rig.fast_clock import FastClock
from rig.gateway import program, run
from rig.image import Image
from rig.reader import Reader
from rig.sending import Sender, connections, total
from rig.tally import Tally

BESIDE_MIB = 32
"""What beside the journal's files may be on the card: what `lamppost doctor` asks to be left."""
# A device may be silent for hours of simulated time.
PLAN = {"keepalive_s": 65_535, "flush_s": 0.25}


def make_topics(bootstrap: str) -> None:
    """Simulated time lies days back: the brokers would delete what is that old."""
    kept = {"retention.ms": "-1"}
    topics = [NewTopic(name, PARTITIONS, 3, config=kept) for name in TOPICS] + [NewTopic("audit-trail", 1, 3, config=kept)]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for made in admin.create_topics(topics).values():
        made.result(30)


def start_brokers(cluster) -> None:
    """And does not wait for them."""
    for broker in range(BROKERS):
        cluster.start(broker)


def devices(home, post: Board, clock: FastClock) -> list[Sender]:
    """All connected, while time is not fast yet: the gateway's patience with who connects is simulated too."""
    senders = []
    for topic, (count, rate) in STREAMS.items():
        kind = topic.removeprefix("week-")
        lines = connections(kind, count, 0, f"city/{kind}/{{client}}", topic)
        protocol = 5 if topic == "week-noise" else 4
        senders.append(Sender("paho", home, kind, post.mqtt_port, lines, rate=rate, course=clock.course, window=64, protocol=protocol, **PLAN))
    while total(senders, "connected") < sum(count for count, _ in STREAMS.values()):
        for sender in senders:
            sender.check()
        time.sleep(0.05)
    assert clock.now_s() < 0, f"this machine needs more than {PEACE_S} s to start all that"
    return senders


def live_in_peace(week: Week, clock: FastClock, until_s: float, state: str) -> None:
    """With the cluster, until then. A shortened week is over before the brokers have even started: it is lengthened by what it takes to settle and be
    looked at."""
    until_s = max(until_s, clock.now_s() + SETTLE_S + LOOK_S)
    week.live(lambda: clock.now_s() >= until_s - LOOK_S)
    week.live(lambda: clock.now_s() >= until_s, state)


def live_through_an_outage(week: Week, cluster, clock: FastClock, until_s: float, away: str, catching_up: str) -> tuple[float, float, float]:
    """Without the cluster until then, and with it until it has caught up. When it came back, what had gathered, and when that was forwarded."""
    cluster.stop_for_a_story()
    week.live(lambda: clock.now_s() >= until_s and week.behind() > GATHERED_MIN, away, reading=False)
    backlog, back_s = week.metrics()["lamppost_forward_backlog_events"], clock.now_s()
    start_brokers(cluster)
    week.live(lambda: week.behind() < CAUGHT_UP, catching_up)
    return back_s, backlog, clock.now_s()


def live_a_week(week: Week, cluster, clock: FastClock, card: Image) -> End:
    """A day with the cluster, three without, one with, and two of which it is away for a part."""
    written = card.written_bytes()
    live_in_peace(week, clock, AWAY_FROM_S, LIVE[0])
    back_s, backlog, caught_up_s = live_through_an_outage(week, cluster, clock, AWAY_UNTIL_S, AWAY[0], CATCHING_UP[0])
    live_in_peace(week, clock, 5 * DAY, LIVE[1])
    week.live(lambda: clock.now_s() >= AGAIN_FROM_S)
    live_through_an_outage(week, cluster, clock, clock.now_s() + AGAIN_FOR_S, AWAY[1], CATCHING_UP[1])
    live_in_peace(week, clock, 7 * DAY, LIVE[2])
    acknowledged, written = total(week.senders, "acknowledged"), card.written_bytes() - written
    return End(clock.now_s(), acknowledged, written, card.flushes(), week.metrics(), back_s, backlog, caught_up_s)


def live_through_pictures(week: Week, cluster, clock: FastClock, home, state: str, prefix: str) -> None:
    """Cameras send more than the card holds while the cluster is away; then it catches up."""
    cluster.stop_for_a_story()
    cameras = connections(prefix, CAMERAS, PICTURES_EACH, "city/camera/{client}", "week-camera")
    sender = Sender("paho", home, prefix, week.post.mqtt_port, cameras, window=16, protocol=4, payload_bytes=PICTURE_BYTES, **PLAN)
    week.senders.append(sender)
    week.live(lambda: sender.gauges["finished"] == 1, state, reading=False, patience_s=900)
    start_brokers(cluster)
    week.live(lambda: week.behind() < CAUGHT_UP, state, patience_s=900)
    settled_s = clock.now_s() + SETTLE_S
    week.live(lambda: clock.now_s() >= settled_s, state)


def come_to_an_end(week: Week, reporting: list[Sender]) -> float:
    """All that is on disk is forwarded. When the last report was asked for, by the real clock."""
    last = time.monotonic()
    for sender in reporting:
        sender.finish()
    week.live(lambda: not any(sender.child.alive() for sender in week.senders), OVER, patience_s=300)
    for sender in week.senders:
        sender.check()
    week.drain(OVER)
    return last


def audit(cluster) -> tuple[dict[str, dict[str, int]], dict]:
    """By topic, and the whole report. Exit status 0: nothing was lost that was not said to be."""
    wanted = [word for topic in TOPICS for word in ("--topic", topic)]
    done = run("audit", "--bootstrap", cluster.bootstrap, *wanted, "--json", timeout_s=900)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    sums = {topic: dict.fromkeys(("delivered", "missing", "dropped", "buried", "lost_tail", "late"), 0) for topic in TOPICS}
    for partition in (it for it in report["partitions"] if it["topic"] in sums):
        for count in sums[partition["topic"]]:
            sums[partition["topic"]][count] += partition[count]
    return sums, report


@pytest.mark.needs("broker-kills")
def test_a_small_board_lives_through_a_week_with_two_outages_and_takes_no_more_memory_for_the_second(home, cluster, ending):
    cluster.ensure_running()
    make_topics(cluster.bootstrap)
    ending(cluster.ensure_running)
    card = Image(home / "card.img", home / "state", CARD_MIB)
    ending(card.end)
    room = Confined("lamppost-week", MEMORY_MIB)
    ending(room.end)
    # What a broker is sent must not lie in its future.
    clock = FastClock(SPEED, PEACE_S, time.time() - 11 * DAY_S)
    post = Board(home, f"week-{os.getpid()}", cluster.bootstrap, CONFIG, clock, room)
    post.config.write_text(post.config.read_text().replace("create_topics = true", KAFKA))
    ending(post.end)
    post.start()
    senders = devices(home, post, clock)
    reader = Reader(cluster.bootstrap, post.name, TOPICS)
    ending(reader.close)
    tally, watch = Tally(dict.fromkeys(TOPICS, PARTITIONS)), Watch(post, room, card)
    week = Week(post, clock, watch, reader, tally, senders)
    print(f"\n{HOURS} simulated hours, {SPEED} of them in one; cgroup version {room.version}, {MEMORY_MIB} MiB; {card.device}", flush=True)
    while clock.now_s() < 0:
        time.sleep(0.02)

    began = time.monotonic()
    end = live_a_week(week, cluster, clock, card)
    reporting = list(senders)
    for state, prefix in zip(PICTURES, ("camera", "again")):
        live_through_pictures(week, cluster, clock, home, state, prefix)
    real_s = come_to_an_end(week, reporting) - began
    metrics, kills = week.metrics(), room.oom_kills()
    assert post.stop() == 0
    listed = clock.run(program(), "journal", "ls", "--dir", post.state_dir / "journal", "--json")
    assert listed.returncode == 0, listed.stderr
    found = tally.compare(sender.ledger_path for sender in senders)
    shown = figures(end, tally, found, watch, clock.course)
    shown |= {"real_s": round(real_s), "oom_kills": kills, "speed_by_the_gateways_clock": round(tally.span_s() / real_s, 1)}
    shown["wear_by_journal_ls"] = json.loads(listed.stdout.splitlines()[-1]).get("wear")
    print(json.dumps(shown), flush=True)
    (home / "figures.json").write_text(json.dumps(shown, indent=1))
    told, report = audit(cluster)
    print(json.dumps({"audit": told, "dropped_for": report["dropped_for"]}), flush=True)

    # Nothing is out of order or misplaced; what is missing a policy gave up, and each event of it is told.
    assert not tally.wrong, (tally.wrong, tally.examples)
    for topic in TOPICS:
        assert found[topic].acknowledged > 0 and found[topic].missing == told[topic]["dropped"], (topic, found[topic].missing, told[topic])
        assert sum(told[topic][count] for count in ("missing", "buried", "lost_tail", "late")) == 0, (topic, told[topic])
    gaps = {topic: told[topic]["dropped"] for topic in TOPICS if told[topic]["dropped"]}
    assert gaps.keys() == {"week-noise", "week-camera"}, gaps
    assert metrics["lamppost_forward_gap_events_total"] == sum(gaps.values())
    assert gaps["week-camera"] < found["week-camera"].acknowledged
    age_s = age_of_newest_given_up_s(found["week-noise"], clock.course, end.caught_up_s)
    assert age_s > KEEP_S / 2, f"of {KEEP_S} s of noise that were to be kept, {age_s} s were"

    # The gateway lived in simulated time.
    assert 0.9 * SPEED < tally.span_s() / real_s < 1.1 * SPEED, shown
    lingers_per_h = 3600 / LINGER_S
    assert lingers_per_h / 4 < end.commits_per_h() < 1.5 * lingers_per_h, shown

    # Memory and card.
    assert kills == 0
    grown = growth(watch.anonymous_mib())
    assert not grown, (grown, shown)
    assert watch.most("state_mib") <= QUOTA_MIB and watch.most("card_mib") <= QUOTA_MIB + BESIDE_MIB, shown
