"""A small disk for a broker: a file system in memory over its folder, seen by it alone (a mount namespace, held by a process of ours). Gone with that process;
nothing is mounted in the machine's own view."""

import os
import shutil
import subprocess
import time
from pathlib import Path

from rig.child import Child

WHY = "a broker's small disk needs root, unshare and nsenter (LAMPPOST_WITHOUT=small-disks leaves this story out by name)"
_FILLING = "filling"
_BLOCK = bytes(64 << 10)
_MAKE = """
set -e
mkdir -p "$1.small"
mount -t tmpfs -o "size=$2" lamppost-small "$1.small"
cp -a "$1/." "$1.small/"
mount --bind "$1.small" "$1"
exec sleep infinity
"""


class SmallDisk:
    """Over `folder`, with what is in it, and `free_mib` more."""

    def __init__(self, folder: Path, free_mib: int) -> None:
        if os.geteuid() != 0 or not (shutil.which("unshare") and shutil.which("nsenter")):
            raise RuntimeError(WHY)
        self.folder = folder
        size = _used(folder) + (free_mib << 20)
        inside = ["sh", "-c", _MAKE, "sh", folder, size]
        self._holder = Child(["unshare", "--mount", "--propagation", "private", *inside], folder.parent / "small-disk.log")
        deadline = time.monotonic() + 60
        while f" {folder} " not in self._mounts():
            if not self._holder.alive() or time.monotonic() > deadline:
                raise RuntimeError(f"{WHY}\n{self._holder.tail()}")
            time.sleep(0.05)

    def _mounts(self) -> str:
        try:
            return Path(f"/proc/{self._holder.pid}/mounts").read_text()
        except OSError:
            return ""

    @property
    def entering(self) -> list[str]:
        """What goes before a command that is to see it."""
        return ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--"]

    @property
    def seen_from_here(self) -> Path:
        return Path(f"/proc/{self._holder.pid}/root{self.folder}")

    def fill(self) -> int:
        """With a file, to the last byte; how large it has become."""
        path = self.seen_from_here / _FILLING
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
        try:
            while True:
                os.write(descriptor, _BLOCK)
        except OSError as full:
            if full.errno != 28:
                raise
            return path.stat().st_size
        finally:
            os.close(descriptor)

    def free(self) -> None:
        (self.seen_from_here / _FILLING).unlink(missing_ok=True)

    def take_away(self) -> None:
        """Copies what is on it to the folder below. Nobody may use it any more."""
        self.free()
        small, kept = (self.folder.with_name(f"{self.folder.name}.{end}") for end in ("small", "kept"))
        subprocess.run(["cp", "-a", self.seen_from_here, kept], check=True)
        # Before the folder goes: the kernel takes a mount away, everywhere, with the folder on which it lies.
        self._holder.kill()
        shutil.rmtree(self.folder)
        shutil.rmtree(small)
        kept.rename(self.folder)


def _used(folder: Path) -> int:
    """Bytes on the disk: Kafka's indexes are mostly holes."""
    return sum(path.stat().st_blocks * 512 + 4096 for path in folder.rglob("*"))
