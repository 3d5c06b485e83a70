"""The rig alone, without the gateway: the cluster survives what the stories do to it, and the judge reads it rightly."""

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from rig.cluster import Brought, NotOurs
from rig.judge import judge
from rig.ledger import Entry
from rig.reader import Reader

TOPIC = "rig-itself"
PARTITIONS = 4


def produce(bootstrap: str, numbers: range) -> list[Entry]:
    """Writes events of seven keys as the gateway would, partitioned by librdkafka's murmur2."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "enable.idempotence": True,
            "log_level": 0,
            "partitioner": "murmur2_random",
            "linger.ms": 5,
        }
    )
    entries, failed = [], []
    for number in numbers:
        key = f"dev-{number % 7}"
        entry = Entry(TOPIC, key, f"{key}-{number}")
        headers = {
            "ce_specversion": "1.0",
            "ce_id": f"rig/00c0ffee00000001/{TOPIC}/0/{number}",
            "ce_senderid": entry.id,
        }
        producer.produce(
            TOPIC, b"{}", key, headers=headers, on_delivery=lambda error, _: error and failed.append(error)
        )
        entries.append(entry)
    assert producer.flush(60) == 0 and not failed, failed
    return entries


@pytest.mark.needs("broker-kills")
def test_a_killed_broker_loses_nothing_and_comes_back_in_sync(cluster):
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
    admin.create_topics([NewTopic(TOPIC, PARTITIONS, 3)])[TOPIC].result(30)
    entries = produce(cluster.bootstrap, range(0, 1000))
    cluster.kill(1)
    entries += produce(cluster.bootstrap, range(1000, 2000))
    cluster.start(1)
    cluster.wait_until_in_sync()

    reader = Reader(cluster.bootstrap, "rig", {TOPIC})
    reader.read_ids({entry.id for entry in entries})
    reader.close()
    assert reader.partitions == {TOPIC: PARTITIONS}
    verdict = judge(entries, reader.records, reader.partitions)
    assert verdict.good and verdict.records == 2000, verdict

    # The same cluster against a ledger with one entry more: the judge is not blind to what is not there.
    verdict = judge([*entries, Entry(TOPIC, "dev-0", "dev-0-never")], reader.records, reader.partitions)
    assert verdict.lost == 1 and not verdict.good


def test_a_cluster_that_was_brought_is_never_killed():
    brought = Brought("kafka.example:9092")
    with pytest.raises(NotOurs, match="LAMPPOST_WITHOUT=broker-kills"):
        brought.kill(0)
