"""A real Apache Kafka: three brokers on loopback in KRaft mode (each broker and controller in one), which can be killed
and restarted one by one. The jars come from Maven Central (kafka/pom.xml); JDK 17 or later runs them.

    ../target/rig/venv/bin/python -m rig.cluster    (in tests/) starts one, prints where its data is, and keeps it until Ctrl-C

With KAFKA_BOOTSTRAP set, the stories use that cluster instead; it can't be killed or stopped from here.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Optional

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from rig.child import Child, end_all
from rig.guarded import DOORS, Guard
from rig.places import RIG, ROOT, free_ports
from rig.small_disk import SmallDisk

BROKERS = 3
REPLICATION = 3
IN_SYNC_MIN = 2
HEAP_MIB = 384
_POM = ROOT / "tests" / "rig" / "kafka" / "pom.xml"
_LIBS = RIG / "kafka" / "libs"
_DUMP_POM = _POM.parent / "dump" / "pom.xml"
_DUMP_LIBS = RIG / "kafka" / "dump-libs"
_CLASSES = RIG / "kafka" / "classes.jsa"
"""What the JVM made of the jars' classes (JEP 350). With it a broker takes 2.2 s of a processor until it is ready, without it 3.8: stories start
some sixty. The JVM does without one that is not of its own kind or of these jars."""


GUESTS_SEE_US_AT = "10.0.2.2"


class NotOurs(Exception):
    """Something was asked of a cluster that the rig did not start."""


def fetch_jars() -> Path:
    """Fetches Kafka's jars once, and again whenever the pom has changed."""
    if not _is_fetched(_POM, _LIBS):
        print(f"fetching Apache Kafka's jars with Maven to {_LIBS} (44 MB)", flush=True)
        _CLASSES.unlink(missing_ok=True)
        _fetch(_POM, _LIBS)
    return _LIBS


def fetch_dump_jars() -> Path:
    """The same for the jars of Kafka 4.1 that its DumpLogSegments loads."""
    if not _is_fetched(_DUMP_POM, _DUMP_LIBS):
        print(f"fetching DumpLogSegments of Apache Kafka 4.1 with Maven to {_DUMP_LIBS} (13 MB)", flush=True)
        _fetch(_DUMP_POM, _DUMP_LIBS)
    return _DUMP_LIBS


def _is_fetched(pom: Path, libs: Path) -> bool:
    stamp = libs / "pom.xml"
    return stamp.exists() and stamp.read_bytes() == pom.read_bytes()


def _fetch(pom: Path, libs: Path) -> None:
    shutil.rmtree(libs, ignore_errors=True)
    command = ["mvn", "-B", "-q", "-Dstyle.color=never", "-f", str(pom), "dependency:copy-dependencies"]
    subprocess.run([*command, "-DincludeScope=runtime", f"-DoutputDirectory={libs}"], check=True)
    shutil.copyfile(pom, libs / "pom.xml")


class Brought:
    """A cluster that the user brought by KAFKA_BOOTSTRAP."""

    ours = False

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def _refuse(self, wish: str) -> NotOurs:
        return NotOurs(
            f"{wish} the cluster of KAFKA_BOOTSTRAP={self.bootstrap} is not for the rig to do: unset KAFKA_BOOTSTRAP, "
            "or leave such stories out by name with LAMPPOST_WITHOUT=broker-kills"
        )

    def door(self, name: str) -> str:
        raise self._refuse(f"the door {name} of")

    def kill(self, broker: int) -> None:
        raise self._refuse("killing a broker of")

    def start(self, broker: int) -> None:
        raise self._refuse("starting a broker of")

    def stop_orderly(self, broker: int) -> None:
        raise self._refuse("stopping a broker of")

    def onto_small_disk(self, broker: int, free_mib: int) -> None:
        raise self._refuse("moving")

    def controller(self) -> int:
        raise self._refuse("looking into the storage of")

    def stop(self) -> None:
        """Nothing to do: it was there before."""

    def stop_for_a_story(self) -> None:
        raise self._refuse("stopping")

    def ensure_running(self) -> None:
        """Nothing to do: it was never stopped."""

    def wait_until_in_sync(self, timeout_s: float = 60) -> None:
        _wait_until_in_sync(self.bootstrap, None, timeout_s)


