"""The way to a cluster that asks who we are: mutual TLS, SCRAM and PLAIN over TLS, rights; and what happens when one of them is wrong,
revoked, expired, and set right again. The gateway is never restarted, and each story ends with the ledger of an independent sender."""

import json
import time
import urllib.error
from pathlib import Path

import pytest

from rig.authority import Authority
from rig.gateway import Gateway, run
from rig.guarded import PLAIN_PASSWORD, PLAIN_USER, Rights
from rig.judge import judge
from rig.pair import DELIVERIES
from rig.reader import Reader
from rig.sending import Sender, connections, read_ledgers, wait_for_all

pytestmark = pytest.mark.needs("broker-kills")

WAIT_S = 45
CURSORS = "lamppost-cursors"
SECRET, OTHER_SECRET = "tulips-in-may", "asters-in-autumn"
ROUTES = """
[[route]]
from = "+/{{device}}/air"
topic = "{prefix}-air"

[[route]]
from = "+/{{device}}/noise"
topic = "{prefix}-noise"

[topics.{prefix}-air]
partitions = 3

[topics.{prefix}-noise]
partitions = 2
"""


class Post(Gateway):
    """A gateway that comes by one of the guarded doors; its topics are its own, and so are its rights."""

    def __init__(self, home: Path, cluster, door: str, prefix: str, secured: str, delivery: str = DELIVERIES[0]) -> None:
        self.prefix = prefix
        self.cluster = cluster
        self.delivery = delivery
        super().__init__(home, f"post-{prefix}", cluster.door(door), secured + ROUTES.format(prefix=prefix))
        text, here = self.config.read_text(), "create_topics = true\n"
        assert text.count(here) == 1
        self.config.write_text(text.replace(here, f'{here}delivery = "{delivery}"\n'))

    def send(self, kind: str, events: int, rate: float = 0) -> Sender:
        lines = connections(f"{self.prefix}-{kind}", 4, events, f"city/{{client}}/{kind}", f"{self.prefix}-{kind}")
        return Sender("paho", self.home, kind, self.mqtt_port, lines, rate=rate)

    def health(self) -> dict:
        """What /healthz says of the way to the cluster."""
        try:
            text = self.get("/healthz")
        except urllib.error.HTTPError as answer:
            text = answer.read().decode()
        return json.loads(text)["parts"]["forward"]

    def wait(self, what: str, condition) -> None:
        deadline = time.monotonic() + WAIT_S
        while not condition():
            self._complain_if_dead()
            assert time.monotonic() < deadline, f"{what}: not within {WAIT_S} s; {self.health()}\n{self.child.tail()}"
            time.sleep(0.1)

    def wait_denied(self, cause: str, words: str) -> None:
        """Until it is kept out for that reason, which has to be in /healthz, in the metrics and once in the log."""
        self.wait(f"denied for {cause}", lambda: self.metrics()["lamppost_forward_denied"] == 1)
        assert self.metrics()[f'lamppost_forward_denials_total{{cause="{cause}"}}'] >= 1
        self.wait(f"says {words}", lambda: words in self.health().get("reason", ""))
        assert self.health()["status"] == "stalled"
        assert self.shouts(words) == 1, self.log.read_text()

    def shouts(self, words: str) -> int:
        """How many errors in the log have these words."""
        return sum("ERROR" in line and words in line for line in self.log.read_text().splitlines())

    def delivered(self) -> float:
        return self.metrics()["lamppost_forward_delivered_total"]

    def judge(self, senders: list[Sender]) -> None:
        """Reads all by the open door, and compares it with the senders' ledgers."""
        wait_for_all(senders, timeout_s=120)
        ledgers = read_ledgers(senders)
        reader = Reader(self.cluster.bootstrap, self.name, {entry.topic for entry in ledgers})
        reader.read_ids({entry.id for entry in ledgers})
        reader.close()
        verdict = judge(ledgers, reader.records, reader.partitions)
        print(f"\n{verdict}")
        assert verdict.good, verdict
        if self.delivery == "exactly-once":
            assert verdict.delivered_twice == 0, verdict
        assert self.metrics()["lamppost_forward_denied"] == 0

    def tells_no(self, secret: str) -> None:
        """A secret is in no log line and on no page."""
        told = [self.log.read_text(), self.get("/metrics"), json.dumps(self.health())]
        assert not any(secret in text for text in told)


