"""Two clusters: the one of `[kafka]` is away, the other takes some topics only. It gets all of them, the audit judges it by its own notices,
and what is left of it once it is removed is told, and can be forgotten."""

import json
import re
import time

from confluent_kafka.admin import AdminClient

from rig.gateway import Gateway, run
from rig.judge import judge
from rig.places import free_ports
from rig.reader import Reader
from rig.sending import Sender, connections, read_ledgers, wait_for_all

EVENTS_EACH = 400

ROUTES = """
[[route]]
from = "city/{district}/air/{device}/#"
topic = "two-air"
[[route]]
from = "city/{district}/noise/{device}"
topic = "two-noise"
[topics.two-air]
partitions = 4
"""

SINK = """
[[sink]]
name = "second"
topics = ["two-a*", "dead-letters"]
hold_max = "1d"
[sink.kafka]
bootstrap = ["BOOTSTRAP"]
manifest_every = "1s"
"""


def test_a_cluster_gets_its_topics_while_the_main_one_is_away_and_is_judged_by_itself(home, cluster, ending):
    cluster.ensure_running()
    (closed,) = free_ports(1)
    sink = SINK.replace("BOOTSTRAP", '", "'.join(cluster.bootstrap.split(",")))
    post = Gateway(home, "two-sinks", f"127.0.0.1:{closed}", ROUTES + sink)
    ending(post.end)
    post.start()
    lines = connections("air", 4, EVENTS_EACH, "city/north/air/{client}/pm10", "two-air")
    lines += connections("noise", 2, EVENTS_EACH, "city/north/noise/{client}", "two-noise")
    senders = [Sender("paho", home, "two", post.mqtt_port, lines)]
    wait_for_all(senders, timeout_s=60)

    ledgers = [entry for entry in read_ledgers(senders) if entry.topic == "two-air"]
    assert len(ledgers) == 4 * EVENTS_EACH
    reader = Reader(cluster.bootstrap, post.name, {"two-air"})
    reader.read_ids({entry.id for entry in ledgers})
    reader.close()
    verdict = judge(ledgers, reader.records, reader.partitions)
    print(f"\n{verdict}")
    assert verdict.good, verdict
    assert "two-noise" not in AdminClient({"bootstrap.servers": cluster.bootstrap}).list_topics(timeout=10).topics
    metrics = post.metrics()
    assert metrics["lamppost_forward_delivered_total"] == 0, "the main cluster is away"
    assert metrics['lamppost_forward_delivered_total{sink="second"}'] >= len(ledgers)

    time.sleep(3)
    audited = run("audit", "--bootstrap", cluster.bootstrap, "--gateway", post.name, "--sink", "second", "--topic", "two-air", "--json")
    report = json.loads(audited.stdout.splitlines()[-1])
    print({name: value for name, value in report.items() if isinstance(value, int)})
    assert audited.returncode == 0, audited.stdout + audited.stderr
    assert report["missing_offsets"] == report["lost_tail"] == report["dropped"] == 0

    post.stop()
    post.config.write_text(re.sub(r"\n\[\[sink\]\].*", "", post.config.read_text(), flags=re.DOTALL))
    told = run("check", "--config", post.config).stdout
    assert "lamppost journal forget --group second" in told, told
    of = ("--config", post.config)
    refused = run("journal", "forget", "--group", "forward", *of)
    assert refused.returncode != 0 and "is a sink of" in refused.stderr, refused
    forgotten = run("journal", "forget", "--group", "second", *of)
    assert forgotten.returncode == 0, forgotten.stderr
    assert "second" not in run("check", "--config", post.config).stdout
    assert run("journal", "forget", "--group", "second", *of).returncode != 0, "it is there no more"
