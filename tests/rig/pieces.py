"""A way to a server on which bytes arrive in pieces, of sizes by a seed: as over a bad radio link."""

import random
import socket
import threading
import time

PIECE_BYTES_MAX = 900
REST_S = 0.001


class Pieces:
    """Listens at `port`, and passes on to and from `server_port`. What goes to the server goes in pieces, and now and then the next one waits."""

    def __init__(self, server_port: int, seed: int) -> None:
        self._server_port = server_port
        self._random = random.Random(seed)
        self.passed = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._server_port))
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open += [client, server]
            for way in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pass_on, args=way, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, in_pieces: bool) -> None:
        try:
            while data := source.recv(65_536):
                while data:
                    size = self._random.randint(1, PIECE_BYTES_MAX) if in_pieces else len(data)
                    target.sendall(data[:size])
                    data = data[size:]
                    if in_pieces:
                        self.passed += 1
                        if self.passed % 8 == 0:
                            time.sleep(REST_S)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            # One side is gone; the other finds out.
            target.close()

    def close(self) -> None:
        for one in self._open:
            one.close()
