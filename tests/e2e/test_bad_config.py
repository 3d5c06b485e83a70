"""A configuration with each kind of mistake: each message names the file, the line and the remedy."""

import json
import re
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from rig.gateway import READY_S, program, run
from rig.places import free_ports

RIGHT = """\
[gateway]
id = "post-17"

[journal]
quota = "128MiB"
linger = "50ms"

[mqtt]
listen = "127.0.0.1:1883"
window = 64

[[serial]]
name = "node"
port = "/dev/serial/by-id/usb-node"
baud = 115200

[[i2c]]
name = "air"
bus = "/dev/i2c-1"
chip = "bme280"
address = 0x76
every = "10s"

[[route]]
from = "city/{district}/air/{device}/#"
topic = "air-quality"
key = "{device}"
decode = "json"

[topics.air-quality]
partitions = 4

[kafka]
bootstrap = ["kafka-1:9092"]
compression = "zstd"

[http]
listen = "127.0.0.1:9464"
"""

FROM = 'from = "city/{district}/air/{device}/#"'

# The kind of mistake, the line as it is right, the line as it is wrong, and what the remedy has to say.
MISTAKES = [
    ("an unknown key", 'quota = "128MiB"', 'qouta = "128MiB"', "did you mean `quota`"),
    ("an unknown table", "[http]", "[htpp]", "`http`"),
    ("a number for a text", 'quota = "128MiB"', "quota = 128", "double quotes"),
    ("a text for a number", "baud = 115200", 'baud = "115200"', "whole number from 300"),
    ("a size without a unit", 'quota = "128MiB"', 'quota = "128"', "KiB, MiB"),
    ("a size too small for its segments", 'quota = "128MiB"', 'quota = "16MiB"', "raise `quota`"),
    ("a duration without a unit", 'linger = "50ms"', 'linger = "50"', "ms, s, min"),
    ("a number out of range", "window = 64", "window = 0", "from 1 to 65535"),
    ("an address without a port", 'listen = "127.0.0.1:1883"', 'listen = "127.0.0.1"', r'"127.0.0.1:\d+"|address:port'),
    ("a host's name", 'listen = "127.0.0.1:9464"', 'listen = "localhost:9464"', r'"127.0.0.1:\d+"|address:port'),
    ("a broker without a port", 'bootstrap = ["kafka-1:9092"]', 'bootstrap = ["kafka-1"]', "host:port"),
    ("no broker", 'bootstrap = ["kafka-1:9092"]', "bootstrap = []", "at least one"),
    ("two sources of one name", 'name = "air"', 'name = "node"', "its own name"),
    ("an unknown chip", 'chip = "bme280"', 'chip = "bme208"', "did you mean `bme280`"),
    ("an I2C address that is none", "address = 0x76", "address = 0x80", "from 8 to 119"),
    ("polling without a pause", 'every = "10s"', 'every = "0s"', "10ms or more"),
    ("a filter that goes on after #", FROM, 'from = "city/{device}/#/air"', "must be the last"),
    ("a filter with half a wildcard", FROM, 'from = "city/{device}/a+"', "whole"),
    ("an unknown capture", 'key = "{device}"', 'key = "{street}"', "available: .*district"),
    ("a brace that is left open", 'key = "{device}"', 'key = "{device"', "add '}'"),
    ("a topic with a space", 'topic = "air-quality"', 'topic = "air quality"', "letters, digits"),
    ("a topic table with a space", "[topics.air-quality]", '[topics."air quality"]', "letters, digits"),
    ("a reserved topic", "[topics.air-quality]", "[topics.__state]", 'does not begin with "__"'),
    ("too many partitions", "partitions = 4", "partitions = 5000", "from 1 to 1024"),
    ("an unknown way to decode", 'decode = "json"', 'decode = "xml"', '"json"'),
    ("an unknown compression", 'compression = "zstd"', 'compression = "rar"', "`zstd`"),
    ("an illegal name", 'id = "post-17"', 'id = "post 17"', "letters, digits"),
    ("a missing key", 'bootstrap = ["kafka-1:9092"]\n', "", "add"),
    ("not TOML", "[journal]", "[journal", r"\]"),
    ("a key twice", "window = 64", "window = 64\nwindow = 65", "once|remove"),
]


def problem_at(output: str, config, line: int) -> str:
    """What is said of that line: from its head to the next one's."""
    path = re.escape(str(config))
    blocks = re.split(rf"^(?=(?:error: |Error: )?{path}:\d+)", output, flags=re.M)
    about = [block for block in blocks if re.search(rf"{path}:{line}(?::\d+)?:", block)]
    assert about, f"no message names {config}:{line}:\n{output}"
    return about[0]


