"""A card as an image in a file: ext4 on a loop device, mounted, and what is written to it counted by the kernel. Needs root."""

import os
import subprocess
from pathlib import Path


class Image:
    """Mounted at `point` until `end`."""

    def __init__(self, file: Path, point: Path, size_mib: int) -> None:
        # Written out, not sparse: the file system below has nothing to allocate when it is flushed.
        with file.open("wb") as image:
            for _ in range(size_mib):
                image.write(bytes(1 << 20))
            os.fsync(image.fileno())
        # As hardware/CARD.md prescribes.
        make = ["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-m", "0", file]
        subprocess.run(make, check=True)
        point.mkdir(parents=True, exist_ok=True)
        attach = ["losetup", "--find", "--show", "--direct-io=on", file]
        self.device = subprocess.run(attach, check=True, capture_output=True, text=True).stdout.strip()
        self.point = point
        try:
            subprocess.run(["mount", "-o", "noatime", self.device, point], check=True)
        finally:
            # Of a mounted one the kernel only takes note: it drops the device with its last mount, whoever ends that.
            subprocess.run(["losetup", "--detach", self.device], check=True)
        self._written_before, self._flushes_before = self._counted()

    def _counted(self) -> tuple[int, int]:
        """The kernel's Documentation/block/stat.rst: sectors of 512 bytes written, and flushes."""
        fields = Path(f"/sys/block/{Path(self.device).name}/stat").read_text().split()
        return int(fields[6]) * 512, int(fields[15])

    def written_bytes(self) -> int:
        """What the device has taken since it was mounted: the file system's own writing included."""
        return self._counted()[0] - self._written_before

    def flushes(self) -> int:
        return self._counted()[1] - self._flushes_before

    def used_bytes(self) -> int:
        """By the file system's count, its own tables not included."""
        told = os.statvfs(self.point)
        return (told.f_blocks - told.f_bfree) * told.f_frsize

    def end(self) -> None:
        subprocess.run(["umount", self.point], check=True)


def disk_bytes(folder: Path) -> int:
    """What the files below take, in blocks (du)."""
    total = 0
    for at, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(at, name)).st_blocks * 512
            except FileNotFoundError:
                # Recycled since it was listed.
                continue
    return total
