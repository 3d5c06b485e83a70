"""What `lamppost audit` says of a story: the gateway's own judge, beside the rig's."""

import json
from typing import Iterable

from rig.gateway import run
from rig.sending import Sender


def audited(bootstrap: str, gateway: str, topics: Iterable[str], senders: Iterable[Sender] = (), *options: str) -> tuple[int, dict]:
    """Its exit status and its report of that gateway, by these senders' ledgers; that it could not judge at all is an error. What other stories'
    gateways have in the same cluster is not ours to judge: one of them has damage. Our senders write their id into the payload too: MQTT 3.1.1 has no
    other place."""
    named = [argument for topic in topics for argument in ("--topic", topic)]
    ledgers = [argument for sender in senders for argument in ("--ledger", sender.ledger_path)]
    ended = run("audit", "--bootstrap", bootstrap, "--gateway", gateway, *named, *ledgers, "--payload-id", "id", "--json", *options, timeout_s=900)
    assert ended.stdout, ended.stderr
    return ended.returncode, json.loads(ended.stdout.splitlines()[-1])
