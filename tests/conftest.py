"""What stories are handed: one cluster for all of them, a folder each, gateways that end with the story."""

import contextlib
import fcntl
import re
import secrets
import shutil

import pytest

from rig.cluster import from_environment
from rig.gateway import Gateway
from rig.places import RIG
from rig.without import NAMES, left_out


def pytest_collection_modifyitems(items) -> None:
    without = left_out()
    for item in items:
        for marker in item.iter_markers("needs"):
            unknown = set(marker.args) - NAMES.keys()
            assert not unknown, f"{item.nodeid} needs {unknown}, which rig/without.py does not know"
            named = without & set(marker.args)
            if named:
                item.add_marker(pytest.mark.skip(reason=f"left out by LAMPPOST_WITHOUT={','.join(sorted(named))}"))


@pytest.fixture(scope="session", autouse=True)
def alone():
    """Two runs at once would empty each other's folders."""
    RIG.mkdir(parents=True, exist_ok=True)
    with (RIG / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pytest.exit(f"another run of the stories holds {RIG / 'lock'}; wait until it has ended", returncode=2)
        yield


@pytest.fixture(scope="session")
def cluster():
    """The real cluster: KAFKA_BOOTSTRAP's, or three brokers of ours."""
    cluster = from_environment(RIG / "kafka" / "stories")
    if cluster.ours:
        print(f"\n{cluster.where()}")
    yield cluster
    cluster.stop()


@pytest.fixture
def home(request):
    """The story's own folder, emptied before and kept afterwards."""
    folder = RIG / "stories" / re.sub(r"\W+", "-", request.node.name).strip("-")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def ending():
    """Things to end when the story is over: `ending(gateway.end)`. Last first, and all of them, also where one fails."""
    with contextlib.ExitStack() as ends:
        yield ends.callback


@pytest.fixture
def gateway(home, cluster, ending):
    """Makes the story's gateway: `gateway("post-17", extra_toml)`; not started yet. Its name is its own in each run."""

    def make(name: str, extra: str = "") -> Gateway:
        made = Gateway(home, f"{name}-{secrets.token_hex(3)}", cluster.bootstrap, extra)
        ending(made.end)
        return made

    return make
