"""A post as an operator has it before him: QEMU's `virt` machine with Lamppost from its package, a root that can be written, and a shell."""

import subprocess
import time
from pathlib import Path

from rig.pi import card, machine
from rig.pi.answering import Answering
from rig.pi.configuration import HEAD
from rig.places import free_ports

_MQTT, _HTTP = 1883, 9464
CONFIG = "/etc/lamppost/lamppost.toml"

_CONFIGURATION = HEAD + """
[[route]]
from = "city/{{district}}/traffic/{{device}}"
topic = "operated-traffic"

[[route]]
from = "probe/#"
topic = "operated-before"

[topics.operated-traffic]
partitions = 4
[topics.operated-before]
partitions = 1
[topics.operated-after]
partitions = 1
"""
TOPICS = {"operated-traffic": 4, "operated-before": 1, "operated-after": 1}


def later(package: Path, folder: Path) -> tuple[Path, str]:
    """The same package with a later version, and that version: what an upgrade installs."""
    unpacked, made = folder / "later", folder / "later.deb"
    subprocess.run(["dpkg-deb", "--raw-extract", str(package), str(unpacked)], check=True)
    control = unpacked / "DEBIAN" / "control"
    text = control.read_text()
    (version,) = (line.removeprefix("Version: ") for line in text.splitlines() if line.startswith("Version: "))
    control.write_text(text.replace(f"Version: {version}\n", f"Version: {version}+later\n"))
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", "-Zgzip", str(unpacked), str(made)], check=True, capture_output=True)
    return made, f"{version}+later"


class OperatedPost(Answering):
    """One post, on from `start` to `end`."""

    def __init__(self, home: Path, name: str, package: Path, bootstrap: str) -> None:
        """`bootstrap`: the cluster as the guest reaches it."""
        self.home, self.name = home, name
        self.mqtt_port, self.http_port = free_ports(2)
        servers = ", ".join(f'"{server}"' for server in bootstrap.split(","))
        self._card = card.with_lamppost(home, package, _CONFIGURATION.format(name=name, bootstrap=servers, mqtt=_MQTT, http=_HTTP))

    def start(self, luggage: Path) -> None:
        """Switches it on, with a disk of what the operator has brought, which is mounted on /luggage."""
        forwards = f"hostfwd=tcp:127.0.0.1:{self.mqtt_port}-:{_MQTT},hostfwd=tcp:127.0.0.1:{self.http_port}-:{_HTTP}"
        self.machine = machine.virt(self.home / "boot", self._card, "quiet", disks=[luggage], networks=[forwards])
        self.machine.login(900)
        self.shell("mkdir -p /luggage && mount -o ro /dev/vda /luggage")
        self.wait_until_ready()

    def shell(self, command: str, timeout_s: float = 120) -> str:
        """What root's command wrote; RuntimeError where it fails."""
        return self.machine.console.run(command, timeout_s)

    def service(self, what: str) -> str:
        """A property of the service, as systemd has it."""
        return self.shell(f"systemctl show -P {what} lamppost")

    def log(self) -> str:
        """What the service and systemd have said of it since the machine was switched on."""
        return self.shell("journalctl -u lamppost -b -q -o cat --no-pager")

    def wait_for_log(self, says: str, times: int = 1, timeout_s: float = 300) -> None:
        deadline = time.monotonic() + timeout_s
        while (said := self.log()).count(says) < times:
            assert time.monotonic() < deadline, f"no {says!r} in\n{said}"
            time.sleep(1)

    def end(self) -> None:
        if self.machine is not None:
            self.machine.pull()
