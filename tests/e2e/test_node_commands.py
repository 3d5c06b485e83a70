"""An operator commands a node over the gateway's control socket: the emulated board's real firmware obeys, and nobody else may ask."""

import json
import os
import socket
import stat
import time

import pytest

from rig.board import Board, firmware_image
from rig.gateway import Gateway, run

CONFIG = """
[[serial]]
name = "board"
port = "{port}"
protocol = "link"

[[serial]]
name = "absent"
port = "/dev/serial/by-id/nothing-there"

[[route]]
from = "link/{{device}}/{{measure}}"
topic = "board-readings"
"""

CAME = 'lamppost_link_readings_total{source="board"}'


def until(what: str, look, timeout_s: float = 40):
    deadline = time.monotonic() + timeout_s
    while not (seen := look()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.1)
    return seen


def node(post, *args: object) -> tuple[int, dict]:
    ran = run("node", *args, "--config", post.config, "--json")
    assert ran.stdout, ran.stderr
    return ran.returncode, json.loads(ran.stdout)


def there(post) -> dict:
    status, answer = node(post, "ls")
    assert status == 0
    return {port["source"]: port for port in answer["ports"]}


def intervals_ms(post, readings: int) -> list[int]:
    """Between the next so many readings, by the board's own clock, which is slow where this machine is busy."""
    enough = post.metrics()[CAME] + readings + 1
    until(f"{readings} more readings have come", lambda: post.metrics()[CAME] >= enough, 120)
    uptimes = [json.loads(event["payload"])["uptime_ms"] for event in post.stored("board-readings")][-readings - 1 :]
    return [after - before for before, after in zip(uptimes, uptimes[1:])]


@pytest.mark.needs("qemu")
def test_an_operator_sets_an_interval_of_a_node_and_resets_it_and_is_told_what_came_of_it(home, ending):
    board = Board(firmware_image(), home)
    ending(board.stop)
    board.keep_warming()
    # No cluster is needed for this, and none is there.
    post = Gateway(home, "command", "127.0.0.1:9", CONFIG.format(port=board.port))
    ending(post.end)
    post.start()
    # As many readings as the board keeps may come at first.
    until("the node is connected", lambda: there(post)["board"]["state"] == "connected")
    ports = there(post)
    device, boot = ports["board"]["node"]["device"], ports["board"]["node"]["boot"]
    assert ports["board"]["node"]["measures"] == [{"name": "temperature", "unit": "Cel"}]
    assert ports["board"]["node"]["can"] == ["set_interval", "reset"]
    assert ports["board"]["node"]["firmware"].startswith("lm3s6965evb ")
    assert ports["board"]["heard_ago_ms"] < 15_000 and ports["board"]["counters"]["readings"] > 0
    assert (ports["absent"]["state"], ports["absent"]["node"]) == ("nobody", None)
    assert "nothing-there" in ports["absent"]["last_error"]

    # Five readings a second by the firmware's own interval; then one in two seconds.
    until("what it kept has come", lambda: there(post)["board"]["node"]["kept"] < 5)
    usual = intervals_ms(post, 8)
    status, answer = node(post, "set-interval", device, 2)
    assert (status, answer["answer"], answer["measures"], answer["boot"]) == (0, "done", ["temperature"], boot), answer
    # What was on its way when the answer came is of the interval before.
    seldom = intervals_ms(post, 5)[2:]
    print(f"\nms between readings before: {usual}; after: {seldom}")
    assert all(abs(ms - 200) <= 20 for ms in usual) and all(abs(ms - 2000) <= 20 for ms in seldom)

    # What can't be done is told, and why.
    for args, why in [
        (["identify", device], "unsupported"),
        (["set-interval", device, 5, "--measure", "pressure"], "no_such_measure"),
        (["reset", "nobody"], "not_connected"),
    ]:
        status, answer = node(post, *args)
        assert (status, answer["answer"], answer["why"]) == (1, "failed", why), answer

    # A reset begins another life, at the firmware's own interval again.
    status, answer = node(post, "reset", device)
    assert (status, answer["boot"]) == (0, boot) and answer["boot_now"] not in (None, boot), answer
    assert there(post)["board"]["node"]["boot"] == answer["boot_now"]
    assert all(abs(ms - 200) <= 20 for ms in intervals_ms(post, 8))
    metrics = post.metrics()
    assert metrics['lamppost_link_commands_total{source="board",outcome="done"}'] == 2
    shown = run("node", "ls", "--config", post.config)
    assert device in shown.stdout and "temperature (Cel)" in shown.stdout, shown

    # For the gateway's own user and group alone.
    control = post.state_dir / "control.sock"
    assert stat.S_IMODE(os.stat(control).st_mode) == 0o660
    os.chmod(control.parent, 0o711)
    if os.getuid() == 0:
        assert asked_as_nobody(control) == 13, "EACCES"

    # Without an answer nobody knows: the board stands still (QEMU is stopped), the port stays open.
    board.pause()
    status, answer = node(post, "set-interval", device, 3)
    assert (status, answer["why"]) == (2, "timed_out"), answer
    board.go_on()

    # A killed gateway's socket is taken over by the next; a stopped one's is gone.
    post.kill()
    assert run("node", "ls", "--config", post.config).returncode == 2
    post.start()
    until("the node is back", lambda: there(post)["board"]["state"] == "connected")
    assert post.stop() == 0
    assert not control.exists()
    told = run("node", "ls", "--config", post.config)
    assert told.returncode == 2 and "no gateway listens" in told.stderr, told


def asked_as_nobody(control) -> int:
    """What the kernel says to a user who is neither the gateway's nor in its group; 0 if it lets it in."""
    child = os.fork()
    if child == 0:
        os.chdir(control.parent)
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        try:
            socket.socket(socket.AF_UNIX).connect(control.name)
        except OSError as error:
            os._exit(error.errno)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
