"""Status updates that cost the pipeline microseconds: queued here, sent in batches behind its back.

A call appends to a queue in memory and returns. A background thread sends batches, in order, each
under an idempotency key, so that a batch which has to be sent again counts once. While the server
is away updates wait: in the queue, and with ``spill_path`` on the disk, where the next start of
the pipeline finds them.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import process
from .batch import SHORT, Entry, Flush, entry_of, long_bytes
from .client import Client
from .errors import JobslateError, LocalQueueFull, UpdatesLost
from .inbox import NEVER, Inbox
from .options import OnError, Options, tell
from .sender import Sender
from .threads import bounded, until
from .totals import BatchUpdateStats, Totals
from .transport import Transport
from .update import (
    ID_BYTES_MAX,
    STATUS_LENGTH_MAX,
    At,
    JobId,
    bounded_id,
    bounded_status,
    error_text,
    id_text,
    other_fields,
    status_text,
)

if TYPE_CHECKING:
    from types import TracebackType

logger = logging.getLogger("jobslate")

_FULL_LOG_INTERVAL_S = 10.0
#: How long a call may take that has to send by itself.
_WITHOUT_THREAD_S = 2.0
#: How long a thread may take to notice that its call was broken off.
_BREAK_OFF_S = 3.0


class BatchJobStatusUpdater:
    """Takes status updates at once and stores them in batches.

    * ``url_or_client``: the server; ``JOBSLATE_URL``, or ``http://127.0.0.1:7411``.
    * ``batch_size``, ``flush_interval_s``: a batch is sent when so many updates wait, or when the
      oldest has waited so long. It takes all that is there, at most ``batch_updates_max`` updates
      and about ``batch_bytes_max`` bytes.
    * ``queue_updates_max``, ``queue_bytes_max``: above either a call is refused at once: counted,
      logged, told to ``on_error``, and raised if ``raise_errors`` is set.
    * ``spill_path``: a directory for batches that wait while the server is away, at most
      ``spill_bytes_max`` bytes. Processes may share it. The next start sends what it finds there.
    * ``on_error(error, updates)``: is told of every update that is refused or lost, and why.
    * ``raise_errors``: calls raise if their update is not taken, and ``flush`` and ``stop`` what
      went wrong since the last of them. Else no method raises.
    * ``log_job_starts``: log ``Pipeline-Job ID gestartet`` for each.
    * ``timeout_s``, ``connect_timeout_s``: of one request; it is repeated while need be.
    * ``flush_timeout_s``, ``stop_timeout_s``: for ``flush_job_status_updates`` and ``stop`` if the
      call names no other; the latter also for the drain at the exit of the interpreter.

    Safe to use from all threads. After a ``fork`` the child has an empty queue, a thread and a
    connection of its own, and the parent keeps its updates. It can be pickled: the copy is empty.
    """

    def __init__(
        self,
        url_or_client: str | Client | None = None,
        *,
        batch_size: int = 50,
        flush_interval_s: float = 2.0,
        queue_updates_max: int = 100_000,
        queue_bytes_max: int = 64 << 20,
        batch_updates_max: int = 1_000,
        batch_bytes_max: int = 1 << 20,
        spill_path: str | os.PathLike[str] | None = None,
        spill_bytes_max: int = 1 << 30,
        on_error: OnError | None = None,
        raise_errors: bool = False,
        log_job_starts: bool = False,
        timeout_s: float = 10.0,
        connect_timeout_s: float = 2.0,
        flush_timeout_s: float = 30.0,
        stop_timeout_s: float = 5.0,
    ) -> None:
        self._options = Options(
            batch_size=batch_size,
            flush_interval_s=flush_interval_s,
            queue_updates_max=queue_updates_max,
            queue_bytes_max=queue_bytes_max,
            batch_updates_max=max(batch_updates_max, batch_size),
            batch_bytes_max=batch_bytes_max,
            spill_path=None if spill_path is None else Path(spill_path).absolute(),
            spill_bytes_max=spill_bytes_max,
            on_error=on_error,
            raise_errors=raise_errors,
            log_job_starts=log_job_starts,
            flush_timeout_s=flush_timeout_s,
            stop_timeout_s=stop_timeout_s,
        )
        if isinstance(url_or_client, Client):
            self._transport_options = url_or_client.transport.options
        else:
            self._transport_options = {
                "url": url_or_client,
                "timeout_s": timeout_s,
                "connect_timeout_s": connect_timeout_s,
            }
        # Says at once if the URL is none.
        self._transport_options["url"] = Transport(**self._transport_options).url
        self._begin()
        process.updaters.add(self)

    def _begin(self) -> None:
        #: Held by callers for what is rare; it may be taken again by a signal handler.
        self._lock = threading.RLock()
        self._inbox = Inbox(self._options.queue_updates_max)
        self._totals = Totals()
        self._thread: threading.Thread | None = None
        self._sender: Sender | None = None
        self._transport: Transport | None = None
        self._first_error: JobslateError | None = None
        #: Lost updates that a flush or a stop has told of.
        self._lost_told = 0
        self._full_logged_at = -_FULL_LOG_INTERVAL_S

    @property
    def url(self) -> str:
        """The server that the updates go to."""
        url: str = self._transport_options["url"]
        return url

    def batch_update_job_status(
        self, job_id: JobId, status: str, error_message: object | None = None
    ) -> bool:
        """Queues a status and returns at once; true if it was taken.

        Never touches the network or the disk. Integers and UUIDs are ids too, ``error_message`` may
        be an exception; an error above 8 KiB is cut.
        """
        inbox = self._inbox
        entries = inbox.entries
        if (
            type(job_id) is str
            and type(status) is str
            and (
                error_message is None
                or (type(error_message) is str and len(error_message) <= SHORT)
            )
            and len(job_id) <= ID_BYTES_MAX
            and len(status) <= STATUS_LENGTH_MAX
            and len(entries) < inbox.room
        ):
            entries.append((job_id, status, error_message, time.time_ns(), None))
            if len(entries) >= inbox.wake_at:
                self._wake(inbox)
            return True
        if status is None:
            return self._refuse_call(job_id, status_text, status)
        return self.update(job_id, status, error_message)

    def update(
        self,
        job_id: JobId,
        status: str | None = None,
        error: object | None = None,
        *,
        at: At | None = None,
        attempt: int | None = None,
        pipeline: str | None = None,
        progress: float | None = None,
        message: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> bool:
        """Queues one fact of a job and returns at once; true if it was taken.

        All but ``job_id`` may be left out: an update without a status is a sign of life. Without
        ``at`` it happened now.
        """
        given = {
            "at": at,
            "attempt": attempt,
            "pipeline": pipeline,
            "progress": progress,
            "message": message,
            "labels": labels,
        }
        try:
            entry = entry_of(
                bounded_id(id_text(job_id)),
                None if status is None else bounded_status(status_text(status)),
                None if error is None else error_text(error),
                other_fields(given) or None,
            )
        except JobslateError as problem:
            with self._lock:
                self._totals.invalid += 1
            self._complain(problem, [_shown(job_id, status)])
            return False
        inbox = self._inbox
        if inbox.is_full or not self._has_bytes(inbox, entry):
            self._complain_of_full(inbox, {"job_id": entry[0], "status": entry[1]})
            return False
        inbox.entries.append(entry)
        if len(inbox.entries) >= inbox.wake_at:
            self._wake(inbox)
        return True

    def update_job_status(
        self, job_id: JobId, status: str, error_message: object | None = None
    ) -> bool:
        """The same as ``batch_update_job_status``, under the name of the single call."""
        return self.batch_update_job_status(job_id, status, error_message)

    def flush_job_status_updates(self, timeout_s: float | None = None) -> bool:
        """Waits until all updates that were queued before are on the disk of the server.

        True if they are; false if that took longer than ``timeout_s``, or if some were lost since
        the last flush or stop.
        """
        timeout_s = self._options.flush_timeout_s if timeout_s is None else timeout_s
        inbox = self._inbox
        flush = inbox.flush(self._lost_told)
        self._wake(inbox)
        if flush.reached.wait(timeout_s):
            self._lost_told = self._totals.lost
        self._raise_if_asked()
        return flush.is_durable

    def get_batch_update_stats(self) -> BatchUpdateStats:
        """What became of the updates so far."""
        totals, inbox = self._totals, self._inbox
        # In the order of their way, so that none is missed.
        queued_now, in_hand = inbox.updates, inbox.in_hand
        away_since = totals.away_since
        answered = totals.stored + totals.rejected
        saved = 100.0 * (1.0 - totals.batches / answered) if answered else 0.0
        return BatchUpdateStats(
            queued=totals.taken + queued_now,
            pending=queued_now + in_hand + totals.held,
            stored=totals.stored,
            stale=totals.stale,
            rejected=totals.rejected,
            lost=totals.lost,
            queue_full=totals.queue_full,
            invalid=totals.invalid,
            batches=totals.batches,
            saved_percent=round(max(saved, 0.0), 1),
            largest_batch=totals.largest_batch,
            requests=totals.requests,
            retries=totals.retries,
            replayed=totals.replayed,
            spilled=totals.spilled,
            spilled_now=totals.spilled_now,
            spill_bytes=totals.spill_bytes,
            adopted=totals.adopted,
            away_s=0.0 if away_since is None else time.monotonic() - away_since,
            last_error=totals.last_error,
        )

    def start(self) -> None:
        """Starts the background thread now, so that what an earlier process spilled is sent.

        The first update does it as well.
        """
        self._start()

    def stop(self, timeout_s: float | None = None) -> bool:
        """Stores what is queued, and ends the thread; true if all of it is on the server's disk.

        While the server is away it is tried again for ``timeout_s`` seconds. A spill file takes the
        rest first; without one, what is left then is lost: logged, and told to ``on_error``. It
        returns some four seconds later at most. While another stop is under way it joins that, and
        the earlier end of the two holds. A later update starts a new thread.
        """
        timeout_s = self._options.stop_timeout_s if timeout_s is None else timeout_s
        is_done = self._stop(timeout_s)
        self._raise_if_asked()
        return is_done

    def __enter__(self) -> BatchJobStatusUpdater:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __reduce__(self) -> tuple[Any, ...]:
        return _updater, (self._transport_options, self._options)

    # The thread.

    def _wake(self, inbox: Inbox) -> None:
        inbox.wake_at = NEVER
        if self._thread is None:
            self._start()
        inbox.bell.ring()

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            inbox = self._inbox
            inbox.begin()
            self._transport = Transport(**self._transport_options)
            sender = Sender(inbox, self._watched(), self._transport, self._totals)
            thread = threading.Thread(
                target=self._run, args=(sender, inbox), name="jobslate-updater", daemon=True
            )
            # Before it runs: it takes itself off at its end.
            self._thread, self._sender = thread, sender
            if not process.can_start(thread):
                self._thread = self._sender = None
                # Nobody would wait for the thread, or there is none to be had: so it is done here.
                mark = Flush(lost_before=self._lost_told)
                inbox.ask_to_stop(mark, time.monotonic() + _WITHOUT_THREAD_S)
                sender.run()
                inbox.begin()
                inbox.wake_at = 1
                return
            process.keep(self)

    def _run(self, sender: Sender, inbox: Inbox) -> None:
        try:
            sender.run()
        finally:
            self._ended(threading.current_thread(), inbox)

    def _ended(self, thread: threading.Thread, inbox: Inbox) -> None:
        """Makes room for another thread, whoever asked this one to stop and still waits for it."""
        with self._lock:
            if self._thread is not thread:
                return
            self._thread = self._sender = None
            process.running.discard(self)
            inbox.begin()
            inbox.wake_at = 1
            # After wake_at was set: a caller either sees it, or its entry is seen here.
            if inbox.entries:
                # Somebody reports on: those are not part of this stop.
                self._start()

    def _watched(self) -> Options:
        """The options of the sender; its errors are kept for who wants them raised."""
        if not self._options.raise_errors:
            return self._options
        told = self._options.on_error

        def keep(error: JobslateError, updates: Any) -> None:
            with self._lock:
                self._first_error = self._first_error or error
            if told is not None:
                told(error, updates)

        return Options(**{**self._options.__dict__, "on_error": keep})

    def _stop(self, timeout_s: float) -> bool:
        stop_by = time.monotonic() + timeout_s
        while True:
            own = Flush(lost_before=self._lost_told)
            with self._lock:
                inbox = self._inbox
                if self._thread is None and inbox.entries:
                    self._start()
                thread, sender, transport = self._thread, self._sender, self._transport
                if thread is None or thread is threading.current_thread():
                    return self._is_all_stored()
                mark = inbox.ask_to_stop(own, stop_by)
            thread.join(bounded(until(stop_by)))
            if thread.is_alive():
                # It waits for an answer that does not come.
                if transport is not None:
                    transport.interrupt()
                thread.join(_BREAK_OFF_S)
            if thread.is_alive() and not (sender is not None and sender.give_up()):
                self._complain_of_stuck(inbox, timeout_s)
                return False
            # It does so itself, unless it hangs.
            self._ended(thread, inbox)
            self._lost_told = self._totals.lost
            # What was queued after the mark of another stop needs one of its own.
            if mark is own or not inbox.entries:
                return mark.is_durable

    def _complain_of_stuck(self, inbox: Inbox, timeout_s: float) -> None:
        """The thread hangs where nobody can take its updates over: in ``on_error``, or the disk."""
        updates = self._totals.held + inbox.updates
        error = UpdatesLost(
            f"the job status updater did not stop within {timeout_s:.1f} s: {updates} updates are "
            "lost if the process ends now"
        )
        logger.error("%s", error)
        tell(self._watched(), error, [])

    def _is_all_stored(self) -> bool:
        totals = self._totals
        return not (totals.lost or totals.spilled_now or totals.held)

    # Refusals.

    def _has_bytes(self, inbox: Inbox, entry: Entry) -> bool:
        """True if there is room for the long texts of ``entry``, which are counted then."""
        count = long_bytes(entry)
        if not count:
            return True
        with self._lock:
            queued = inbox.long_bytes_in - inbox.long_bytes_out
            if queued + count > self._options.queue_bytes_max:
                return False
            inbox.long_bytes_in += count
        return True

    def _refuse_call(self, job_id: object, judge: Any, value: object) -> bool:
        try:
            judge(value)
        except JobslateError as problem:
            with self._lock:
                self._totals.invalid += 1
            self._complain(problem, [_shown(job_id, value)])
        return False

    def _complain_of_full(self, inbox: Inbox, fields: Mapping[str, Any]) -> None:
        with self._lock:
            self._totals.queue_full += 1
        queued = inbox.updates
        why = self._totals.last_error or "updates come faster than they are sent"
        error = LocalQueueFull(f"{queued} job status updates are queued, the most that may: {why}")
        self._complain(error, [fields], is_full=True)

    def _complain(
        self, error: JobslateError, updates: list[Mapping[str, Any]], *, is_full: bool = False
    ) -> None:
        now = time.monotonic()
        with self._lock:
            self._totals.last_error = str(error)
            is_told = not is_full or now - self._full_logged_at >= _FULL_LOG_INTERVAL_S
            if is_full and is_told:
                self._full_logged_at = now
        if is_told:
            logger.error("A job status update was not taken: %s", error)
        tell(self._options, error, updates)
        if self._options.raise_errors:
            raise error

    def _raise_if_asked(self) -> None:
        with self._lock:
            error, self._first_error = self._first_error, None
        if error is not None:
            raise error


def _shown(job_id: object, status: object) -> dict[str, str]:
    """The values of a call that is no update."""
    return {"job_id": repr(job_id)[:256], "status": repr(status)[:64]}


def _updater(transport_options: dict[str, Any], options: Options) -> BatchJobStatusUpdater:
    """Makes the copy of a pickled updater."""
    client = Client(**transport_options)
    return BatchJobStatusUpdater(client, **options.__dict__)
