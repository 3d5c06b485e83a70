"""A child process that never outlives the rig: the kernel ends it with its parent (PR_SET_PDEATHSIG), whatever ends
the parent. Only what was started here is ever signalled."""

import atexit
import ctypes
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Mapping, Optional, Sequence

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIVING: set["Child"] = set()


def die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """One process; its output goes to a file, by which it is also known in error messages."""

    def __init__(
        self,
        args: Sequence[object],
        log: Path,
        env: Optional[Mapping[str, str]] = None,
        cwd: Optional[Path] = None,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        # The death signal is tied to the thread that forked: a short-lived thread would take the child with it.
        assert threading.current_thread() is threading.main_thread(), "children are started from the main thread"
        self.args = [str(arg) for arg in args]
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            self._popen = subprocess.Popen(
                self.args,
                stdin=stdin,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                preexec_fn=die_with_parent,
                # Ctrl-C reaches the rig alone, which then ends its children in its own order.
                start_new_session=True,
            )
        _LIVING.add(self)

    @property
    def pid(self) -> int:
        return self._popen.pid

    def alive(self) -> bool:
        return self._popen.poll() is None

    def status(self) -> Optional[int]:
        """Its exit status, negative for a signal; None while it lives."""
        return self._popen.poll()

    def signal(self, number: int) -> None:
        if self.alive():
            self._popen.send_signal(number)

    def wait(self, timeout_s: float) -> int:
        """Its exit status. Raises TimeoutError with the end of its log."""
        try:
            status = self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.args[0]} still runs after {timeout_s} s; its log ends\n{self.tail()}") from None
        _LIVING.discard(self)
        return status

    def stop(self, timeout_s: float = 20) -> int:
        """SIGTERM, and SIGKILL if that is not heard in time."""
        self.signal(signal.SIGTERM)
        try:
            return self.wait(timeout_s)
        except TimeoutError:
            return self.kill()

    def kill(self) -> int:
        self.signal(signal.SIGKILL)
        return self.wait(20)

    def tail(self, lines: int = 25) -> str:
        """The end of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def rss_mib(self) -> float:
        """Resident memory of the process, in MiB; 0 when it is gone."""
        try:
            fields = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        except OSError:
            return 0.0
        kib = [int(field.split()[1]) for field in fields if field.startswith("VmRSS:")]
        return kib[0] / 1024 if kib else 0.0


@atexit.register
def end_all() -> None:
    """Ends every child that still lives."""
    for child in list(_LIVING):
        child.signal(signal.SIGKILL)
    for child in list(_LIVING):
        child.wait(20)
