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
        "what CI runs; about an hour on two cores from nothing",
        "the ARM64 program, hundreds of kills, benchmarks (--all); a whole emulated Raspberry Pi (--rig); a week in simulated time (--week)",
    ),
    Tier(
        "all",
        "tests/run --all",
        "the above, and what is slow; about an hour more",
        "a whole emulated Raspberry Pi (--rig); a week in simulated time (--week); days of real time (no tier has them)",
    ),
    Tier(
        "rig",
        "tests/run --rig",
        "what CI runs, a whole city block on an emulated Raspberry Pi, and power cuts of a machine whose card has a cache; about an hour and "
        "a half more",
        "what --all adds; a week in simulated time (--week)",
    ),
    Tier(
        "week",
        "tests/run --week",
        "what CI runs, and a week of a city on a small board in simulated time; about an hour more",
        "what --all and --rig add; days of real time (no tier has them)",
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
# Mounts of its own: they are gone with its last process, however that ends.
_PYTEST_APART = "cd tests && unshare --mount -- ../target/rig/venv/bin/python -m pytest -s"
_STORIES_NEED = (
    "c",
    "python",
    "java",
    "maven",
    "mosquitto-clients",
    "mosquitto-broker",
    "openssl",
    "node",
    "qemu-arm",
    "thumb",
    "pico",
    "faketime",
    "network",
    "mounts",
)
_STORIES_SPARE = {
    "qemu": ("qemu-arm", "thumb"),
    "pico": ("pico",),
    "mqttjs": ("node",),
    "mosquitto": ("mosquitto-clients", "mosquitto-broker"),
    "faketime": ("faketime",),
    "namespaces": ("network",),
    "small-disks": ("mounts",),
}
_CARD = "cd tests/rig/card && CARGO_TARGET_DIR=../../../target/card cargo"
_FUZZED = ("frame", "batch", "checkpoint", "recovery")
_FUZZED_LINK = ("gateway", "node")
_FUZZED_MQTT = ("connect", "session", "certificate", "note")
_FUZZ = (
    'cd {}/fuzz && PATH="$PWD/../../../target/rig/fuzz/bin:$PATH" cargo fuzz run --sanitizer none '
    "--target-dir ../../../target/fuzz {} -- -max_total_time=60 -timeout=20 {}"
)
_PEERS = "cd gateway/journal/benches/peers && CARGO_TARGET_DIR=../../../../target/peers cargo"
_BUILT = {"LAMPPOST_BIN": "target/release/lamppost"}

STEPS = (
    Step(
        "fmt",
        "formats",
        (
            "cargo fmt --all --check",
            "cd firmware && cargo fmt --all --check",
            "cd tests/rig/card && cargo fmt --check",
            "cd gateway/journal/benches/peers && cargo fmt --check",
        ),
    ),
    Step(
        "lint",
        "clippy, no warnings",
        (
            "cargo clippy --locked --workspace --all-targets -- -D warnings",
            "cd firmware && cargo clippy --locked --all-targets -- -D warnings",
            f"{_CARD} clippy --locked --all-targets -- -D warnings",
        ),
        needs=("c",),
    ),
    Step(
        "docs",
        "documentation, no warnings",
        (
            "cargo doc --locked --workspace --no-deps",
            "cd firmware && cargo doc --locked --no-deps",
            f"{_CARD} doc --locked --no-deps",
        ),
        needs=("c",),
        environment={"RUSTDOCFLAGS": "-D warnings"},
    ),
    Step(
        "test",
        "unit and property tests of the gateway and the drivers",
        ("cargo test --locked --workspace",),
        needs=("c",),
    ),
    Step(
        "powercut",
        "ten thousand seeded histories of the journal with power cuts, and the controls that must be caught losing events",
        ("cargo run --locked --release -p lamppost-journal --example powercut -- --seeds 10000 --json",),
        needs=("c",),
    ),
    Step(
        "cuts",
        "power cuts of a modelled card under ext4 (needs root, FUSE and loop devices)",
        (
            f"{_CARD} test --locked",
            f"{_CARD} build --locked --release",
            "target/card/release/lamppost-card cuts --cuts 100 ${LAMPPOST_SEED:+--seed $LAMPPOST_SEED}",
        ),
        needs=("c", "ext4"),
    ),
    Step(
        "interleavings",
        "the group commit under thousands of interleavings of its threads",
        (
            "cargo test --locked -p lamppost-journal --test interleavings --target-dir target/shuttle",
            "cargo clippy --locked -p lamppost-journal --test interleavings --target-dir target/shuttle -- -D warnings",
        ),
        needs=("c",),
        environment={"RUSTFLAGS": "--cfg shuttle", "CARGO_PROFILE_DEV_OPT_LEVEL": "2"},
    ),
    Step("node", "tests of the firmware's brain, on this machine", ("cd firmware && cargo test --locked",)),
    Step(
        "thumb",
        "the boards' firmware, an example of each chip, and every driver for a board's processor; clippy over the boards, no warnings",
        (
            "firmware/build-all",
            "firmware/lint",
            "tests/rig/thumb_drivers",
        ),
        needs=("thumb", "thumb-clippy", "pico"),
    ),
    Step("systemd", "the units, offline", ("systemd/check",), needs=("systemd-analyze",)),
    Step("release", "the program as it is shipped", ("cargo build --locked --release -p lamppost",), needs=("c",)),
    Step(
        "hardware",
        "the boards' drawings, overlays, pin maps and configurations against each other",
        ("cargo build --locked --release -p lamppost", "hardware/check"),
        needs=("c", "dtc"),
    ),
    Step(
        "disks",
        "lamppost doctor on real file systems (needs root and loop devices)",
        (
            "cargo build --locked --release -p lamppost",
            "PYTHONPATH=tests python3 -m rig.disks target/release/lamppost",
        ),
        needs=("c", "ext4", "file-systems"),
    ),
    Step(
        "package",
        "the Debian package: lintian; installed, upgraded, removed and purged in a minimal Debian (needs root)",
        (
            "cargo build --locked --release -p lamppost",
            "PYTHONPATH=tests python3 -m rig.package target/release/lamppost",
        ),
        needs=("c", "package"),
    ),
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
        minutes_max=90,
    ),
    Step(
        "cross",
        "the ARM64 program, its package, and under qemu-user its demo and unit tests",
        ("cross/build aarch64", "cross/check --tests aarch64", "cross/package aarch64"),
        needs=("c", "aarch64", "qemu-user"),
        tier="all",
        minutes_max=90,
    ),
    Step(
        "cross-armv7",
        "the same for 32-bit ARM",
        ("cross/build armv7", "cross/check --tests armv7", "cross/package armv7"),
        needs=("c", "armv7", "qemu-user"),
        tier="all",
        minutes_max=90,
    ),
    Step(
        "twice",
        "two builds of the program as it is shipped, in two folders: the same bytes",
        ("cross/build $(uname -m)", "cross/check --twice $(uname -m)"),
        needs=("c",),
        tier="all",
        minutes_max=90,
    ),
    Step(
        "kills",
        "the stories of the kills, with a hundred of them for each delivery, and of two brokers away for minutes",
        (
            "cargo build --locked --release -p lamppost",
            f"{_PYTEST} e2e/test_sigkill.py e2e/test_exactly_once.py",
            f"{_PYTEST} e2e/test_brokers_under_fire.py -k two_of_three",
        ),
        needs=("c", "python", "java", "maven", "openssl", "mosquitto-clients"),
        tier="all",
        environment={**_BUILT, "LAMPPOST_KILLS": "100", "LAMPPOST_MINORITY_S": "150"},
        minutes_max=60,
    ),
    Step(
        "fuzz",
        "a minute of fuzzing for each way that bytes come into the journal, the MQTT front and the link",
        (
            "cargo install --locked --quiet --root target/rig/fuzz cargo-fuzz@0.13.2",
            "cargo run --locked -p lamppost-journal --example fuzz_seeds -- gateway/journal/fuzz/corpus",
            *(
                _FUZZ.format("gateway/journal", target, "-max_len=160 -len_control=0" if target == "recovery" else "-max_len=16384")
                for target in _FUZZED
            ),
            "cargo run --locked -p lamppost-mqtt --features fuzzing --example fuzz_seeds -- gateway/mqtt/fuzz/corpus",
            *(_FUZZ.format("gateway/mqtt", target, "-max_len=1024") for target in _FUZZED_MQTT),
            'LINK_FUZZ_CORPUS="$PWD/drivers/wire/fuzz/corpus" cargo test --locked --quiet -p lamppost-wire --test seeds',
            *(_FUZZ.format("drivers/wire", target, "-max_len=2048") for target in _FUZZED_LINK),
        ),
        needs=("c",),
        tier="all",
    ),
    Step(
        "bench",
        "measured and printed, not judged",
        (
            "cargo build --locked --release -p lamppost",
            "target/release/lamppost bench --json",
            "target/release/lamppost bench mqtt --json",
            "target/release/lamppost bench link --json",
            "ls -l target/release/lamppost",
        ),
        needs=("c",),
        tier="all",
    ),
    Step(
        "journal-bench",
        "the journal against the disk's floor and other engines; measured and printed, not judged (needs root, FUSE and loop "
        "devices)",
        (
            f"{_PEERS} clippy --locked -- -D warnings",
            "cargo bench --locked -p lamppost-journal -- --detail",
        ),
        needs=("c", "ext4", "rocksdb"),
        tier="all",
        minutes_max=60,
    ),
    Step(
        "block",
        "an emulated Raspberry Pi with the package, chips on I2C, also behind a multiplexer, and a board on its serial pins; its plug is pulled "
        "LAMPPOST_PI_CUTS times (30; needs root)",
        ("cross/build --install aarch64", "cross/package --install aarch64", f"{_PYTEST} block/test_i2c_bus.py block/test_operated_post.py block/test_city_block.py"),
        needs=("c", "python", "java", "maven", "openssl", "aarch64", "qemu-user", "qemu-arm", "thumb", "package", "pi"),
        tier="rig",
        minutes_max=240,
    ),
    Step(
        "lossy",
        "the package on an emulated machine whose card drops, tears and garbles what was not flushed; the power goes LAMPPOST_VIRT_CUTS times "
        "(30; needs root and FUSE)",
        ("cross/build --install aarch64", "cross/package --install aarch64", f"{_PYTEST} block/test_lossy_card.py"),
        needs=("c", "python", "java", "maven", "openssl", "aarch64", "qemu-user", "package", "pi"),
        tier="rig",
        minutes_max=120,
    ),
    Step(
        "week",
        "a week of a city in simulated time on a board of 64 MB with a card of 256 MB, three days of it and then some hours without the cluster; "
        "LAMPPOST_WEEK_HOURS (168) shortens it (needs root, loop devices and a cgroup)",
        ("cargo build --locked --release -p lamppost", f"{_PYTEST_APART} endurance"),
        needs=("c", "python", "java", "maven", "openssl", "ext4"),
        tier="week",
        environment=_BUILT,
        minutes_max=120,
    ),
)
