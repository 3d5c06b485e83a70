"""tests/run itself: what fails is said to have failed, and does not hide what comes after."""

import re

import pytest

from rig import runner
from rig.runner import Runner
from rig.steps import STEPS, TIERS, Step


@pytest.fixture(autouse=True)
def logs_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "_LOGS", tmp_path)
    monkeypatch.setattr(runner, "ROOT", tmp_path)


def last_line(capsys) -> str:
    return capsys.readouterr().out.splitlines()[-1]


def test_a_failed_step_fails_the_run_and_the_next_one_still_runs(capsys):
    status = Runner([Step("bad", "", ("echo before; exit 3", "echo never")), Step("good", "", ("true",))], set()).run()
    assert status == 1
    assert last_line(capsys) == "1 passed, 1 failed"


def test_a_good_run_ends_with_status_0(capsys):
    assert Runner([Step("good", "", ("true",))], set()).run() == 0
    assert last_line(capsys) == "1 passed, 0 failed"


def test_the_tests_of_cargo_and_pytest_are_counted(capsys, tmp_path):
    said = tmp_path / "said"
    said.write_text(
        "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s\n"
        "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n"
        "=========== 7 passed, 2 skipped in 61.00s (0:01:01) ===========\n"
    )
    assert Runner([Step("all", "", (f"cat {said}",))], set()).run() == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "22 passed, 0 failed"
    assert re.search(r"^all +ok +\d+ +22 +0 +3$", out, re.M), out


def test_a_failed_test_is_counted_as_such(capsys, tmp_path):
    said = tmp_path / "said"
    said.write_text("2 failed, 9 passed in 57.50s\n")
    assert Runner([Step("all", "", (f"cat {said}", "exit 1"))], set()).run() == 1
    assert last_line(capsys) == "9 passed, 2 failed"


def test_a_step_whose_tests_all_pass_and_that_ends_badly_has_failed(capsys, tmp_path):
    said = tmp_path / "said"
    said.write_text("9 passed in 57.50s\n")
    assert Runner([Step("all", "", (f"cat {said}", "exit 1"))], set()).run() == 1
    assert last_line(capsys) == "9 passed, 1 failed"


def test_a_step_that_hangs_is_ended_and_has_failed(capsys):
    assert Runner([Step("slow", "", ("sleep 1000",), minutes_max=0)], set()).run() == 1
    assert last_line(capsys) == "0 passed, 1 failed"


def test_a_step_that_is_left_out_is_reported_as_skipped(capsys):
    assert Runner([Step("good", "", ("false",)), Step("other", "", ("true",))], {"good"}).run() == 0
    out = capsys.readouterr().out
    assert re.search(r"^good +skipped +0 +0 +0 +1$", out, re.M), out


def test_every_step_belongs_to_a_tier_and_needs_what_is_known():
    assert {step.tier for step in STEPS} == {tier.name for tier in TIERS}
    assert len({step.name for step in STEPS}) == len(STEPS)
    assert {need for step in STEPS for need in step.needs} <= runner.needs.NEEDS.keys()


def test_of_what_a_need_has_several_parts_for_only_what_is_missing_is_installed(monkeypatch):
    here, away = runner.needs.Need(("here",), lambda: True), runner.needs.Need(("away",), lambda: False)
    monkeypatch.setitem(runner.needs.NEEDS, "both", (here, away))
    monkeypatch.setitem(runner.needs.NEEDS, "one", away)
    assert runner.needs.missing_packages(["both", "one"]) == ["away"]


def test_what_is_left_out_by_name_need_not_be_installed(monkeypatch):
    monkeypatch.delenv("KAFKA_BOOTSTRAP", raising=False)
    stories = next(step for step in STEPS if step.name == "stories")
    thumb = next(step for step in STEPS if step.name == "thumb")
    without_qemu = Runner([stories, thumb], {"qemu"})
    assert without_qemu._spared(stories) == {"qemu-arm", "thumb"}
    assert without_qemu._spared(thumb) == set()
    monkeypatch.setenv("KAFKA_BOOTSTRAP", "kafka.example:9092")
    assert {"java", "maven"} <= without_qemu._spared(stories)
