"""The emulated Pico as a story holds it: a serial port that stays, power that can be cut, a thermometer that can be set, and
what happened on the board, told by the emulator and not by the firmware."""

import functools
import json
import os
import pty
import re
import shutil
import socket
import subprocess
import time
import tty
from pathlib import Path
from typing import Callable, Optional

from rig import npm
from rig.child import Child
from rig.places import RIG, ROOT, free_ports

_HERE = ROOT / "tests" / "rig" / "pico"
_ANSWER_S = 30


def fetch_emulator() -> Path:
    """Installs rp2040js if it is not; the folder of its modules."""
    return npm.fetch(_HERE / "package.json", RIG / "pico")


@functools.cache
def firmware_image(line: str) -> Path:
    """The board's firmware that speaks on that line (uart or usb), built if it is not."""
    features = ["--features", "usb"] if line == "usb" else []
    built = subprocess.run([ROOT / "firmware" / "build", "pico", *features], capture_output=True, text=True)
    assert built.returncode == 0, f"firmware/build pico failed:\n{built.stdout}{built.stderr}"
    # Both are built to the same place.
    image = RIG / "pico" / f"{line}.elf"
    shutil.copyfile(re.search(r"^ELF: (.+)$", built.stdout, re.M)[1], image)
    return image


class Pico:
    """`port` is its serial port, which outlives the board's power as a USB adapter's does."""

    def __init__(self, home: Path, line: str, speed_max: float) -> None:
        """Without power yet. `line`: uart or usb. `speed_max`: how many times as fast as outside its time may run."""
        self._home = home
        self._wire = line
        self._speed_max = speed_max
        self._lives = 0
        self._child: Optional[Child] = None
        (self._control,) = free_ports(1)
        self._line, other = pty.openpty()
        tty.setraw(other)
        self.port = os.ttyname(other)
        os.close(other)
        os.set_blocking(self._line, False)

    def start(self) -> None:
        """Power comes. The flash is as the last life left it."""
        self._lives += 1
        environment = {"NODE_PATH": str(fetch_emulator())}
        command = ["node", _HERE / "pico.js", firmware_image(self._wire), self._home / "flash.bin", self._control]
        command += [self._speed_max, self._wire]
        self._child = Child(command, self._log(self._lives), env=environment, stdin=self._line)
        self.wait_for("the board does not start", lambda: self.events())

    def cut_power(self) -> None:
        self._child.kill()

    def stop(self) -> None:
        if self._child is not None and self._child.alive():
            self._child.kill()
        os.close(self._line)

    def set_temperature(self, celsius: float, step: float = 0) -> None:
        """`step` is added after each time that the firmware has fetched a temperature."""
        self._order(celsius=celsius, step=step)

    def set_thermometer(self, present: bool) -> None:
        self._order(present=present)

    def hold_clock(self, stuck: bool) -> None:
        """The thermometer holds the bus's clock line, or lets go of it."""
        self._order(stuck=stuck)

    def hold_data(self, zeros: int) -> None:
        """The thermometer holds the bus's data line until it has been clocked so often."""
        self._order(zeros=zeros)

    def events(self, life: Optional[int] = None) -> list[dict]:
        """What happened in that life (counted from 1), or in this one."""
        lines = self._log(life or self._lives).read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}\n")]

    def temperatures(self, life: Optional[int] = None) -> list[float]:
        """Each temperature that the firmware has fetched from the chip, in order."""
        return [event["read"] for event in self.events(life) if "read" in event]

    def wait_for(self, complaint: str, done: Callable[[], object], timeout_s: float = _ANSWER_S) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            assert self._child.alive() and time.monotonic() < deadline, f"{complaint}; it ends\n{self._child.tail()}"
            time.sleep(0.1)

    def _log(self, life: int) -> Path:
        return self._home / f"pico-{life}.log"

    def now_ms(self) -> int:
        """The microcontroller's time since its start."""
        return self._order()["at_ms"]

    def untouched_bytes(self) -> int:
        """RAM between the stack and what is below it that was never touched in this life."""
        return self._order()["untouched"]

    def _order(self, **order: object) -> dict:
        with socket.create_connection(("127.0.0.1", self._control), _ANSWER_S) as control:
            control.sendall(json.dumps(order).encode() + b"\n")
            answer = json.loads(control.makefile().readline())
        assert "error" not in answer, f"the emulator refuses {order}: {answer['error']}"
        return answer
