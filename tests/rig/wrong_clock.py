"""A gateway whose wall clock is set by a story, and jumps: by Debian's libfaketime. What it measures spans of time with (the monotonic clocks) goes on."""

import time
from pathlib import Path

from rig.child import Child
from rig.gateway import Gateway, program
from rig.needs import faketime

FELT_S = 1.0
"""So long a setting may take to be felt: libfaketime looks into its file once a second."""


class WrongClock(Gateway):
    def __init__(self, home: Path, name: str, bootstrap: str, extra: str = "") -> None:
        super().__init__(home, name, bootstrap, extra)
        self._library = faketime()
        if self._library is None:
            raise RuntimeError("libfaketime is missing (Debian: faketime; LAMPPOST_WITHOUT=faketime leaves this story out by name)")
        self._setting = home / "clock"
        self._started: list[int] = []
        self.set_off(0)

    def set_off(self, seconds: float) -> None:
        """How far its clock is ahead of the machine's."""
        new = self._setting.with_suffix(".new")
        new.write_text(f"{seconds:+.0f}\n")
        new.rename(self._setting)

    def set_to(self, seconds: float) -> None:
        """Seconds since 1970; it goes on from there."""
        self.set_off(seconds - time.time())

    def launch(self) -> None:
        environment = {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._setting),
            "FAKETIME_CACHE_DURATION": f"{FELT_S:.0f}",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.child = Child([program(), "run", "--config", self.config], self.log, env=environment)
        self._started.append(self.child.pid)

    def end(self) -> None:
        super().end()
        # What libfaketime's processes share, which one that was killed leaves behind.
        for pid in self._started:
            for name in ("faketime_shm_", "sem.faketime_sem_"):
                Path(f"/dev/shm/{name}{pid}").unlink(missing_ok=True)
