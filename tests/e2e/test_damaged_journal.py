"""Bits of a closed journal flip while its gateway is switched off. What the damaged frames held never comes, and is named; all else does."""

import json
import random
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from rig.audited import audited
from rig.gateway import run
from rig.judge import Record, judge
from rig.reader import Reader
from rig.seed import seed
from rig.sending import Sender, connections, read_ledgers, wait_for_all

TOPIC, TRAIL = "damaged-air", "audit-trail"
CONNECTIONS = 5
EVENTS_EACH = 2_000
PAYLOAD_BYTES = 1_000
FRAMES_HIT = {"hot": 6, "cold": 2}
"""Frames with events of which a bit is flipped, by tier. A cold frame stands for many commits, and takes as many events with it."""
ANYWHERE = 12
"""Bits that are flipped wherever it may be in the folder: heads, footers, paddings, free files, checkpoints, frames."""
HEAD_LENGTH = slice(16, 20)
"""Where a frame says how long it is, little-endian: gateway/journal/src/format/frame.rs."""

CONFIG = f"""
[journal]
quota = "24MiB"
segment = "1MiB"
event_max = "64KiB"
compression = "zstd"

[[route]]
from = "city/{{district}}/air/{{device}}/#"
topic = "{TOPIC}"

[topics.{TOPIC}]
partitions = 3
"""

NOBODY = 'bootstrap = ["127.0.0.1:9"]'
"""A broker that never answers (the discard port): all stays in the journal."""

Offsets = dict[tuple[str, int], set[int]]
"""By topic and partition."""


@dataclass(frozen=True)
class Frame:
    """A place in one of the journal's files, its padding left out, and the offsets that it alone holds."""

    file: str
    begin: int
    end: int
    holds: tuple[tuple[str, int, int, int], ...]


def frames_of(journal: Path) -> list[Frame]:
    """All frames with batches, in the order of the log: as `journal dump` tells it of the sound journal."""
    done = run("journal", "dump", "--dir", journal, "--json")
    assert done.returncode == 0, done.stderr
    found = []
    for place in map(json.loads, done.stdout.splitlines()):
        assert "damaged" not in place, place
        if place.get("kind") in ("data", "close"):
            content = (journal / place["file"]).read_bytes()[place["byte"] :]
            end = place["byte"] + int.from_bytes(content[HEAD_LENGTH], "little")
            batches = [(b["topic"], b["partition"], b["base"], b["next"]) for b in place["batches"]]
            found.append(Frame(place["file"], place["byte"], end, tuple(batches)))
    return found


def flip(journal: Path, name: str, byte: int, bit: int) -> None:
    with (journal / name).open("r+b") as file:
        file.seek(byte)
        was = file.read(1)[0]
        file.seek(byte)
        file.write(bytes([was ^ 1 << bit]))


def damage(journal: Path, frames: list[Frame], chance: random.Random) -> tuple[list[Frame], str]:
    """Flips bits; the frames that they are in, and the checkpoint. What would leave in doubt what was there is not done, but in gateway/journal/tests/damage.rs:
    the log's last two frames are spared, since one says that the other is the end; and no two neighbours are hit, since
    one says what the other held."""
    number = {frame: n for n, frame in enumerate(frames)}
    hit: set[Frame] = set()
    places = set()

    def try_at(name: str, byte: int) -> None:
        at = next((f for f in frames if f.file == name and f.begin <= byte < f.end), None)
        if at is not None:
            beside = {frames[n] for n in (number[at] - 1, number[at] + 1) if 0 <= n < len(frames)}
            if at in frames[-2:] or beside & hit:
                return
            hit.add(at)
        places.add((name, byte))

    newest = max(path for path in journal.glob("checkpoint-*"))
    try_at(newest.name, chance.randrange(newest.stat().st_size))
    wanted = 1
    for tier, count in FRAMES_HIT.items():
        of_tier = [f for f in frames if f.file.startswith(tier) and any(topic == TOPIC for topic, *_ in f.holds)]
        wanted += count
        while len(places) < wanted:
            frame = chance.choice(of_tier)
            try_at(frame.file, chance.randrange(frame.begin, frame.end))
    files = sorted((path.name, path.stat().st_size) for path in journal.iterdir() if path.suffix == ".seg")
    while len(places) < wanted + ANYWHERE:
        name, size = chance.choice(files)
        try_at(name, chance.randrange(size))
    for name, byte in sorted(places):
        bit = chance.randrange(8)
        print(f"  {name} byte {byte} bit {bit}")
        flip(journal, name, byte, bit)
    return [frame for frame in frames if frame in hit], newest.name


