"""The emulated board: QEMU's lm3s6965evb with the firmware of firmware/boards/lm3s6965evb, its UART on a pty, a tmp105 on
its I2C bus whose temperature is set over QMP."""

import functools
import json
import socket
import subprocess
import time
from pathlib import Path

from rig.child import Child
from rig.places import ROOT, free_ports

TMP105_ADDRESS = 0x48
_IMAGE = ROOT / "firmware" / "target" / "thumbv7m-none-eabi" / "release" / "lm3s6965evb"


@functools.cache
def firmware_image() -> Path:
    """The board's firmware, built if it is not."""
    built = subprocess.run([ROOT / "firmware" / "build"], capture_output=True, text=True)
    assert built.returncode == 0, f"firmware/build failed:\n{built.stdout}{built.stderr}"
    return _IMAGE


class Qmp:
    """QEMU's machine protocol: one command, one answer (events in between are passed over)."""

    def __init__(self, port: int, timeout_s: float = 20) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self._socket = socket.create_connection(("127.0.0.1", port), timeout_s)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self._lines = self._socket.makefile("r")
        json.loads(self._lines.readline())
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: object) -> object:
        request = {"execute": command, "arguments": arguments} if arguments else {"execute": command}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        while True:
            line = self._lines.readline()
            if not line:
                raise ConnectionError(f"QEMU closed QMP instead of answering {command}")
            answer = json.loads(line)
            if "error" in answer:
                raise RuntimeError(f"QEMU refused {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


class Board:
    """One board that runs a firmware image; `port` is its link. What it says on its console goes to console.txt."""

    def __init__(self, image: Path, home: Path) -> None:
        # Not a Unix socket: their paths have at most 107 bytes, and a story's folder may have more.
        (qmp_port,) = free_ports(1)
        command = ["qemu-system-arm", "-M", "lm3s6965evb", "-display", "none", "-monitor", "none", "-kernel", image]
        command += ["-chardev", "pty,id=uart0", "-serial", "chardev:uart0", "-serial", f"file:{home / 'console.txt'}"]
        command += ["-qmp", f"tcp:127.0.0.1:{qmp_port},server=on,wait=off"]
        command += ["-device", f"tmp105,address={TMP105_ADDRESS:#x},id=tmp105"]
        self.child = Child(command, home / "qemu.log")
        try:
            self._qmp = Qmp(qmp_port)
        except OSError as error:
            raise RuntimeError(f"QEMU does not answer ({error}); its log ends\n{self.child.tail()}") from None
        chardevs = {device["label"]: device["filename"] for device in self._qmp.ask("query-chardev")}
        self.port = chardevs["uart0"].removeprefix("pty:")

    def set_temperature(self, celsius: float) -> None:
        path = "/machine/peripheral/tmp105"
        self._qmp.ask("qom-set", path=path, property="temperature", value=round(celsius * 1000))

    def stop(self) -> None:
        self._qmp.close()
        self.child.kill()
