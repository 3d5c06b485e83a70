"""A node on an emulated Pico: from the thermometer's registers to the journal, over kills of the gateway and a cut of the board's power.

The witness is the emulator, not the firmware: the n-th change of a life's readings has to be the n-th change of the temperatures that were
fetched from the chip in it. Temperatures rise with each fetch by what is a reading of its own, so that none can stand for another."""

import json
import re

import pytest

from rig.gateway import Gateway
from rig.pico.board import Pico

# What arrives is judged in the journal: no cluster is needed.
NOBODY = "127.0.0.1:9"
SPEED_MAX = 4
ARRIVES_S = 60
# By so much it has to move (policy() of firmware/boards/pico/src/main.rs).
STEP = 1 / 8
UNTOUCHED_BYTES_MIN = 64 * 1024
DEVICE = "pico-e660583883123456"
WELCOME = re.compile(r"a node is welcome .*device=(\S+) boot=(\d+) resume_after=(\d+) firmware=\"(.*)\" version=1$", re.M)

CONFIG = """
[[serial]]
name = "pico"
port = "{port}"
baud = 115200
protocol = "link"

[[route]]
from = "link/{{device}}/{{measure}}"
topic = "pico-readings"

[topics.pico-readings]
partitions = 1
"""


def stored(post: Gateway) -> list[dict]:
    """The readings in the journal, in its order."""
    return post.stored("pico-readings")


def values(events: list[dict]) -> list[float]:
    return [json.loads(event["payload"])["value"] for event in events]


def changes(temperatures: list[float]) -> list[float]:
    """Without those that are as the one before: while it stays, there is a reading a minute."""
    return [celsius for n, celsius in enumerate(temperatures) if n == 0 or celsius != temperatures[n - 1]]


def wait_for_value(pico: Pico, post: Gateway, celsius: float) -> None:
    pico.wait_for(f"{celsius} °C has not arrived", lambda: celsius in values(stored(post)), ARRIVES_S)


def wait_for_more(pico: Pico, post: Gateway, count: int) -> None:
    enough = len(stored(post)) + count
    pico.wait_for(f"no {count} more readings have arrived", lambda: len(stored(post)) >= enough, ARRIVES_S)


def wait_for_fetches(pico: Pico, count: int) -> None:
    enough = len(pico.temperatures()) + count
    pico.wait_for("the firmware does not read the thermometer", lambda: len(pico.temperatures()) >= enough, ARRIVES_S)


def welcomes(post: Gateway) -> list[tuple[int, int]]:
    """The hellos that were accepted: boot, and the sequence up to which the gateway has its readings. A node may say hello twice."""
    found = WELCOME.findall(re.sub(r"\x1b\[[\d;]*m", "", post.log.read_text()))
    assert {(device, firmware) for device, _, _, firmware in found} == {(DEVICE, "pico 0.1.0")}, found
    said = [(int(boot), int(resume_after)) for _, boot, resume_after, _ in found]
    return [welcome for n, welcome in enumerate(said) if n == 0 or welcome != said[n - 1]]


def lives(events: list[dict]) -> list[list[float]]:
    """The values of each of the board's lives: a new one begins where its clock begins anew."""
    found, uptime_ms = [], None
    for event in events:
        payload = json.loads(event["payload"])
        assert (event["device"], event["key"]) == (DEVICE, DEVICE), event
        assert (payload["measure"], payload["unit"]) == ("temperature", "Cel"), event
        if uptime_ms is None or payload["uptime_ms"] < uptime_ms:
            found.append([])
        uptime_ms = payload["uptime_ms"]
        found[-1].append(payload["value"])
    return found


@pytest.mark.needs("pico")
def test_what_an_emulated_pico_measures_is_stored_once_and_in_order_whoever_is_killed(home, ending):
    pico = Pico(home, "uart", SPEED_MAX)
    ending(pico.stop)
    pico.start()
    pico.set_temperature(21.5)
    post = Gateway(home, "pico-post", NOBODY, CONFIG.format(port=pico.port))
    ending(post.end)
    post.start()
    wait_for_value(pico, post, 21.5)
    pico.set_temperature(-10.5)
    wait_for_value(pico, post, -10.5)
    assert {"light": True} in [{"light": event.get("light")} for event in pico.events()]

    # What is measured while the gateway is dead is kept by the board, and arrives later.
    pico.set_temperature(0, STEP)
    wait_for_more(pico, post, 5)
    post.kill()
    on_disk = len(stored(post))
    wait_for_fetches(pico, 10)
    post.start()
    wait_for_more(pico, post, 15)
    boot = welcomes(post)[0][0]
    assert (boot, on_disk) in welcomes(post), "the node goes on after what is on disk, which is all of its sequences from 1 on"

    # A chip that is gone, and one that holds the bus, cost readings, and nothing else.
    for disturb, undisturb in [
        (lambda: pico.set_thermometer(False), lambda: pico.set_thermometer(True)),
        (lambda: pico.hold_clock(True), lambda: pico.hold_clock(False)),
    ]:
        disturb()
        fetched, at_ms = len(pico.temperatures()), pico.now_ms()
        pico.wait_for("its clock stands", lambda: pico.now_ms() > at_ms + 4_000)
        assert len(pico.temperatures()) <= fetched + 1
        undisturb()
        wait_for_more(pico, post, 3)

    # One that holds the data line, as after a reset in the middle of its byte, is clocked out by the board itself.
    pico.hold_data(8)
    wait_for_fetches(pico, 3)
    wait_for_more(pico, post, 3)

    # What the board keeps for a gateway that is away, it keeps when its power fails as well.
    post.kill()
    in_time = len(stored(post))
    wait_for_fetches(pico, 10)
    pico.cut_power()
    pico.start()
    pico.set_temperature(50, STEP)
    post.start()
    wait_for_value(pico, post, 50 + 5 * STEP)
    assert pico.untouched_bytes() >= UNTOUCHED_BYTES_MIN, "the stack comes close to what is below it"
    assert post.stop() == 0

    boots = list(dict.fromkeys(said for said, _ in welcomes(post)))
    assert boots == [boot, boot + 1], "the number of its last life is in its flash"
    first, second = lives(stored(post))
    print(f"\n{len(first)} and {len(second)} readings; fetched {len(pico.temperatures(1))} and {len(pico.temperatures(2))}; {welcomes(post)}")
    # The last one may have been fetched and not yet saved when the power failed.
    assert len(first) >= in_time + 9 and len(changes(pico.temperatures(1))) - len(changes(first)) in (0, 1)
    assert changes(first) == changes(pico.temperatures(1))[: len(changes(first))]
    assert changes(second) == changes(pico.temperatures(2))[: len(changes(second))]
    assert not any("watchdog" in event for life in (1, 2) for event in pico.events(life))


@pytest.mark.needs("pico")
def test_a_pico_speaks_over_usb_as_well(home, ending):
    """Short: with its USB at work, the emulator's time runs several times slower than time outside."""
    pico = Pico(home, "usb", SPEED_MAX)
    ending(pico.stop)
    pico.start()
    pico.set_temperature(21.5, STEP)
    post = Gateway(home, "pico-usb", NOBODY, CONFIG.format(port=pico.port))
    ending(post.end)
    post.start()
    wait_for_value(pico, post, 21.5 + 2 * STEP)
    assert post.stop() == 0
    (only,) = lives(stored(post))
    assert changes(only) == changes(pico.temperatures())[: len(changes(only))]
    assert [sequence for _, sequence in welcomes(post)] == [0]