def test_a_right_configuration_is_right(home):
    config = home / "lamppost.toml"
    config.write_text(RIGHT)
    done = run("check", "--config", config)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("right, wrong, remedy", [case[1:] for case in MISTAKES], ids=[case[0] for case in MISTAKES])
def test_a_mistake_is_shown_with_its_file_its_line_and_the_remedy(home, right, wrong, remedy):
    assert RIGHT.count(right) == 1, f"{right!r} has to stand once in the right configuration"
    config = home / "lamppost.toml"
    config.write_text(RIGHT.replace(right, wrong))
    # A missing key is missing in its table; a key that stands twice is wrong the second time.
    at = RIGHT.index(right) if wrong else RIGHT.index("[kafka]")
    line = RIGHT.count("\n", 0, at) + 1 + wrong.count("\n")

    done = run("check", "--config", config)
    assert done.returncode not in (0, 101), f"status {done.returncode}\n{done.stdout}{done.stderr}"
    said = problem_at(done.stderr + done.stdout, config, line)
    # The place and the quoted line are not what is said of them.
    words = "\n".join(row for row in said.split(f"{config}:", 1)[1].splitlines() if " | " not in row)
    assert re.search(remedy, words), f"expected {remedy!r} in\n{said}"


def test_several_mistakes_are_shown_at_once(home):
    config = home / "lamppost.toml"
    config.write_text(RIGHT.replace('"128MiB"', '"16MiB"').replace('name = "air"', 'name = "node"'))
    done = run("check", "--config", config)
    output = done.stderr + done.stdout
    assert done.returncode != 0
    assert "raise `quota`" in problem_at(output, config, 5)
    assert "its own name" in problem_at(output, config, 18)


def test_a_missing_file_is_named_with_what_to_do(home):
    config = home / "nowhere.toml"
    done = run("check", "--config", config)
    output = done.stderr + done.stdout
    assert done.returncode not in (0, 101)
    assert str(config) in output and "--config" in output


def test_the_gateway_does_not_start_with_a_wrong_configuration(home):
    config = home / "lamppost.toml"
    config.write_text(RIGHT.replace('quota = "128MiB"', 'qouta = "128MiB"'))
    done = run("run", "--config", config, timeout_s=20)
    assert done.returncode not in (0, 101)
    assert "did you mean `quota`" in problem_at(done.stderr + done.stdout, config, 5)


WRONG_SOURCES = """
[[i2c]]
name = "roof"
bus = "/dev/i2c-none"
chip = "bme280"
address = 0x76

[[i2c]]
name = "mast"
bus = "/dev/i2c-none"
chip = "bmp999"
address = 0x77

[[serial]]
name = "meters"
port = "/dev/ttyNone"
protocol = "modbus"

[[serial.slave]]
id = 1
device = "house"
profile = "sdm630"

[[serial.slave]]
id = 1
device = "lamp"
profile = "sdm630"
"""


def health(port: int) -> dict:
    """What the gateway says of itself, ill or well, once it is there."""
    until = time.monotonic() + READY_S
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz") as answer:
                return json.load(answer)
        except urllib.error.HTTPError as ill:
            return json.load(ill)
        except OSError:
            assert time.monotonic() < until, "the gateway does not come"
            time.sleep(0.1)


def test_a_mistake_in_one_source_costs_that_source_alone_and_is_told_until_it_is_mended(home, ending):
    (port,) = free_ports(1)
    config = home / "lamppost.toml"
    own = f'[gateway]\nstate_dir = "{home / "state"}"\n\n[http]\nlisten = "127.0.0.1:{port}"\n'
    text = own + WRONG_SOURCES
    config.write_text(text)
    chip_at, slave_at = (1 + text.count("\n", 0, text.index(wrong)) for wrong in ('"bmp999"', '1\ndevice = "lamp"'))
    assert run("check", "--config", config).returncode not in (0, 101)

    log = (home / "log").open("w")
    gateway = subprocess.Popen([str(program()), "run", "--config", str(config)], stdout=log, stderr=log)
    ending(lambda: (gateway.kill(), gateway.wait()))
    parts = health(port)["parts"]
    assert {"i2c/roof", "modbus/meters/house"} <= parts.keys(), parts.keys()
    refused = {name: part for name, part in parts.items() if " at line " in name}
    assert [part["status"] for part in refused.values()] == ["stalled"] * 2
    said = " ".join(part["reason"] for part in refused.values())
    shown = run("status", "--http", f"127.0.0.1:{port}").stdout
    listed = json.loads(run("status", "--http", f"127.0.0.1:{port}", "--json").stdout)["refused"]
    assert {each["source"]: each["why"] for each in listed} == {name: part["reason"] for name, part in refused.items()}
    for place in (f"{config}:{chip_at}:", f"{config}:{slave_at}:"):
        assert place in said and place in (home / "log").read_text(), f"{place} in {said}"
        assert f": {place}" in shown, f"{place} in {shown}"
