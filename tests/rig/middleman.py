"""Who stands between a gateway and the brokers, and is a bad line: he carries bytes late, slowly, or not at all, hangs up, and cuts connections in the
middle of a message. He looks at no byte. A thread with an event loop of its own; his moods may be set at any moment."""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from dataclasses import dataclass

from rig.apart import Network

_CHUNK = 16 << 10
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of no seconds: closing sends RST, and forgets what was not sent."""


@dataclass
class Mood:
    delay_s: float = 0.0
    """One way, in each direction."""
    bytes_per_s: float = 0.0
    """In each direction of each connection; 0: as fast as it goes."""
    refuses: bool = False
    """New connections are reset at once."""


class Middleman:
    """Carries each of `ports` at `address` in `network` to the same port of this machine's loopback."""

    def __init__(self, network: Network, address: str, ports: list[int], chance: random.Random) -> None:
        self.mood = Mood()
        self.carried = self.connections = self.cuts = 0
        self._chance = chance
        self._open: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        # A socket stays in the network in which it was made.
        with network.inside():
            self._listeners = [(port, socket.create_server((address, port))) for port in ports]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._ending = asyncio.Event()
        for port, listener in self._listeners:
            await asyncio.start_server(lambda r, w, port=port: self._carry(port, r, w), sock=listener)
        await self._ending.wait()
        for pair in list(self._open):
            self._reset(pair)

    async def _carry(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mood.refuses:
            return self._reset((writer,))
        try:
            broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return self._reset((writer,))
        self.connections += 1
        pair = (writer, broker_writer)
        self._open.add(pair)
        ways = [self._way(reader, broker_writer), self._way(broker_reader, writer)]
        tasks = [asyncio.ensure_future(way) for way in ways]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._open.discard(pair)
        for end in pair:
            end.close()

    async def _way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction: what came in waits for its time, then goes out."""
        late: asyncio.Queue = asyncio.Queue(maxsize=256)

        async def deliver() -> None:
            while (item := await late.get()) is not None:
                due, chunk = item
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                writer.write(chunk)
                await writer.drain()
                self.carried += len(chunk)
                if self.mood.bytes_per_s:
                    await asyncio.sleep(len(chunk) / self.mood.bytes_per_s)

        delivering = asyncio.ensure_future(deliver())
        with contextlib.suppress(OSError):
            try:
                while chunk := await reader.read(_CHUNK):
                    await late.put((self._loop.time() + self.mood.delay_s, chunk))
                await late.put(None)
                await delivering
            finally:
                delivering.cancel()

    def _reset(self, ends) -> None:
        for end in ends:
            with contextlib.suppress(OSError):
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            end.transport.abort()

    def reset_some(self) -> None:
        """Each open connection with a chance of a half: what was on its way to and fro is lost, in the middle of wherever it was."""

        def reset() -> None:
            for pair in list(self._open):
                if self._chance.random() < 0.5:
                    self.cuts += 1
                    self._open.discard(pair)
                    self._reset(pair)

        self._loop.call_soon_threadsafe(reset)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(10)
        for _, listener in self._listeners:
            listener.close()
