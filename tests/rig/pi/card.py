"""The Raspberry Pi's SD card: a minimal Debian with systemd, made once, and copies of it with Lamppost installed from its package."""

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Mapping, Sequence

from rig.pi import image, machine
from rig.pi.packages import HOME

_MADE_S = 3600
_INSTALLED_S = 900


def _stamp() -> str:
    return hashlib.sha256(Path(image.__file__).read_bytes()).hexdigest()


def base() -> Path:
    """The card without Lamppost; made at the first call (about ten minutes), and again whenever its recipe changes."""
    made, stamp = HOME / "base.img", HOME / "base.stamp"
    if made.exists() and stamp.exists() and stamp.read_text() == _stamp():
        return made
    print("making a card with a minimal Debian for ARM64: about ten minutes", flush=True)
    stamp.unlink(missing_ok=True)
    unpacked = image.rootfs_image()
    maker = machine.virt(HOME / "making", unpacked, "init=/second-stage", flushes=False)
    said = maker.console.wait_for(r"the card is made: (yes|no)", _MADE_S)
    if said[1] != "yes":
        raise RuntimeError(f"Debian's packages could not be set up:\n{maker.console.tail()}")
    maker.wait_off(60)
    unpacked.rename(made)
    stamp.write_text(_stamp())
    return made


def luggage(home: Path, files: Mapping[str, Path | str]) -> Path:
    """A disk with these files, to hand them to a machine."""
    folder, disk = home / "luggage", home / "luggage.img"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in files.items():
        if isinstance(content, Path):
            shutil.copyfile(content, folder / name)
        else:
            (folder / name).write_text(content)
    disk.unlink(missing_ok=True)
    with disk.open("wb") as out:
        out.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-d", str(folder), str(disk)], check=True)
    return disk


def with_lamppost(home: Path, package: Path, configuration: str, then: Sequence[str] = ()) -> Path:
    """A copy of the card on which the package is installed as its user would, with that configuration; `home` is where it lies. `then` are
    commands for root's shell, run in the end."""
    card = home / "card.img"
    # Holes stay holes: the card is mostly empty.
    subprocess.run(["cp", "--sparse=always", str(base()), str(card)], check=True)
    disk = luggage(home, {"lamppost.deb": package, "lamppost.toml": configuration})
    installing = machine.virt(home / "installing", card, disks=[disk], flushes=False)
    try:
        installing.login(_INSTALLED_S)
        console = installing.console
        console.run("mkdir -p /luggage && mount -o ro /dev/vda /luggage")
        print(console.run("dpkg -i /luggage/lamppost.deb", _INSTALLED_S), flush=True)
        console.run("install -D -m 644 /luggage/lamppost.toml /etc/lamppost/lamppost.toml")
        console.run("lamppost check", 120)
        console.run("systemctl enable lamppost && umount /luggage")
        for command in then:
            console.run(command)
        console.send("systemctl poweroff")
        installing.wait_off(300)
    finally:
        installing.pull()
    return card
