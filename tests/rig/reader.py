"""Reads topics of the cluster from their beginning, with confluent-kafka; what the judge is given."""

import time
from typing import Callable, Container

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from rig.judge import Record


class Reader:
    """Keeps every record that it has read. Topics may come into being while it reads."""

    def __init__(self, bootstrap: str, gateway: str, topics: Container[str]) -> None:
        """`gateway`: whose events; another's are passed over, since a cluster that was brought may hold those of earlier
        runs. A record that names no gateway is kept, for the judge to condemn."""
        quiet = {"bootstrap.servers": bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 1000}
        self._ours = f"{gateway}/"
        self._topics = topics
        self._admin = AdminClient(quiet)
        # Assigned by hand: no group, no commits, every start is from the beginning.
        self._consumer = Consumer(
            {
                **quiet,
                "group.id": "lamppost-judge",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 100,
                # Behind the last record there can be marks of transactions, which nobody is shown: the end has to be told.
                "enable.partition.eof": True,
                # What was aborted was never delivered. It is librdkafka's default; here it is what is proved.
                "isolation.level": "read_committed",
            }
        )
        self.partitions: dict[str, int] = {}
        self.records: list[Record] = []
        self._next: dict[tuple[str, int], int] = {}
        self._looked_at = 0.0

    def _look_for_topics(self) -> None:
        """Assigns partitions that have come into being since; at most twice a second."""
        if time.monotonic() - self._looked_at < 0.5:
            return
        self._looked_at = time.monotonic()
        try:
            topics = self._admin.list_topics(timeout=2).topics
        except KafkaException:
            return
        found = {name: len(topic.partitions) for name, topic in topics.items() if name in self._topics}
        if found != self.partitions:
            self.partitions = found
            for topic, count in found.items():
                for partition in range(count):
                    self._next.setdefault((topic, partition), 0)
            self._consumer.assign([TopicPartition(t, p, offset) for (t, p), offset in self._next.items()])

    def take(self, timeout_s: float = 0.2) -> int:
        """Reads what there is within the time; how many records."""
        self._look_for_topics()
        if not self._next:
            time.sleep(timeout_s)
            return 0
        messages = self._consumer.consume(5_000, timeout_s)
        taken = 0
        for message in messages:
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    self._next[message.topic(), message.partition()] = message.offset()
                    continue
                if error.fatal() or error.code() == KafkaError.OFFSET_OUT_OF_RANGE:
                    raise KafkaException(error)
                continue
            record = _record(message)
            if record.event_id is None or record.event_id.startswith(self._ours):
                self.records.append(record)
            self._next[message.topic(), message.partition()] = message.offset() + 1
            taken += 1
        return taken

    def read_until(self, done: Callable[[], bool], idle_s: float = 60, limit_s: float = 900) -> bool:
        """Reads until `done`, or until nothing has come for `idle_s` seconds; whether it was done."""
        started = last = time.monotonic()
        while not done():
            now = time.monotonic()
            if self.take():
                last = now
            elif now - last > idle_s or now - started > limit_s:
                return False
        return True

    def read_ids(self, ids: set[str], idle_s: float = 60, limit_s: float = 900) -> None:
        """Reads until all those senders' ids have been met (or nothing comes any more), and then on to the present end.
        What is missing is for the judge to say."""
        missing, seen = set(ids), 0

        def all_met() -> bool:
            nonlocal seen
            missing.difference_update(record.sender_id for record in self.records[seen:])
            seen = len(self.records)
            return not missing

        self.read_until(all_met, idle_s, limit_s)
        self.read_to_end()

    def read_to_end(self) -> None:
        """Reads up to the high watermarks of this moment."""
        self._looked_at = 0.0
        self._look_for_topics()
        ends = {}
        for topic, partition in self._next:
            _, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)
            ends[topic, partition] = high
        if not self.read_until(lambda: all(self._next[at] >= end for at, end in ends.items()), idle_s=30):
            raise TimeoutError("the cluster's topics could not be read to their ends")

    def close(self) -> None:
        self._consumer.close()


def _record(message) -> Record:
    headers = {name: value.decode("utf-8") for name, value in message.headers() or []}
    _, time_ms = message.timestamp()
    place = (message.topic(), message.partition(), message.offset())
    return Record(*place, message.key() or b"", message.value() or b"", headers, time_ms)
