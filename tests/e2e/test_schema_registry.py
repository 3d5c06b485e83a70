"""Topics with a schema, on a real registry (Apicurio) and a real cluster. The registry is away when the first events come: MQTT acknowledges
them, topics without a schema go on, and nothing is dropped. Then it comes, and what arrives is read by fastavro with the schema that the
registry has under the record's own id, and compared with what was published. A second sink gets the same exactly once."""

import io
import json
import re
import struct
import time

import fastavro
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from rig.gateway import Gateway, run
from rig.judge import Record
from rig.reader import Reader
from rig.registry import Registry

EVENTS = 400
DEVICES = 5

AIR = {
    "type": "record",
    "name": "Air",
    "namespace": "city.lamppost",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "pm10", "type": ["null", "double"], "default": None},
        {"name": "count", "type": "int"},
        {"name": "total", "type": "long", "default": -1},
        {"name": "battery", "type": ["null", "float", "string"], "default": None},
        {"name": "ok", "type": "boolean"},
        {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["HEATING", "MEASURING"]}},
        {"name": "raw", "type": {"type": "array", "items": "int"}, "default": []},
        {"name": "labels", "type": {"type": "map", "values": "string"}, "default": {}},
        {
            "name": "place",
            "type": ["null", {"type": "record", "name": "Place", "fields": [{"name": "pole", "type": "int"}]}],
            "default": None,
        },
        {"name": "blob", "type": "bytes", "default": "\u00ff"},
    ],
}
NOISE = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "title": "Noise",
    "type": "object",
    "properties": {"id": {"type": "string"}, "db": {"type": "number"}},
}

CONFIG = """
[[route]]
from = "sr/{{topic}}/{{device}}"
topic = "sr-{{topic}}"
[topics.sr-air]
partitions = 4
[topics.sr-noise]
partitions = 2
[topics.sr-plain]
partitions = 2

[kafka.schema_registry]
url = "{url}"
[[kafka.schema]]
topics = ["sr-air"]
format = "avro"
file = "{home}/air.avsc"
[[kafka.schema]]
topics = ["sr-noi*"]
format = "json-schema"
file = "{home}/noise.json"

[[sink]]
name = "once"
topics = ["sr-air", "dead-letters"]
[sink.kafka]
bootstrap = ["{bootstrap}"]
delivery = "exactly-once"
cursors_topic = "sr-cursors"
topic_template = "once-{{topic}}"
[sink.kafka.schema_registry]
url = "{url}"
[[sink.kafka.schema]]
topics = ["sr-air"]
format = "avro"
file = "{home}/air.avsc"
subject = "sr-air-value"
register = false
"""


def air(n: int) -> dict:
    """What a device publishes; now this is left out, now that."""
    event = {"id": f"air-{n}", "count": n - 200, "ok": n % 2 == 0, "state": ("HEATING", "MEASURING")[n % 2]}
    if n % 3:
        event["pm10"] = [None, 12.5, 0.1, 1e-7, -3][n % 5]
    if n % 4 == 0:
        event |= {"total": 2**62 + n, "raw": list(range(n % 7)), "labels": {"straße": "Ü\n", "n": str(n)}}
    if n % 5 == 0:
        event |= {"place": {"pole": n}, "battery": [3.25, "low"][n % 2], "blob": "\u0000\u00fe"}
    return event


def expected(event: dict) -> dict:
    """The same as a reader is to find it: with the schema's defaults, and bytes as bytes."""
    whole = {field["name"]: field.get("default") for field in AIR["fields"]} | event
    return whole | {"blob": whole["blob"].encode("latin-1")}


MISFITS = {
    "misfit-fraction": json.dumps(air(1) | {"id": "misfit-fraction", "count": 1.5}).encode(),
    "misfit-unknown": json.dumps(air(1) | {"id": "misfit-unknown", "humidity": 40}).encode(),
    "misfit-json": b'{"id": "misfit-json", "count": ',
}


