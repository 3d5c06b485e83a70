"""A faster clock for an unmodified program: clock/fast.c, built and put before the C library."""

import os
import platform
import subprocess
import time
from pathlib import Path

from rig.course import Course
from rig.places import RIG, ROOT

_SOURCE = ROOT / "tests" / "rig" / "clock" / "fast.c"


def _library() -> Path:
    if platform.machine() != "x86_64":
        raise RuntimeError("the fast clock knows x86-64 alone (clock/fast.c); LAMPPOST_WITHOUT=fast-clock,week leaves out by name what needs it")
    built = RIG / "clock" / "fast.so"
    built.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", built, _SOURCE, "-ldl"], check=True)
    return built


class FastClock:
    """Simulated time for processes that are started with its environment: as it is until `peace_s` from now, then `speed` times as fast."""

    def __init__(self, speed: int, peace_s: float, wall_s: float) -> None:
        """`wall_s`: what the wall clock shows when it becomes fast, seconds since 1970."""
        zero_ns = time.monotonic_ns() + int(peace_s * 1e9)
        self.course = Course(zero_ns, int(wall_s * 1e9), speed)
        self._library = _library()

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(self._library),
            "LAMPPOST_CLOCK_SPEED": str(self.course.speed),
            "LAMPPOST_CLOCK_ZERO_NS": str(self.course.zero_ns),
            "LAMPPOST_CLOCK_WALL_NS": str(self.course.wall_ns),
        }

    def now_s(self) -> float:
        """Simulated seconds since it became fast; negative before."""
        passed = (time.monotonic_ns() - self.course.zero_ns) / 1e9
        return passed * self.course.speed if passed > 0 else passed

    def run(self, *command: object, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """A program that lives in this time."""
        environment = {**os.environ, **self.environment}
        return subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True, timeout=timeout_s)
