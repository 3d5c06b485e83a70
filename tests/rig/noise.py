"""A bad line between two serial ports: a pty for the gateway, wired to a node's port through noise of a seed. Bytes from
the node meet garbage, flipped bits, cut frames, and whole frames again; the way back is spared but for flipped bits.

A frame lies between zero bytes (COBS); this is all that the noise knows of the link.
"""

import os
import pty
import random
import select
import sys
import time
import tty
from pathlib import Path

from rig.child import Child
from rig.places import ROOT

KINDS = ("passed", "garbage", "flipped", "cut", "resent", "flipped_back", "overrun")


class Noise:
    """What becomes of a frame. One seed, one noise."""

    def __init__(self, seed: int, rate: float) -> None:
        self._random = random.Random(seed)
        self._rate = rate
        self._past: list[bytes] = []
        self.counts = dict.fromkeys(KINDS, 0)

    def _strikes(self) -> bool:
        return self._random.random() < self._rate

    def on(self, frame: bytes) -> bytes:
        """The bytes that arrive in place of `frame` (without its delimiters)."""
        arriving = frame
        if self._strikes():
            self.counts["flipped"] += 1
            arriving = self._flip(arriving)
        elif self._strikes():
            self.counts["cut"] += 1
            arriving = arriving[: self._random.randrange(len(arriving))]
        else:
            self.counts["passed"] += 1
        wire = b"\0" + arriving + b"\0"
        if self._strikes():
            self.counts["garbage"] += 1
            wire = self._random.randbytes(self._random.randrange(1, 200)) + wire
        if self._past and self._strikes():
            self.counts["resent"] += 1
            wire += b"\0" + self._random.choice(self._past) + b"\0"
        # The last few frames may come again.
        self._past = [*self._past[-15:], frame]
        return wire

    def on_the_way_back(self, data: bytes) -> bytes:
        if data and self._strikes():
            self.counts["flipped_back"] += 1
            return self._flip(data)
        return data

    def _flip(self, data: bytes) -> bytes:
        at = self._random.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << self._random.randrange(8)]) + data[at + 1 :]


class NoisyLine:
    """The line as a story holds it; `port` is where the gateway listens."""

    def __init__(self, node_port: str, home: Path, seed: int, rate: float) -> None:
        self._counts = home / "noise.txt"
        named = home / "noise.port"
        command = [sys.executable, "-m", "rig.noise", node_port, named, self._counts, seed, rate]
        self.child = Child(command, home / "noise.log", env={"PYTHONPATH": str(ROOT / "tests")})
        deadline = time.monotonic() + 20
        while not named.exists():
            assert self.child.alive() and time.monotonic() < deadline, (
                f"the noisy line does not stand:\n{self.child.tail()}"
            )
            time.sleep(0.02)
        self.port = named.read_text()

    def counts(self) -> dict[str, int]:
        """How often each kind of noise has struck."""
        words = self._counts.read_text().split()
        return {name: int(count) for name, count in zip(words[::2], words[1::2])}

    def stop(self) -> None:
        self.child.kill()


def _whole_frames(pending: bytes) -> tuple[list[bytes], bytes]:
    """The frames that have arrived wholly, and what is left."""
    *frames, rest = pending.split(b"\0")
    return [frame for frame in frames if frame], rest


def _send(end: int, data: bytes, noise: Noise) -> None:
    """A serial line does not wait for who does not listen: what does not fit is gone."""
    try:
        sent = os.write(end, data)
    except BlockingIOError:
        sent = 0
    noise.counts["overrun"] += sent < len(data)


def main() -> int:
    node_port, named, counts, seed, rate = sys.argv[1:]
    node = os.open(node_port, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(node)
    gateway, gateway_port = pty.openpty()
    # Kept open here too, so that the line stays up while the gateway is not.
    tty.setraw(gateway_port)
    partial = Path(named + ".part")
    partial.write_text(os.ttyname(gateway_port))
    partial.rename(named)
    for end in (node, gateway):
        os.set_blocking(end, False)
    noise, pending = Noise(int(seed), float(rate)), b""
    while True:
        readable, _, _ = select.select([node, gateway], [], [])
        if node in readable:
            try:
                arrived = os.read(node, 4096)
            except OSError:
                # The node has ended and its side is gone.
                return 0
            frames, pending = _whole_frames(pending + arrived)
            for frame in frames:
                _send(gateway, noise.on(frame), noise)
        if gateway in readable:
            _send(node, noise.on_the_way_back(os.read(gateway, 4096)), noise)
        partial.write_text(" ".join(f"{name} {count}" for name, count in noise.counts.items()))
        partial.rename(counts)


if __name__ == "__main__":
    sys.exit(main())