class Publisher:
    """One MQTT 5 client at QoS 1, that knows what was acknowledged."""

    def __init__(self, port: int) -> None:
        self._acknowledged = set()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, "sr-publisher", protocol=mqtt.MQTTv5)
        self._client.max_inflight_messages_set(50)
        self._client.on_publish = lambda _client, _data, mid, _reason, _properties: self._acknowledged.add(mid)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._sent = set()

    def publish(self, topic: str, number: int, name: str, payload: bytes) -> None:
        properties = Properties(PacketTypes.PUBLISH)
        properties.UserProperty = ("id", name)
        properties.ContentType = "application/json"
        sent = self._client.publish(f"sr/{topic}/dev-{number % DEVICES}", payload, qos=1, properties=properties)
        self._sent.add(sent.mid)

    def wait(self, timeout_s: float = 60) -> None:
        """Until all is acknowledged."""
        deadline = time.monotonic() + timeout_s
        while not self._sent <= self._acknowledged:
            assert time.monotonic() < deadline, f"{len(self._sent - self._acknowledged)} were not acknowledged"
            time.sleep(0.05)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def decoded(record: Record, registry: Registry, known: dict[int, object]) -> object:
    """By the Confluent wire format, with the registry's own schema."""
    magic, number = struct.unpack(">bI", record.value[:5])
    assert magic == 0, record
    assert record.headers["ce_dataschema"] == f"{registry.url}/schemas/ids/{number}"
    if number not in known:
        schema = json.loads(registry.schema(number))
        known[number] = fastavro.parse_schema(schema) if schema.get("type") == "record" else None
    if known[number] is None:
        assert record.headers["content-type"] == "application/json"
        return json.loads(record.value[5:])
    assert record.headers["content-type"] == "application/avro"
    rest = io.BytesIO(record.value[5:])
    value = fastavro.schemaless_reader(rest, known[number])
    assert not rest.read(), f"more than the schema says in {record}"
    return value


def by_id(records: list[Record], topic: str) -> dict[str, Record]:
    """The first record of each sender's id."""
    first: dict[str, Record] = {}
    for record in records:
        if record.topic == topic:
            first.setdefault(record.sender_id, record)
    return first


def in_order(first: dict[str, Record]) -> None:
    """Within each key, by the numbers in the senders' ids."""
    last: dict[bytes, int] = {}
    for record in sorted(first.values(), key=lambda record: (record.partition, record.offset)):
        number = int(record.sender_id.rsplit("-", 1)[1])
        assert last.get(record.key, -1) < number, f"{record.sender_id} stands behind {last[record.key]}"
        last[record.key] = number


def read(post: Gateway, bootstrap: str, topics: set[str], ids: set[str], idle_s: float = 60) -> Reader:
    """All records of these topics, once these senders' ids are among them."""
    reader = Reader(bootstrap, post.name, topics)
    reader.read_ids(ids, idle_s)
    reader.close()
    return reader


