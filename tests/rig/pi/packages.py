"""Debian packages of any architecture, fetched and unpacked under target/ by an apt of its own, so that the machine's own packages
stay as they are."""

import shutil
import subprocess
from pathlib import Path
from typing import Sequence

from rig.places import RIG

HOME = RIG / "pi"
_APT = HOME / "apt"
MIRROR = "http://deb.debian.org/debian"
_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_SUITES = ("bookworm", "bookworm-updates", "bookworm-backports")


def _sources() -> str:
    return "\n".join(
        (
            "Types: deb",
            f"URIs: {MIRROR}",
            f"Suites: {' '.join(_SUITES)}",
            "Components: main",
            f"Signed-By: {_KEYS}",
            "",
        )
    )


def _options(architecture: str) -> list[str]:
    home = _APT / architecture
    options = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": home / "sources",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State": home / "state",
        "Dir::State::status": home / "status",
        "Dir::Cache": home / "cache",
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Install-Recommends": "false",
        # Where the folders belong to somebody else than apt's own user, it says so at length.
        "APT::Sandbox::User": "root",
    }
    return [part for name, value in options.items() for part in ("-o", f"{name}={value}")]


def _prepare(architecture: str) -> None:
    home = _APT / architecture
    for folder in ("sources", "state/lists/partial", "cache/archives/partial"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    # Nothing counts as installed: what is fetched brings all that it needs.
    (home / "status").touch()
    (home / "sources" / "debian.sources").write_text(_sources())
    _run(["apt-get", *_options(architecture), "update", "-q"])


def _run(command: Sequence[object]) -> str:
    answer = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if answer.returncode != 0:
        raise RuntimeError(f"failed: {' '.join(map(str, command))}\n{answer.stdout[-2000:]}{answer.stderr[-2000:]}")
    return answer.stdout


def unpacked(name: str, architecture: str, packages: Sequence[str], *, suite: str = "bookworm", with_depends: bool = False) -> Path:
    """The folder in which these packages lie unpacked, without their scripts having run; fetched once. `with_depends`: and what
    they depend on."""
    folder = HOME / name
    wanted = "\n".join((suite, architecture, str(with_depends), *packages))
    stamp = folder / ".packages"
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    print(f"fetching for {architecture} from {suite}: {' '.join(packages)}", flush=True)
    _prepare(architecture)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    archives = _APT / architecture / "cache" / "archives"
    for old in archives.glob("*.deb"):
        old.unlink()
    options = [*_options(architecture), "-t", suite]
    if with_depends:
        _run(["apt-get", *options, "install", "-y", "-q", "--download-only", *packages])
    else:
        answer = subprocess.run(
            ["apt-get", *options, "download", "-q", *packages], cwd=archives, capture_output=True, text=True
        )
        if answer.returncode != 0:
            raise RuntimeError(f"apt-get download {' '.join(packages)} failed:\n{answer.stderr[-2000:]}")
    for archive in sorted(archives.glob("*.deb")):
        _run(["dpkg-deb", "-x", archive, folder])
    stamp.write_text(wanted)
    return folder


def depends_on(package: str, architecture: str) -> list[str]:
    """The names of what a package depends on by name."""
    _prepare(architecture)
    lines = _run(["apt-cache", *_options(architecture), "depends", package]).splitlines()
    return [line.split(":", 1)[1].strip() for line in lines if line.strip().startswith("Depends:")]
