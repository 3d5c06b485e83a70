"""A small board: the gateway with 64 MB of memory, a card of 256 MB and a clock that runs fast, and what can be seen of it from outside."""

import os
import statistics
import time
from collections.abc import Collection
from dataclasses import dataclass, field

from rig.child import Child
from rig.confined import MIB, Confined
from rig.fast_clock import FastClock
from rig.gateway import Gateway, program
from rig.image import Image, disk_bytes
from rig.places import ROOT

MEMORY_MIB = int(os.environ.get("LAMPPOST_WEEK_MEMORY_MIB", "64"))
CARD_MIB = 256
QUOTA_MIB = 168
"""CARD.md: the partition is the quota and half as much again."""


class Board(Gateway):
    """Its state folder is the card."""

    def __init__(self, home, name: str, bootstrap: str, extra: str, clock: FastClock, room: Confined) -> None:
        super().__init__(home, name, bootstrap, extra)
        self._clock, self._room = clock, room

    def launch(self) -> None:
        command = self._room.command(program(), "run", "--config", self.config)
        self.child = Child(command, self.log, env={**_of_the_unit(), **self._clock.environment})


def _of_the_unit() -> dict[str, str]:
    """The environment that an installed gateway has."""
    lines = (ROOT / "systemd" / "lamppost.service").read_text().splitlines()
    return dict(line.removeprefix("Environment=").split("=", 1) for line in lines if line.startswith("Environment="))


@dataclass
class Stretch:
    """Samples of a simulated day, or of a state that the board is in."""

    anonymous_mib: list[float] = field(default_factory=list)
    used_mib: list[float] = field(default_factory=list)
    state_mib: list[float] = field(default_factory=list)
    card_mib: list[float] = field(default_factory=list)
    written_first: int = 0
    written_last: int = 0

    def told(self) -> dict[str, float]:
        return {
            "samples": len(self.anonymous_mib),
            "anonymous_mib": round(statistics.median(self.anonymous_mib), 1),
            "anonymous_mib_max": round(max(self.anonymous_mib), 1),
            "used_mib_max": round(max(self.used_mib), 1),
            "state_mib_max": round(max(self.state_mib), 1),
            "card_mib_max": round(max(self.card_mib), 1),
            "written_mib": round((self.written_last - self.written_first) / MIB, 1),
        }


class Watch:
    """Looks at the board from outside, about five times a second."""

    def __init__(self, post: Board, room: Confined, card: Image) -> None:
        self._post, self._room, self._card = post, room, card
        self.stretches: dict[str, Stretch] = {}
        self._next = 0.0

    def look(self, names: Collection[str]) -> None:
        """`names`: of the stretches that the sample belongs to."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + 0.2
        written = self._card.written_bytes()
        anonymous_mib, used_mib = self._room.anonymous_mib(), self._room.used_mib()
        state_mib, card_mib = disk_bytes(self._post.state_dir / "journal") / MIB, self._card.used_bytes() / MIB
        for name in names:
            of = self.stretches.setdefault(name, Stretch(written_first=written))
            of.anonymous_mib.append(anonymous_mib)
            of.used_mib.append(used_mib)
            of.state_mib.append(state_mib)
            of.card_mib.append(card_mib)
            of.written_last = written

    def anonymous_mib(self) -> dict[str, list[float]]:
        """By stretch."""
        return {name: of.anonymous_mib for name, of in self.stretches.items()}

    def most(self, what: str) -> float:
        return max(max(getattr(of, what)) for of in self.stretches.values())
