"""A device on MQTT.js, whose session holds over a gateway that is killed: what was published meanwhile comes with all that its publisher
said."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from rig.child import Child
from rig.places import ROOT
from rig.sending import fetch_mqttjs

CONFIG = """
[[route]]
from = "cmd/#"
topic = "commands"
[topics.commands]
partitions = 1
"""
ANSWER_S = 20
PROGRAM = ROOT / "tests" / "rig" / "senders" / "mqttjs_device.js"


class Device:
    """One life of it, in a process of its own."""

    def __init__(self, log: Path, port: int) -> None:
        self._read = 0
        command = ["node", PROGRAM, "listen", str(port), "valve", "cmd/valve/#"]
        self.child = Child(command, log, env={"NODE_PATH": str(fetch_mqttjs())})

    def next(self) -> dict:
        """What it says next."""
        deadline = time.monotonic() + ANSWER_S
        while len(lines := self.child.log.read_text().splitlines(keepends=True)) <= self._read or lines[-1][-1] != "\n":
            assert self.child.alive() and time.monotonic() < deadline, self.child.tail()
            time.sleep(0.02)
        self._read += 1
        return json.loads(lines[self._read - 1])


def publish(port: int, topic: str, payload: str) -> None:
    command = ["node", PROGRAM, "publish", str(port), "operator", topic, payload]
    environment = {**os.environ, "NODE_PATH": str(fetch_mqttjs())}
    done = subprocess.run([str(part) for part in command], env=environment, capture_output=True, timeout=ANSWER_S)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"published": topic}


def heard(topic: str, payload: str) -> dict:
    user = {"kind": ["order", "urgent"], "unit": "bar"}
    return {"topic": topic, "payload": payload, "qos": 1, "user": user, "contentType": "text/plain"}


@pytest.mark.needs("mqttjs")
def test_a_device_on_mqttjs_goes_on_with_its_session_after_the_gateway_was_killed(home, gateway, ending):
    post = gateway("js-session", CONFIG)
    post.start()
    device = Device(home / "first.log", post.mqtt_port)
    ending(device.child.stop)
    assert device.next() == {"present": False, "granted": [1]}
    publish(post.mqtt_port, "cmd/valve/open", "here")
    assert device.next() == heard("cmd/valve/open", "here")
    # Without DISCONNECT.
    device.child.kill()
    publish(post.mqtt_port, "cmd/other/open", "not for it")
    publish(post.mqtt_port, "cmd/valve/open", "one")
    publish(post.mqtt_port, "cmd/valve/close", "two")
    post.kill()
    post.start()
    device = Device(home / "second.log", post.mqtt_port)
    ending(device.child.stop)
    assert device.next() == {"present": True, "granted": []}
    # What was acknowledged in the last moment before the kill may come again.
    missed = [device.next()]
    if missed == [heard("cmd/valve/open", "here")]:
        missed = [device.next()]
    missed.append(device.next())
    assert missed == [heard("cmd/valve/open", "one"), heard("cmd/valve/close", "two")]
    publish(post.mqtt_port, "cmd/valve/open", "live")
    assert device.next() == heard("cmd/valve/open", "live")
