"""What goes on while simulated time passes: the board is looked at, the cluster read, the senders' ends noticed."""

import time

from endurance.board import Board, Watch
from endurance.city import DAY
from rig.fast_clock import FastClock
from rig.reader import Reader
from rig.sending import Sender, total
from rig.tally import Tally


class Week:
    """What runs while simulated time passes."""

    def __init__(self, post: Board, clock: FastClock, watch: Watch, reader: Reader, tally: Tally, senders: list[Sender]) -> None:
        self._clock, self._watch, self._reader, self._tally = clock, watch, reader, tally
        self.post, self.senders = post, senders
        self._told_at = self._behind_at = self._behind = 0.0

    def read(self) -> int:
        taken = self._reader.take(0.05)
        self._tally.take(self._reader.records)
        self._reader.records.clear()
        return taken

    def live(self, done, state=None, reading: bool = True, patience_s: float = 3600) -> None:
        """Until `done`; `state`: what its samples are told under, beside the day."""
        deadline = time.monotonic() + patience_s
        while not done():
            now_s = self._clock.now_s()
            day = f"day {1 + int(now_s // DAY)}" if now_s < 7 * DAY else "later"
            self._watch.look([day, state] if state else [day])
            for sender in self.senders:
                sender.check()
            assert self.post.child.alive(), f"the gateway ended by itself:\n{self.post.child.tail()}"
            assert time.monotonic() < deadline, f"no end of it: {self.metrics()}"
            if reading:
                self.read()
            else:
                time.sleep(0.05)
            if time.monotonic() > self._told_at + 15:
                self._told_at = time.monotonic()
                made, backlog = total(self.senders, "acknowledged"), self.metrics().get("lamppost_forward_backlog_events")
                print(f"{now_s / 3600:6.1f} h: {made} acknowledged, {backlog:.0f} to be forwarded, {self._tally.records} read", flush=True)

    def metrics(self) -> dict[str, float]:
        for _ in range(20):
            assert self.post.child.alive(), f"the gateway ended by itself:\n{self.post.child.tail()}"
            try:
                return self.post.metrics()
            except OSError:
                # Its server's patience is simulated time too.
                time.sleep(0.1)
        return self.post.metrics()

    def behind(self) -> float:
        """Events that are not forwarded, looked at once a second."""
        if time.monotonic() > self._behind_at + 1:
            self._behind_at, self._behind = time.monotonic(), self.metrics()["lamppost_forward_backlog_events"]
        return self._behind

    def drain(self, state: str) -> None:
        """Until all that is on disk is forwarded and read."""
        quiet = 0

        def done() -> bool:
            nonlocal quiet
            quiet = quiet + 1 if self.metrics()["lamppost_forward_backlog_events"] == 0 and self.read() == 0 else 0
            return quiet >= 40

        self.live(done, state, patience_s=600)
