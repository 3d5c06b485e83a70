"""Clients that others wrote, over TLS whose records arrive in pieces, with payloads on both sides of a record's size: every byte of them
reaches a subscriber, and a PUBACK comes for each."""

import queue
import random
import ssl
import subprocess

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from rig.pieces import Pieces
from rig.post import WAIT_S, Post

RECORD_BYTES = 16_384
SIZES = (0, 1, RECORD_BYTES - 1, RECORD_BYTES, RECORD_BYTES + 1, 70_000, 250_000)
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@pytest.fixture
def post(home, ending):
    made = Post(home)
    ending(made.end)
    made.start()
    return made


def payloads():
    noise = random.Random(7)
    return [noise.randbytes(size) for size in SIZES]


class Client:
    """A paho client in a thread of its own."""

    def __init__(self, port, name, authority, version, own=None, password=None):
        context = ssl.create_default_context(cafile=str(authority.certificate))
        context.minimum_version = context.maximum_version = version
        if own is not None:
            context.load_cert_chain(*map(str, own))
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, name, protocol=mqtt.MQTTv5)
        self.client.tls_set_context(context)
        if password is not None:
            self.client.username_pw_set(*password)
        self.answers, self.received = queue.Queue(), queue.Queue()
        self.client.on_connect = lambda _c, _d, _f, reason, _p: self.answers.put(reason)
        self.client.on_subscribe = lambda _c, _d, _i, reasons, _p: self.answers.put(reasons[0])
        self.client.on_message = lambda _c, _d, message: self.received.put(message.payload)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.answer()

    def answer(self):
        reason = self.answers.get(timeout=WAIT_S)
        assert not reason.is_failure, reason

    def subscribe(self, topic_filter):
        self.client.subscribe(topic_filter, qos=1)
        self.answer()

    def next(self):
        return self.received.get(timeout=WAIT_S)

    def end(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def way(post, ending):
    """Makes a way in pieces to one of its doors."""

    def make(port, seed):
        made = Pieces(port, seed)
        ending(made.close)
        return made

    return make


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
def test_paho_with_a_certificate_and_with_a_password(post, way, ending, version):
    by_password, by_certificate = way(post.tls_port, 1), way(post.certificate_port, 2)
    anna = Client(by_password.port, "anna", post.authority, version, password=("anna", "secret"))
    ending(anna.end)
    anna.subscribe("city/#")
    lamp = Client(by_certificate.port, "lamp-7", post.authority, version, own=post.authority.issue("lamp-7"))
    ending(lamp.end)
    for payload in payloads():
        lamp.client.publish("city/lamp-7/air", payload, qos=1).wait_for_publish(WAIT_S)
        assert anna.next() == payload, f"{len(payload)} bytes"
    assert post.metrics()["lamppost_mqtt_pubacks_total"] == len(SIZES)
    assert by_certificate.passed > 500 and by_password.passed > 10, "it did not come in pieces"


@pytest.mark.needs("mosquitto")
@pytest.mark.parametrize("version", VERSIONS)
def test_mosquitto_with_a_certificate(post, home, way, ending, version):
    anna = Client(way(post.tls_port, 3).port, "anna", post.authority, VERSIONS[version], password=("anna", "secret"))
    ending(anna.end)
    anna.subscribe("city/#")
    certificate, key = post.authority.issue("lamp-7")
    pieces = way(post.certificate_port, 4)
    for payload in payloads():
        file = home / "payload"
        file.write_bytes(payload)
        command = [
            "mosquitto_pub", "-h", "127.0.0.1", "-p", pieces.port, "-i", "lamp-7", "-t", "city/lamp-7/air", "-q", "1",
            "-V", "mqttv5", "--tls-version", f"tlsv{version}", "--cafile", post.authority.certificate, "--cert", certificate,
            "--key", key, *(["-f", file] if payload else ["-n"]),
        ]  # fmt: skip
        done = subprocess.run([*map(str, command)], capture_output=True, timeout=WAIT_S)
        assert done.returncode == 0, done.stderr
        assert anna.next() == payload, f"{len(payload)} bytes"
    assert post.metrics()["lamppost_mqtt_pubacks_total"] == len(SIZES)
