"""A real schema registry: Apicurio Registry, whose ccompat API is Confluent's, with its storage in memory. The archive comes from Maven
Central (schema_registry/pom.xml), and what it is is pinned here; JDK 17 or later runs it."""

import hashlib
import json
import shutil
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Optional

from rig.child import Child
from rig.places import RIG, ROOT, free_ports

VERSION = "3.0.9"
HEAP_MIB = 320
READY_S = 180
_ARCHIVE = f"apicurio-registry-app-{VERSION}-all.tar.gz"
_SHA256 = "2b28181501a20cbf6efcd77f9b7153908fc01f3d3a7c32024c0bd9e1b04c8a43"
_POM = ROOT / "tests" / "rig" / "schema_registry" / "pom.xml"
_HOME = RIG / "registry" / VERSION


def fetch_registry() -> Path:
    """Fetches the archive once and unpacks it; the folder that it runs from."""
    if _HOME.exists():
        return _HOME
    made = RIG / "registry" / "fetched"
    shutil.rmtree(made.parent, ignore_errors=True)
    print(f"fetching Apicurio Registry with Maven to {_HOME} (109 MB)", flush=True)
    command = ["mvn", "-B", "-q", "-Dstyle.color=never", "-f", str(_POM), "dependency:copy-dependencies"]
    subprocess.run([*command, f"-DoutputDirectory={made}"], check=True)
    with (made / _ARCHIVE).open("rb") as archive:
        found = hashlib.file_digest(archive, "sha256").hexdigest()
    assert found == _SHA256, f"{_ARCHIVE} has the checksum {found}, and not the one that is pinned"
    with tarfile.open(made / _ARCHIVE) as archive:
        archive.extractall(made / "unpacked", filter="data")
    (made / "unpacked").rename(_HOME)
    shutil.rmtree(made)
    return _HOME


class Registry:
    """One registry on a port that stays the same from start to start; what it knew is gone with its process."""

    def __init__(self, home: Path) -> None:
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}/apis/ccompat/v7"
        self._log = home / "registry.log"
        self._program = fetch_registry()
        self._child: Optional[Child] = None

    def launch(self) -> None:
        """Starts it and does not wait for it."""
        options = [f"-Xmx{HEAP_MIB}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]
        options += ["-Dquarkus.http.host=127.0.0.1", f"-Dquarkus.http.port={self.port}"]
        jar = f"apicurio-registry-app-{VERSION}-runner.jar"
        self._child = Child(["java", *options, "-jar", jar], self._log, cwd=self._program)

    def start(self) -> None:
        """Returns once it answers."""
        self.launch()
        deadline = time.monotonic() + READY_S
        while True:
            try:
                self.get("/subjects")
                return
            except (OSError, ValueError):
                pass
            assert self._child.alive(), f"the registry ended by itself; its log ends\n{self._child.tail()}"
            if time.monotonic() > deadline:
                raise TimeoutError(f"the registry is not ready after {READY_S} s; its log ends\n{self._child.tail()}")
            time.sleep(0.2)

    def stop(self) -> None:
        if self._child is not None and self._child.alive():
            self._child.kill()

    def get(self, path: str):
        """What it answers below its API, parsed."""
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return json.load(answer)

    def schema(self, number: int) -> str:
        """The text of a schema by its id."""
        return self.get(f"/schemas/ids/{number}")["schema"]

    def put(self, path: str, body: dict) -> None:
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), method="PUT")
        request.add_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        urllib.request.urlopen(request, timeout=10).close()