def offsets_in(frames: list[Frame]) -> Offsets:
    held: Offsets = defaultdict(set)
    for frame in frames:
        for topic, partition, base, following in frame.holds:
            if not topic.startswith("__"):
                held[topic, partition].update(range(base, following))
    return held


def told_of(records: list[Record]) -> Offsets:
    """The offsets that the gap notices among these records name."""
    named: Offsets = defaultdict(set)
    for record in records:
        notice = json.loads(record.value) if record.topic == TRAIL else {}
        if notice.get("notice") == "gap":
            named[notice["topic"], notice["partition"]].update(range(notice["from"], notice["to"]))
    return named


def verify_names(journal: Path, hit: list[Frame], checkpoint: str) -> None:
    done = run("journal", "verify", "--dir", journal, "--json")
    assert done.returncode == 1, done.stderr
    places = {(problem["file"], problem["byte"]) for problem in json.loads(done.stdout)["problems"]}
    unnamed = ({(frame.file, frame.begin) for frame in hit} | {(checkpoint, 0)}) - places
    assert not unnamed, f"journal verify does not name {unnamed}"


def test_bits_flipped_anywhere_cost_what_their_frames_held_and_the_cluster_is_told_which_offsets(
    home, cluster, gateway, ending
):
    chosen = seed()
    print(f"\nLAMPPOST_SEED={chosen}")
    post = gateway("damaged", CONFIG)
    connected = post.config.read_text()
    post.config.write_text(re.sub(r"bootstrap = \[.*\]", NOBODY, connected))
    post.start()
    lines = connections("air", CONNECTIONS, EVENTS_EACH, "city/north/air/{client}/pm10", TOPIC)
    sender = Sender("paho", home, "air", post.mqtt_port, lines, payload_bytes=PAYLOAD_BYTES)
    wait_for_all([sender], timeout_s=120)
    assert post.stop() == 0
    ledger = read_ledgers([sender])
    assert len(ledger) == CONNECTIONS * EVENTS_EACH
    ids = {(event["partition"], event["offset"]): json.loads(event["payload"])["id"] for event in post.stored(TOPIC)}
    assert set(ids.values()) == {entry.id for entry in ledger}, "all of it is still in the journal"

    journal = post.state_dir / "journal"
    frames = frames_of(journal)
    hit, checkpoint = damage(journal, frames, random.Random(chosen))
    missing = offsets_in(hit)
    lost = {ids[partition, n] for (topic, partition), held in missing.items() if topic == TOPIC for n in held}
    print(f"{len(hit)} of {len(frames)} frames hit, with {len(lost)} of {len(ids)} events")
    assert 0 < len(lost) < len(ids)
    verify_names(journal, hit, checkpoint)

    post.config.write_text(connected.replace("create_topics = true", 'create_topics = true\nmanifest_every = "1s"'))
    post.start()
    reader = Reader(cluster.bootstrap, post.name, {TOPIC, TRAIL})
    ending(reader.close)
    reader.read_ids({entry.id for entry in ledger} - lost)
    reader.read_until(lambda: told_of(reader.records) == missing, idle_s=15, limit_s=60)
    events = [record for record in reader.records if record.topic == TOPIC]
    verdict = judge([entry for entry in ledger if entry.id not in lost], events, reader.partitions)
    print(verdict)
    assert verdict.good, f"all that was not hit is in the cluster, once in order: {verdict}"
    assert not lost & {record.sender_id for record in events}, "of what was hit nothing can have come"
    assert told_of(reader.records) == missing, "the gap notices name the offsets that the damaged frames held, and no other"

    offsets_missing = sum(map(len, missing.values()))
    metrics = post.metrics()
    assert metrics["lamppost_forward_gap_events_total"] == offsets_missing
    assert metrics["lamppost_forward_untold_gaps_total"] == 0
    assert metrics["lamppost_journal_unreadable_total"] == len(hit)
    assert metrics["lamppost_journal_set_aside"] == 1 and (journal / f"damaged-{checkpoint}").exists()
    status, report = audited(cluster.bootstrap, post.name, [TOPIC], [sender], "--late-after", "0s")
    print({name: count for name, count in report.items() if count and isinstance(count, (int, dict)) and name != "examples"})
    assert (report["found"], report["lost"], report["lost_untold"]) == (len(ids) - len(lost), len(lost), 0), report
    assert (report["missing_offsets"], report["lost_tail"], report["late"]) == (0, 0, 0), report
    assert report["dropped_for"] == {"damaged on the disk": offsets_missing}, report
    assert status == 0, report
