"""The steps of tests/run, in their order."""

from dataclasses import dataclass, field
from typing import Mapping, Optional, Sequence


@dataclass(frozen=True)
class Tier:
    name: str
    option: Optional[str]
    what: str
    leaves_out: str


TIERS = (
    Tier(
        "ci",
        None,
        "what CI runs; about half an hour on two cores from nothing",
        "the ARM64 program, hundreds of kills, benchmarks (--all); power cuts on an emulated card, a whole emulated "
        "Raspberry Pi, hours of soak (no tier has them yet)",
    ),
    Tier(
        "all",
        "tests/run --all",
        "the above, and what is slow; about an hour more",
        "power cuts on an emulated card, a whole emulated Raspberry Pi, hours of soak (no tier has them yet)",
    ),
)


@dataclass(frozen=True)
class Step:
    name: str
    what: str
    commands: Sequence[str]
    """Shell lines, run one after the other from the root until one fails."""
    needs: Sequence[str] = ()
    """Names of rig/needs.py."""
    spares: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What of these it can do without where LAMPPOST_WITHOUT names the key."""
    tier: str = "ci"
    environment: Mapping[str, str] = field(default_factory=dict)
    minutes_max: int = 30


_PYTEST = "cd tests && ../target/rig/venv/bin/python -m pytest -s"
_STORIES_NEED = ("c", "python", "java", "maven", "mosquitto-clients", "node", "qemu-arm", "thumb")
_STORIES_SPARE = {"qemu": ("qemu-arm", "thumb"), "mqttjs": ("node",), "mosquitto": ("mosquitto-clients",)}
_BUILT = {"LAMPPOST_BIN": "target/release/lamppost"}

STEPS = (
    Step("fmt", "formats", ("cargo fmt --all --check", "cd firmware && cargo fmt --all --check")),
    Step(
        "lint",
        "clippy, no warnings",
        (
            "cargo clippy --locked --workspace --all-targets -- -D warnings",
            "cd firmware && cargo clippy --locked --all-targets -- -D warnings",
        ),
        needs=("c",),
    ),
    Step(
        "docs",
        "documentation, no warnings",
        ("cargo doc --locked --workspace --no-deps", "cd firmware && cargo doc --locked --no-deps"),
        needs=("c",),
        environment={"RUSTDOCFLAGS": "-D warnings"},
    ),
    Step(
        "test",
        "unit and property tests of the gateway and the drivers",
        ("cargo test --locked --workspace",),
        needs=("c",),
    ),
    Step("node", "tests of the firmware's brain, on this machine", ("cd firmware && cargo test --locked",)),
    Step(
        "thumb",
        "the firmware and every driver for the board's processor",
        ("firmware/build", "tests/rig/thumb_drivers"),
        needs=("thumb",),
    ),
    Step("systemd", "the units, offline", ("systemd/check",), needs=("systemd-analyze",)),
    Step("release", "the program as it is shipped", ("cargo build --locked --release -p lamppost",), needs=("c",)),
    Step(
        "demo",
        "the demo, with its own audit",
        ("cargo build --locked --release -p lamppost", "target/release/lamppost demo --events 2000 --json"),
        needs=("c",),
    ),
    Step(
        "stories",
        "the rig's own tests, and the stories against a real Kafka cluster",
        ("cargo build --locked --release -p lamppost", _PYTEST),
        needs=_STORIES_NEED,
        spares=_STORIES_SPARE,
        environment=_BUILT,
    ),
    Step(
        "cross",
        "the ARM64 program, and its demo under qemu-user",
        ("cross/build aarch64", "cross/check aarch64"),
        needs=("aarch64", "qemu-user"),
        tier="all",
        minutes_max=60,
    ),
    Step(
        "kills",
        "the story of the kills, with two hundred of them",
        ("cargo build --locked --release -p lamppost", f"{_PYTEST} e2e/test_sigkill.py"),
        needs=("c", "python", "java", "maven", "mosquitto-clients"),
        tier="all",
        environment={**_BUILT, "LAMPPOST_KILLS": "200"},
    ),
    Step(
        "bench",
        "measured and printed, not judged",
        (
            "cargo build --locked --release -p lamppost",
            "target/release/lamppost bench --json",
            "ls -l target/release/lamppost",
        ),
        needs=("c",),
        tier="all",
    ),
)
