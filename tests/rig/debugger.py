"""QEMU's debugger port, as far as a story needs it: a processor that is sent to where nothing is done any more. The remote serial
protocol of GDB (its manual, appendix "GDB Remote Serial Protocol")."""

import socket

_PC = 15
"""A Cortex-M's program counter among its registers, of 4 bytes each."""


class Debugger:
    """While it is connected, the machine stands still."""

    def __init__(self, port: int, timeout_s: float = 20) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self._input = self._socket.makefile("rb")

    def write(self, address: int, content: bytes) -> None:
        self._order(f"M{address:x},{len(content):x}:{content.hex()}")

    def jump(self, address: int) -> None:
        """The processor goes on there."""
        registers = bytearray.fromhex(self._ask("g"))
        registers[4 * _PC : 4 * _PC + 4] = address.to_bytes(4, "little")
        self._order(f"G{registers.hex()}")

    def leave(self) -> None:
        """The machine goes on."""
        self._order("D")
        self._input.close()
        self._socket.close()

    def _order(self, what: str) -> None:
        answer = self._ask(what)
        assert answer == "OK", f"QEMU's debugger port answered {answer!r} to {what!r}"

    def _ask(self, what: str) -> str:
        self._socket.sendall(f"${what}#{sum(what.encode()) % 256:02x}".encode())
        # Some versions tell first that the machine was stopped.
        while (answer := self._packet()).startswith("T"):
            pass
        return answer

    def _packet(self) -> str:
        while self._byte() != b"$":  # Acknowledgements.
            pass
        content = b""
        while (byte := self._byte()) != b"#":
            content += byte
        self._input.read(2)
        self._socket.sendall(b"+")
        return content.decode()

    def _byte(self) -> bytes:
        byte = self._input.read(1)
        assert byte, "QEMU has closed its debugger port"
        return byte
