"""What the steps of tests/run need from the machine, how its presence is told, and how it is fetched. Debian's packages
are installed only where something is missing; nothing else is changed outside target/."""

import glob
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional, Sequence

from rig.places import RIG, ROOT, VENV_PYTHON
from rig.pico.board import fetch_emulator
from rig.sending import fetch_mqttjs


@dataclass(frozen=True)
class Need:
    """Something that Debian packages bring."""

    packages: Sequence[str]
    present: Callable[[], bool]


def _program(name: str) -> Callable[[], bool]:
    # Debian puts daemons where an ordinary user's PATH does not lead.
    return lambda: shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is not None


def _thumb(target: str, *programs: str) -> bool:
    """The standard library of a board's target: rustup's, or Debian's compiler with its source and those programs beside it."""
    answer = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, cwd=ROOT)
    by_rustup = Path(answer.stdout.strip(), "lib/rustlib", target, "lib").is_dir()
    return by_rustup or (_debian_rust(*programs) and shutil.which("ld.lld") is not None)


def _debian_rust(*programs: str) -> bool:
    present = all(os.access(f"/usr/bin/{name}", os.X_OK) for name in ("cargo", "rustc", *programs))
    return present and bool(glob.glob("/usr/src/rustc-*"))


def _perl() -> bool:
    # OpenSSL's Configure wants more than the perl-base that every Debian has.
    look = ["perl", "-MIPC::Cmd", "-MFindBin", "-e1"]
    return _program("perl")() and subprocess.run(look, capture_output=True).returncode == 0


def _venv() -> bool:
    return subprocess.run(["python3", "-c", "import ensurepip, venv"], capture_output=True).returncode == 0


def faketime() -> Optional[Path]:
    """The library that tells a program of many threads another time."""
    found = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    return Path(found[0]) if found else None


_RUST = ("rustc-web", "cargo-web", "rust-web-src")
# Each by itself: where one came from elsewhere, Debian's other conflicts with it.
_NODE = (Need(("nodejs",), _program("node")), Need(("npm",), _program("npm")))
NEEDS = {
    "c": Need(
        ("gcc", "g++", "make", "perl"),
        lambda: _program("cc")() and _program("c++")() and _program("make")() and _perl(),
    ),
    "ext4": Need(
        ("e2fsprogs", "mount", "util-linux"),
        lambda: all(_program(name)() for name in ("mkfs.ext4", "e2fsck", "losetup", "mount", "umount", "unshare")),
    ),
    "rocksdb": Need(("librocksdb-dev",), lambda: bool(glob.glob("/usr/lib/*/librocksdb.so"))),
    "python": Need(("python3-venv",), _venv),
    "java": Need(("default-jdk-headless",), _program("java")),
    "maven": Need(("maven",), _program("mvn")),
    "mosquitto-clients": Need(
        ("mosquitto-clients",), lambda: _program("mosquitto_pub")() and _program("mosquitto_sub")()
    ),
    "openssl": Need(("openssl",), _program("openssl")),
    "mosquitto-broker": Need(("mosquitto",), _program("mosquitto")),
    "node": _NODE,
    "qemu-arm": Need(("qemu-system-arm",), _program("qemu-system-arm")),
    "thumb": Need((*_RUST, "lld"), lambda: _thumb("thumbv7m-none-eabi")),
    "pico": (Need((*_RUST, "lld"), lambda: _thumb("thumbv6m-none-eabi")), *_NODE),
    "thumb-clippy": Need(
        (*_RUST, "lld", "rust-web-clippy"),
        lambda: all(_thumb(target, "cargo-clippy") for target in ("thumbv6m-none-eabi", "thumbv7m-none-eabi")),
    ),
    "systemd-analyze": Need(("systemd",), _program("systemd-analyze")),
    "aarch64": Need(
        (*_RUST, "gcc-aarch64-linux-gnu", "g++-aarch64-linux-gnu", "libc6-dev-arm64-cross"),
        lambda: _program("aarch64-linux-gnu-gcc")() and _program("aarch64-linux-gnu-g++")() and _debian_rust(),
    ),
    "armv7": Need(
        (*_RUST, "gcc-arm-linux-gnueabihf", "g++-arm-linux-gnueabihf", "libc6-dev-armhf-cross"),
        lambda: _program("arm-linux-gnueabihf-gcc")() and _program("arm-linux-gnueabihf-g++")() and _debian_rust(),
    ),
    "qemu-user": Need(("qemu-user-static",), _program("qemu-aarch64-static")),
    "pi": Need(
        ("debootstrap", "cpio", "device-tree-compiler", "e2fsprogs"),
        lambda: all(_program(name)() for name in ("debootstrap", "cpio", "fdtput", "mkfs.ext4")),
    ),
    "faketime": Need(("faketime",), lambda: faketime() is not None),
    "network": Need(("iproute2",), _program("ip")),
    "mounts": Need(("mount", "util-linux"), lambda: all(_program(name)() for name in ("mount", "unshare", "nsenter"))),
    "dtc": Need(("device-tree-compiler",), _program("dtc")),
    "file-systems": Need(
        ("btrfs-progs", "f2fs-tools", "dosfstools"),
        lambda: all(_program(name)() for name in ("mkfs.btrfs", "mkfs.f2fs", "mkfs.vfat")),
    ),
    "package": Need(
        ("dpkg-dev", "lintian", "mmdebstrap", "xz-utils"),
        lambda: all(_program(name)() for name in ("dpkg-deb", "lintian", "mmdebstrap", "xz")),
    ),
}


