"""The faster clock: what is read of the time is ahead, and every way to wait that the gateway uses ends sooner."""

import sys
import time

import pytest

from rig.fast_clock import FastClock

pytestmark = pytest.mark.needs("fast-clock")

SPEED = 500

# Each way waits 500 simulated seconds, and tells what it waited by both clocks.
_WAITS = """
import ctypes, os, select, time

class Timespec(ctypes.Structure):
    _fields_ = [("s", ctypes.c_long), ("ns", ctypes.c_long)]

libc = ctypes.CDLL(None)

def futex():
    until = Timespec(int(time.monotonic()) + 500, 0)
    word = ctypes.c_uint32(0)
    # FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, as Rust's standard library waits.
    libc.syscall(ctypes.c_long(202), ctypes.byref(word), ctypes.c_long(9 | 128), ctypes.c_long(0), ctypes.byref(until), None, ctypes.c_long(0xFFFFFFFF))

def condition(wait):
    cond, mutex, until = ctypes.create_string_buffer(48), ctypes.create_string_buffer(40), Timespec(int(time.time()) + 500, 0)
    libc.pthread_mutex_lock(mutex)
    wait(cond, mutex, ctypes.byref(until))

waits = {
    "sleep": lambda: time.sleep(500),
    "futex": futex,
    "pthread_cond_timedwait": lambda: condition(libc.pthread_cond_timedwait),
    "cnd_timedwait": lambda: condition(libc.cnd_timedwait),
    "epoll": lambda: select.epoll().poll(500),
    "poll": lambda: select.poll().poll(500_000),
    "select": lambda: select.select([], [], [], 500),
}
for name, wait in waits.items():
    before = time.monotonic(), time.time()
    wait()
    print(name, time.monotonic() - before[0], time.time() - before[1])
"""


def test_time_passes_faster_for_each_way_to_wait():
    clock = FastClock(SPEED, 0, 1_000_000_000)
    began = time.monotonic()
    told = clock.run(sys.executable, "-c", _WAITS)
    real_s = time.monotonic() - began
    assert told.returncode == 0, told.stderr
    waits = {name: (float(monotonic), float(wall)) for name, monotonic, wall in (line.split() for line in told.stdout.splitlines())}
    assert len(waits) == 7, waits
    # All that was waited fits into the real time that passed; at ordinary speed each alone would not.
    assert all(498 <= monotonic for monotonic, _ in waits.values()), waits
    assert sum(monotonic for monotonic, _ in waits.values()) <= real_s * SPEED, (waits, real_s)
    assert all(abs(monotonic - wall) < 5 for monotonic, wall in waits.values()), waits


def test_before_its_beginning_time_passes_as_it_does_and_processes_share_it():
    clock = FastClock(SPEED, 3600, 1_000_000_000)
    told = clock.run(sys.executable, "-c", "import time; before = time.monotonic(); time.sleep(0.2); print(time.monotonic() - before, time.time())")
    slept, wall = (float(word) for word in told.stdout.split())
    assert 0.2 <= slept < 5
    assert 1_000_000_000 - 3600 < wall < 1_000_000_000 - 3500
    assert -3600 < clock.now_s() < -3500
