"""Where things are. Everything the rig makes or fetches lies under target/."""

import random
import socket
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "target"
RIG = TARGET / "rig"
VENV_PYTHON = RIG / "venv" / "bin" / "python"

# Below the range that Linux hands out to outgoing connections (net.ipv4.ip_local_port_range starts at 32768): a port
# of ours is not taken by somebody's connection while what listened on it is dead, so that it can be listened on again.
_PORTS = range(20_000, 32_000)


def free_ports(count: int) -> list[int]:
    """`count` different TCP ports on loopback that nobody listens on now."""
    found: list[int] = []
    for _ in range(10_000):
        if len(found) == count:
            return found
        port = random.choice(_PORTS)
        if port in found:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    raise RuntimeError(f"no {count} free ports between {_PORTS.start} and {_PORTS.stop}")
