"""QEMU 10, whose Raspberry Pis have I2C controllers; Debian 12's own QEMU 7.2 has none there."""

import functools
import os
from pathlib import Path

from rig.pi.packages import unpacked


@functools.cache
def _folder() -> Path:
    # With all that it depends on: it must not care which libraries the machine has.
    return unpacked("qemu", "amd64", ["qemu-system-arm"], suite="bookworm-backports", with_depends=True)


def command(name: str = "qemu-system-aarch64") -> list[str]:
    """The program, as the beginning of a command line."""
    folder = _folder()
    loader = folder / "lib64" / "ld-linux-x86-64.so.2"
    libraries = [folder / "usr/lib/x86_64-linux-gnu", folder / "lib/x86_64-linux-gnu"]
    path = os.pathsep.join(str(library) for library in libraries)
    return [str(loader), "--library-path", path, str(folder / "usr/bin" / name), "-L", str(folder / "usr/share/qemu")]


def environment() -> dict[str, str]:
    """What it has to find in its environment: its own modules, not those of another QEMU of the machine."""
    return {"QEMU_MODULE_DIR": str(_folder() / "usr/lib/x86_64-linux-gnu/qemu")}
