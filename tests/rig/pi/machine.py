"""An emulated computer: its console, its power, its cards."""

import re
import socket
import time
from pathlib import Path
from typing import Optional, Sequence

from rig.board import Qmp
from rig.child import Child
from rig.places import free_ports
from rig.pi import image, qemu

# What the shell on the console says when a command is done, with its status between.
_DONE = re.compile(r"@@(\d+)@@")


class Console:
    """A machine's serial console: all that it says, and a shell of root once it has come up."""

    def __init__(self, port: int, log: Path) -> None:
        self.log = log
        self._socket = socket.create_connection(("127.0.0.1", port), 20)
        self._said = ""
        self._from = 0

    def _read(self, timeout_s: float) -> None:
        self._socket.settimeout(max(0.01, timeout_s))
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            return
        if not data:
            raise ConnectionError(f"the machine is off; it last said\n{self.tail()}")
        with self.log.open("ab") as out:
            out.write(data)
        self._said += data.decode(errors="replace").replace("\r", "")

    def tail(self, lines: int = 25) -> str:
        return "\n".join(self._said.splitlines()[-lines:])

    def wait_for(self, pattern: str, timeout_s: float) -> re.Match[str]:
        """Waits until the machine says something new that matches, and passes it."""
        deadline = time.monotonic() + timeout_s
        while True:
            if found := re.compile(pattern, re.M).search(self._said, self._from):
                self._from = found.end()
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {pattern!r} within {timeout_s} s; the machine last said\n{self.tail()}")
            self._read(min(1, deadline - time.monotonic()))

    def drain(self) -> None:
        """Takes what the machine has said meanwhile: it waits for nobody who does not listen."""
        before = None
        while before != len(self._said):
            before = len(self._said)
            self._read(0.01)

    def send(self, line: str) -> None:
        self._socket.sendall(line.encode() + b"\n")

    def run(self, command: str, timeout_s: float = 60) -> str:
        """Runs a command in root's shell; what it wrote. Raises RuntimeError where it fails."""
        self.drain()
        self._from = len(self._said)
        # Written in two parts, so that the echo of the line is not taken for the answer.
        self.send(f"{{ {command}\n}} 2>&1; echo @''@$?@@")
        start = self._from
        found = self.wait_for(_DONE.pattern, timeout_s)
        answer = self._said[start : found.start()]
        answer = answer.split("@@\n", 1)[-1] if "@''@" in answer else answer
        if found[1] != "0":
            raise RuntimeError(f"{command!r} ended with {found[1]} on the machine:\n{answer}")
        return answer.strip()


class Machine:
    """One emulated computer, on from its making to `pull`."""

    def __init__(self, home: Path, arguments: Sequence[str], name: str = "machine") -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._console_port, self._qmp_port = free_ports(2)
        command = [*qemu.command(), "-display", "none", "-monitor", "none", "-no-reboot"]
        command += ["-chardev", f"socket,id=console,host=127.0.0.1,port={self._console_port},server=on,wait=on"]
        command += ["-serial", "chardev:console", "-qmp", f"tcp:127.0.0.1:{self._qmp_port},server=on,wait=off"]
        self.child = Child([*command, *arguments], home / f"{name}.log", env=qemu.environment())
        self.console = self._connect(home / f"{name}-console.txt")
        self.qmp = Qmp(self._qmp_port)

    def _connect(self, log: Path) -> Console:
        deadline = time.monotonic() + 20
        while True:
            try:
                return Console(self._console_port, log)
            except OSError:
                if not self.child.alive() or time.monotonic() > deadline:
                    raise RuntimeError(f"QEMU does not start; its log ends\n{self.child.tail()}") from None
                time.sleep(0.05)

    def login(self, timeout_s: float = 300) -> None:
        """Waits for the shell on the console."""
        self.console.wait_for(r"root@\S+:~# ", timeout_s)
        self.console.run("stty -echo; PS1=; PS2=; dmesg -n 1")

    def pull(self) -> None:
        """Takes the power away."""
        if self.child.alive():
            self.child.kill()

    def wait_off(self, timeout_s: float) -> None:
        """Waits until the machine has switched itself off."""
        self.child.wait(timeout_s)


def _boot(root: str, extra: str) -> list[str]:
    append = f"console=ttyAMA0 root={root} net.ifnames=0 panic=-1 {extra}".strip()
    return ["-kernel", str(image.vmlinuz()), "-initrd", str(image.initrd()), "-append", append]


def virt(home: Path, card: Path, extra: str = "", *, disks: Sequence[Path] = (), networks: Sequence[str] = (), flushes: bool = True) -> Machine:
    """QEMU's own ARM64 machine: several times faster than the Raspberry Pi, with disks that know flushes, and no I2C. Without `flushes`
    they are not passed on to this machine's disk: quicker, for a card that is only being made. `networks` are QEMU's user networks, by
    their options; the links of QMP are called net0, net1, ..."""
    arguments = ["-M", "virt", "-cpu", "cortex-a53", "-smp", "2", "-m", "512"]
    cache = "writeback" if flushes else "unsafe"
    for number, disk in enumerate((card, *disks)):
        # A disk that fails stands for one whose power is gone, and the machine's with it: it does nothing more.
        arguments += ["-drive", f"file={disk},if=none,id=disk{number},format=raw,cache={cache},werror=stop,rerror=stop"]
        arguments += ["-device", f"virtio-blk-device,drive=disk{number}"]
    # Devices on virtio's MMIO bus are found in the opposite order.
    root = f"/dev/vd{'abcdef'[len(disks)]}"
    for number, options in enumerate(networks):
        arguments += ["-netdev", f"user,id=net{number},{options}", "-device", f"virtio-net-device,netdev=net{number}"]
    if not networks:
        arguments += ["-nic", "none"]
    return Machine(home, [*arguments, *_boot(root, extra)], "virt")


def raspberry(home: Path, card: Path, *, devices: Sequence[str] = (), forwards: Sequence[tuple[int, int]] = (), uart: Optional[int] = None) -> Machine:
    """QEMU's Raspberry Pi 3B: `card` is its SD card, `devices` are QEMU's chips on I2C bus 1 (`tmp105,address=0x48,id=air`) or on the bus
    that they name (of a multiplexer), `forwards` lead from TCP ports of this machine to the Pi's, and its second UART (/dev/ttyS1) is the TCP
    port `uart` that somebody listens on."""
    arguments = ["-M", "raspi3b", "-dtb", str(image.device_tree()), "-drive", f"file={card},if=sd,format=raw,cache=writeback"]
    if uart is not None:
        arguments += ["-serial", f"tcp:127.0.0.1:{uart}"]
    for device in devices:
        arguments += ["-device", device if ",bus=" in device else f"{device},bus=i2c-bus.1"]
    ways = "".join(f",hostfwd=tcp:127.0.0.1:{ours}-:{its}" for ours, its in forwards)
    arguments += ["-netdev", f"user,id=net0{ways}", "-device", "usb-net,netdev=net0"]
    return Machine(home, [*arguments, *_boot("/dev/mmcblk0", "")], "raspberry")
