"""The MQTT server's doors with clients that others wrote: certificates, passwords, rules, and what happens when they change.
No cluster is needed: what was let in is told by the metrics."""

import socket
import ssl
import subprocess
import time

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from rig.gateway import run
from rig.post import Authority, Post

WAIT_S = 20


@pytest.fixture
def post(home, ending):
    made = Post(home)
    ending(made.end)
    made.start()
    return made


class Client:
    """A paho client, and the first answer that it got."""

    def __init__(self, port, name, protocol=mqtt.MQTTv5, user=None, password=None, ca=None, own=None):
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, name, protocol=protocol)
        if user is not None:
            self.client.username_pw_set(user, password)
        if ca is not None:
            certificate, key = own or (None, None)
            self.client.tls_set(str(ca), certificate and str(certificate), key and str(key))
        self.reasons = []
        self.acknowledged = {}
        self.client.on_connect = lambda _c, _d, _f, reason, _p: self.reasons.append(reason)
        self.client.on_publish = lambda _c, _d, packet, reason, _p: self.acknowledged.__setitem__(packet, reason)
        self.client.connect("127.0.0.1", port)

    def _until(self, done):
        deadline = time.monotonic() + WAIT_S
        while not done():
            assert time.monotonic() < deadline, "no answer"
            if self.client.loop(0.1) != mqtt.MQTT_ERR_SUCCESS:
                break
        return done()

    def answer(self):
        """The CONNACK's reason, or None where the connection ended without one."""
        self._until(lambda: self.reasons)
        return self.reasons[0] if self.reasons else None

    def publish(self, topic):
        """The PUBACK's reason, or None where the connection ended without one."""
        packet = self.client.publish(topic, "x", qos=1).mid
        self._until(lambda: packet in self.acknowledged)
        return self.acknowledged.get(packet)


def is_let_in(*args, **kwargs):
    try:
        answer = Client(*args, **kwargs).answer()
    except (ssl.SSLError, OSError):
        return False
    return answer is not None and not answer.is_failure


@pytest.mark.parametrize("protocol", [mqtt.MQTTv311, mqtt.MQTTv5], ids=["3.1.1", "5"])
def test_passwords_let_in_over_tls_and_plain(post, protocol):
    ca = post.authority.certificate
    for port, tls in ((post.mqtt_port, None), (post.tls_port, ca)):
        assert is_let_in(port, "a", protocol, "anna", "secret", tls)
        for user, password in (("anna", "Secret"), ("nobody", "secret"), ("anna", ""), (None, None)):
            assert not is_let_in(port, "a", protocol, user, password, tls), f"{user} {password}"
    assert post.refusals("credentials") == 8
    assert "secret" not in post.log.read_text() and "hidden" not in post.log.read_text()


def test_certificates_let_in_whom_they_name(post, home):
    ca, other = post.authority.certificate, Authority(home, "other")
    lamp = post.authority.issue("lamp-7")
    assert is_let_in(post.certificate_port, "lamp-7", ca=ca, own=lamp)
    assert not is_let_in(post.certificate_port, "lamp-8", ca=ca, own=lamp), "another id than the certificate's"
    assert post.refusals("identity") == 1
    for own in (None, other.issue("lamp-7"), post.authority.issue("lamp-7", days=-1)):
        assert not is_let_in(post.certificate_port, "lamp-7", ca=ca, own=own)
    assert post.refusals("tls") == 3
    assert not is_let_in(post.tls_port, "a", user="anna", password="secret", ca=other.certificate), "a wrong server"


def test_tls_1_1_is_refused(post):
    context = ssl.create_default_context(cafile=str(post.authority.certificate))
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    refused = pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION|ALERT_HANDSHAKE_FAILURE")
    with refused, socket.create_connection(("127.0.0.1", post.tls_port), timeout=WAIT_S) as plain:
        context.wrap_socket(plain, server_hostname="127.0.0.1")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", post.tls_port), timeout=WAIT_S) as plain:
        assert context.wrap_socket(plain, server_hostname="127.0.0.1").version() == "TLSv1.2"


