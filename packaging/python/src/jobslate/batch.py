"""What a call leaves in the queue, and how a batch is made of it."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Callable, Optional, Union

from .errors import JobslateError
from .problems import InvalidUpdate
from .threads import Gate
from .update import line_of

#: job_id, status, error, the time of the call in ns, and all other fields.
Entry = tuple[str, Optional[str], Optional[str], int, Optional[dict[str, Any]]]
#: An entry, or a flush that waits for all that stands before it.
Queued = Union[Entry, "Flush"]

#: Outside of these, a clock is not set, and the server's counts: 1973 and 2200, in milliseconds.
AT_MS_MIN = 100_000_000_000
AT_MS_END = 7_258_118_400_000

#: Texts up to this length count as nothing but an entry; longer ones count their length.
SHORT = 256

#: What begins a job, for the log.
STARTING = frozenset({"processing", "running", "started"})


@dataclass(frozen=True)
class Batch:
    """What one request carries: its idempotency key, and its updates as lines of NDJSON."""

    key: str
    body: bytes
    updates: int

    def halves(self) -> tuple[Batch, Batch]:
        """The same updates in two batches; each half has the same key every time it is made."""
        lines = self.body.splitlines(keepends=True)
        middle = len(lines) // 2
        first, second = lines[:middle], lines[middle:]
        return (
            Batch(f"{self.key}.0", b"".join(first), len(first)),
            Batch(f"{self.key}.1", b"".join(second), len(second)),
        )


@dataclass(eq=False)
class Flush:
    """A mark in the queue; it is reached when all that stands before it was answered."""

    #: Updates that were lost before, and of which somebody was told.
    lost_before: int
    reached: Gate = field(default_factory=Gate)
    is_durable: bool = False


@dataclass
class Formed:
    """What was taken from the queue at a time."""

    lines: list[bytes] = field(default_factory=list)
    bytes: int = 0
    #: What ``long_bytes`` counted of them when they were queued.
    long_bytes: int = 0
    starts: list[str] = field(default_factory=list)
    flush: Flush | None = None


class Times:
    """The times of a process, which never go back: from one thread or updater to the next."""

    def __init__(self) -> None:
        self._last_ms = 0
        self._lock = threading.Lock()

    def next_ms(self, now_ms: int) -> int:
        """Now, or the last time that was given, if that is later."""
        with self._lock:
            self._last_ms = max(now_ms, self._last_ms)
            return self._last_ms

    def after_fork(self) -> None:
        """Another thread of the parent may have held the lock, and does not exist here."""
        self._lock = threading.Lock()


times = Times()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=times.after_fork)


class Former:
    """Makes lines of entries, with times that never go back in the order of the queue."""

    def __init__(
        self, refuse: Callable[[JobslateError, dict[str, Any]], None], *, notes_starts: bool
    ) -> None:
        self._refuse = refuse
        self._notes_starts = notes_starts

    def take(self, queue: deque[Queued], updates_max: int, bytes_max: int) -> Formed:
        """Takes entries up to one of the bounds, or up to a flush."""
        formed = Formed()
        while len(formed.lines) < updates_max and formed.bytes < bytes_max:
            try:
                entry = queue.popleft()
            except IndexError:
                break
            if isinstance(entry, Flush):
                formed.flush = entry
                break
            formed.long_bytes += long_bytes(entry)
            line = self._line(entry)
            if line is None:
                continue
            formed.lines.append(line)
            formed.bytes += len(line)
            if self._notes_starts and entry[1] in STARTING:
                formed.starts.append(entry[0])
        return formed

    def _line(self, entry: Entry) -> bytes | None:
        job_id, status, error, called_at_ns, others = entry
        fields: dict[str, Any] = {"job_id": job_id}
        if status is not None:
            fields["status"] = status
        if error is not None:
            fields["error"] = error
        if others is not None:
            fields.update(others)
        if "at" not in fields:
            at_ms = called_at_ns // 1_000_000
            if AT_MS_MIN <= at_ms < AT_MS_END:
                fields["at"] = times.next_ms(at_ms)
        try:
            return line_of(fields)
        except JobslateError as problem:
            self._refuse(problem, fields)
        except Exception as problem:  # noqa: BLE001 - one update must not take others with it
            self._refuse(InvalidUpdate.invalid(f"{type(problem).__name__}: {problem}"), fields)
        return None


def entry_of(
    job_id: str, status: str | None, error: str | None, others: dict[str, Any] | None
) -> Entry:
    """An entry of now."""
    return (job_id, status, error, time.time_ns(), others)


def long_bytes(entry: Entry) -> int:
    """What the long texts of an entry hold, roughly; few are long."""
    error, others = entry[2], entry[4]
    count = 0 if error is None or len(error) <= SHORT else len(error)
    if others is not None:
        for value in others.values():
            if type(value) is str and len(value) > SHORT:
                count += len(value)
        labels = others.get("labels")
        if type(labels) is dict:
            count += sum(len(name) + len(value or "") for name, value in labels.items())
    return count
