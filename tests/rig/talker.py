"""A device that writes to a serial port by itself, on a pty: what the gateway's source of lines reads."""

import os
import pty
import time
import tty


class Talker:
    """`port` is the gateway's end of the line."""

    def __init__(self) -> None:
        self._device, self._gateway = pty.openpty()
        # Kept open here too, so that the line stays up while the gateway is not.
        tty.setraw(self._gateway)
        self.port = os.ttyname(self._gateway)
        os.set_blocking(self._device, False)

    def say(self, data: bytes, patience_s: float = 30) -> None:
        """Writes all of it, as fast as it is read."""
        deadline = time.monotonic() + patience_s
        while data:
            try:
                data = data[os.write(self._device, data) :]
            except BlockingIOError:
                assert time.monotonic() < deadline, "the line is not read"
                time.sleep(0.01)

    def close(self) -> None:
        for end in (self._device, self._gateway):
            os.close(end)
