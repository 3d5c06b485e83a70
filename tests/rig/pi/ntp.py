"""A time server for machines whose clock starts in the past (RFC 4330, simple NTP), on this machine's loopback."""

import socket
import struct
import threading
import time

_PORT = 123
# From 1900, where NTP counts from, to 1970.
_EPOCH_S = 2_208_988_800
# No leap second, version 4, server.
_ANSWER = 0b00_100_100


def _stamp(seconds: float) -> bytes:
    whole = int(seconds)
    return struct.pack("!II", whole + _EPOCH_S, int((seconds - whole) * (1 << 32)))


class TimeServer:
    """Answers until `stop`; needs root, for its port."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", _PORT))
        self.answered = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                asked, who = self._socket.recvfrom(1024)
            except OSError:
                return
            if len(asked) < 48:
                continue
            now = _stamp(time.time())
            # Stratum 1, asked again after 2^4 s at the least, precision about a microsecond.
            head = struct.pack("!BBbbII4s", _ANSWER, 1, 4, -20, 0, 0, b"RIG\0")
            self._socket.sendto(head + now + asked[40:48] + now + now, who)
            self.answered += 1

    def stop(self) -> None:
        self._socket.close()
