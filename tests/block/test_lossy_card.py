"""Power cuts of a whole machine whose card has a cache: a post on QEMU's `virt` with its state on a card that drops, tears and garbles
what was not flushed. LAMPPOST_VIRT_CUTS times the power goes, with the cable to the cluster plugged in every third life only, so that what is
acknowledged is on the card and nowhere else. In the end the same card lies about its flushes once, and has to be caught."""

import os
import random
import subprocess
import time

from rig.audited import audited
from rig.judge import judge
from rig.pi.lossy import FATES, Disk
from rig.pi.lossy_post import TOPICS, LossyPost, advised
from rig.pi.package import package
from rig.reader import Reader
from rig.seed import seed
from rig.sending import Sender, connections, read_ledgers, total, wait_for_all

CUTS = int(os.environ.get("LAMPPOST_VIRT_CUTS", "30"))
"""Three at least: fewer need not drop anything."""
RATE, PAYLOAD_BYTES = 15, 600
"""Publishes a second on each connection, and the size of each: a commit is of several pages, so that there is something to tear."""
ONLINE_EVERY = 3
"""In so many lives there is one with the cluster."""
BOOTING_EVERY = 4
"""Of so many cuts one comes while the machine still starts: in the check of the file system, its journal, or the gateway's recovery."""


def until_acknowledged(post: LossyPost, senders: list[Sender], wanted: int) -> None:
    """Returns once so many more are acknowledged."""
    wanted += total(senders, "acknowledged")
    deadline = time.monotonic() + 300
    while total(senders, "acknowledged") < wanted:
        for sender in senders:
            sender.check()
        post.machine.console.drain()
        assert time.monotonic() < deadline, f"nothing is acknowledged any more; the machine said\n{post.machine.console.tail()}"
        time.sleep(0.05)


def until_off(post: LossyPost) -> None:
    """Returns once the card's power is gone."""
    deadline = time.monotonic() + 900
    while not post.disk.is_off():
        post.machine.console.drain()
        assert time.monotonic() < deadline, f"nothing is written any more; the machine said\n{post.machine.console.tail()}"
        time.sleep(0.02)


def boot(post: LossyPost, *, online: bool) -> str:
    began = time.monotonic()
    post.start(online=online)
    post.wait_until_ready()
    return f"the gateway is there after {time.monotonic() - began:.0f} s, {'with' if online else 'without'} the cluster"


def verdict_of(post: LossyPost, bootstrap: str, senders: list[Sender]):
    ledgers = read_ledgers(senders)
    reader = Reader(bootstrap, post.name, TOPICS)
    reader.read_ids({entry.id for entry in ledgers})
    reader.close()
    keys = {entry.key for entry in ledgers}
    of_these = [record for record in reader.records if record.key.decode() in keys]
    return judge(ledgers, of_these, reader.partitions)


def test_the_card_keeps_what_was_flushed_loses_what_was_not_and_deaf_loses_both(home, ending):
    disk = Disk(home, 16 << 20)
    ending(disk.end)
    old, flushed, later = b"o" * 8192, b"f" * 8192, b"l" * 8192

    def write(content: bytes, *, flush: bool) -> None:
        file = os.open(disk.path, os.O_RDWR)
        os.pwrite(file, content, 4096)
        if flush:
            os.fsync(file)
        os.close(file)

    def cut(fate: str, *, garbled: bool = False) -> tuple[bytes, dict]:
        disk.switch_off(0, 0, patience_s=0.1)
        lost = disk.cut(7, fate, garbled)
        with disk.path.open("rb") as file:
            file.seek(4096)
            found = file.read(8192)
        disk.follow()
        return found, lost

    disk.follow()
    write(old, flush=True)
    assert cut("dropped")[0] == old
    write(flushed, flush=True)
    write(later, flush=False)
    found, lost = cut("dropped")
    assert (found, lost["bytes_dropped"], lost["unflushed_writes"]) == (flushed, 8192, 1)
    write(later, flush=False)
    found, lost = cut("torn")
    assert found != later and set(found) <= set(flushed + later) and lost["bytes_dropped"] > 0
    write(old, flush=True)
    write(later, flush=False)
    found, lost = cut("kept", garbled=True)
    assert set(found) - set(later) and lost["garbage_pages"] > 0 and lost["bytes_garbled"] > 0
    write(old, flush=True)
    disk.be_deaf()
    write(flushed, flush=True)
    assert cut("dropped")[0] == old, "a card that is deaf to flushes has kept what it was told to"