def put(path: Path, text: str) -> Path:
    """As an operator replaces a file: never half of it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.chmod(0o600)
    new.rename(path)
    return path


@pytest.fixture
def rights(cluster):
    return Rights(cluster.bootstrap)


def grant(rights: Rights, user: str, prefix: str, delivery: str = DELIVERIES[0]) -> None:
    """What the README says that a gateway needs. The user is called as the gateway is."""
    for topics in (prefix, "audit-trail", "dead-letters"):
        rights.grant_writing(user, topics)
    if delivery == "exactly-once":
        rights.grant_writing(user, CURSORS)
        rights.grant_reading(user, CURSORS)
        rights.grant_transactions(user, f"lamppost-{user}-forward")


def scram(home: Path, cluster, user: str, ca: Path | None = None) -> str:
    return f"""
[kafka.tls]
ca = "{ca or cluster.guard.brokers.certificate}"

[kafka.sasl]
mechanism = "SCRAM-SHA-512"
user = "{user}"
password_file = "{home / "password"}"
"""


def test_mutual_tls_with_an_unknown_authority_and_an_expired_certificate_until_both_are_replaced(
    home, cluster, ending, rights
):
    grant(rights, "post-mtls", "mtls")
    strangers = Authority(home / "strangers", "Strangers")
    ca = put(home / "ca.crt", strangers.certificate.read_text())
    certificate, key = home / "own.crt", home / "own.key"
    for file, issued in zip((certificate, key), cluster.guard.clients.issue("post-mtls", days=-1)):
        put(file, issued.read_text())
    secured = f'[kafka.tls]\nca = "{ca}"\ncertificate = "{certificate}"\nkey = "{key}"\n'
    post = Post(home, cluster, "MUTUAL", "mtls", secured)
    ending(post.end)
    checked = run("check", "--config", post.config)
    assert checked.returncode == 1 and "own.crt: expired on" in checked.stderr, checked

    post.start()
    air = post.send("air", 500)
    post.wait_denied("tls", "self-signed certificate in certificate chain")
    put(ca, cluster.guard.brokers.certificate.read_text())
    post.wait("the expired certificate is told", lambda: "expired" in post.health().get("reason", ""))
    # Key and certificate are replaced one after the other, as they are in life: for a moment they do not belong together.
    new_certificate, new_key = cluster.guard.clients.issue("post-mtls")
    put(key, new_key.read_text())
    time.sleep(2.5)
    put(certificate, new_certificate.read_text())
    post.judge([air])
    assert run("check", "--config", post.config).returncode == 0

    for topics in ("mtls", "audit-trail", "dead-letters"):
        rights.grant_reading("post-mtls", topics)
    ledger = ["--ledger", air.ledger_path, "--topic", "mtls-air"]
    audited = run("audit", "--config", post.config, *ledger, "--json")
    assert audited.returncode == 0, audited
    flags = ["--bootstrap", cluster.door("MUTUAL"), "--ca", ca, "--cert", certificate, "--key", key]
    assert run("audit", *flags, *ledger).returncode == 0
    stranger = run("audit", "--bootstrap", cluster.door("MUTUAL"), "--ca", strangers.certificate, *ledger)
    assert stranger.returncode == 2 and "does not let us in" in stranger.stderr, stranger


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_a_password_that_is_revoked_under_load_and_then_put_right_costs_nothing(delivery, home, cluster, ending, rights):
    prefix = f"scram-{delivery}"
    user = f"post-{prefix}"
    rights.set_password(user, SECRET)
    grant(rights, user, prefix, delivery)
    password = put(home / "password", "not-this-one\n")
    post = Post(home, cluster, "SASL", prefix, scram(home, cluster, user), delivery)
    ending(post.end)
    post.start()
    air = post.send("air", 1_500, rate=60)
    post.wait_denied("login", "SASL authentication error")
    put(password, f"{SECRET}\n")
    post.wait("the right password is taken up", lambda: post.delivered() > 100)
    assert post.metrics()["lamppost_forward_denied"] == 0

    rights.set_password(user, OTHER_SECRET)
    post.wait("the revoked password is felt", lambda: post.metrics()["lamppost_forward_denied"] == 1)
    put(password, OTHER_SECRET)
    post.judge([air])
    for secret in (SECRET, OTHER_SECRET, "not-this-one"):
        post.tells_no(secret)

    wrong = put(home / "wrong", "wrong\n")
    flags = ["--bootstrap", cluster.door("SASL"), "--ca", cluster.guard.brokers.certificate, "--user", user]
    began = time.monotonic()
    audited = run("audit", *flags, "--password-file", wrong)
    assert audited.returncode == 2 and "does not let us in" in audited.stderr, audited
    assert "SASL authentication error" in audited.stderr and time.monotonic() - began < 15


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_rights_that_are_revoked_under_load_pause_that_topic_alone_until_they_are_back(delivery, home, cluster, ending, rights):
    prefix = f"acl-{delivery}"
    user, air = f"post-{prefix}", f"{prefix}-air"
    rights.set_password(user, SECRET)
    grant(rights, user, air, delivery)
    grant(rights, user, f"{prefix}-noise", delivery)
    put(home / "password", SECRET)
    post = Post(home, cluster, "SASL", prefix, scram(home, cluster, user), delivery)
    ending(post.end)
    post.start()
    senders = [post.send("air", 1_000, rate=60), post.send("noise", 1_000, rate=60)]
    post.wait("both topics flow", lambda: post.delivered() > 200)

    rights.revoke_writing(user, air)
    post.wait("the topic is paused", lambda: post.metrics()["lamppost_forward_paused_topics"] == 1)
    assert air in post.health()["reason"] and "uthorization" in post.health()["reason"]
    before = post.delivered()
    post.wait("the other topic goes on", lambda: post.delivered() > before + 100)
    assert post.metrics()["lamppost_forward_paused_topics"] == 1
    rights.grant_writing(user, air)
    post.judge(senders)
    assert post.metrics()["lamppost_forward_paused_topics"] == 0


def test_without_the_right_to_its_transactions_nothing_goes_and_that_is_said_until_it_is_back(home, cluster, ending, rights):
    user, transactions = "post-rights", "lamppost-post-rights-forward"
    rights.set_password(user, SECRET)
    grant(rights, user, "rights", "exactly-once")
    rights.revoke_transactions(user, transactions)
    put(home / "password", SECRET)
    post = Post(home, cluster, "SASL", "rights", scram(home, cluster, user), "exactly-once")
    ending(post.end)
    post.start()
    air = post.send("air", 1_500, rate=60)
    post.wait("that it may not is told", lambda: "uthorization" in post.health().get("reason", ""))
    assert post.delivered() == 0
    print(post.health())
    rights.grant_transactions(user, transactions)
    post.wait("it goes", lambda: post.delivered() > 100)
    rights.revoke_transactions(user, transactions)
    post.wait("that it may not any more is told", lambda: "uthorization" in post.health().get("reason", ""))
    rights.grant_transactions(user, transactions)
    post.judge([air])


def test_brokers_whose_certificates_have_expired_get_no_event_and_no_password(home, cluster, ending, rights):
    put(home / "password", SECRET)
    post = Post(home, cluster, "EXPIRED", "expired", scram(home, cluster, "post-expired"))
    ending(post.end)
    post.start()
    wait_for_all([post.send("air", 50)], timeout_s=60)
    post.wait_denied("tls", "certificate has expired")
    assert post.delivered() == 0


def test_plain_over_tls_is_let_in(home, cluster, ending, rights):
    grant(rights, PLAIN_USER, "plain")
    put(home / "password", PLAIN_PASSWORD)
    secured = scram(home, cluster, PLAIN_USER).replace("SCRAM-SHA-512", "PLAIN")
    post = Post(home, cluster, "SASL", "plain", secured)
    ending(post.end)
    post.start()
    post.judge([post.send("air", 200), post.send("noise", 200)])
    post.tells_no(PLAIN_PASSWORD)
