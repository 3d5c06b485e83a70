"""Clients that people really use, each in a small exchange: what they publish is in Kafka, what they subscribe to
arrives."""

import json
import queue
import subprocess
import time

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from rig.child import Child
from rig.judge import judge
from rig.reader import Reader
from rig.sending import Sender, connections, read_ledgers, wait_for_all

CONFIG = """
[[route]]
from = "clients/{name}/#"
topic = "clients-{name}"

[topics.clients-js]
partitions = 2
[topics.clients-paho]
partitions = 2
"""
ANSWER_S = 20


@pytest.mark.needs("mqttjs")
@pytest.mark.parametrize("protocol", [4, 5], ids=["3.1.1", "5"])
def test_what_mqttjs_publishes_is_in_kafka(home, cluster, gateway, protocol):
    post = gateway(f"js-{protocol}", CONFIG)
    post.start()
    lines = connections(f"js-{protocol}", 3, 200, "clients/js/{client}", "clients-js")
    sender = Sender("mqttjs", home, "js", post.mqtt_port, lines, protocol=protocol)
    wait_for_all([sender], timeout_s=60)
    ledger = read_ledgers([sender])
    assert len(ledger) == 600
    reader = Reader(cluster.bootstrap, post.name, {"clients-js"})
    reader.read_ids({entry.id for entry in ledger})
    reader.close()
    verdict = judge(ledger, reader.records, reader.partitions)
    assert verdict.good and verdict.records == 600, verdict


class Subscriber:
    """A paho client with one subscription, and what it receives."""

    def __init__(self, port: int, name: str, protocol: int, topic_filter: str) -> None:
        self.received: queue.Queue = queue.Queue()
        subscribed: queue.Queue = queue.Queue()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, name, protocol=protocol)
        self.client.on_connect = lambda client, *_: client.subscribe(topic_filter, qos=1)
        self.client.on_subscribe = lambda _client, _data, _id, reasons, _properties: subscribed.put(reasons)
        self.client.on_message = lambda _client, _data, message: self.received.put(message)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        reasons = subscribed.get(timeout=ANSWER_S)
        assert not any(reason.is_failure for reason in reasons), reasons

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.mark.parametrize("protocol", [mqtt.MQTTv311, mqtt.MQTTv5], ids=["3.1.1", "5"])
def test_paho_receives_what_paho_publishes(gateway, ending, protocol):
    post = gateway(f"paho-{protocol}", CONFIG)
    post.start()
    subscriber = Subscriber(post.mqtt_port, "listener", protocol, "clients/paho/+")
    ending(subscriber.close)
    talker = mqtt.Client(CallbackAPIVersion.VERSION2, "talker", protocol=protocol)
    ending(talker.loop_stop)
    talker.connect("127.0.0.1", post.mqtt_port)
    talker.loop_start()
    talker.publish("clients/other/x", b"not for you", qos=1).wait_for_publish(ANSWER_S)
    talker.publish("clients/paho/x", b"for you", qos=1).wait_for_publish(ANSWER_S)
    message = subscriber.received.get(timeout=ANSWER_S)
    assert (message.topic, message.payload) == ("clients/paho/x", b"for you")
    talker.disconnect()


@pytest.mark.parametrize("protocol", [mqtt.MQTTv311, mqtt.MQTTv5], ids=["3.1.1", "5"])
def test_a_will_is_published_when_a_connection_breaks(gateway, ending, protocol):
    post = gateway(f"will-{protocol}", CONFIG)
    post.start()
    subscriber = Subscriber(post.mqtt_port, "listener", protocol, "clients/paho/gone")
    ending(subscriber.close)
    mortal = mqtt.Client(CallbackAPIVersion.VERSION2, "mortal", protocol=protocol)
    connected: queue.Queue = queue.Queue()
    mortal.on_connect = lambda *_: connected.put(True)
    mortal.will_set("clients/paho/gone", b"mortal", qos=1)
    mortal.connect("127.0.0.1", post.mqtt_port)
    mortal.loop_start()
    connected.get(timeout=ANSWER_S)
    mortal.loop_stop()
    # Without DISCONNECT.
    mortal.socket().close()
    message = subscriber.received.get(timeout=ANSWER_S)
    assert message.payload == b"mortal"


@pytest.mark.parametrize("protocol", [mqtt.MQTTv311, mqtt.MQTTv5], ids=["3.1.1", "5"])
def test_qos_2_is_refused_and_the_gateway_goes_on(gateway, ending, protocol):
    post = gateway(f"qos2-{protocol}", CONFIG)
    post.start()
    ended: queue.Queue = queue.Queue()
    greedy = mqtt.Client(CallbackAPIVersion.VERSION2, "greedy", protocol=protocol, reconnect_on_failure=False)
    connected: queue.Queue = queue.Queue()
    greedy.on_connect = lambda _client, _data, _flags, _reason, properties: connected.put(properties)
    greedy.on_disconnect = lambda _client, _data, _flags, reason, _properties: ended.put(reason)
    ending(greedy.loop_stop)
    greedy.connect("127.0.0.1", post.mqtt_port)
    greedy.loop_start()
    properties = connected.get(timeout=ANSWER_S)
    if protocol == mqtt.MQTTv5:
        assert properties.MaximumQoS == 1
    greedy.publish("clients/paho/x", b"exactly once", qos=2)
    reason = ended.get(timeout=ANSWER_S)
    if protocol == mqtt.MQTTv5:
        assert reason.value == 0x9B, f"expected 'QoS not supported', got {reason}"
    modest = mqtt.Client(CallbackAPIVersion.VERSION2, "modest", protocol=protocol)
    ending(modest.loop_stop)
    modest.connect("127.0.0.1", post.mqtt_port)
    modest.loop_start()
    sent = modest.publish("clients/paho/x", b"at least once", qos=1)
    sent.wait_for_publish(ANSWER_S)
    assert sent.is_published()


@pytest.mark.needs("mosquitto")
@pytest.mark.parametrize("version", ["311", "5"])
def test_several_mosquitto_subs_receive_what_mosquitto_pub_publishes(home, gateway, ending, version):
    post = gateway(f"mosquitto-{version}", CONFIG)
    post.start()
    at = ["-h", "127.0.0.1", "-p", str(post.mqtt_port), "-V", version, "-q", "1"]
    listeners = []
    for n in range(3):
        # -C 2: ends by itself after two messages. -d says when the subscription stands.
        command = ["stdbuf", "-oL", "mosquitto_sub", *at, "-d", "-i", f"sub-{n}"]
        command += ["-t", "clients/fan/#", "-C", "2", "-F", "%t=%p"]
        listener = Child(command, home / f"sub-{n}.log")
        ending(listener.stop)
        listeners.append(listener)
    _wait_for_text(listeners, "received SUBACK")
    for number in (1, 2):
        said = json.dumps({"n": number})
        publish = ["mosquitto_pub", *at, "-i", "pub", "-t", f"clients/fan/{number}", "-m", said]
        subprocess.run(publish, check=True, timeout=ANSWER_S)
    for listener in listeners:
        assert listener.wait(ANSWER_S) == 0, listener.tail()
        lines = listener.log.read_text().splitlines()
        assert [line for line in lines if "=" in line] == ['clients/fan/1={"n": 1}', 'clients/fan/2={"n": 2}']


def _wait_for_text(children: list[Child], text: str) -> None:
    deadline = time.monotonic() + ANSWER_S
    while not all(text in child.log.read_text() for child in children):
        assert time.monotonic() < deadline, [child.tail() for child in children]
        time.sleep(0.05)
