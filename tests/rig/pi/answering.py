"""A post on an emulated machine, as the rig asks it: over HTTP, on a port of this machine's loopback that leads to the gateway's."""

import re
import time
import urllib.request
from typing import Optional

from rig.pi.machine import Machine

_READY_S = 900


class Answering:
    """What a post has that has a `machine`, while it is on, and an `http_port`."""

    machine: Optional[Machine] = None
    http_port: int

    def wait_until_ready(self) -> None:
        """Returns once the gateway on it answers."""
        deadline = time.monotonic() + _READY_S
        while True:
            self.machine.console.drain()
            try:
                self.get("/metrics")
                return
            except OSError:
                pass
            assert self.machine.child.alive(), f"the machine is off; it last said\n{self.machine.console.tail()}"
            if time.monotonic() > deadline:
                raise TimeoutError(f"no gateway on the machine; it last said\n{self.machine.console.tail()}")
            time.sleep(0.5)

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=10) as answer:
            return answer.read().decode()

    def metrics(self) -> dict[str, float]:
        matches = (re.fullmatch(r"([a-zA-Z_:][\w:]*(?:\{.*\})?)\s+(\S+)", line) for line in self.get("/metrics").splitlines())
        return {match[1]: float(match[2]) for match in matches if match}
