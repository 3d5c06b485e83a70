"""The emulated board: QEMU's lm3s6965evb with a program of firmware/boards/lm3s6965evb, its UART on a pty, and chips of QEMU's
on its I2C bus, whose readings are set over QMP."""

import functools
import json
import os
import select
import socket
import subprocess
import threading
import time
import tty
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Sequence

from rig.child import Child
from rig.debugger import Debugger
from rig.places import ROOT, free_ports

# Behind what the loader may tell the board (its src/start.rs): nothing of the program's.
_FREE_RAM = 0x2000_FFF8
_FOR_EVER = bytes.fromhex("fee7")
"""The Thumb instruction that branches to itself."""

_IMAGES = ROOT / "firmware" / "target" / "thumbv7m-none-eabi" / "release"


@functools.cache
def _build() -> None:
    built = subprocess.run([ROOT / "firmware" / "build"], capture_output=True, text=True)
    assert built.returncode == 0, f"firmware/build failed:\n{built.stdout}{built.stderr}"


def firmware_image(program: str = "lm3s6965evb") -> Path:
    """A program of the board, built if it is not."""
    _build()
    return _IMAGES / program


@functools.cache
def _build_examples() -> None:
    built = subprocess.run([ROOT / "firmware" / "build", "lm3s6965evb", "--examples"], capture_output=True, text=True)
    assert built.returncode == 0, f"firmware/build lm3s6965evb --examples failed:\n{built.stdout}{built.stderr}"


def example_image(chip: str) -> Path:
    """The board's example of a chip, built if it is not."""
    _build_examples()
    return _IMAGES / "examples" / chip


@dataclass(frozen=True)
class Chip:
    """One of QEMU's I2C devices."""

    model: str
    address: int
    name: Optional[str] = None
    """Where there are several of a model."""
    bus: Optional[str] = None
    """A channel of a multiplexer that was named before it; without, the board's own bus."""

    @property
    def id(self) -> str:
        return self.name or self.model

    @property
    def path(self) -> str:
        return f"/machine/peripheral/{self.id}"

    @property
    def device(self) -> str:
        """As QEMU is told of it."""
        told = f"{self.model},address={self.address:#x},id={self.id}"
        return f"{told},bus={self.bus}" if self.bus else told


TMP105 = Chip("tmp105", 0x48)
DPS310 = Chip("dps310", 0x77)
DS1338 = Chip("ds1338", 0x68)
LSM303DLHC = Chip("lsm303dlhc_mag", 0x1E)
PCA9548 = Chip("pca9548", 0x70)


def behind(channel: int, model: str, address: int, name: str) -> Chip:
    """A chip behind that channel of a PCA9548."""
    return Chip(model, address, name, f"i2c.{channel}")


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
        self._alone = threading.Lock()
        json.loads(self._lines.readline())
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: object) -> object:
        request = {"execute": command, "arguments": arguments} if arguments else {"execute": command}
        with self._alone:
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
    """One board that runs a firmware image; `port` is its UART0, of a node the link: a pty, or with `uart` that TCP port of loopback.
    What it says on its console goes to `console`."""

    def __init__(self, image: Path, home: Path, chips: Sequence[Chip] = (TMP105,), uart: Optional[int] = None) -> None:
        self.console = home / "console.txt"
        self._stopping = threading.Event()
        self._weather = threading.Thread(target=self._warm, daemon=True)
        # Not a Unix socket: their paths have at most 107 bytes, and a story's folder may have more.
        qmp_port, self._debugger_port = free_ports(2)
        command = ["qemu-system-arm", "-M", "lm3s6965evb", "-display", "none", "-monitor", "none", "-kernel", image]
        # Its time is that of the instructions that it has executed, 64 ns each, about as on the real one: where the machine is busy it is
        # slow, and neither loses ticks nor is reset by its watchdog. Aligned: where it waits in a loop it is not faster than real time either.
        command += ["-icount", "shift=6,align=on"]
        line = "pty,id=uart0" if uart is None else f"socket,id=uart0,host=127.0.0.1,port={uart},server=on,wait=off"
        command += ["-chardev", line, "-serial", "chardev:uart0", "-serial", f"file:{self.console}"]
        command += ["-qmp", f"tcp:127.0.0.1:{qmp_port},server=on,wait=off", "-gdb", f"tcp:127.0.0.1:{self._debugger_port}"]
        for chip in chips:
            command += ["-device", chip.device]
        self.child = Child(command, home / "qemu.log")
        try:
            self._qmp = Qmp(qmp_port)
        except OSError as error:
            raise RuntimeError(f"QEMU does not answer ({error}); its log ends\n{self.child.tail()}") from None
        chardevs = {device["label"]: device["filename"] for device in self._qmp.ask("query-chardev")}
        self.port = chardevs["uart0"].removeprefix("pty:")

    def set(self, chip: Chip, name: str, value: int) -> None:
        """Sets what a chip will measure. Raises RuntimeError where QEMU refuses the value."""
        self._qmp.ask("qom-set", path=chip.path, property=name, value=value)

    def set_temperature(self, celsius: float) -> None:
        self.set(TMP105, "temperature", round(celsius * 1000))

    def keep_warming(self) -> None:
        """From now on its temperature rises by the moment, so that each sample is a reading; from 80 °C it falls back to 0."""
        self._weather.start()

    def _warm(self) -> None:
        celsius = 0.0
        while not self._stopping.wait(0.05):
            self.set_temperature(celsius)
            celsius = (celsius + 0.5) % 80

    def reset(self) -> None:
        """Presses the reset button."""
        self._qmp.ask("system_reset")

    def hang(self) -> None:
        """Its program goes round in one instruction for ever; interrupts are still served."""
        debugger = Debugger(self._debugger_port)
        debugger.write(_FREE_RAM, _FOR_EVER)
        debugger.jump(_FREE_RAM)
        debugger.leave()

    def pause(self) -> None:
        """It stands still, with its line open, until told to go on."""
        self._qmp.ask("stop")

    def go_on(self) -> None:
        self._qmp.ask("cont")

    def said(self, lines: int, timeout_s: float = 30) -> list[str]:
        """The first so many lines on its console, once they are there."""
        deadline = time.monotonic() + timeout_s
        while True:
            said = self.console.read_text().split("\n")[:-1] if self.console.exists() else []
            if len(said) >= lines:
                return said[:lines]
            assert time.monotonic() < deadline, f"the board has said no more than {said}"
            time.sleep(0.05)

    def stop(self) -> None:
        self._stopping.set()
        if self._weather.is_alive():
            self._weather.join()
        self._qmp.close()
        self.child.kill()


class Judge:
    """A board that runs the program `lm3s6965evb-judge`: asked on UART0, it answers with what the drivers say."""

    def __init__(self, home: Path, chips: Sequence[Chip]) -> None:
        self.board = Board(firmware_image("lm3s6965evb-judge"), home, chips)
        self._line = os.open(self.board.port, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self._line)
        self.board.said(1)

    def ask(self, question: str, timeout_s: float = 20) -> str:
        os.write(self._line, question.encode() + b"\n")
        deadline = time.monotonic() + timeout_s
        answer = b""
        while not answer.endswith(b"\n"):
            readable, _, _ = select.select([self._line], [], [], max(0, deadline - time.monotonic()))
            assert readable, f"no answer to {question!r} but {answer!r} within {timeout_s} s"
            answer += os.read(self._line, 1)
        return answer.decode().removesuffix("\n")

    def stop(self) -> None:
        os.close(self._line)
        self.board.stop()
