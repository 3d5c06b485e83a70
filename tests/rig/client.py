"""One MQTT client that a story holds in its hand, where a sender with a ledger would say too little."""

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

WAIT_S = 30


class Client:
    """Connected, and again when it was not any more; `ended` counts how often that was."""

    def __init__(self, port: int, name: str = "lamp-1") -> None:
        self.ended = 0
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, name, protocol=mqtt.MQTTv5)
        self.client.on_disconnect = self._on_disconnect
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def _on_disconnect(self, *_) -> None:
        self.ended += 1

    def publish(self, topic: str, payload: str = "1", timeout_s: float = WAIT_S) -> None:
        """Returns once it is acknowledged."""
        sent = self.client.publish(topic, payload, qos=1)
        sent.wait_for_publish(timeout_s)
        assert sent.is_published(), f"{topic} was not acknowledged within {timeout_s} s"

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
