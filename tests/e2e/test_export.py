"""A journal that was never delivered is exported, and Kafka's own tool reads it, of two versions; also where the card has damaged it."""

import json
import re
import subprocess
from pathlib import Path

from rig.cluster import fetch_dump_jars, fetch_jars
from rig.gateway import Gateway, run
from rig.sending import Sender, connections, read_ledgers, wait_for_all

TOPIC = "export-air"
CONNECTIONS = 5
EVENTS_EACH = 2_000
PAYLOAD_BYTES = 1_000

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

NOBODY = "127.0.0.1:9"
"""A broker that never answers (the discard port): all stays in the journal."""

KNOWN_LINES = re.compile(r"Dumping |Log starting offset: |baseOffset: .* isvalid: true$|\| offset: ")
RECORD = re.compile(r"\| offset: (\d+) .* keySize: (\d+) valueSize: (\d+) .* headerKeys: \[lp\] key: (\S*) payload: (.*)")


Record = tuple[int, str, str]
"""Offset, key and payload."""


def dumped(classes: list[Path], tool: str, files: list[Path]) -> tuple[list[Record], str]:
    """All records as Kafka's tool prints them, and what it says on standard error. Anything else that it says is a complaint."""
    command = ["java", "-Xmx256m", "-cp", ":".join(f"{folder}/*" for folder in classes), tool]
    names = ",".join(str(file) for file in files)
    done = subprocess.run(
        [*command, "--deep-iteration", "--print-data-log", "--files", names], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    records = []
    for line in done.stdout.splitlines():
        assert KNOWN_LINES.match(line), f"a complaint of Kafka's tool: {line}"
        if record := RECORD.match(line):
            offset, key_bytes, value_bytes, key, payload = record.groups()
            assert (len(key.encode()), len(payload.encode())) == (int(key_bytes), int(value_bytes))
            records.append((int(offset), key, payload))
    return records, done.stderr


def read_by_kafka(files: list[Path]) -> list[Record]:
    """What the tools of Kafka 4.1 and of the brokers' Kafka read, the same, without a complaint."""
    records, complaints = dumped([fetch_dump_jars(), fetch_jars()], "kafka.tools.DumpLogSegments", files)
    assert not complaints, complaints
    again, complaints = dumped([fetch_jars()], "org.apache.kafka.tools.DumpLogSegments", files)
    # The tool of Kafka 4.3 expects the first record of every file to have offset 0, and says so of each that begins later.
    # Jumps within a file would be told in the same words.
    later = [file for file in files if int(file.stem) > 0]
    quirk = {f"Non-consecutive offsets in {file}" for file in later}
    quirk |= {f"  -1 is followed by {int(file.stem)}" for file in later}
    assert set(complaints.splitlines()) <= quirk, complaints
    assert again == records
    return records


def exported(journal: Path, to: Path) -> tuple[dict[int, list[Record]], list[dict]]:
    """The records of each partition, in the order of its files, and the gaps that the export tells of."""
    done = run("journal", "export", "--dir", journal, "--to", to, "--topic", TOPIC, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert not said["unreadable"], said
    partitions = {}
    for partition in said["partitions"]:
        files = sorted(Path(partition["folder"]).glob("*.log"))
        assert len(files) == partition["files"]
        records = read_by_kafka(files)
        assert files[0].name == f"{records[0][0]:020}.log", "a file is named after its first offset"
        assert len(records) == partition["events"]
        partitions[partition["partition"]] = records
    return partitions, said["gaps"]


def damage_in_the_middle(journal: Path) -> None:
    """One byte within a frame with events, far from both ends of the log."""
    done = run("journal", "dump", "--dir", journal, "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    frames = [line for line in lines if line.get("kind") == "data" and any(b["topic"] == TOPIC for b in line["batches"])]
    frame = frames[len(frames) // 2]
    with (journal / frame["file"]).open("r+b") as file:
        file.seek(frame["byte"] + 300)
        byte = file.read(1)[0]
        file.seek(frame["byte"] + 300)
        file.write(bytes([byte ^ 0xFF]))


def test_kafkas_own_tool_reads_an_exported_journal_also_around_damage(home, ending):
    post = Gateway(home, "export", NOBODY, CONFIG)
    ending(post.end)
    post.start()
    lines = connections("air", CONNECTIONS, EVENTS_EACH, "city/north/air/{client}/pm10", TOPIC)
    sender = Sender("paho", home, "air", post.mqtt_port, lines, payload_bytes=PAYLOAD_BYTES)
    wait_for_all([sender], timeout_s=120)
    assert post.stop() == 0
    journal = post.state_dir / "journal"
    looked = json.loads(run("journal", "ls", "--dir", journal, "--json").stdout)
    assert looked["segments_cold"] > 0, f"nothing went cold, so the story shows too little: {looked}"

    ledger = read_ledgers([sender])
    assert len(ledger) == CONNECTIONS * EVENTS_EACH
    expected = {
        line.key: [line.payload(number, PAYLOAD_BYTES) for number in range(1, EVENTS_EACH + 1)] for line in lines
    }
    whole, gaps = exported(journal, home / "whole")
    assert not gaps
    by_key: dict[str, list[str]] = {}
    for records in whole.values():
        assert [offset for offset, _, _ in records] == list(range(len(records))), "offsets are dense from 0"
        for _, key, payload in records:
            by_key.setdefault(key, []).append(payload)
    assert by_key == expected, "each device's events, in its order, and nothing else"
    assert {entry.id for entry in ledger} == {json.loads(p)["id"] for payloads in by_key.values() for p in payloads}

    damage_in_the_middle(journal)
    rest, gaps = exported(journal, home / "damaged")
    missing = {gap["partition"]: set(range(gap["from"], gap["to"])) for gap in gaps}
    assert missing and sum(map(len, missing.values())) < len(ledger) / 10, gaps
    for partition, records in whole.items():
        kept = [record for record in records if record[0] not in missing.get(partition, set())]
        assert rest[partition] == kept, f"partition {partition}: all but the gap, byte for byte"
