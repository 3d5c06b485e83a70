"""What may be left out, by name only: LAMPPOST_WITHOUT=name,name. Whatever is left out is reported as skipped; what is
missing and was not named is a failure."""

import os

NAMES = {
    "broker-kills": "stories that kill or stop brokers (a cluster of KAFKA_BOOTSTRAP is not ours to kill)",
    "fast-clock": "the tests of the faster clock (x86-64 alone; the step week needs it too)",
    "faketime": "the story of the clock that jumps (needs Debian's libfaketime)",
    "namespaces": "the stories of a gateway behind a bad line (need root, for network namespaces)",
    "small-disks": "the story of brokers whose disks are full (needs root, for mounts of its own)",
    "qemu": "the stories of the emulated board (need qemu-system-arm and the thumb build)",
    "pico": "the story of the emulated Pico (needs node, npm and the thumb build)",
    "mqttjs": "the stories with MQTT.js (needs node and npm)",
    "mosquitto": "the senders and the story with mosquitto_pub and mosquitto_sub, and the story with a mosquitto broker",
}
"""Names that stories know; tests/run knows the names of its steps besides."""


def left_out() -> set[str]:
    return {name.strip() for name in os.environ.get("LAMPPOST_WITHOUT", "").split(",") if name.strip()}
