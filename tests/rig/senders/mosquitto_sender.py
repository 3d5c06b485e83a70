"""A sender that drives mosquitto_pub processes, one a connection, and reads from their debug output which publishes were
acknowledged. Where such a process gives up, another one is started with what was not acknowledged.

    python -m rig.senders.mosquitto_sender PLAN

MQTT 3.1.1 or 5 as planned; the sender's id travels in the payload, since mosquitto_pub has one set of user properties
for all lines it reads. `window` is how many lines a process is given ahead of the acknowledgements. The connections that
were cut are not counted: mosquitto_pub connects again by itself.
"""

import os
import re
import selectors
import subprocess
import sys
import time
from collections import deque

from rig.child import die_with_parent
from rig.senders.plan import Connection, Ending, Plan

RESTART_S = 0.2
_SENDING = re.compile(rb"sending PUBLISH \(d(\d), q1, r0, m(\d+),")
_RECEIVED = re.compile(rb"received PUBACK \(Mid: (\d+), RC:(\d+)\)")


class Line:
    """One connection: a mosquitto_pub process, and another one after it if need be."""

    def __init__(self, plan: Plan, connection: Connection, ledger, gauges) -> None:
        self.plan, self.connection, self.ledger, self.gauges = plan, connection, ledger, gauges
        self.made = 0
        self.unacknowledged: deque[int] = deque()  # numbers, in the order in which they were given
        self.given: deque[int] = deque()  # to this process, not yet seen to be sent
        self.numbers: dict[int, int] = {}  # message id of this process -> number
        self.process = None
        self.output = b""
        self.restart_at = 0.0
        self.started = time.monotonic()
        self.input_closed = False

    def start(self, selector: selectors.BaseSelector) -> None:
        plan, connection = self.plan, self.connection
        # mosquitto_pub's own output is block-buffered into a pipe; stdbuf makes it a line at a time.
        command = ["stdbuf", "-oL", "mosquitto_pub", "-d", "-l", "-q", "1", "-h", plan.host, "-p", str(plan.port)]
        command += ["-i", connection.client, "-t", connection.address, "-V", "5" if plan.protocol == 5 else "311"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=die_with_parent
        )
        os.set_blocking(self.process.stdout.fileno(), False)
        selector.register(self.process.stdout, selectors.EVENT_READ, self)
        self.output, self.input_closed = b"", False
        self.given, self.numbers = deque(), {}
        for number in self.unacknowledged:
            self._give(number)

    def _give(self, number: int) -> None:
        self.given.append(number)
        self.gauges.add("sent")
        try:
            self.process.stdin.write(self.connection.payload(number, self.plan.payload_bytes).encode() + b"\n")
        except (BrokenPipeError, ValueError):
            pass  # It has ended; the next one gets the line again.

    def all_made(self, ending: Ending) -> bool:
        return ending.asked or (self.connection.events > 0 and self.made >= self.connection.events)

    def finished(self, ending: Ending) -> bool:
        return self.all_made(ending) and not self.unacknowledged

    def feed(self, now: float, ending: Ending) -> None:
        while len(self.unacknowledged) < self.plan.window and not self.all_made(ending):
            if self.plan.rate and self.made >= (now - self.started) * self.plan.rate:
                break
            self.made += 1
            self.unacknowledged.append(self.made)
            self.gauges.add("unacknowledged")
            self._give(self.made)
        try:
            self.process.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass

    def read(self, selector: selectors.BaseSelector) -> None:
        """Takes in what the process has said."""
        chunk = self.process.stdout.read(1 << 16)
        if chunk:
            lines = (self.output + chunk).split(b"\n")
            self.output = lines.pop()
            for line in lines:
                self._said(line)
        elif chunk == b"":
            selector.unregister(self.process.stdout)
            self.process.stdout.close()
            self.process.stdin = _closed(self.process.stdin)
            self.process.wait()
            self.process = None
            self.restart_at = time.monotonic() + RESTART_S

    def _said(self, line: bytes) -> None:
        if sending := _SENDING.search(line):
            message_id = int(sending[2])
            # A repeated message id that is still open is mosquitto_pub's own resend.
            if message_id not in self.numbers:
                self.numbers[message_id] = self.given.popleft()
        elif received := _RECEIVED.search(line):
            number = self.numbers.pop(int(received[1]))
            # 16 is MQTT 5's "no matching subscribers": stored all the same.
            if int(received[2]) not in (0, 16):
                sys.exit(f"{self.connection.client}: event {number} was refused with reason {int(received[2])}")
            self.unacknowledged.remove(number)
            self.ledger.acknowledged(self.connection.entry(number))
            self.gauges.add("acknowledged")
            self.gauges.add("unacknowledged", -1)


def _closed(stream):
    try:
        stream.close()
    except BrokenPipeError:
        pass
    return stream


def main() -> int:
    plan = Plan.read(sys.argv[1])
    ledger, gauges = plan.open()
    ending = Ending()
    lines = [Line(plan, connection, ledger, gauges) for connection in plan.connections]
    selector = selectors.DefaultSelector()
    while not all(line.finished(ending) for line in lines):
        now = time.monotonic()
        for line in lines:
            if line.process is None and now >= line.restart_at and not line.finished(ending):
                line.start(selector)
            if line.process is not None:
                line.feed(now, ending)
        for key, _ in selector.select(0.02):
            key.data.read(selector)
        ledger.flush()
    ledger.flush()
    gauges["finished"] = 1
    for line in lines:
        if line.process is not None:
            _closed(line.process.stdin)
            line.process.wait(10)
    return 0


if __name__ == "__main__":
    sys.exit(main())
