"""What ends a process, or doubles it: the updaters of it are told, and nothing queued is lost.

At the exit of the interpreter, at that of a child of ``multiprocessing`` and at SIGTERM they store
what is queued. After a fork those of the child begin anew: the queue, the thread, the connection
and the spill file are the parent's.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

    from .updater import BatchJobStatusUpdater

#: All there are, for the exit and for forks.
updaters: weakref.WeakSet[BatchJobStatusUpdater] = weakref.WeakSet()
#: Those with a thread, which live until it has ended.
running: set[BatchJobStatusUpdater] = set()
#: Those that a child of ``multiprocessing`` stops at its end.
_finalized: weakref.WeakSet[BatchJobStatusUpdater] = weakref.WeakSet()
_is_exiting = False


def stop_all() -> None:
    """Stops every updater of this process, each within its ``stop_timeout_s``."""
    for updater in list(updaters):
        _stop(updater)


def drain_on_sigterm() -> bool:
    """Lets SIGTERM store or spill what is queued before it ends the process, as it does by default.

    The process goes on until that is done, for the ``stop_timeout_s`` of its updaters at most.

    True if it is so now; false if the process has a handler of its own, which should call ``stop``
    itself, or if this is not the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    present = signal.getsignal(signal.SIGTERM)
    if present is _on_sigterm:
        return True
    if present is not signal.SIG_DFL:
        return False
    signal.signal(signal.SIGTERM, _on_sigterm)
    return True


def keep(updater: BatchJobStatusUpdater) -> None:
    """Keeps an updater that has a thread now, also if nobody else does."""
    running.add(updater)
    # A child of multiprocessing ends without atexit, but runs its finalizers.
    util = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if util is None or process is None or process.parent_process() is None:
        return
    if updater not in _finalized:
        _finalized.add(updater)
        util.Finalize(None, _stop, args=(updater,), exitpriority=100)


def can_start(thread: threading.Thread) -> bool:
    """Starts it; false if there is none to be had, or nobody would wait for it any more."""
    if _is_exiting:
        return False
    try:
        thread.start()
    except RuntimeError:
        return False
    return True


def _stop(updater: BatchJobStatusUpdater) -> None:
    with contextlib.suppress(Exception):
        updater._stop(updater._options.stop_timeout_s)  # noqa: SLF001


def _on_sigterm(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    # A second one ends the process at once.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Not here: the code that is interrupted may hold a lock that the way to the server needs.
    thread = threading.Thread(target=_drain_and_end, name="jobslate-sigterm", daemon=True)
    if not can_start(thread):
        _drain_and_end()


def _drain_and_end() -> None:
    stop_all()
    if os.getpid() == 1:
        # The first process of a container: the system ignores signals that it has no handler for.
        os._exit(128 + signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)


def _at_exit() -> None:
    global _is_exiting  # noqa: PLW0603
    _is_exiting = True
    stop_all()


def _after_fork_in_child() -> None:
    running.clear()
    _finalized.clear()
    for updater in list(updaters):
        updater._begin()  # noqa: SLF001


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
