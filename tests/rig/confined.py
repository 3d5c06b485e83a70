"""A cgroup with a limit on memory, page cache and the kernel's own included, as a small board's: version 2 or 1, whichever the machine has.
Needs root."""

import os
from pathlib import Path

MIB = 1 << 20


def _mounted(kind: str, option: str) -> Path | None:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, of_kind, options = line.split()[:4]
        if of_kind == kind and (not option or option in options.split(",")):
            return Path(point)
    return None


class Confined:
    """What is started by `command` has `limit_mib` of memory and no swap."""

    def __init__(self, name: str, limit_mib: int) -> None:
        first = _mounted("cgroup", "memory")
        root = first or _mounted("cgroup2", "")
        if os.geteuid() != 0 or root is None:
            raise RuntimeError("a cgroup for memory needs root and a mounted cgroup file system")
        self.version = 1 if first else 2
        if self.version == 2:
            (root / "cgroup.subtree_control").write_text("+memory")
        self.folder = root / f"{name}-{os.getpid()}"
        self.folder.mkdir()
        limit = str(limit_mib * MIB)
        if self.version == 2:
            (self.folder / "memory.swap.max").write_text("0")
            (self.folder / "memory.max").write_text(limit)
        else:
            (self.folder / "memory.limit_in_bytes").write_text(limit)
            # Memory and swap together: no more than memory alone.
            with_swap = self.folder / "memory.memsw.limit_in_bytes"
            if with_swap.exists():
                with_swap.write_text(limit)

    def command(self, *words: object) -> list[object]:
        """The shell moves into the cgroup and becomes the program."""
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', self.folder / "cgroup.procs", *words]

    def _stat(self) -> dict[str, int]:
        lines = (self.folder / "memory.stat").read_text().splitlines()
        return {name: int(value) for name, value in (line.split() for line in lines)}

    def anonymous_mib(self) -> float:
        """What the programs keep that is no file: it can't be taken from them."""
        return self._stat()["anon" if self.version == 2 else "rss"] / MIB

    def used_mib(self) -> float:
        """With page cache and what the kernel keeps for them."""
        name = "memory.current" if self.version == 2 else "memory.usage_in_bytes"
        return int((self.folder / name).read_text()) / MIB

    def oom_kills(self) -> int:
        lines = (self.folder / ("memory.events" if self.version == 2 else "memory.oom_control")).read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))

    def end(self) -> None:
        """Once nothing runs in it."""
        self.folder.rmdir()
