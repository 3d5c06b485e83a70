"""A node on a pty: the firmware's own brain on this machine (firmware/node, example ptynode), with a ledger of what the
gateway has acknowledged to it."""

import functools
import json
import re
import subprocess
import time
from pathlib import Path

from rig.child import Child
from rig.ledger import Entry
from rig.places import ROOT


@functools.cache
def program() -> Path:
    """The node's program, built if it is not. Cargo is run in firmware/: it reads the settings of the current folder."""
    firmware = ROOT / "firmware"
    command = ["cargo", "build", "--locked", "--quiet", "--package", "lamppost-node", "--example", "ptynode"]
    subprocess.run(command, cwd=firmware, check=True)
    return firmware / "target" / "debug" / "examples" / "ptynode"


class Node:
    """One node; `port` is the other end of its line."""

    def __init__(self, home: Path, device: str, readings: int, interval_ms: int, seconds_max: int = 240) -> None:
        self.device = device
        self._ledger = home / f"{device}.ledger"
        command = [program(), "--ledger", self._ledger, "--device", device, "--readings", readings]
        self.child = Child([*command, "--interval-ms", interval_ms, "--seconds", seconds_max], home / f"{device}.log")
        self.port = self._said(r"^port (\S+)$")

    def _said(self, pattern: str) -> str:
        deadline = time.monotonic() + 20
        while True:
            if match := re.search(pattern, self.child.log.read_text(), re.M):
                return match[1]
            assert self.child.alive() and time.monotonic() < deadline, f"the node has no port:\n{self.child.tail()}"
            time.sleep(0.02)

    def readings(self) -> dict[str, dict]:
        """What was acknowledged to it, in order, by the id that the judge knows it by."""
        lines = [json.loads(line) for line in self._ledger.read_text().splitlines()]
        return {f"{line['device']}/{line['boot']}/{line['sequence']}": line for line in lines}

    def entries(self, topic: str) -> list[Entry]:
        return [Entry(topic, self.device, reading) for reading in self.readings()]
