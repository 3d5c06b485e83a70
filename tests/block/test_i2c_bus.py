"""The gateway's I2C on a real kernel: an emulated Raspberry Pi with the package, and on its bus chips of QEMU's, two of them of one address behind
different channels of a PCA9548, and a clock with a battery."""

import re
import time

from rig.pi.bus_post import LEFT, RIGHT, STREET, BusPost
from rig.pi.package import package

BEFORE = {"street": 21.5, "left": 5.25, "right": -7.75}
AFTER = {"street": -3.5, "left": 61.0, "right": 18.125}
UNSET = 0.0
"""What QEMU's thermometers measure until they are told."""
POLLS = 5


def set_all(post: BusPost, celsius: dict[str, float]) -> None:
    for chip in (STREET, LEFT, RIGHT):
        post.set(chip, celsius[chip.name])


def wait_for_polls(post: BusPost, more: int) -> None:
    """Returns once each chip that is there has been read so many times more."""
    before = post.polls("stored")
    deadline = time.monotonic() + 300
    while any(post.polls("stored")[name] < before[name] + more for name in BEFORE):
        post.machine.console.drain()
        assert time.monotonic() < deadline, f"{post.polls('stored')} of {post.polls('polls')} polls, {post.polls('errors')} failed"
        time.sleep(0.5)


def test_chips_of_one_address_behind_a_multiplexer_are_told_apart_and_what_is_missing_there_stops_none(home, ending):
    post = BusPost(home, package())
    ending(post.end)
    began = time.monotonic()
    post.start()
    set_all(post, BEFORE)
    post.machine.login()
    post.wait_until_ready()
    print(f"the boot took {time.monotonic() - began:.0f} s")
    wait_for_polls(post, POLLS)
    read = post.temperatures()
    assert {name: values[-1] for name, values in read.items()} == BEFORE
    set_all(post, AFTER)
    wait_for_polls(post, POLLS)
    read = post.temperatures()
    print({name: len(values) for name, values in read.items()})
    assert {name: values[-1] for name, values in read.items()} == AFTER
    for name, values in read.items():
        assert set(values) <= {UNSET, BEFORE[name], AFTER[name]}, f"{name} was given another chip's: {values}"

    log = post.machine.console.run("journalctl -u lamppost -b -o cat --no-pager")
    for name in BEFORE:
        # An emulated machine that has just booted, on a busy host, can be slower than a poll may take; nothing else may fail.
        causes = re.findall(rf"source={name} error=(.*)", log)
        assert all(cause.endswith("no answer within 2000 ms; the bus hangs") for cause in causes), log
    failed = post.polls("errors")
    assert failed["empty"] > 0 and failed["lost"] > 0, failed
    assert "source=empty error=/dev/i2c-1, mux 0x70 channel 6, address 0x49: writing TMP105 register configuration (0x01)" in log, log
    assert "source=lost error=/dev/i2c-1, mux 0x71 channel 0, address 0x49: " in log and "setting mux 0x71 to 0x01: " in log, log

    # The machine's own clock is the time at which it was last switched off: the gateway goes by the chip.
    clock = post.clock()
    assert (clock["present"], clock["stopped"], clock["in_use"]) == (True, False, True), clock
    assert clock["ahead_ms"] > 2_000 and clock["read_ms_ago"] is not None, clock
    last_ms = int(post.machine.console.run("lamppost journal tail --json -n 1 2>/dev/null | sed 's/.*\"stored_time_ms\":\\([0-9]*\\).*/\\1/'"))
    # The chip gives whole seconds, and the emulated machine may be slower than this one.
    assert abs(last_ms / 1_000 - time.time()) < 60, last_ms