def test_a_registry_that_comes_late_and_a_reader_that_knows_only_the_registry(home, cluster, ending):
    cluster.ensure_running()
    registry = Registry(home)
    ending(registry.stop)
    (home / "air.avsc").write_text(json.dumps(AIR, indent=2))
    (home / "noise.json").write_text(json.dumps(NOISE, indent=2))
    bootstrap = '", "'.join(cluster.bootstrap.split(","))
    post = Gateway(
        home, "schemas", cluster.bootstrap, CONFIG.format(url=registry.url, home=home, bootstrap=bootstrap)
    )
    ending(post.end)
    manifests = 'create_topics = true\nmanifest_every = "1s"'
    post.config.write_text(post.config.read_text().replace("create_topics = true", manifests))
    checked = run("check", "--config", post.config)
    assert checked.returncode == 0 and "avro by" in checked.stdout, checked.stdout + checked.stderr

    # The registry is away: whatever comes is acknowledged, and what has no schema goes on.
    post.start()
    publisher = Publisher(post.mqtt_port)
    ending(publisher.close)
    half = EVENTS // 2
    for n in range(half):
        publisher.publish("air", n, f"air-{n}", json.dumps(air(n)).encode())
        publisher.publish("noise", n, f"noise-{n}", json.dumps({"id": f"noise-{n}", "db": n / 4}).encode())
        publisher.publish("plain", n, f"plain-{n}", b"no JSON at all: %d" % n)
    for n, (name, payload) in enumerate(MISFITS.items()):
        publisher.publish("air", n, name, payload)
    publisher.wait()
    plain = {f"plain-{n}" for n in range(half)}
    reader = read(post, cluster.bootstrap, {"sr-air", "sr-noise", "sr-plain"}, plain)
    assert {record.topic for record in reader.records} == {"sr-plain"}
    assert {record.sender_id for record in reader.records} == plain
    assert all("ce_dataschema" not in record.headers for record in reader.records)
    metrics = post.metrics()
    assert metrics["lamppost_forward_paused_topics"] == 2
    assert metrics["lamppost_forward_schema_failures_total"] >= 2
    assert metrics["lamppost_forward_misfits_total"] == 0
    told = json.loads(post.get("/status"))
    assert "the schema registry" in json.dumps(told), told
    log = post.log.read_text()
    assert 1 <= log.count("is not reached") <= 6, "said when it was met, and not over and over"

    # It comes; and the gateway is killed while it catches up.
    registry.start()
    for n in range(half, EVENTS):
        publisher.publish("air", n, f"air-{n}", json.dumps(air(n)).encode())
        publisher.publish("noise", n, f"noise-{n}", json.dumps({"id": f"noise-{n}", "db": n / 4}).encode())
        if n == half + 50:
            publisher.wait()
            post.kill()
            post.start()
            time.sleep(2)
    publisher.wait(timeout_s=120)
    air_ids, noise_ids = {f"air-{n}" for n in range(EVENTS)}, {f"noise-{n}" for n in range(EVENTS)}
    reader = read(post, cluster.bootstrap, {"sr-air", "sr-noise"}, air_ids | noise_ids)
    once = read(post, cluster.bootstrap, {"once-sr-air"}, air_ids)

    known: dict[int, object] = {}
    for records, topic in ((reader.records, "sr-air"), (once.records, "once-sr-air")):
        first = by_id(records, topic)
        assert first.keys() == air_ids, f"{topic}: {len(first)} of {EVENTS}"
        in_order(first)
        for n in range(EVENTS):
            assert decoded(first[f"air-{n}"], registry, known) == expected(air(n)), n
    ids = [record.event_id for record in once.records]
    assert len(ids) == len(set(ids)) == EVENTS, "exactly once"
    first = by_id(reader.records, "sr-noise")
    assert first.keys() == noise_ids
    in_order(first)
    for n in range(EVENTS):
        assert first[f"noise-{n}"].value[5:] == json.dumps({"id": f"noise-{n}", "db": n / 4}).encode(), "as received"
        assert decoded(first[f"noise-{n}"], registry, known) == {"id": f"noise-{n}", "db": n / 4}
    assert set(registry.get("/subjects")) == {"sr-air-value", "sr-noise-value"}
    assert json.loads(registry.schema(min(number for number, schema in known.items() if schema)))["name"] == "Air"

    # What does not fit is in the dead letters of each sink, whole, with its reason and where it was.
    deadline = time.monotonic() + 60
    while True:
        buried = read(post, cluster.bootstrap, {"dead-letters"}, set(MISFITS), 20)
        of_once = {record.sender_id for record in buried.records if "once" in record.headers["ce_reason"]}
        if of_once == MISFITS.keys():
            break
        assert time.monotonic() < deadline, f"of the sink once only {of_once} are among the dead letters"
    for sink, begins in ("forward", "the cluster can't take "), ("once", "the cluster of sink once can't take "):
        of_sink = [record for record in buried.records if record.headers["ce_reason"].startswith(begins)]
        found = {record.sender_id: record for record in of_sink}
        assert found.keys() == MISFITS.keys(), f"{sink}: {found.keys()}, {[r.headers for r in buried.records][:3]}"
        for name, payload in MISFITS.items():
            record = found[name]
            assert record.value == payload and "ce_dataschema" not in record.headers
            assert f"{post.name}/" in record.headers["ce_reason"] and "/sr-air/" in record.headers["ce_reason"]
    reasons = {record.sender_id: record.headers["ce_reason"] for record in buried.records}
    assert "count: 1.5 does not fit into int" in reasons["misfit-fraction"]
    assert 'Air has no field "humidity"' in reasons["misfit-unknown"]
    assert "it is not JSON" in reasons["misfit-json"]

    time.sleep(3)
    topics = [word for topic in ("sr-air", "sr-noise", "sr-plain") for word in ("--topic", topic)]
    audited = run("audit", "--bootstrap", cluster.bootstrap, "--gateway", post.name, *topics, "--json")
    report = json.loads(audited.stdout.splitlines()[-1])
    print({name: value for name, value in report.items() if isinstance(value, int)})
    assert audited.returncode == 0, audited.stdout + audited.stderr
    counted = {name: report[name] for name in ("missing_offsets", "lost_tail", "dropped", "buried")}
    assert counted == {"missing_offsets": 0, "lost_tail": 0, "dropped": 0, "buried": len(MISFITS)}, audited.stdout
    assert post.stop() == 0
    doctor = run("doctor", "--config", post.config)
    assert f"the schema registry {registry.url} answers" in doctor.stdout, doctor.stdout
    registry.stop()
    doctor = run("doctor", "--config", post.config)
    assert f"the schema registry {registry.url} is not reached" in doctor.stdout, doctor.stdout


