"""`lamppost doctor` on real file systems: each is made in a file, mounted, and has to be judged for what it is. Needs root and loop
devices.

    PYTHONPATH=tests python3 -m rig.disks PROGRAM
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_MIB = 160
_CONFIG = """\
[gateway]
state_dir = "{state}"
[journal]
quota = "{quota}"
segment = "1MiB"
event_max = "64KiB"
[mqtt]
listen = "127.0.0.1:0"
[http]
listen = "127.0.0.1:0"
"""

# Kind, how it is made, its mount options, and the level and words that have to be found.
_MADE = (
    ("ext4", ["mkfs.ext4", "-q"], "noatime", "ok", "overwritten in place"),
    ("ext4", ["mkfs.ext4", "-q"], "nobarrier", "fail", "without write barriers"),
    ("ext4", ["mkfs.ext4", "-q"], "ro", "fail", "read-only"),
    ("btrfs", ["mkfs.btrfs", "-q"], "noatime", "warn", "it never overwrites"),
    ("f2fs", ["mkfs.f2fs", "-q"], "noatime", "warn", "it never overwrites"),
    ("vfat", ["mkfs.vfat"], "noatime", "warn", "made for exchange"),
)


def missing(kind: str, make: list[str]) -> str:
    """What of this machine is in the way of a file system of that kind; nothing if it can be tried."""
    if shutil.which(make[0]) is None:
        return f"there is no {make[0]}"
    # A module counts as known once it is loaded.
    if shutil.which("modprobe"):
        subprocess.run(["modprobe", "--quiet", kind], check=False)
    known = {line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines()}
    return "" if kind in known else "this kernel can't mount it"


def doctor(program: Path, state: Path, quota: str = "16MiB") -> list[dict]:
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write(_CONFIG.format(state=state, quota=quota))
        config.flush()
        command = [program, "doctor", "--config", config.name, "--offline", "--json"]
        said = subprocess.run(command, capture_output=True, text=True)
    report = json.loads(said.stdout.splitlines()[-1])
    worst = {"ok": 0, "warn": 1, "fail": 2}[report["worst"]]
    if said.returncode != worst:
        sys.exit(f"the exit status is {said.returncode}, and the worst finding {report['worst']}")
    wrong = [f for f in report["findings"] if f["area"] == "configuration" and f["level"] == "fail"]
    if wrong:
        sys.exit(f"the configuration of the check is wrong: {wrong}")
    return [finding for finding in report["findings"] if finding["area"] == "card"]


def expect(findings: list[dict], level: str, words: str, where: str) -> None:
    if not any(f["level"] == level and words in f["found"] for f in findings):
        sys.exit(f"{where}: nothing says {level} and {words!r}:\n{json.dumps(findings, indent=1)}")
    print(f"{where:<20} {level:<5} {words}", flush=True)


def on_loop(program: Path, work: Path, kind: str, make: list[str], options: str, level: str, words: str) -> None:
    image, point = work / "image", work / "mounted"
    image.unlink(missing_ok=True)
    point.mkdir(exist_ok=True)
    with image.open("wb") as file:
        file.truncate(_MIB << 20)
    subprocess.run([*make, str(image)], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["mount", "-t", kind, "-o", f"loop,{options}", str(image), str(point)], check=True)
    try:
        expect(doctor(program, point), level, words, f"{kind} {options}")
        if kind == "ext4" and options == "noatime":
            expect(doctor(program, point, "1GiB"), "fail", "free, of a quota of 1GiB", "a quota beyond it")
            expect(doctor(program, point), "ok", "a flush of 4 KiB takes", "its flush")
    finally:
        subprocess.run(["umount", str(point)], check=True)


def mounted(program: Path, work: Path, kind: str, options: str, level: str, words: str) -> None:
    point = work / "mounted"
    subprocess.run(["mount", "-t", kind, "-o", options, kind, str(point)], check=True)
    try:
        expect(doctor(program, point), level, words, kind)
    finally:
        subprocess.run(["umount", str(point)], check=True)


def main() -> None:
    if os.geteuid() != 0:
        sys.exit("mounting needs root; LAMPPOST_WITHOUT=disks tests/run leaves this out")
    program = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="lamppost-disks-") as folder:
        work, tried, left_out = Path(folder), 2, {}
        for kind, make, options, level, words in _MADE:
            why = missing(kind, make)
            if why and kind == "ext4":
                sys.exit(f"ext4 is what the journal is made for, and can't be tried: {why}")
            if why:
                left_out[kind] = why
                continue
            on_loop(program, work, kind, make, options, level, words)
            tried += 1
        mounted(program, work, "tmpfs", "size=64m", "fail", "gone with the power")
        layers = [work / name for name in ("lower", "upper", "work")]
        for layer in layers:
            layer.mkdir()
        options = "lowerdir={},upperdir={},workdir={}".format(*layers)
        mounted(program, work, "overlay", options, "fail", "layer above")
    for kind, why in left_out.items():
        print(f"NOT TRIED: {kind}: {why}; its judgement is held by a unit test alone", flush=True)
    print(f"{tried} judged, {len(left_out)} kinds not tried")


if __name__ == "__main__":
    main()
