"""A network of its own for a gateway, as Linux has them (network namespaces): a lone host, and a link of one cable (a veth pair) to the host where the
cluster's addresses are. Nothing of it is to be seen in the machine's own network, and all of it is gone with the process that made it.

    ┌─ post ───────────┐      ┌─ far ──────────────────┐      ┌─ the machine ─┐
    │ gateway, senders │ veth │ Middleman listens at    │      │ brokers at    │
    │ 10.0.2.1         ├──────┤ 10.0.2.2                ├ ···· ┤ 127.0.0.1     │
    └──────────────────┘      └─────────────────────────┘ sockets of one process
"""

import contextlib
import ctypes
import os
import shutil
import subprocess
from pathlib import Path
from typing import Iterator

from rig.cluster import GUESTS_SEE_US_AT
from rig.gateway import Gateway

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
_POST_AT = "10.0.2.1"
WHY = "a network namespace needs root and `ip` (LAMPPOST_WITHOUT=namespaces leaves these stories out by name)"


def _check(status: int, what: str) -> None:
    if status != 0:
        raise RuntimeError(f"{what}: {os.strerror(ctypes.get_errno())}; {WHY}")


class Network:
    """A namespace, held by an open file; it ends when nobody is in it and the file is closed."""

    def __init__(self) -> None:
        own = _here()
        try:
            _check(_LIBC.unshare(_CLONE_NEWNET), "unshare")
            self._file = _here()
        finally:
            _check(_LIBC.setns(own, _CLONE_NEWNET), "setns")
            os.close(own)

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self._file}"

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread is in it meanwhile: sockets that it makes and processes that it starts stay there."""
        own = _here()
        _check(_LIBC.setns(self._file, _CLONE_NEWNET), "setns")
        try:
            yield
        finally:
            _check(_LIBC.setns(own, _CLONE_NEWNET), "setns")
            os.close(own)

    def ip(self, *words: str) -> None:
        """The program of this name, inside."""
        with self.inside():
            subprocess.run(["ip", *words], check=True)

    def close(self) -> None:
        os.close(self._file)


def _here() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY)


class Cable:
    """The two hosts and the link between them."""

    def __init__(self) -> None:
        if os.geteuid() != 0 or shutil.which("ip") is None:
            raise RuntimeError(WHY)
        self.post, self.far = Network(), Network()
        for network in (self.post, self.far):
            network.ip("link", "set", "lo", "up")
        self.post.ip("link", "add", "uplink", "type", "veth", "peer", "name", "cable", "netns", self.far.path)
        self.post.ip("address", "add", f"{_POST_AT}/30", "dev", "uplink")
        self.far.ip("address", "add", f"{GUESTS_SEE_US_AT}/30", "dev", "cable")
        self.plug_in()
        self.post.ip("link", "set", "uplink", "up")

    def pull_out(self) -> None:
        """At the far end: the post's side loses its carrier, and what is sent is lost without an answer."""
        self.far.ip("link", "set", "cable", "down")

    def plug_in(self) -> None:
        self.far.ip("link", "set", "cable", "up")

    def lose_answers(self) -> None:
        """What the post sends arrives; whatever goes back to it is dropped in silence, acknowledgements among it."""
        self.far.ip("route", "add", "blackhole", f"{_POST_AT}/32")

    def lose_nothing(self) -> None:
        self.far.ip("route", "del", "blackhole", f"{_POST_AT}/32")

    def gateway(self, home: Path, name: str, bootstrap: str, extra: str) -> Gateway:
        """One that lives at the post."""
        return _Remote(self.post, home, name, bootstrap, extra)

    def close(self) -> None:
        self.post.close()
        self.far.close()


class _Remote(Gateway):
    def __init__(self, network: Network, *rest: object) -> None:
        super().__init__(*rest)
        self._network = network

    def launch(self) -> None:
        with self._network.inside():
            super().launch()

    def get(self, path: str) -> str:
        with self._network.inside():
            return super().get(path)
