"""A post that has nothing but an I2C bus: an emulated Raspberry Pi with Lamppost installed, and on its bus a thermometer, a multiplexer with two more of
one address behind it, and a clock with a battery. Without a cluster: what is measured stays in its journal."""

import json
from pathlib import Path
from urllib.error import HTTPError

from rig.board import DS1338, PCA9548, TMP105, Chip, behind
from rig.pi import card, machine
from rig.pi.answering import Answering
from rig.places import free_ports

_HTTP = 9464

STREET = Chip("tmp105", TMP105.address, "street")
LEFT, RIGHT = (behind(channel, "tmp105", 0x49, name) for channel, name in ((2, "left"), (5, "right")))
CHIPS = (STREET, PCA9548, LEFT, RIGHT, DS1338)

_CONFIGURATION = f"""\
[gateway]
id = "bus-post"
state_dir = "/var/lib/lamppost"

[journal]
quota = "64MiB"
segment = "4MiB"

[clock]
bus = "/dev/i2c-1"
chip = "ds1338"

[http]
listen = "0.0.0.0:{_HTTP}"

[[route]]
from = "i2c/#"
topic = "air"
"""


def _polled(name: str, address: int, *places: str) -> str:
    lines = ['[[i2c]]', f'name = "{name}"', 'bus = "/dev/i2c-1"', 'chip = "tmp105"', f"address = {address:#x}", 'every = "2s"', *places]
    return "\n".join(lines) + "\n"


_SOURCES = [
    _polled("street", STREET.address),
    _polled("left", LEFT.address, "mux = 0x70", "channel = 2"),
    _polled("right", RIGHT.address, "mux = 0x70", "channel = 5"),
    # Nobody is there: behind the third channel, and at the address of a second multiplexer.
    _polled("empty", LEFT.address, "mux = 0x70", "channel = 6"),
    _polled("lost", LEFT.address, "mux = 0x71", "channel = 0"),
]


class BusPost(Answering):
    """One post, on from `start` to `end`."""

    def __init__(self, home: Path, package: Path) -> None:
        self.home = home
        (self.http_port,) = free_ports(1)
        self.card = card.with_lamppost(home, package, "\n".join([_CONFIGURATION, *_SOURCES]))

    def start(self) -> None:
        devices = [chip.device for chip in CHIPS]
        self.machine = machine.raspberry(self.home / "boot", self.card, devices=devices, forwards=[(self.http_port, _HTTP)])

    def set(self, chip: Chip, celsius: float) -> None:
        """What a thermometer measures from now on."""
        self.machine.qmp.ask("qom-set", path=chip.path, property="temperature", value=round(celsius * 1000))

    def polls(self, outcome: str) -> dict[str, int]:
        """How many there were, by source."""
        begins = f"lamppost_i2c_{outcome}_total{{source="
        return {name.removeprefix(begins).strip('"}'): int(value) for name, value in self.metrics().items() if name.startswith(begins)}

    def temperatures(self) -> dict[str, list[float]]:
        """What its journal has of each source, oldest first."""
        found: dict[str, list[float]] = {}
        for line in self.machine.console.run("lamppost journal tail --topic air --json -n 200 2>/dev/null", 120).splitlines():
            event = json.loads(line)
            found.setdefault(event["device"], []).append(json.loads(event["payload"])["value"])
        return found

    def clock(self) -> dict:
        """What /healthz says of the clock with a battery."""
        try:
            text = self.get("/healthz")
        except HTTPError as error:
            # Chips that are not there make it 503 after a while.
            text = error.read().decode()
        return json.loads(text)["battery_clock"]

    def end(self) -> None:
        if self.machine is not None:
            self.machine.pull()