class Cluster:
    """Three brokers that live and die with the rig."""

    ours = True

    def __init__(self, home: Path) -> None:
        """Formats the storage of three brokers under `home`; nothing runs yet."""
        self.home = home
        self.libs = fetch_jars()
        ports = free_ports((3 + len(DOORS)) * BROKERS)
        self.ports, self._controller_ports = ports[:BROKERS], ports[BROKERS : 2 * BROKERS]
        self._doors = {door: ports[(2 + n) * BROKERS : (3 + n) * BROKERS] for n, door in enumerate(DOORS)}
        self._guest_ports = ports[-BROKERS:]
        self.bootstrap = _addresses(self.ports)
        # For a machine that QEMU emulates with a network of its own: this machine's loopback is there at that address.
        self.guests = ",".join(f"{GUESTS_SEE_US_AT}:{port}" for port in self._guest_ports)
        self._brokers: list[Optional[Child]] = [None] * BROKERS
        self._small: dict[int, SmallDisk] = {}
        shutil.rmtree(home, ignore_errors=True)
        self.guard = Guard(home / "guard")
        self._format()

    def door(self, name: str) -> str:
        """The brokers' addresses at one of the guarded doors."""
        return _addresses(self._doors[name])

    def _java(self, heap_mib: int, *args: object) -> list[object]:
        # A broker of the rig is small and short-lived: one garbage collector thread and the quick compiler alone.
        options = [f"-Xmx{heap_mib}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]
        options += ["-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=info"]
        if _CLASSES.exists():
            options.append(f"-XX:SharedArchiveFile={_CLASSES}")
        return ["java", *options, "-cp", f"{self.libs}/*", *args]

    def _properties(self, broker: int) -> Path:
        return self.home / f"broker-{broker}" / "server.properties"

    def data(self, broker: int) -> Path:
        """The folder with a broker's partitions."""
        return self.home / f"broker-{broker}" / "data"

    def log(self, broker: int) -> Path:
        return self.home / f"broker-{broker}" / "broker.log"

    def _format(self) -> None:
        cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        formatting = []
        for broker in range(BROKERS):
            properties = self._properties(broker)
            properties.parent.mkdir(parents=True)
            properties.write_text(self._configuration(broker))
            tool = self._java(128, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "-c", properties)
            formatting.append(Child(tool, self.home / f"broker-{broker}" / "format.log"))
        for child in formatting:
            if child.wait(120) != 0:
                raise RuntimeError(f"formatting the brokers' storage failed:\n{child.tail()}")

    def _configuration(self, broker: int) -> str:
        voters = ",".join(f"{n}@127.0.0.1:{port}" for n, port in enumerate(self._controller_ports))
        listener, controller = f"127.0.0.1:{self.ports[broker]}", f"127.0.0.1:{self._controller_ports[broker]}"
        doors = ",".join(f"{door}://127.0.0.1:{ports[broker]}" for door, ports in self._doors.items())
        guests = self._guest_ports[broker]
        return "\n".join(
            [
                "process.roles=broker,controller",
                f"node.id={broker}",
                f"controller.quorum.voters={voters}",
                f"listeners=BROKER://{listener},CONTROLLER://{controller},{doors},GUESTS://127.0.0.1:{guests}",
                f"advertised.listeners=BROKER://{listener},{doors},GUESTS://{GUESTS_SEE_US_AT}:{guests}",
                "listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,GUESTS:PLAINTEXT,MUTUAL:SSL,SASL:SASL_SSL,EXPIRED:SASL_SSL",
                *self.guard.configuration(),
                "inter.broker.listener.name=BROKER",
                "controller.listener.names=CONTROLLER",
                f"log.dirs={self.data(broker)}",
                "auto.create.topics.enable=false",
                f"default.replication.factor={REPLICATION}",
                f"min.insync.replicas={IN_SYNC_MIN}",
                "unclean.leader.election.enable=false",
                f"offsets.topic.replication.factor={REPLICATION}",
                "offsets.topic.num.partitions=1",
                f"transaction.state.log.replication.factor={REPLICATION}",
                f"transaction.state.log.min.isr={IN_SYNC_MIN}",
                "transaction.state.log.num.partitions=1",
                # A dead broker is noticed in seconds, so that a story is not mostly waiting.
                "broker.heartbeat.interval.ms=1000",
                "broker.session.timeout.ms=6000",
                "replica.lag.time.max.ms=10000",
                "num.network.threads=2",
                "num.io.threads=4",
                "log.cleaner.dedupe.buffer.size=16777216",
                "",
            ]
        )

    def start(self, broker: int, noted: Optional[Path] = None) -> None:
        """Starts a broker, or starts it again on its old ports and data. Where it ends in order, `noted` gets what it made of its classes."""
        running = self._brokers[broker]
        assert running is None or not running.alive(), f"broker {broker} already runs"
        options = [] if noted is None else [f"-XX:ArchiveClassesAtExit={noted}"]
        command = self._java(HEAP_MIB, *options, "kafka.Kafka", self._properties(broker))
        if broker in self._small:
            command = [*self._small[broker].entering, *command]
        self._brokers[broker] = Child(command, self.log(broker))

    def start_all(self) -> None:
        noted = None if _CLASSES.exists() else self.home / "classes.jsa"
        for broker in range(BROKERS):
            self.start(broker, noted if broker == 0 else None)
        self.wait_until_ready()
        if noted is not None:
            self._brokers[0].stop(timeout_s=60)
            if noted.exists():
                noted.rename(_CLASSES)
            self.ensure_running()

    def stop_for_a_story(self) -> None:
        """All brokers at once; a story that does so ends with `ensure_running`."""
        self.stop()

    def ensure_running(self) -> None:
        """Starts whatever does not run, and waits until all is in sync: what a story owes to the next one."""
        for broker, child in enumerate(self._brokers):
            if child is None or not child.alive():
                self.start(broker)
        self.wait_until_in_sync()

    def kill(self, broker: int) -> None:
        """SIGKILL, in the middle of whatever it does."""
        child = self._brokers[broker]
        assert child is not None and child.alive(), f"broker {broker} does not run"
        child.kill()

    def stop_orderly(self, broker: int) -> None:
        """SIGTERM: it hands its partitions over before it ends, as for an upgrade."""
        child = self._brokers[broker]
        assert child is not None and child.alive(), f"broker {broker} does not run"
        ended = child.stop(timeout_s=60)
        self._brokers[broker] = None
        assert ended != -signal.SIGKILL, f"broker {broker} had to be killed, that was to end by itself; its log ends\n{child.tail()}"

    def onto_small_disk(self, broker: int, free_mib: int) -> SmallDisk:
        """Restarts a broker with its partitions on a disk of that room. The story owes `from_small_disk`."""
        self.kill(broker)
        self._small[broker] = SmallDisk(self.data(broker), free_mib)
        self.start(broker)
        return self._small[broker]

    def from_small_disk(self, broker: int) -> None:
        """Back to the machine's; the broker is to be started again."""
        if broker in self._small:
            if self.runs(broker):
                self.kill(broker)
            self._small.pop(broker).take_away()

    def bury(self, broker: int, timeout_s: float) -> None:
        """Returns once a broker has ended by itself, as it was to."""
        self._brokers[broker].wait(timeout_s)
        self._brokers[broker] = None

    def runs(self, broker: int) -> bool:
        child = self._brokers[broker]
        return child is not None and child.alive()

    def controller(self) -> int:
        """The node that leads the controllers now, by what the running ones have written down of their last vote. (Clients are told any
        broker as "the controller" in KRaft mode.)"""
        votes = []
        for broker in range(BROKERS):
            if self.runs(broker):
                data = self._small[broker].seen_from_here if broker in self._small else self.data(broker)
                state = json.loads((data / "__cluster_metadata-0" / "quorum-state").read_text())
                votes.append((state["leaderEpoch"], state["leaderId"]))
        return max(votes)[1]

    def leader(self, topic: str, partition: int) -> int:
        """The broker that leads a partition now, -1 for none."""
        topics = AdminClient(_quiet(self.bootstrap)).list_topics(topic, timeout=20).topics
        return topics[topic].partitions[partition].leader

    def stop(self) -> None:
        """Ends all brokers. Nobody needs their data in order: SIGKILL is quicker than a controlled shutdown of a quorum."""
        for child in self._brokers:
            if child is not None:
                child.signal(signal.SIGKILL)
        for child in self._brokers:
            if child is not None:
                child.wait(20)
        self._brokers = [None] * BROKERS

    def wait_until_ready(self, timeout_s: float = 120) -> None:
        """Returns once all running brokers are in the cluster's metadata."""
        admin, deadline = AdminClient(_quiet(self.bootstrap)), time.monotonic() + timeout_s
        while True:
            wanted = {n for n, child in enumerate(self._brokers) if child is not None}
            self._complain_of_the_dead()
            try:
                seen = set(admin.list_topics(timeout=2).brokers)
                if wanted <= seen:
                    return
            except KafkaException:
                seen = set()
            if time.monotonic() > deadline:
                raise TimeoutError(f"of brokers {wanted} only {seen} are up after {timeout_s} s; see {self.home}")
            time.sleep(0.2)

    def wait_until_in_sync(self, timeout_s: float = 120) -> None:
        """Returns once all brokers are up and every partition has all its replicas in sync."""
        self.wait_until_ready(timeout_s)
        _wait_until_in_sync(self.bootstrap, self._complain_of_the_dead, timeout_s)

    def _complain_of_the_dead(self) -> None:
        for broker, child in enumerate(self._brokers):
            if child is not None and child.status() not in (None, -signal.SIGKILL):
                raise RuntimeError(f"broker {broker} ended by itself; its log ends\n{child.tail()}")

    def where(self) -> str:
        """For a person: how to reach it, and where its data and logs are."""
        lines = [f"Kafka cluster at {self.bootstrap}"]
        for broker in range(BROKERS):
            lines.append(f"  broker {broker}: data {self.data(broker)}, log {self.log(broker)}")
        return "\n".join(lines)


def _addresses(ports: list[int]) -> str:
    return ",".join(f"127.0.0.1:{port}" for port in ports)


def _quiet(bootstrap: str) -> dict[str, object]:
    # librdkafka writes each refused connection to standard error; a cluster that is coming up or down has many.
    return {"bootstrap.servers": bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 1000}


def _wait_until_in_sync(bootstrap: str, look, timeout_s: float) -> None:
    admin, deadline = AdminClient(_quiet(bootstrap)), time.monotonic() + timeout_s
    while True:
        if look is not None:
            look()
        try:
            topics = admin.list_topics(timeout=5).topics.values()
            partitions = [partition for topic in topics for partition in topic.partitions.values()]
            behind = [p for p in partitions if p.leader < 0 or len(p.isrs) < len(p.replicas)]
            if not behind:
                return
        except KafkaException as error:
            behind = [error]
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(behind)} partitions are not in sync after {timeout_s} s")
        time.sleep(0.3)


def from_environment(home: Path):
    """The user's cluster if KAFKA_BOOTSTRAP names one, else a fresh one of ours, running."""
    brought = os.environ.get("KAFKA_BOOTSTRAP")
    if brought:
        return Brought(brought)
    cluster = Cluster(home)
    cluster.start_all()
    return cluster


def main() -> int:
    # A shell that starts this in the background has it ignore Ctrl-C's signal.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    home, started = RIG / "kafka" / f"by-hand-{os.getpid()}", time.monotonic()
    try:
        cluster = Cluster(home)
        formatted = time.monotonic()
        cluster.start_all()
        ready = time.monotonic()
        print(
            f"{cluster.where()}\nready: formatted in {formatted - started:.1f} s, started in {ready - formatted:.1f} s"
        )
        print("Ctrl-C ends it and removes its data", flush=True)
        if "--once" not in sys.argv:
            signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        end_all()
        shutil.rmtree(home, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
