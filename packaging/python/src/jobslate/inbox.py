"""The queue between the callers, who only append and ring, and the sender, who takes and sleeps.

There is no lock on the way of a call: appending to a ``deque`` is atomic, and all else that a call
does is to compare a length with ``wake_at``.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from .batch import Flush
from .threads import Bell

if TYPE_CHECKING:
    from .batch import Queued

#: Wakes nobody: a queue never gets so long.
NEVER = 1 << 62


class Inbox:
    """What callers and the sender share. Callers only append and ring."""

    def __init__(self, updates_max: int) -> None:
        self.entries: deque[Queued] = deque()
        #: Calls are refused from this length on.
        self.room = updates_max
        #: What long texts the queue was given (by callers), and what the sender took out.
        self.long_bytes_in = 0
        self.long_bytes_out = 0
        #: At least the updates that are neither here nor counted as held, for an instant.
        self.in_hand = 0
        #: The length from which on a caller wakes the sender; 1 also starts the thread.
        self.wake_at = 1
        self.bell = Bell()
        #: Those in the queue that somebody waits for.
        self.flushes: deque[Flush] = deque()
        #: Set together: store what stands before the mark; end when it is reached, or at that
        #: moment of the monotonic clock. What stands behind it is left to the next sender.
        self.stop_mark: Flush | None = None
        self.stop_by: float | None = None

    @property
    def updates(self) -> int:
        """The updates in the queue, without the marks."""
        # A mark is known a moment before it is queued.
        return max(len(self.entries) - len(self.flushes), 0)

    @property
    def is_full(self) -> bool:
        """True if no more updates may be taken."""
        return self.updates >= self.room

    def flush(self, lost_before: int) -> Flush:
        """A mark behind all that is queued: the one that stands there, or a new one."""
        try:
            last = self.entries[-1]
        except IndexError:
            last = None
        if isinstance(last, Flush) and last.lost_before == lost_before:
            return last
        flush = Flush(lost_before)
        self.append_flush(flush)
        return flush

    def append_flush(self, flush: Flush) -> None:
        """Makes a mark known, then queues it: one that is found in the queue is known."""
        self.flushes.append(flush)
        self.entries.append(flush)

    def ask_to_stop(self, mark: Flush, stop_by: float) -> Flush:
        """Queues ``mark`` as the place to end at; the mark that holds now.

        One at a time, under the lock of the updater: while a stop is under way another one joins
        it, and the earlier end of the two holds.
        """
        if self.stop_mark is not None:
            mark = self.stop_mark
            self.stop_by = min(stop_by, self.stop_by or stop_by)
        else:
            # In this order: a mark that is found in the queue is known to be that of the stop.
            self.stop_mark = mark
            self.append_flush(mark)
            self.stop_by = stop_by
        self.bell.ring()
        return mark

    def begin(self) -> None:
        """Forgets the last stop."""
        self.stop_mark = self.stop_by = None
