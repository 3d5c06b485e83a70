"""What the mock cluster can't do, by the real one: topics that the forwarder has to make, records that a broker refuses."""

import os
import subprocess

from rig.places import ROOT

# Of the whole workspace, as the step `test` builds it: alone, the crate has other features, and OpenSSL and librdkafka are built anew.
TESTS = ["cargo", "test", "--locked", "--workspace", "--test", "real", "--", "--ignored", "--nocapture"]


def test_the_forwarder_makes_its_topics_and_buries_what_a_broker_refuses(cluster):
    cluster.ensure_running()
    environment = os.environ | {"KAFKA_BOOTSTRAP": cluster.bootstrap}
    run = subprocess.run(TESTS, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    print(run.stdout)
    assert run.returncode == 0, run.stdout[-4000:]
    assert "4 passed; 0 failed; 0 ignored" in run.stdout, run.stdout[-4000:]
