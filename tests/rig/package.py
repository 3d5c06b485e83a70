"""The Debian package, tried: made twice with the same bytes, looked at by lintian, then installed, upgraded, removed and purged in
a minimal Debian that is made for it once (target/rig/debian) and unpacked for each run. Needs root, for chroot and mmdebstrap.

    PYTHONPATH=tests python3 -m rig.package PROGRAM
"""

import contextlib
import gzip
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Iterator

from rig.places import RIG, ROOT

_SUITE = "bookworm"
_MADE = RIG / "debian" / f"{_SUITE}.tar"
_PACKAGES = ROOT / "target" / "cross" / "packages"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armhf"}
_STATE = "var/lib/lamppost"
_CONFIG = "etc/lamppost/lamppost.toml"
_PLAYED = "/played"
"""Where a systemctl lies, while there is one that only plays that systemd runs."""
_WANTED = "etc/systemd/system/multi-user.target.wants/lamppost.service"


class Wrong(Exception):
    """A check that failed."""


def check(is_so: bool, what: str) -> None:
    if not is_so:
        raise Wrong(what)
    print(f"  {what}", flush=True)


def make(program: Path, version: str) -> Path:
    """The package of this machine's own program."""
    machine = platform.machine()
    board = "armv7" if machine == "armv7l" else machine
    command = ["cross/package", "--program", str(program), "--version", version, board]
    # One time for all, and not that of the last commit: the same package comes out of a tree that is being worked on.
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1790000000"})
    return _PACKAGES / f"lamppost_{version}_{_ARCHITECTURES[machine]}.deb"


def debian() -> Path:
    """A minimal Debian with systemd, from the mirror that this machine uses."""
    if not _MADE.exists():
        print(f"making a minimal Debian in {_MADE}", flush=True)
        _MADE.parent.mkdir(parents=True, exist_ok=True)
        new = _MADE.with_suffix(".new.tar")
        command = ["mmdebstrap", "--mode=root", "--variant=minbase", "--include=systemd,udev,init-system-helpers"]
        sources = "".join(_sources())
        # By itself it knows Debian's own mirror; of an empty list it would make nothing.
        given = ["-"] if sources else []
        subprocess.run([*command, _SUITE, str(new), *given], check=True, input=sources, text=True)
        new.rename(_MADE)
    return _MADE