def missing_packages(needs: Sequence[str]) -> list[str]:
    """The Debian packages that would bring what is missing."""
    missing = {package for need in needs for part in _parts(need) if not part.present() for package in part.packages}
    return sorted(missing)


def _parts(need: str) -> Sequence[Need]:
    it = NEEDS[need]
    return (it,) if isinstance(it, Need) else it


def install(packages: Sequence[str]) -> None:
    """Installs Debian packages. Raises RuntimeError with the line to type where that is not possible."""
    line = f"apt-get install -y --no-install-recommends {' '.join(packages)}"
    if shutil.which("apt-get") is None:
        raise RuntimeError(f"not a Debian system; please install what these packages bring: {' '.join(packages)}")
    prefix: list[str] = []
    if os.geteuid() != 0:
        prefix = ["sudo", "-n"]
        if shutil.which("sudo") is None or subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode != 0:
            raise RuntimeError(f"not root, and sudo asks or is missing; please run: sudo {line}")
    environment = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive"]
    subprocess.run([*environment, "apt-get", "update", "-q"], check=False)
    if subprocess.run([*environment, *line.split()]).returncode == 0:
        return
    # One that conflicts with what is there must not keep the others away.
    each = line.split()[: -len(packages)]
    failed = [name for name in packages if subprocess.run([*environment, *each, name]).returncode != 0]
    if failed:
        raise RuntimeError(f"failed: {' '.join(each)} {' '.join(failed)}")


def python_ready() -> bool:
    """Whether the rig's Python environment has what requirements.txt says."""
    stamp = RIG / "venv" / "requirements.txt"
    return VENV_PYTHON.exists() and stamp.exists() and stamp.read_bytes() == _requirements().read_bytes()


def _requirements() -> Path:
    return ROOT / "tests" / "rig" / "requirements.txt"


def prepare_python() -> None:
    """Makes the rig's own Python environment."""
    venv = RIG / "venv"
    shutil.rmtree(venv, ignore_errors=True)
    subprocess.run(["python3", "-m", "venv", str(venv)], check=True)
    subprocess.run([str(VENV_PYTHON), "-m", "pip", "install", "-q", "-r", str(_requirements())], check=True)
    shutil.copyfile(_requirements(), venv / "requirements.txt")


def main() -> int:
    """`python3 -m rig.needs NEED...`: fetches what is missing of these; what tests/run does first."""
    packages = missing_packages(sys.argv[1:])
    if packages:
        print(f"installing with apt-get: {' '.join(packages)}", flush=True)
        install(packages)
        still = missing_packages(sys.argv[1:])
        if still:
            raise RuntimeError(f"installed, and still missing: {' '.join(still)}")
    if "python" in sys.argv[1:] and not python_ready():
        print(f"making a Python environment in {RIG / 'venv'}", flush=True)
        prepare_python()
    if "maven" in sys.argv[1:]:
        fetch = (
            "from rig.cluster import fetch_dump_jars, fetch_jars; from rig.registry import fetch_registry; "
            "fetch_jars(); fetch_dump_jars(); fetch_registry()"
        )
        subprocess.run(
            [str(VENV_PYTHON), "-c", fetch], check=True, env={**os.environ, "PYTHONPATH": str(ROOT / "tests")}
        )
    if "node" in sys.argv[1:]:
        fetch_mqttjs()
    if "pico" in sys.argv[1:]:
        fetch_emulator()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RuntimeError, subprocess.CalledProcessError) as error:
        sys.exit(str(error))
