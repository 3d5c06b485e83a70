"""A card with a cache, as a file for an emulated machine (rig/card, by FUSE): what was not flushed when its power goes can be dropped, torn
and garbled. Needs root and /dev/fuse."""

import json
import subprocess
import time
from pathlib import Path

from rig.places import ROOT, TARGET

_PROGRAM = TARGET / "card" / "release" / "lamppost-card"
FATES = ("scattered", "torn", "dropped", "scattered", "torn", "kept")
"""What becomes of the writes that were not flushed; the README of rig/card says what each is."""


def build() -> Path:
    command = ["cargo", "build", "--locked", "--release", "--quiet", "--manifest-path", ROOT / "tests/rig/card/Cargo.toml"]
    subprocess.run([*command, "--target-dir", TARGET / "card"], check=True)
    return _PROGRAM


class Disk:
    """On from its making to `end`; its bytes are in memory."""

    def __init__(self, home: Path, size: int) -> None:
        self._log = home / "lossy.log"
        command = [build(), "disk", "--dir", home / "lossy", "--bytes", str(size)]
        with self._log.open("ab") as log:
            # Not killed with the rig, as other children are: it would leave its mount behind. It ends with its stdin.
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )
        self.path = Path(self._answer()["disk"])

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the disk has ended: {self._log.read_text()[-2000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"the disk says: {answer['error']}")
        return answer

    def _ask(self, command: str) -> dict:
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        return self._answer()

    def follow(self) -> None:
        """From here on it knows what is flushed and what is not; anew after each cut."""
        self._ask("follow")

    def be_deaf(self) -> None:
        """Until the next cut flushes are answered, and nothing is safe."""
        self._ask("deaf")

    def fail_after(self, writes: int, open_writes: int) -> None:
        """Its power goes in the middle of its work: with a write that `writes` others come before, and that finds `open_writes` others that
        are not flushed."""
        self._ask(f"fail {writes} {open_writes}")

    def is_off(self) -> bool:
        return self._ask("look")["off"]

    def switch_off(self, writes: int, open_writes: int, patience_s: float = 5) -> None:
        """As `fail_after`, and waits for it. Where so many are not left open in time, less will do; where nothing is written, it goes all
        the same."""
        for enough in (open_writes, open_writes // 2, 0):
            self.fail_after(writes, enough)
            deadline = time.monotonic() + patience_s
            while time.monotonic() < deadline:
                if self.is_off():
                    return
                time.sleep(0.005)
            writes = 0
        self._ask("off")

    def cut(self, seed: int, fate: str, garbled: bool) -> dict:
        """What is left on it, once nobody uses it: the power is back. What it lost."""
        answer = self._ask(f"cut {seed} {fate} {str(garbled).lower()}")
        return {"unflushed_writes": answer["unflushed_writes"], "garbage_pages": answer["garbage_pages"], **answer["loss"]}

    def end(self) -> None:
        self._process.stdin.close()
        self._process.wait(30)