def test_the_rules_say_who_publishes_where(post):
    lamp = Client(post.mqtt_port, "lamp-7", user="lamp-7", password="hidden")
    assert not lamp.publish("city/lamp-7/air").is_failure
    assert lamp.publish("city/lamp-8/air").value == 0x87
    assert not lamp.publish("city/lamp-7/air").is_failure, "the connection goes on"
    old = Client(post.mqtt_port, "lamp-7", mqtt.MQTTv311, "lamp-7", "hidden")
    assert old.publish("city/lamp-8/air") is None, "3.1.1 knows no refusal but the end"
    assert post.metrics()['lamppost_mqtt_denied_total{action="publish"}'] == 2
    assert post.metrics()["lamppost_mqtt_pubacks_total"] == 2


@pytest.mark.needs("mosquitto")
def test_mosquitto_publishes_over_tls_with_a_password_and_with_a_certificate(post):
    ca = ["--cafile", post.authority.certificate]
    certificate, key = post.authority.issue("lamp-7")
    for port, proof in (
        (post.tls_port, ["-u", "lamp-7", "-P", "hidden"]),
        (post.certificate_port, ["--cert", certificate, "--key", key]),
    ):
        where = ["-h", "127.0.0.1", "-p", port, "-i", "lamp-7", "-t", "city/lamp-7/air", "-q", "1", "-m", "x"]
        done = subprocess.run(["mosquitto_pub", *map(str, [*where, *ca, *proof])], capture_output=True, timeout=WAIT_S)
        assert done.returncode == 0, done.stderr
        wrong = [*map(str, [*where, *ca]), *(["-u", "lamp-7", "-P", "wrong"] if "-u" in proof else [])]
        assert subprocess.run(["mosquitto_pub", *wrong], capture_output=True, timeout=WAIT_S).returncode != 0
    assert post.metrics()["lamppost_mqtt_pubacks_total"] == 2


def test_files_are_read_again_without_a_restart_and_bad_ones_are_refused(post, home):
    ca = post.authority.certificate
    standing = Client(post.tls_port, "lamp-7", user="lamp-7", password="hidden", ca=ca)
    assert not standing.publish("city/lamp-7/air").is_failure

    new = Authority(home, "new")
    post.install(new)
    post.read_again()
    assert not standing.publish("city/lamp-7/air").is_failure, "a connection that stands goes on"
    assert is_let_in(post.tls_port, "a", user="anna", password="secret", ca=new.certificate)
    assert not is_let_in(post.tls_port, "a", user="anna", password="secret", ca=ca), "the old certificate is still shown"

    post.key.write_text("half a key")
    post.passwords.write_text(post.passwords.read_text() + "half an entry\n")
    post.read_again()
    assert "the old ones go on" in post.log.read_text()
    assert is_let_in(post.tls_port, "a", user="anna", password="secret", ca=new.certificate)

    post.passwords.write_text("\n".join(line for line in post.passwords.read_text().splitlines() if "half" not in line))
    post.set_password("lamp-7", "another")
    post.read_again()
    assert not is_let_in(post.mqtt_port, "lamp-7", user="lamp-7", password="hidden")
    assert is_let_in(post.mqtt_port, "lamp-7", user="lamp-7", password="another")


def test_a_listener_that_everybody_reaches_has_to_say_so(home):
    config = home / "lamppost.toml"
    text = '[gateway]\nid = "post-17"\n[mqtt]\nlisten = "0.0.0.0:1883"\n'
    config.write_text(text)
    for command in ("check", "run"):
        done = run(command, "--config", config, timeout_s=20)
        assert done.returncode not in (0, 101)
        assert f"{config}:4:10: " in done.stderr and "`anonymous = true`" in done.stderr, done.stderr
    config.write_text(text + "anonymous = true\n")
    assert run("check", "--config", config).returncode == 0
