"""What threads wait on here, safe in a signal handler that interrupts the same thread.

``threading.Event`` is not: its lock is held for a moment by whoever sets it, and a handler that
runs in that moment waits for ever.
"""

from __future__ import annotations

import contextlib
import threading
import time


class Gate:
    """Opened once; any number may wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self.is_open = False

    def open(self) -> None:
        """Lets all pass."""
        self.is_open = True
        _release(self._lock)

    def wait(self, timeout_s: float) -> bool:
        """True if it is open within ``timeout_s`` seconds."""
        if not self.is_open and self._lock.acquire(timeout=bounded(timeout_s)):
            # For the next who waits.
            _release(self._lock)
        return self.is_open


class Bell:
    """Wakes one thread; a ring before it sleeps is not lost, many rings are one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        """Wakes the sleeper, or the next one."""
        _release(self._lock)

    def sleep(self, timeout_s: float | None) -> None:
        """Sleeps until it rings, at most ``timeout_s`` seconds."""
        self._lock.acquire(timeout=-1 if timeout_s is None else bounded(timeout_s))


def bounded(timeout_s: float) -> float:
    """A timeout that a lock takes."""
    return min(max(timeout_s, 0.0), threading.TIMEOUT_MAX)


def until(moment: float) -> float:
    """Seconds until a moment of the monotonic clock."""
    return moment - time.monotonic()


def _release(lock: threading.Lock) -> None:
    # It may be free already.
    with contextlib.suppress(RuntimeError):
        lock.release()
