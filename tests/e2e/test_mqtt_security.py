"""The MQTT server's doors with clients that others wrote: certificates, passwords, rules, and what happens when they change.
No cluster is needed: what was let in is told by the metrics."""

import os
import signal
import socket
import ssl
import subprocess
import time

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from rig.gateway import Gateway, program, run
from rig.places import free_ports

WAIT_S = 20
ACL = "allow user:anna both #\nallow * publish city/%c/#\n"


class Authority:
    """A certificate authority made for the test."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.certificate = folder / f"{name}.crt"
        self._openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", f"/CN={name}", "-keyout", folder / f"{name}.key", "-out", self.certificate,
        )  # fmt: skip

    def issue(self, name, days=2):
        """Returns the paths of a certificate and its key. days < 0: it has expired."""
        stem = self.folder / f"{self.name}-{name}-{days}"
        key, request, certificate = (stem.with_name(stem.name + end) for end in (".key", ".csr", ".crt"))
        self._openssl(
            "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", f"/CN={name}", "-keyout", key, "-out", request,
        )  # fmt: skip
        extensions = stem.with_name(stem.name + ".ext")
        extensions.write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        term = ["-days", str(days)]
        if days < 0:
            term = ["-not_before", "20010101000000Z", "-not_after", "20020101000000Z"]
        self._sign(request, certificate, extensions, days, term)
        return certificate, key

    def _sign(self, request, certificate, extensions, days, term):
        if days >= 0:
            self._openssl(
                "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.folder / f"{self.name}.key",
                "-CAcreateserial", "-extfile", extensions, "-out", certificate, *term,
            )  # fmt: skip
            return
        # `openssl x509` can't write a term in the past before version 3.4; `openssl ca` can.
        database = self.folder / f"{self.name}.index"
        database.write_text("")
        config = self.folder / f"{self.name}.cnf"
        config.write_text(
            f"[ca]\ndefault_ca=own\n[own]\ndatabase={database}\nnew_certs_dir={self.folder}\ndefault_md=sha256\n"
            "policy=any\nrand_serial=yes\n[any]\ncommonName=supplied\n"
        )
        self._openssl(
            "ca", "-batch", "-notext", "-config", config, "-cert", self.certificate,
            "-keyfile", self.folder / f"{self.name}.key", "-startdate", "20010101000000Z", "-enddate", "20020101000000Z",
            "-extfile", extensions, "-in", request, "-out", certificate,
        )  # fmt: skip

    @staticmethod
    def _openssl(*arguments):
        done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


class Post(Gateway):
    """A gateway without a cluster whose MQTT server has three doors: plain with passwords, TLS with passwords, TLS with
    certificates."""

    def __init__(self, home):
        self.tls_port, self.certificate_port = free_ports(2)
        self.authority = Authority(home, "authority")
        self.passwords, self.acl = home / "passwords", home / "acl"
        self.certificate, self.key = home / "server.crt", home / "server.key"
        self.acl.write_text(ACL)
        self.install(self.authority)
        for user, password in (("anna", "secret"), ("lamp-7", "hidden")):
            self.set_password(user, password)
        super().__init__(home, "post-17", "")

    def install(self, authority):
        """Gives the server another certificate, as certbot or an operator would."""
        certificate, key = authority.issue("gateway")
        for source, target in ((certificate, self.certificate), (key, self.key)):
            fresh = target.with_suffix(".fresh")
            fresh.write_bytes(source.read_bytes())
            os.replace(fresh, target)

    def set_password(self, user, password):
        command = [str(program()), "passwd", user, "--file", str(self.passwords)]
        done = subprocess.run(command, input=password + "\n", capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert password not in self.passwords.read_text()

    def _configuration(self, _bootstrap, _extra):
        tls = f'certificate = "{self.certificate}"\nkey = "{self.key}"'
        return f"""\
[gateway]
id = "{self.name}"
state_dir = "{self.state_dir}"

[mqtt]
listen = "127.0.0.1:{self.mqtt_port}"
passwords = "{self.passwords}"
acl_file = "{self.acl}"

[[mqtt.listener]]
listen = "127.0.0.1:{self.tls_port}"
{tls}

[[mqtt.listener]]
listen = "127.0.0.1:{self.certificate_port}"
{tls}
client_ca = "{self.authority.certificate}"

[http]
listen = "127.0.0.1:{self.http_port}"
"""

    def read_again(self):
        """SIGHUP, and waits until the files were read."""
        before = self.log.read_text().count("read again") + self.log.read_text().count("can't be used")
        self.child.signal(signal.SIGHUP)
        deadline = time.monotonic() + WAIT_S
        # Two listeners, and the passwords with the rules.
        while self.log.read_text().count("read again") + self.log.read_text().count("can't be used") < before + 3:
            assert time.monotonic() < deadline, "SIGHUP was not heeded"
            time.sleep(0.05)

    def refusals(self, cause):
        return self.metrics()[f'lamppost_mqtt_refusals_total{{cause="{cause}"}}']


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
