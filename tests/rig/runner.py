"""Runs steps one after the other, goes on after a failed one, and ends with one summary. Standard library only: it runs
before anything has been fetched."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Sequence

from rig import needs
from rig.child import die_with_parent
from rig.places import RIG, ROOT
from rig.steps import Step

_LOGS = RIG / "run"
_TAIL_LINES = 60
_CARGO = re.compile(r"^test result: .*?(\d+) passed; (\d+) failed; (\d+) ignored", re.M)
_PYTEST = re.compile(
    r"^=*\s*((?:\d+ (?:passed|failed|skipped|error|errors|warnings?|deselected)[, ]*)+) in [\d.]+s.*$", re.M
)


@dataclass
class Result:
    """What became of a step. A step without tests of its own counts as one."""

    step: str
    word: str
    seconds: float
    passed: int = 0
    failed: int = 0
    skipped: int = 0


class Runner:
    def __init__(self, steps: Sequence[Step], left_out: set[str]) -> None:
        self._steps = steps
        self._left_out = left_out

    def run(self) -> int:
        """0 if nothing failed."""
        signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        _LOGS.mkdir(parents=True, exist_ok=True)
        results = []
        try:
            wanted = [step for step in self._steps if step.name not in self._left_out]
            results.append(self._prepare(wanted))
            for step in self._steps:
                results.append(self._step(step))
        except KeyboardInterrupt:
            results.append(Result("(stopped)", "FAILED", 0, failed=1))
        return self._summary([result for result in results if result is not None])

    def _prepare(self, wanted: Sequence[Step]) -> Optional[Result]:
        """Says what is going to be done, and fetches what is missing."""
        names = sorted({need for step in wanted for need in step.needs if need not in self._spared(step)})
        missing = needs.missing_packages(names)
        print(f"steps: {', '.join(step.name for step in wanted)}")
        if missing:
            print(f"missing on this machine, to be installed with apt-get: {' '.join(missing)}")
        if "python" in names and not needs.python_ready():
            print(f"to be fetched from PyPI into {RIG / 'venv'}: what tests/rig/requirements.txt names")
        libs = [RIG / "kafka" / folder / "pom.xml" for folder in ("libs", "dump-libs")]
        if "maven" in names and not all(stamp.exists() for stamp in libs):
            print(f"to be fetched from Maven Central into {RIG / 'kafka'}: Apache Kafka")
        if "maven" in names and not (RIG / "registry").exists():
            print(f"to be fetched from Maven Central into {RIG / 'registry'}: Apicurio Registry")
        if "node" in names and not (RIG / "node" / "node_modules" / "mqtt").exists():
            print(f"to be fetched from npm into {RIG / 'node'}: MQTT.js")
        if "pico" in names and not (RIG / "pico" / "node_modules" / "rp2040js").exists():
            print(f"to be fetched from npm into {RIG / 'pico'}: rp2040js")
        print("cargo fetches crates from crates.io as it builds; but for packages and caches, all stays under target/")
        if not names:
            return None
        fetch = f"{sys.executable} -m rig.needs {' '.join(names)}"
        return self._step(Step("fetch", "what is missing", (fetch,), environment={"PYTHONPATH": str(ROOT / "tests")}))

    def _spared(self, step: Step) -> set[str]:
        """What the step can do without, since something was left out by name or a cluster was brought."""
        spared = {need for name in self._left_out for need in step.spares.get(name, ())}
        return spared | ({"java", "maven"} if os.environ.get("KAFKA_BOOTSTRAP") else set())

    def _step(self, step: Step) -> Result:
        if step.name in self._left_out:
            print(f"{step.name:<10} skipped: left out by LAMPPOST_WITHOUT", flush=True)
            return Result(step.name, "skipped", 0, skipped=1)
        print(f"{step.name:<10} {step.what} ...", flush=True)
        log, started = _LOGS / f"{step.name}.log", time.monotonic()
        status = _run(step, log)
        result = _judge(step.name, status, log.read_text(errors="replace"), time.monotonic() - started)
        print(f"{step.name:<10} {result.word} after {result.seconds:.0f} s, log {log.relative_to(ROOT)}", flush=True)
        if result.failed:
            print("\n".join(log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]), flush=True)
        return result

    def _summary(self, results: Sequence[Result]) -> int:
        print(f"\n{'step':<12}{'result':<10}{'seconds':>8}{'passed':>8}{'failed':>8}{'skipped':>9}")
        for r in results:
            print(f"{r.step:<12}{r.word:<10}{r.seconds:>8.0f}{r.passed:>8}{r.failed:>8}{r.skipped:>9}")
        failed = sum(result.failed for result in results)
        skipped = sum(result.skipped for result in results)
        if skipped:
            print(f"{skipped} skipped or ignored; the logs in {_LOGS.relative_to(ROOT)} say which and why")
        print(f"{sum(result.passed for result in results)} passed, {failed} failed", flush=True)
        return 1 if failed else 0


def _run(step: Step, log: Path) -> int:
    """Runs the step's lines; the first status that is not 0, or 0."""
    # `set -x` puts each line into the log before its output.
    script = "\n".join(f"( set -x; {command} ) || exit" for command in step.commands)
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(RIG / "pycache"), "TERM": "dumb", **step.environment}
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        try:
            return process.wait(step.minutes_max * 60)
        except subprocess.TimeoutExpired:
            out.write(f"\nstopped: it ran for more than {step.minutes_max} minutes\n".encode())
            _end(process)
            return 124
        except KeyboardInterrupt:
            _end(process)
            raise


def _end(process: subprocess.Popen) -> None:
    """Ends the step and what it has started: first as Ctrl-C would, so that it can clear up."""
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _judge(name: str, status: int, log: str, seconds: float) -> Result:
    passed = failed = skipped = 0
    for found in _CARGO.finditer(log):
        passed, failed, skipped = passed + int(found[1]), failed + int(found[2]), skipped + int(found[3])
    for found in _PYTEST.finditer(log):
        counts = {word: int(count) for count, word in re.findall(r"(\d+) (\w+)", found[1])}
        passed += counts.get("passed", 0)
        failed += counts.get("failed", 0) + counts.get("error", 0) + counts.get("errors", 0)
        skipped += counts.get("skipped", 0)
    if status != 0:
        # Also where no test failed: something did not build, or ended too early.
        failed = max(failed, 1)
    elif passed + failed + skipped == 0:
        passed = 1
    return Result(name, "FAILED" if failed else "ok", seconds, passed, failed, skipped)
