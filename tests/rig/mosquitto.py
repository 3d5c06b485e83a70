"""A mosquitto broker that is killed and started again, with the persistence that mosquitto has: a file that it writes whole
when it is asked to, and at an orderly end. What it took since is gone when it is killed."""

import getpass
import os
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import Optional

from rig.child import Child
from rig.places import free_ports

READY_S = 20


class Mosquitto:
    """One broker on loopback; its port stays the same from start to start."""

    def __init__(self, home: Path) -> None:
        self.home = home / "mosquitto"
        self.home.mkdir()
        (self.port,) = free_ports(1)
        self.child: Optional[Child] = None
        self.database = self.home / "mosquitto.db"
        self.config = self.home / "mosquitto.conf"
        # Without limits of its own: what it drops for want of room would look like a loss of ours.
        self.config.write_text(f"""\
listener {self.port} 127.0.0.1
allow_anonymous true
user {getpass.getuser()}
persistence true
persistence_location {self.home}/
persistence_file {self.database.name}
autosave_interval 0
max_queued_messages 0
""")

    def start(self) -> None:
        """Starts it, and returns once it takes connections."""
        program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
        assert program, "mosquitto is missing: tests/run fetches it"
        self.child = Child([program, "-c", self.config], self.home / "mosquitto.log")
        deadline = time.monotonic() + READY_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert self.child.alive(), f"mosquitto ended by itself:\n{self.child.tail()}"
                assert time.monotonic() < deadline, f"mosquitto is not ready:\n{self.child.tail()}"
                time.sleep(0.02)

    def save(self) -> None:
        """Has it write its file, and returns once that is in its place: what it had before is kept by it now."""
        before = self._written()
        self.child.signal(signal.SIGUSR1)
        deadline = time.monotonic() + READY_S
        while self._written() == before:
            assert time.monotonic() < deadline, f"mosquitto has not saved:\n{self.child.tail()}"
            time.sleep(0.005)

    def _written(self) -> Optional[tuple[int, int]]:
        """Which file it is: it is written under another name, then renamed."""
        try:
            status = self.database.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def kill(self) -> None:
        self.child.kill()

    def end(self) -> None:
        """At the end of a story, however it went."""
        if self.child is not None and self.child.alive():
            self.child.stop()
