"""Senders as a story holds them: started, watched by their gauges, ended."""

import sys
import time
from pathlib import Path

from rig import ledger, npm
from rig.child import Child
from rig.gauges import Gauges
from rig.places import RIG, ROOT
from rig.senders.plan import Connection, Plan

_SENDERS = ROOT / "tests" / "rig" / "senders"


def fetch_mqttjs() -> Path:
    """Installs MQTT.js if it is not; the folder of its modules."""
    return npm.fetch(_SENDERS / "package.json", RIG / "node")


def connections(prefix: str, count: int, events: int, address: str, topic: str) -> list[Connection]:
    """`count` clients, each its own device and key; `{client}` in the address is replaced."""
    names = [f"{prefix}-{n}" for n in range(count)]
    return [Connection(name, address.replace("{client}", name), topic, name, events) for name in names]


class Sender:
    """One sender process with its ledger and gauges."""

    def __init__(self, kind: str, home: Path, name: str, port: int, lines: list[Connection], **plan: object) -> None:
        """`kind`: paho, mosquitto or mqttjs. `home`: where its files go."""
        self.name = name
        self.connections = len(lines)
        self.ledger_path = home / f"{name}.ledger"
        self.ledger_path.touch()
        self.gauges = Gauges(home / f"{name}.gauges", create=True)
        written = Plan("127.0.0.1", port, str(self.ledger_path), str(home / f"{name}.gauges"), lines, **plan)
        path = written.write(home / f"{name}.plan.json")
        if kind == "mqttjs":
            command = ["node", _SENDERS / "mqttjs_sender.js", path]
            environment = {"NODE_PATH": str(fetch_mqttjs())}
        else:
            command = [sys.executable, "-m", f"rig.senders.{kind}_sender", path]
            environment = {"PYTHONPATH": str(ROOT / "tests")}
        self.child = Child(command, home / f"{name}.log", env=environment)

    def check(self) -> None:
        """Raises if it has ended otherwise than well."""
        if self.child.status() not in (None, 0):
            raise AssertionError(f"sender {self.name} failed:\n{self.child.tail()}")

    def finish(self) -> None:
        """Asks it to make nothing new; it ends once all is acknowledged."""
        self.child.signal(15)


def wait_for_all(senders: list[Sender], timeout_s: float) -> None:
    """Returns once all senders have ended well."""
    deadline = time.monotonic() + timeout_s
    while any(sender.child.alive() for sender in senders):
        for sender in senders:
            sender.check()
        if time.monotonic() > deadline:
            state = "\n".join(f"  {sender.name}: {sender.gauges.all()}" for sender in senders)
            raise TimeoutError(f"senders still run after {timeout_s} s:\n{state}")
        time.sleep(0.1)
    for sender in senders:
        sender.check()


def total(senders: list[Sender], gauge: str) -> int:
    return sum(sender.gauges[gauge] for sender in senders)


def read_ledgers(senders: list[Sender]) -> list[ledger.Entry]:
    return ledger.read(sender.ledger_path for sender in senders)
