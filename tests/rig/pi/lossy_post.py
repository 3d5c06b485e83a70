"""A post on QEMU's `virt` machine, as hardware/CARD.md has it: a root that is only read, and the state on a partition of its own, here a card
that loses what was not flushed. One network leads to the devices, another to the cluster, and that one can be unplugged."""

import re
import subprocess
from pathlib import Path

from rig.pi import card, machine
from rig.pi.answering import Answering
from rig.pi.configuration import HEAD
from rig.pi.lossy import Disk
from rig.places import ROOT, free_ports

_MQTT, _HTTP = 1883, 9464
_STATE_BYTES = 512 << 20
_UPLINK, _DEVICES = "net0", "net1"
# A busy host makes an emulated machine slower than systemd waits for a device.
_PATIENCE = "[Manager]\nDefaultDeviceTimeoutSec=900\nDefaultTimeoutStartSec=900\n"
_TOLD = "/run/told"
_OF_INTEREST = r"EXT4-fs|fsck|systemd\[1\].*lamppost|recover| ready "
_ADVICE = ROOT / "hardware" / "CARD.md"

_CONFIGURATION = HEAD + """
[[route]]
from = "city/{{district}}/traffic/{{device}}"
topic = "lossy-traffic"

[topics.lossy-traffic]
partitions = 4
"""
TOPICS = {"lossy-traffic": 4}
# The root is only read, and what else is written goes with the power.
_READ_ONLY = """\
/dev/root / ext4 ro,noatime 0 1
tmpfs /tmp tmpfs nosuid,nodev,mode=1777 0 0
tmpfs /var/log tmpfs nosuid,nodev,mode=755 0 0
tmpfs /var/tmp tmpfs nosuid,nodev,mode=1777 0 0
"""


def advised(pattern: str) -> str:
    """What hardware/CARD.md tells people to type."""
    (found,) = re.findall(pattern, _ADVICE.read_text(), re.M)
    return found


class LossyPost(Answering):
    """One post; its card outlives each `cut`."""

    def __init__(self, home: Path, name: str, package: Path, bootstrap: str) -> None:
        """`bootstrap`: the cluster as the guest reaches it."""
        self.home, self.name = home, name
        self.mqtt_port, self.http_port = free_ports(2)
        servers = ", ".join(f'"{server}"' for server in bootstrap.split(","))
        configuration = _CONFIGURATION.format(name=name, bootstrap=servers, mqtt=_MQTT, http=_HTTP)
        fstab = _READ_ONLY + advised(r"echo '(LABEL=lamppost [^']*)' >> /etc/fstab")
        files = {"/etc/fstab": fstab, "/etc/systemd/system.conf.d/patience.conf": _PATIENCE}
        then = [f"mkdir -p $(dirname {path})\ncat > {path} <<'END'\n{text}\nEND" for path, text in files.items()]
        self.root = card.with_lamppost(home, package, configuration, then)
        self.disk = Disk(home, _STATE_BYTES)
        make = advised(r"^ *(mkfs\.ext4 -L lamppost .*) /dev/\S+$").split()
        subprocess.run([*make, "-q", str(self.disk.path)], check=True)
        self.boots = 0

    def start(self, *, online: bool) -> None:
        self.boots += 1
        self.disk.follow()
        forwards = f"hostfwd=tcp:127.0.0.1:{self.mqtt_port}-:{_MQTT},hostfwd=tcp:127.0.0.1:{self.http_port}-:{_HTTP}"
        networks = ["net=10.0.2.0/24", f"net=10.0.3.0/24,restrict=on,{forwards}"]
        self.machine = machine.virt(self.home / f"boot-{self.boots}", self.root, "quiet", disks=[self.disk.path], networks=networks)
        self.plug_uplink(online)

    def plug_uplink(self, plugged: bool) -> None:
        """The cable to the cluster; that to the devices stays."""
        self.machine.qmp.ask("set_link", name=_UPLINK, up=plugged)

    def told(self) -> str:
        """What the machine has to say of its file systems since it was switched on."""
        self.machine.login()
        self.machine.console.run(f"journalctl -b -q --no-hostname -o short-monotonic > {_TOLD}")
        return self.machine.console.run(f"findmnt -no SOURCE,OPTIONS /; findmnt -no SOURCE,OPTIONS /var/lib/lamppost || true; grep -E '{_OF_INTEREST}' {_TOLD}")

    def cut(self, seed: int, fate: str, garbled: bool) -> dict:
        """The machine goes as well, once the card's power is gone (no acknowledgement may rest on what was not flushed by then); what the
        card lost."""
        self.machine.pull()
        return self.disk.cut(seed, fate, garbled)

    def end(self) -> None:
        if self.machine is not None:
            self.machine.pull()
        self.disk.end()