def test_damage_that_the_check_leaves_to_somebody_at_a_keyboard_is_mended_where_all_answers_are_yes(home):
    """systemd-fsck checks by -p; with fsck.repair=yes, which hardware/CARD.md has in the kernel's command line, by -y. On this machine's own
    e2fsck, and without a machine that boots from it."""
    make = advised(r"^ *(mkfs\.ext4 -L lamppost .*) /dev/\S+$").split()
    folder, disk = home / "state", home / "state.img"
    (folder / "journal").mkdir(parents=True)
    (folder / "journal" / "events").write_bytes(random.Random(1).randbytes(4 << 20))
    with disk.open("wb") as out:
        out.truncate(64 << 20)
    subprocess.run([*make, "-q", "-d", str(folder), str(disk)], check=True)
    # The bitmap of the second group's blocks is said to lie where it can't.
    subprocess.run(["debugfs", "-w", "-R", "set_bg 1 block_bitmap 5", str(disk)], check=True, capture_output=True)

    def checked(how: str) -> int:
        return subprocess.run(["e2fsck", how, str(disk)], capture_output=True).returncode

    # e2fsck(8): 4 is left uncorrected, 1 corrected.
    assert checked("-p") == 4 and checked("-y") == 1 and checked("-p") == 0
    kept = subprocess.run(["debugfs", "-R", "cat /journal/events", str(disk)], check=True, capture_output=True).stdout
    assert kept == (folder / "journal" / "events").read_bytes()


def test_a_card_that_loses_what_was_not_flushed_costs_no_acknowledged_event_and_one_that_lies_is_caught(home, cluster, ending):
    chosen = seed()
    chance = random.Random(chosen)
    print(f"\nLAMPPOST_SEED={chosen}")
    post = LossyPost(home, f"virt-{chosen:08x}", package(), cluster.guests)
    ending(post.end)
    print(f"life 1: {boot(post, online=True)}", flush=True)
    devices = connections("lamp", 8, 0, "city/north/traffic/{client}", "lossy-traffic")
    senders = [
        Sender("paho", home, "lamps-5", post.mqtt_port, devices[:4], rate=RATE),
        Sender("paho", home, "lamps-311", post.mqtt_port, devices[4:], rate=RATE, protocol=4),
    ]
    sums: dict[str, int] = {}
    for cut in range(1, CUTS + 1):
        fate, garbled = FATES[cut % len(FATES)], cut % 2 == 1
        harm = (chance.randrange(1 << 32), fate, garbled)
        if cut % BOOTING_EVERY == 0:
            writes = chance.randrange(100)
            post.start(online=False)
            post.disk.fail_after(writes, 0)
            began = time.monotonic()
            until_off(post)
            when = f"while it started, {time.monotonic() - began:.0f} s after it was switched on, at its write {writes + 1}"
        else:
            if cut > 1:
                print(f"life {post.boots + 1}: {boot(post, online=cut % ONLINE_EVERY == 0)}\n{post.told()}", flush=True)
            wanted = chance.randrange(20, 400)
            until_acknowledged(post, senders, wanted)
            post.disk.switch_off(chance.randrange(40), chance.choice((0, 1, 3)))
            when = f"after {wanted} acknowledgements"
        lost = post.cut(*harm)
        print(f"cut {cut} {when}, {fate}{' and garbled' if garbled else ''}: {lost}", flush=True)
        for name, count in lost.items():
            sums[name] = sums.get(name, 0) + count
    print(f"life {post.boots + 1}: {boot(post, online=True)}\n{post.told()}", flush=True)
    for sender in senders:
        sender.finish()
    wait_for_all(senders, timeout_s=300)
    verdict = verdict_of(post, cluster.bootstrap, senders)
    print(f"{CUTS} cuts: {sums}\n{verdict}", flush=True)
    assert verdict.good, verdict
    assert verdict.acknowledged > 20 * CUTS
    status, report = audited(cluster.bootstrap, post.name, TOPICS, senders)
    assert status == 0, report
    assert sums["bytes_dropped"] > 0 and sums["writes_torn"] + sums["bytes_garbled"] > 0, "the cuts took nothing: they prove nothing"

    # The control: what the card said was safe is not.
    post.plug_uplink(False)
    post.disk.be_deaf()
    devices = connections("cheated", 4, 100, "city/north/traffic/{client}", "lossy-traffic")
    cheated = [Sender("paho", home, "cheated", post.mqtt_port, devices, rate=RATE)]
    wait_for_all(cheated, timeout_s=300)
    post.disk.switch_off(0, 0)
    print(f"a card that lies: {post.cut(chosen, 'dropped', False)}; then {boot(post, online=True)}")
    caught = verdict_of(post, cluster.bootstrap, cheated)
    print(caught)
    assert caught.lost > 0, "a card that answers flushes and drops all of it was not caught: the story proves nothing"
    status, report = audited(cluster.bootstrap, post.name, TOPICS, cheated)
    assert status != 0, report
