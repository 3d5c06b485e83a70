"""A reload while a client is connected: routes and rules change under it, a wrong configuration changes nothing. No cluster is
needed: where an event went is asked of the journal."""

import json
import signal
import time

from rig.client import WAIT_S, Client
from rig.gateway import Gateway, run

ROUTES = """
[[route]]
from = "city/#"
topic = "{topic}"

[topics.air]
[topics.noise]
"""


class Reloaded(Gateway):
    """A gateway without a cluster, whose configuration changes."""

    def _configuration(self, bootstrap, extra):
        return f"""\
[gateway]
id = "{self.name}"
state_dir = "{self.state_dir}"
[mqtt]
listen = "127.0.0.1:{self.mqtt_port}"
acl = ["allow * publish city/#"]
[http]
listen = "127.0.0.1:{self.http_port}"
{extra}"""

    def reload(self, text, says):
        """Writes the configuration, sends SIGHUP, and waits until the log says so."""
        self.config.write_text(text)
        before = len(self.log.read_text())
        self.child.signal(signal.SIGHUP)
        deadline = time.monotonic() + WAIT_S
        while says not in self.log.read_text()[before:]:
            assert time.monotonic() < deadline, f"no {says!r} in {self.log.read_text()[before:]}"
            time.sleep(0.05)
        return self.log.read_text()[before:]

    def stored(self, topic):
        lines = run("journal", "replay", "--dir", self.state_dir / "journal", "--topic", topic, "--json").stdout
        return [json.loads(line) for line in lines.splitlines()]


def test_a_reload_exchanges_routes_under_a_connection_and_a_wrong_one_is_refused(home, ending):
    gateway = Reloaded(home, "post-reload", "", ROUTES.format(topic="air"))
    ending(gateway.end)
    gateway.start()
    right = gateway.config.read_text()
    client = Client(gateway.mqtt_port)
    ending(client.close)

    client.publish("city/a")
    assert (len(gateway.stored("air")), len(gateway.stored("noise"))) == (1, 0)

    gateway.reload(right.replace('topic = "air"', 'topic = "noise"'), "was read again: routes")
    client.publish("city/b")
    assert (len(gateway.stored("air")), len(gateway.stored("noise"))) == (1, 1)

    said = gateway.reload(right.replace('topic = "air"', 'topik = "air"'), "the old one goes on")
    assert "did you mean `topic`?" in said
    client.publish("city/c")
    assert (len(gateway.stored("air")), len(gateway.stored("noise"))) == (1, 2), "the routes before it go on"

    said = gateway.reload(right + '[journal]\nquota = "512MiB"\n', "needs a restart")
    assert "journal.quota" in said
    client.publish("city/d")
    assert len(gateway.stored("air")) == 2, "what could be taken over was"

    said = gateway.reload(right.replace('topic = "air"', 'topic = "new"'), "needs a restart")
    assert "topics that are new" in said
    client.publish("city/e")
    assert len(gateway.stored("air")) == 3, "the whole table waits"
    assert client.ended == 0, "no connection ended"

    client.close()
    assert gateway.stop() == 0
    gateway.start()
    late = Client(gateway.mqtt_port)
    ending(late.close)
    late.publish("city/f")
    assert len(gateway.stored("new")) == 1, "a restart takes over what waited"


def test_rules_that_a_reload_brings_count_for_who_is_connected(home, ending):
    gateway = Reloaded(home, "post-reload", "", ROUTES.format(topic="air"))
    ending(gateway.end)
    gateway.start()
    client = Client(gateway.mqtt_port)
    ending(client.close)
    right = gateway.config.read_text()
    client.publish("city/a")
    gateway.reload(right.replace("allow * publish city/#", "allow * publish other/#"), "passwords and rules were read again")
    client.client.publish("city/b", "1", qos=1).wait_for_publish(WAIT_S)
    assert len(gateway.stored("air")) == 1, "what is not allowed any more is not stored"
    assert gateway.metrics(), "and the gateway goes on"
