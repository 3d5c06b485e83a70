"""A post of the city: an emulated Raspberry Pi with Lamppost installed, a thermometer on its I2C bus, and a board with our firmware on
its serial pins. What it needs of the world is on this machine's loopback, where the Pi finds it as 10.0.2.2."""

from pathlib import Path

from rig.board import Board, firmware_image
from rig.pi import card, machine
from rig.pi.answering import Answering
from rig.pi.configuration import HEAD
from rig.pi.ntp import TimeServer
from rig.places import free_ports

# The Pi's own ports.
_MQTT, _HTTP = 1883, 9464

_CONFIGURATION = HEAD + """
[[i2c]]
name = "street"
bus = "/dev/i2c-1"
chip = "tmp105"
address = 0x48
every = "2s"

[[serial]]
name = "node"
port = "/dev/ttyS1"
baud = 115200
protocol = "link"

[[route]]
from = "city/{{district}}/traffic/{{device}}"
topic = "block-traffic"

[[route]]
from = "i2c/#"
topic = "block-air"

[[route]]
from = "link/#"
topic = "block-node"

[topics.block-traffic]
partitions = 4
[topics.block-air]
partitions = 1
[topics.block-node]
partitions = 2
"""
TOPICS = {"block-traffic": 4, "block-air": 1, "block-node": 2}


class Post(Answering):
    """One post; its card and its node outlive each `pull` of the plug."""

    def __init__(self, home: Path, name: str, package: Path, bootstrap: str) -> None:
        """`bootstrap`: the cluster as the Pi reaches it."""
        self.home, self.name = home, name
        self.mqtt_port, self.http_port, self._uart = free_ports(3)
        servers = ", ".join(f'"{server}"' for server in bootstrap.split(","))
        configuration = _CONFIGURATION.format(name=name, bootstrap=servers, mqtt=_MQTT, http=_HTTP)
        self.card = card.with_lamppost(home, package, configuration)
        self.time = TimeServer()
        (home / "node").mkdir()
        self.node = Board(firmware_image(), home / "node", uart=self._uart)
        self.boots = 0

    def start(self) -> None:
        """Switches the Pi on."""
        self.boots += 1
        self.machine = machine.raspberry(
            self.home / f"boot-{self.boots}",
            self.card,
            devices=["tmp105,address=0x48,id=street"],
            forwards=[(self.mqtt_port, _MQTT), (self.http_port, _HTTP)],
            uart=self._uart,
        )

    def set_street(self, celsius: float) -> None:
        """What the thermometer on the Pi's own I2C bus measures from now on."""
        self.machine.qmp.ask("qom-set", path="/machine/peripheral/street", property="temperature", value=round(celsius * 1000))

    def pull(self) -> None:
        """Pulls the plug."""
        self.machine.pull()

    def end(self) -> None:
        if self.machine is not None:
            self.machine.pull()
        self.node.stop()
        self.time.stop()
