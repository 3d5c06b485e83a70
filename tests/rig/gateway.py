"""The gateway as a process: built once, started with a configuration, killed, restarted, measured."""

import functools
import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Optional

from rig.child import Child
from rig.places import ROOT, TARGET, free_ports

READY_S = 60


@functools.cache
def program() -> Path:
    """The program to test: LAMPPOST_BIN (from the root of the tree, if relative), or a release build of this tree."""
    given = os.environ.get("LAMPPOST_BIN")
    if given:
        return ROOT / given
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "lamppost"], cwd=ROOT, check=True)
    return TARGET / "release" / "lamppost"


def run(*args: object, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Runs the program to its end (check, audit, journal ...), and returns its status and output."""
    command = [str(program()), *(str(arg) for arg in args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)


class Gateway:
    """One gateway with its state under `home`; its ports stay the same from start to start."""

    def __init__(self, home: Path, name: str, bootstrap: str, extra: str = "") -> None:
        """`name`: the gateway's id. `extra`: tables of the configuration beside those written here."""
        self.home = home
        self.name = name
        self.mqtt_port, self.http_port = free_ports(2)
        self.state_dir = home / "state"
        self.config = home / "lamppost.toml"
        self.child: Optional[Child] = None
        self.config.write_text(self._configuration(bootstrap, extra))

    def _configuration(self, bootstrap: str, extra: str) -> str:
        servers = ", ".join(f'"{server}"' for server in bootstrap.split(","))
        return f"""\
[gateway]
id = "{self.name}"
state_dir = "{self.state_dir}"

[mqtt]
listen = "127.0.0.1:{self.mqtt_port}"

[kafka]
bootstrap = [{servers}]
replication = 3
create_topics = true

[http]
listen = "127.0.0.1:{self.http_port}"

{extra}"""

    @property
    def log(self) -> Path:
        return self.home / "gateway.log"

    def launch(self) -> None:
        """Starts the process and does not wait for it."""
        self.child = Child([program(), "run", "--config", self.config], self.log)

    def start(self) -> None:
        """Starts it, and returns once it takes MQTT connections and answers HTTP."""
        self.launch()
        deadline = time.monotonic() + READY_S
        while not self.answers():
            self._complain_if_dead()
            if time.monotonic() > deadline:
                raise TimeoutError(f"the gateway is not ready after {READY_S} s; its log ends\n{self.child.tail()}")
            time.sleep(0.05)

    def _complain_if_dead(self) -> None:
        if self.child is None or not self.child.alive():
            tail = self.child.tail() if self.child else "(never started)"
            raise RuntimeError(f"the gateway ended by itself; its log ends\n{tail}")

    def answers(self) -> bool:
        """Whether /healthz answers at all: with the cluster away it may well say that there is no progress."""
        try:
            self.get("/healthz")
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=5) as answer:
            return answer.read().decode()

    def metrics(self) -> dict[str, float]:
        """All samples of /metrics, by name and labels as they stand there."""
        samples = {}
        for line in self.get("/metrics").splitlines():
            if match := re.fullmatch(r"([a-zA-Z_:][\w:]*(?:\{.*\})?)\s+(\S+)", line):
                samples[match[1]] = float(match[2])
        return samples

    def stored(self, topic: str) -> list[dict]:
        """The events of a topic in its journal, in the journal's order."""
        done = run("journal", "replay", "--dir", self.state_dir / "journal", "--topic", topic, "--json")
        if "no journal can be read" in done.stderr or "there is no event of the topic" in done.stderr:
            return []  # Before the first one.
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def kill(self) -> None:
        """SIGKILL, in the middle of whatever it does."""
        self._complain_if_dead()
        self.child.kill()

    def stop(self, timeout_s: float = 30) -> int:
        """SIGTERM; its exit status."""
        self._complain_if_dead()
        self.child.signal(signal.SIGTERM)
        return self.child.wait(timeout_s)

    def end(self) -> None:
        """At the end of a story, however it went."""
        if self.child is not None and self.child.alive():
            self.child.stop()

    def rss_mib(self) -> float:
        self._complain_if_dead()
        return self.child.rss_mib()
