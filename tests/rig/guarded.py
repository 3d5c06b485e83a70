"""The cluster's guarded doors: listeners with TLS and SASL beside the open one, users with passwords, and rights.

Who comes by the open listener is nobody (User:ANONYMOUS) and may do everything: all other stories. Who comes by a guarded one may do
what was granted here, and nothing else.
"""

import time
from pathlib import Path
from typing import Callable, Iterable

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from rig.authority import Authority

DOORS = ("MUTUAL", "SASL", "EXPIRED")
"""Mutual TLS; SASL over TLS; SASL over TLS by brokers whose certificates have expired."""
PLAIN_USER, PLAIN_PASSWORD = "plain-post", "in-the-clear"
_REAUTHENTICATE_MS = 4_000
"""So long a login lasts: a changed password is felt soon, on connections that stand too."""
_WRITE = (AclOperation.WRITE, AclOperation.DESCRIBE, AclOperation.CREATE, AclOperation.DESCRIBE_CONFIGS)
_READ = (AclOperation.READ, AclOperation.DESCRIBE)
_IN_TRANSACTIONS = (AclOperation.WRITE, AclOperation.DESCRIBE)


class Guard:
    """The authorities, and what brokers are told of the doors."""

    def __init__(self, home: Path) -> None:
        self.brokers = Authority(home / "brokers", "Brokers of the rig")
        self.clients = Authority(home / "clients", "Clients of the rig")
        self._good = self.brokers.keystore("kafka")
        self._expired = self.brokers.keystore("kafka-of-yesterday", days=-1)

    def configuration(self) -> list[str]:
        """The lines of server.properties for the doors, but for their ports."""
        lines = [
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users=User:ANONYMOUS",
            "ssl.principal.mapping.rules=RULE:^CN=([^,]+).*$/$1/",
        ]
        for door in DOORS:
            own = f"listener.name.{door.lower()}"
            store = self._expired if door == "EXPIRED" else self._good
            lines += [f"{own}.ssl.keystore.type=PEM", f"{own}.ssl.keystore.location={store}"]
            lines += [f"{own}.ssl.truststore.type=PEM", f"{own}.ssl.truststore.location={self.clients.certificate}"]
            lines += [f"{own}.ssl.client.auth={'required' if door == 'MUTUAL' else 'none'}"]
            if door == "MUTUAL":
                continue
            modules = "org.apache.kafka.common.security"
            plain = f'{modules}.plain.PlainLoginModule required user_{PLAIN_USER}="{PLAIN_PASSWORD}";'
            lines += [f"{own}.sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN"]
            lines += [f"{own}.plain.sasl.jaas.config={plain}"]
            lines += [f"{own}.connections.max.reauth.ms={_REAUTHENTICATE_MS}"]
            for scram in ("scram-sha-256", "scram-sha-512"):
                lines += [f"{own}.{scram}.sasl.jaas.config={modules}.scram.ScramLoginModule required;"]
        return lines


class Rights:
    """Users and what they may, changed by way of the open listener. Returns once the brokers act on it."""

    def __init__(self, bootstrap: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})

    def set_password(self, user: str, password: str) -> None:
        """For both mechanisms of SCRAM, in place of what it was."""
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            upsertion = UserScramCredentialUpsertion(user, ScramCredentialInfo(mechanism, 4096), password.encode())
            for future in self._admin.alter_user_scram_credentials([upsertion]).values():
                future.result(30)

    def grant_writing(self, user: str, topic_prefix: str) -> None:
        self._change(self._admin.create_acls, self._bindings(user, topic_prefix, _WRITE))

    def grant_reading(self, user: str, topic_prefix: str) -> None:
        self._change(self._admin.create_acls, self._bindings(user, topic_prefix, _READ))

    def grant_transactions(self, user: str, transactional_id: str) -> None:
        self._change(self._admin.create_acls, self._in_transactions(user, transactional_id))

    def revoke_writing(self, user: str, topic_prefix: str) -> None:
        self._revoke(self._bindings(user, topic_prefix, _WRITE))

    def revoke_transactions(self, user: str, transactional_id: str) -> None:
        self._revoke(self._in_transactions(user, transactional_id))

    def _revoke(self, bindings: list[AclBinding]) -> None:
        filters = [
            AclBindingFilter(b.restype, b.name, b.resource_pattern_type, b.principal, b.host, b.operation, b.permission_type)
            for b in bindings
        ]
        self._change(self._admin.delete_acls, filters)

    def _in_transactions(self, user: str, transactional_id: str) -> list[AclBinding]:
        return self._bindings(user, transactional_id, _IN_TRANSACTIONS, ResourceType.TRANSACTIONAL_ID)

    @staticmethod
    def _bindings(
        user: str, prefix: str, operations: Iterable[AclOperation], of: ResourceType = ResourceType.TOPIC
    ) -> list[AclBinding]:
        allow, by_prefix = AclPermissionType.ALLOW, ResourcePatternType.PREFIXED
        return [AclBinding(of, prefix, by_prefix, f"User:{user}", "*", op, allow) for op in operations]

    @staticmethod
    def _change(call: Callable, what: list) -> None:
        # A controller that is being elected anew answers with an error: once more.
        for attempt in range(5):
            try:
                for future in call(what).values():
                    future.result(30)
                return
            except KafkaException:
                if attempt == 4:
                    raise
                time.sleep(1)