def test_a_schema_that_the_registry_finds_incompatible_waits_and_is_said_once(home, cluster, ending):
    cluster.ensure_running()
    registry = Registry(home)
    ending(registry.stop)
    registry.start()
    registry.put("/config", {"compatibility": "BACKWARD"})
    old, new = home / "old.avsc", home / "new.avsc"
    old.write_text(json.dumps({"type": "record", "name": "Count", "fields": [{"name": "n", "type": "int"}]}))
    more = [{"name": "n", "type": "int"}, {"name": "m", "type": "int"}]
    new.write_text(json.dumps({"type": "record", "name": "Count", "fields": more}))
    config = """
[[route]]
from = "sr/{topic}/{device}"
topic = "sr-{topic}"
[topics.sr-old]
[topics.sr-new]
[kafka.schema_registry]
url = "URL"
[[kafka.schema]]
topics = ["sr-old"]
format = "avro"
file = "HOME/old.avsc"
subject = "sr-count"
[[kafka.schema]]
topics = ["sr-new"]
format = "avro"
file = "HOME/new.avsc"
subject = "sr-count"
"""
    config = config.replace("URL", registry.url).replace("HOME", str(home))
    post = Gateway(home, "incompatible", cluster.bootstrap, config)
    ending(post.end)
    post.start()
    publisher = Publisher(post.mqtt_port)
    ending(publisher.close)
    publisher.publish("old", 0, "old-0", b'{"n": 1}')
    publisher.wait()
    read(post, cluster.bootstrap, {"sr-old"}, {"old-0"})
    publisher.publish("new", 0, "new-0", b'{"n": 1, "m": 2}')
    publisher.wait()
    deadline = time.monotonic() + 60
    while post.metrics()["lamppost_forward_schema_failures_total"] < 3:
        assert time.monotonic() < deadline, post.log.read_text()[-3000:]
        time.sleep(0.5)
    publisher.publish("old", 0, "old-1", b'{"n": 2}')
    publisher.wait()
    reader = read(post, cluster.bootstrap, {"sr-old", "sr-new"}, {"old-1"})
    assert {record.sender_id for record in reader.records} == {"old-0", "old-1"}, "the other topic goes on"
    log = post.log.read_text()
    assert log.count("forwarding is paused") == 1, log[-3000:]
    assert re.search(r'finds this schema incompatible with \\*"sr-count', log), log[-3000:]

    # Mended on disk, it counts at the next try.
    new.write_text(json.dumps({"type": "record", "name": "Count", "fields": [more[0], more[1] | {"default": 0}]}))
    reader = read(post, cluster.bootstrap, {"sr-new"}, {"new-0"})
    (record,) = reader.records
    assert decoded(record, registry, {}) == {"n": 1, "m": 2}
    assert post.metrics()["lamppost_forward_poison_total"] == 0
