"""A bus with Modbus slaves, answered by pymodbus' server: people who have never seen our source. Two ptys, joined here, make
the line: `port` is the gateway's end.

    slave 1   holds what an SDM630 does at 0x0000 to 0x017d: at each even address a FLOAT32 of the address and a half
    slave 2   the same, but only at the addresses of GAPPY: what lies between is an illegal address
    slave 3   holding registers 0: INT32 -123456 with its lower word first, 2: UINT64 2**63 + 1; coils 5 to 7: on, off, on
    others    say nothing
"""

import asyncio
import os
import pty
import sys
import time
import tty
from pathlib import Path

from rig.child import Child
from rig.places import ROOT

GAPPY = (0x00, 0x06, 0x0C, 0x46, 0x48)


class Meters:
    """The bus as a story holds it."""

    def __init__(self, home: Path) -> None:
        named = home / "meters.port"
        command = [sys.executable, "-m", "rig.meters", named]
        self.child = Child(command, home / "meters.log", env={"PYTHONPATH": str(ROOT / "tests")})
        deadline = time.monotonic() + 20
        while not named.exists():
            assert self.child.alive() and time.monotonic() < deadline, f"no bus:\n{self.child.tail()}"
            time.sleep(0.02)
        self.port = named.read_text()

    def stop(self) -> None:
        self.child.kill()


def slaves() -> list:
    from pymodbus.simulator import DataType, SimData, SimDevice

    def floats(addresses) -> list:
        return [SimData(at, values=at + 0.5, datatype=DataType.FLOAT32) for at in addresses]

    words = [0x1DC0, 0xFFFE, 0x8000, 0, 0, 1]
    holding = [SimData(0, values=words, datatype=DataType.REGISTERS)]
    coils = [SimData(0, values=[False] * 5 + [True, False, True] + [False] * 8, datatype=DataType.BITS)]
    nothing = [SimData(0, values=0, datatype=DataType.REGISTERS)]
    bits = [SimData(0, values=[False] * 16, datatype=DataType.BITS)]
    return [
        SimDevice(1, (bits, bits, nothing, floats(range(0, 0x17E, 2)))),
        SimDevice(2, (bits, bits, nothing, floats(GAPPY))),
        SimDevice(3, (coils, bits, holding, nothing)),
    ]


def join(loop: asyncio.AbstractEventLoop, master: int, bus: int) -> None:
    """What is written into one end comes out of the other; but a request to a slave that is not there goes to nobody: pymodbus
    would answer with an exception."""

    def pass_on(source: int, sink: int) -> None:
        try:
            data = os.read(source, 4096)
            if source == bus or data[:1] in (b"\x01", b"\x02", b"\x03"):
                os.write(sink, data)
        except OSError:
            # Nobody listens: a line does not wait.
            pass

    for source, sink in ((master, bus), (bus, master)):
        os.set_blocking(source, False)
        loop.add_reader(source, pass_on, source, sink)


async def serve(named: Path) -> None:
    from pymodbus.server import StartAsyncSerialServer

    (gateway, gateway_port), (meters, meters_port) = pty.openpty(), pty.openpty()
    for port in (gateway_port, meters_port):
        tty.setraw(port)
    join(asyncio.get_running_loop(), gateway, meters)
    server = asyncio.create_task(
        StartAsyncSerialServer(slaves(), port=os.ttyname(meters_port), baudrate=9600, ignore_missing_devices=True)
    )
    await asyncio.sleep(0.5)
    partial = Path(f"{named}.part")
    partial.write_text(os.ttyname(gateway_port))
    partial.rename(named)
    await server


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
