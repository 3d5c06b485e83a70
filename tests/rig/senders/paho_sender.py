"""A sender on paho-mqtt: many connections in one loop. paho itself resends after a reconnect what was not acknowledged.

python -m rig.senders.paho_sender PLAN
"""

import select
import sys
import time

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from rig.senders.plan import Connection, Ending, Plan

RECONNECT_S = 0.1


class Line:
    """One connection."""

    def __init__(self, plan: Plan, connection: Connection, ledger, gauges) -> None:
        self.plan, self.connection, self.ledger, self.gauges = plan, connection, ledger, gauges
        self.made = 0
        self.in_flight: dict[int, int] = {}  # paho's message id -> number of the event
        self.ready = False
        self.retry_at = 0.0
        self.started = time.monotonic()
        clean = {} if plan.protocol == mqtt.MQTTv5 else {"clean_session": True}
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2, connection.client, protocol=plan.protocol, reconnect_on_failure=False, **clean
        )
        self.client.max_inflight_messages_set(plan.window)
        self.client.on_connect = self._connected
        self.client.on_disconnect = self._lost
        self.client.on_publish = self._acknowledged

    def _connected(self, _client, _data, _flags, reason, _properties) -> None:
        if reason.is_failure:
            sys.exit(f"{self.connection.client}: the gateway refused the connection: {reason}")
        self.ready = True
        self.gauges.add("connected")

    def _lost(self, _client, _data, _flags, _reason, _properties) -> None:
        if self.ready:
            self.gauges.add("connected", -1)
            if self.in_flight:
                self.gauges.add("cuts_in_flight")
                self.gauges.add("cut_publishes", len(self.in_flight))
        self.ready = False

    def _acknowledged(self, _client, _data, message_id, reason, _properties) -> None:
        number = self.in_flight.pop(message_id)
        if reason.is_failure:
            sys.exit(f"{self.connection.client}: event {number} was refused: {reason}")
        self.ledger.acknowledged(self.connection.entry(number))
        self.gauges.add("acknowledged")
        self.gauges.add("unacknowledged", -1)

    def open(self, now: float) -> None:
        """Connects, or connects again; paho then resends by itself what was in flight."""
        if self.client.socket() is not None or now < self.retry_at:
            return
        self.retry_at = now + RECONNECT_S
        try:
            self.client.connect(self.plan.host, self.plan.port, keepalive=self.plan.keepalive_s)
            # Whatever is in flight goes out again.
            self.gauges.add("sent", len(self.in_flight))
        except OSError:
            return

    def all_made(self, ending: Ending) -> bool:
        return ending.asked or (self.connection.events > 0 and self.made >= self.connection.events)

    def finished(self, ending: Ending) -> bool:
        return self.all_made(ending) and not self.in_flight

    def publish(self, now: float, ending: Ending) -> None:
        """Fills the window."""
        due = self.plan.due(self.started, now)
        while self.ready and len(self.in_flight) < self.plan.window and not self.all_made(ending):
            if self.made >= due:
                return
            number = self.made + 1
            properties = None
            if self.plan.protocol == mqtt.MQTTv5:
                properties = Properties(PacketTypes.PUBLISH)
                properties.UserProperty = ("id", self.connection.id(number))
                properties.ContentType = "application/json"
            payload = self.plan.payload(self.connection, number, now)
            sent = self.client.publish(self.connection.address, payload, qos=1, properties=properties)
            # Even where the connection has just been lost, paho has taken the message and will send it.
            self.made = number
            self.in_flight[sent.mid] = number
            self.gauges.add("sent")
            self.gauges.add("unacknowledged")


def turn(lines: list[Line]) -> None:
    """Waits for sockets for a moment, then lets paho read and write."""
    by_socket = {line.client.socket(): line for line in lines if line.client.socket() is not None}
    writers = [socket for socket, line in by_socket.items() if line.client.want_write()]
    if not by_socket:
        time.sleep(0.02)
        return
    readable, writable, _ = select.select(list(by_socket), writers, [], 0.02)
    for socket in readable:
        by_socket[socket].client.loop_read()
    for socket in writable:
        if by_socket[socket].client.socket() is socket:
            by_socket[socket].client.loop_write()


def main() -> int:
    plan = Plan.read(sys.argv[1])
    ledger, gauges = plan.open()
    ending = Ending()
    lines = [Line(plan, connection, ledger, gauges) for connection in plan.connections]
    misc_at = flush_at = 0.0
    while not all(line.finished(ending) for line in lines):
        now = time.monotonic()
        for line in lines:
            line.open(now)
            line.publish(now, ending)
        turn(lines)
        if now > misc_at:
            misc_at = now + 1
            for line in lines:
                line.client.loop_misc()
        if now >= flush_at:
            flush_at = now + plan.flush_s
            ledger.flush()
    ledger.flush()
    gauges["finished"] = 1
    for line in lines:
        line.client.disconnect()
    return 0


if __name__ == "__main__":
    sys.exit(main())
