"""The bad line and the small disk by themselves."""

import random
import socket
import time
from pathlib import Path

import pytest

from rig.apart import Cable
from rig.cluster import GUESTS_SEE_US_AT
from rig.middleman import Middleman, Mood
from rig.places import free_ports
from rig.small_disk import SmallDisk


@pytest.fixture
def line(ending):
    """A broker who says what he hears, the way to him, and the man in the middle."""
    (port,) = free_ports(1)
    broker = socket.create_server(("127.0.0.1", port))
    broker.settimeout(20)
    ending(broker.close)
    cable = Cable()
    ending(cable.close)
    middleman = Middleman(cable.far, GUESTS_SEE_US_AT, [port], random.Random(1))
    ending(middleman.close)
    with cable.post.inside():
        post = socket.create_connection((GUESTS_SEE_US_AT, port), timeout=5)
    ending(post.close)
    far, _ = broker.accept()
    far.settimeout(20)
    ending(far.close)
    return post, far, cable, middleman


@pytest.mark.needs("namespaces")
def test_the_line_carries_late_and_is_cut_and_nothing_of_it_is_in_the_machines_own_network(line):
    post, far, cable, middleman = line
    assert "cable" not in [name for _, name in socket.if_nameindex()]
    post.sendall(b"at once")
    assert far.recv(100) == b"at once"
    middleman.mood = Mood(delay_s=0.5)
    began = time.monotonic()
    post.sendall(b"late")
    assert far.recv(100) == b"late" and time.monotonic() - began >= 0.5
    middleman.mood = Mood()
    for _ in range(50):
        middleman.reset_some()
    with pytest.raises(ConnectionResetError):
        post.recv(100)
    assert middleman.cuts == 1


@pytest.mark.needs("namespaces")
def test_a_cable_that_is_pulled_out_carries_nothing_and_what_waited_comes_once_it_is_back(line):
    post, far, cable, _ = line
    cable.pull_out()
    post.sendall(b"patience")
    far.settimeout(1)
    with pytest.raises(TimeoutError):
        far.recv(100)
    cable.plug_in()
    far.settimeout(20)
    assert far.recv(100) == b"patience"


@pytest.mark.needs("namespaces")
def test_lost_answers_leave_the_other_direction_alone(line):
    post, far, cable, _ = line
    cable.lose_answers()
    post.sendall(b"heard")
    assert far.recv(100) == b"heard"
    far.sendall(b"not heard")
    post.settimeout(1)
    with pytest.raises(TimeoutError):
        post.recv(100)
    cable.lose_nothing()
    post.settimeout(20)
    assert post.recv(100) == b"not heard"


@pytest.mark.needs("namespaces")
def test_who_stands_between_takes_nobody_in_once_he_is_gone(line):
    _, far, cable, middleman = line
    _, port = far.getsockname()
    middleman.close()
    with cable.post.inside(), pytest.raises(ConnectionRefusedError):
        socket.create_connection((GUESTS_SEE_US_AT, port), timeout=5)


@pytest.mark.needs("small-disks")
def test_a_small_disk_is_full_to_the_last_byte_and_keeps_what_was_on_it(home):
    folder = home / "data"
    folder.mkdir()
    (folder / "before").write_text("before")
    disk = SmallDisk(folder, 2)
    assert str(folder) not in Path("/proc/mounts").read_text(), "the machine sees it"
    assert disk.fill() > 1 << 20
    with pytest.raises(OSError, match="No space left"):
        (disk.seen_from_here / "more").write_bytes(bytes(8192))
    disk.free()
    (disk.seen_from_here / "more").write_text("more")
    assert not (folder / "more").exists()
    disk.take_away()
    assert sorted(path.name for path in folder.iterdir()) == ["before", "more"]
    assert (folder / "more").read_text() == "more" and (folder / "before").read_text() == "before"