def _sources() -> list[str]:
    """This machine's own mirror of the suite; Debian's where there is none."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"],
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    mirrors = {line.split()[0] for line in listed if line.split()[1:] == [_SUITE, "main"]}
    return [f"deb {mirror} {_SUITE} main\n" for mirror in sorted(mirrors)[:1]]


class Root:
    """A Debian of our own to install into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run(["tar", "-xf", str(debian()), "-C", str(folder)], check=True)

    def run(self, *command: str, status: int = 0) -> str:
        return self.both(*command, status=status).stdout

    def both(self, *command: str, status: int = 0) -> subprocess.CompletedProcess:
        """With what it said on standard error."""
        environment = {"PATH": f"{_PLAYED}:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        ended = subprocess.run(["chroot", str(self.folder), *command], capture_output=True, text=True, env=environment)
        if ended.returncode != status:
            said = ended.stdout + ended.stderr
            raise Wrong(f"{' '.join(command)} ended with {ended.returncode}, not {status}:\n{said}")
        return ended

    def install(self, package: Path) -> str:
        """What was said on standard error."""
        shutil.copy(package, self.folder / "tmp")
        return self.both("dpkg", "--install", f"/tmp/{package.name}").stderr

    def has(self, path: str) -> bool:
        return os.path.lexists(self.folder / path)

    def read(self, path: str) -> str:
        return (self.folder / path).read_text()

    def owner(self, path: str) -> str:
        return self.run("stat", "-c", "%U:%G %a", f"/{path}").strip()


def same_bytes(program: Path, version: str) -> Path:
    first = hashlib.sha256(make(program, version).read_bytes()).hexdigest()
    package = make(program, version)
    check(hashlib.sha256(package.read_bytes()).hexdigest() == first, "made twice: the same bytes")
    return package


def lintian(package: Path) -> None:
    tags = subprocess.run(
        ["lintian", "--allow-root", "--no-cfg", "--fail-on", "error", "--tag-display-limit", "0", str(package)],
        capture_output=True,
        text=True,
    )
    print(tags.stdout.strip(), flush=True)
    check(tags.returncode == 0, "lintian has no error")


def bill_of_materials(root: Root) -> None:
    bill = json.loads(gzip.decompress((root.folder / "usr/share/doc/lamppost/sbom.cdx.json.gz").read_bytes()))
    names = {component["name"]: component for component in bill["components"]}
    check({"tokio", "rdkafka", "librdkafka", "zstd"} <= names.keys(), f"{len(names)} materials, C libraries among them")
    check(all(c["version"] and c["licenses"] for c in bill["components"]), "each with version and licence")
    crates = [c for c in bill["components"] if c.get("purl", "").startswith("pkg:cargo/")]
    check(len(crates) > 100 and all(len(c["hashes"][0]["content"]) == 64 for c in crates), "each crate with its checksum")
    compilers = {tool["name"]: tool["version"] for tool in bill["metadata"]["tools"]["components"]}
    check({"rustc", "gcc"} <= compilers.keys() and names["rust-std"]["version"] == compilers["rustc"], f"Rust's library, and {compilers}")
    program = hashlib.sha256((root.folder / "usr/bin/lamppost").read_bytes()).hexdigest()
    check(bill["metadata"]["component"]["hashes"][0]["content"] == program, "of the very program that was installed")


def installed(root: Root, version: str) -> None:
    check(f"lamppost {version}" in root.run("dpkg-query", "-W", "-f", "${Package} ${Version}", "lamppost"), "installed")
    check("lamppost" in root.run("id", "-nG", "lamppost"), "the user is there")
    check({"dialout", "i2c"} <= set(root.run("id", "-nG", "lamppost").split()), "and in the devices' groups")
    check(root.owner("etc/lamppost") == "root:lamppost 750", "the configuration's folder is not for everybody")
    check(root.has(_WANTED), "the service is enabled")
    enabled = ["systemctl", f"--root={root.folder}", "is-enabled", "lamppost.service"]
    check(subprocess.run(enabled, capture_output=True, text=True).stdout.strip() == "enabled", "systemctl says so too")
    as_user = ("chroot", "--userspec=lamppost:lamppost", "/")
    said = root.run(*as_user, "lamppost", "check")
    check("lamppost.toml: right" in said and "127.0.0.1:1883" in said, "its user may read the configuration, which is right")
    check("anyone who reaches it" not in said, "and listens on loopback only")
    for file in ("man/man1/lamppost-doctor.1.gz", "bash-completion/completions/lamppost", "zsh/vendor-completions/_lamppost"):
        check(root.has(f"usr/share/{file}"), f"{file} is there")


def upgraded(root: Root, package: Path, version: str) -> None:
    """What an operator has changed stays."""
    (root.folder / _CONFIG).write_text(root.read(_CONFIG).replace('quota = "256MiB"', 'quota = "300MiB"'))
    (root.folder / "etc/lamppost/server.key").write_text("the operator's\n")
    root.run("install", "-d", "-o", "lamppost", "-g", "lamppost", f"/{_STATE}/journal")
    (root.folder / _STATE / "journal" / "events").write_text("acknowledged\n")
    root.run("systemctl", "disable", "lamppost.service")
    root.install(package)
    check(version in root.run("dpkg-query", "-W", "-f", "${Version}", "lamppost"), f"upgraded to {version}")
    check('quota = "300MiB"' in root.read(_CONFIG), "a changed configuration stays")
    check(not root.has(_WANTED), "a service that was disabled stays so")
    check(root.read(f"{_STATE}/journal/events") == "acknowledged\n", "the journal stays")


@contextlib.contextmanager
def systemd_played(root: Root, *, gateway_runs: bool) -> Iterator[None]:
    """Maintainer scripts find a systemd that does all they ask, and says whether the gateway runs."""
    played, mark = root.folder / _PLAYED.lstrip("/"), root.folder / "run/systemd/system"
    played.mkdir()
    mark.mkdir(parents=True)
    answer = 0 if gateway_runs else 3
    (played / "systemctl").write_text(f'#!/bin/sh\nif [ "$1" = is-active ]; then exit {answer}; fi\n')
    (played / "systemctl").chmod(0o755)
    try:
        yield
    finally:
        shutil.rmtree(played)
        mark.rmdir()


def refused(root: Root, package: Path) -> None:
    """A configuration that the new version does not take, where a gateway runs and, as after a removal, where none does."""
    right = root.read(_CONFIG)
    (root.folder / _CONFIG).write_text(right + "[journal]\nqouta = 1\n")
    for runs, words, others in ((True, "The old one goes on", "No gateway runs"), (False, "No gateway runs", "The old one goes on")):
        with systemd_played(root, gateway_runs=runs):
            if not runs:
                root.run("dpkg", "--remove", "lamppost")
            said = root.install(package)
        check("does not take" in said and words in said and others not in said, f"a configuration that is refused: {words!r}")
    (root.folder / _CONFIG).write_text(right)


def removed(root: Root) -> None:
    root.run("dpkg", "--remove", "lamppost")
    check(not root.has("usr/bin/lamppost"), "removed")
    check(root.read(f"{_STATE}/journal/events") == "acknowledged\n", "the journal stays")
    check(root.has(_CONFIG), "and the configuration")


def purged(root: Root) -> None:
    root.run("dpkg", "--purge", "lamppost")
    check(not root.has(_STATE), "purged: the journal is gone")
    check(not root.has(_CONFIG), "and the configuration")
    check(root.has("etc/lamppost/server.key"), "and not what the operator put beside it")
    left = [path for path in ("etc/systemd/system/lamppost.service", _WANTED, "usr/share/doc/lamppost") if root.has(path)]
    check(not left, f"nothing else is left of it: {left}")
    check("lamppost" in root.run("id", "-un", "lamppost"), "the user keeps its number")


@contextlib.contextmanager
def mounted(*command: str) -> Iterator[None]:
    subprocess.run(["mount", *command], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", command[-1]], check=True)


def purged_on_a_partition_of_its_own(root: Root) -> None:
    """The state folder as a mount point, which can't be removed, with another one in it, which is none of ours."""
    state, partition = root.folder / _STATE, root.folder / "partition"
    state.mkdir(parents=True)
    partition.mkdir()
    with mounted("--bind", str(partition), str(state)):
        (state / "journal").mkdir()
        (state / "journal" / "events").write_text("acknowledged\n")
        (state / "other").mkdir()
        with mounted("-t", "tmpfs", "tmpfs", str(state / "other")):
            (state / "other" / "file").write_text("somebody's\n")
            root.run("dpkg", "--purge", "lamppost")
            check((state / "other" / "file").exists(), "purged where the state is on a partition of its own: what is mounted in it stays")
        check([path.name for path in state.iterdir()] == ["other"], "and the journal is gone")
    check(root.both("dpkg-query", "-W", "lamppost", status=1).stderr != "", "and dpkg knows of nothing left")


def main() -> None:
    if os.geteuid() != 0:
        sys.exit("chroot and mmdebstrap need root; LAMPPOST_WITHOUT=package tests/run leaves this out")
    program = Path(sys.argv[1]).resolve()
    first, second = same_bytes(program, "0.1.0"), make(program, "0.1.1")
    lintian(first)
    folder = Path(tempfile.mkdtemp(prefix="package-", dir=_MADE.parent if _MADE.parent.is_dir() else debian().parent))
    try:
        root = Root(folder)
        root.install(first)
        installed(root, "0.1.0")
        bill_of_materials(root)
        upgraded(root, second, "0.1.1")
        removed(root)
        root.install(first)
        refused(root, second)
        purged(root)
        root.install(first)
        purged_on_a_partition_of_its_own(root)
    except Wrong as wrong:
        sys.exit(f"not so: {wrong}")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
