"""The background thread of an updater: forms batches, sends them in order, spills, tries again.

    queue --take--> waiting: [batch or slot or flush, ...] --send head--> answered
                      |  ^
      server is away: v  |  read again, byte by byte
                     spill

One batch is sent at a time, and none before those that came earlier, so the updates of a job arrive
in the order of the calls. While the server is away, at most one batch is held in memory: with a
spill file batches go there, without one the queue fills.
"""

from __future__ import annotations

import contextlib
import json
import logging
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .answers import joined
from .backoff import Backoff
from .batch import Batch, Flush, Former
from .errors import JobslateError, SpillFailed, UpdatesLost
from .inbox import NEVER, Inbox
from .model import Answer, Rejection
from .options import Options, tell
from .problems import AllRejected, Problem, rejection_of
from .spill import Slot, Spill
from .threads import until
from .transport import Call, Transport, foreign

if TYPE_CHECKING:
    from .totals import Totals

logger = logging.getLogger("jobslate")

#: What is wrong with one update, and would hold up all others: looked for by halving.
_ABOUT_CONTENT = frozenset(
    {
        "body_too_large",
        "corrupt_record",
        "idempotency_key_reused",
        "invalid_body",
        "malformed_request",
        "request_too_large",
    }
)
#: After so many faults of the server over one batch it is given up, for the sake of the others.
_FAULTS_MAX = 5
_PRESSURE_PERCENT = 80
_LOG_INTERVAL_S = 10.0
_SPILL_RETRY_S = 5.0
#: How often an idle sender looks for what a process that died has left.
_ADOPT_INTERVAL_S = 30.0
_ELDERS_POLL_S = 0.05
_ELDERS_S_MAX = 60.0
#: How long a piece of work may take, for one who takes over.
_HANDS_S_MAX = 1.0


@dataclass
class Waiting:
    """A batch on its way, in memory or on disk."""

    key: str
    updates: int
    batch: Batch | None
    slot: Slot | None = None
    faults: int = 0


class Sender:
    """Runs in one thread until it is told to stop."""

    def __init__(
        self, inbox: Inbox, options: Options, transport: Transport, totals: Totals
    ) -> None:
        self._inbox = inbox
        self._options = options
        self._transport = transport
        self._totals = totals
        self._former = Former(self._refuse, notes_starts=options.log_job_starts)
        self._waiting: deque[Waiting | Flush] = deque()
        self._spill: Spill | None = None
        if options.spill_path is not None:
            self._spill = Spill(options.spill_path, options.spill_bytes_max)
        self._backoff = Backoff()
        self._try_at = 0.0
        self._spill_at = 0.0
        self._adopt_at = 0.0
        self._left_before, totals.spilled_now = totals.spilled_now, 0
        self._began_at = time.monotonic()
        #: Files of dead processes that another one sends; ``None`` before they were looked for.
        self._elders: set[str] | None = None
        self._gathering_since: float | None = None
        #: Held while it works, and not while it waits.
        self._hands = threading.Lock()
        self._is_given_up = False
        self._is_stopping = False
        self._is_mark_taken = False
        self._warned_at = dict.fromkeys(("pressure", "spill"), -_LOG_INTERVAL_S)

    def run(self) -> None:
        """Works until it has stopped; nothing of the world ends it earlier."""
        with contextlib.suppress(_GivenUp), self._hands:
            self._work()
            self._end()

    def give_up(self) -> bool:
        """Ends the work of a thread that hangs in a call, from another one: it spills all there is.

        The thread does nothing more when it comes back. What it was sending is sent again by the
        next process, under its key. False if it hangs where it cannot be taken over.
        """
        if not self._hands.acquire(timeout=_HANDS_S_MAX):
            return False
        try:
            if not self._is_given_up:
                self._is_given_up = True
                self._end()
        finally:
            self._hands.release()
        return True

    @contextlib.contextmanager
    def _hands_off(self) -> Iterator[None]:
        """While it waits, all that it has can be taken over."""
        self._hands.release()
        try:
            yield
        finally:
            self._hands.acquire()
            if self._is_given_up:
                raise _GivenUp

    def _work(self) -> None:
        while True:
            try:
                if not self._step():
                    break
            except Exception:
                # A bug. It must not end the reports of a pipeline; nor may it spin.
                logger.exception("The job status updater met a fault")
                time.sleep(1.0)
                if self._is_late():
                    break

    def _step(self) -> bool:
        """Does one thing, or waits for one; false at the end."""
        self._warn_of_pressure()
        if self._spill is not None and not self._waiting and time.monotonic() >= self._adopt_at:
            self._adopt(self._spill)
        is_taken = self._take_if_due()
        self._spill_if_needed()
        inbox, is_late = self._inbox, self._is_late()
        if self._waiting and not is_late and self._send_if_due():
            return True
        if is_taken and not is_late:
            return True
        if inbox.stop_by is not None:
            if not (self._is_stopping or is_late):
                # One more try at once, however long the next wait would have been.
                self._is_stopping, self._try_at = True, 0.0
                self._backoff.reset()
                return True
            is_done = inbox.stop_mark is not None and inbox.stop_mark.reached.is_open
            if is_done or is_late:
                return False
        self._sleep()
        return True

    # Taking from the queue.

    def _take_if_due(self) -> bool:
        if not self._inbox.entries:
            self._gathering_since = None
            return False
        now = time.monotonic()
        if self._gathering_since is None:
            self._gathering_since = now
        if self._totals.held or not self._is_due(now):
            return False
        self._gathering_since = None
        is_direct = not self._waiting
        self._take()
        # While older batches are on their way, all of the last interval goes to the disk.
        for _ in range(len(self._inbox.entries) // self._options.batch_updates_max):
            if is_direct or (self._totals.held and not self._spill_tail()):
                break
            self._take()
        return True

    def _is_due(self, now: float) -> bool:
        inbox = self._inbox
        if self._is_mark_taken:
            return False
        if inbox.stop_by is not None or inbox.flushes:
            return True
        if now - (self._gathering_since or now) >= self._options.flush_interval_s:
            return True
        is_catching_up = bool(self._waiting) and self._totals.away_since is None
        return not is_catching_up and len(inbox.entries) >= self._options.batch_size

    def _take(self) -> None:
        # What is pending is never seen as less than it is.
        self._inbox.in_hand = self._inbox.updates
        try:
            self._take_batch()
        finally:
            self._inbox.in_hand = 0

    def _take_batch(self) -> None:
        inbox, options = self._inbox, self._options
        formed = self._former.take(
            inbox.entries, options.batch_updates_max, options.batch_bytes_max
        )
        inbox.long_bytes_out += formed.long_bytes
        if formed.lines:
            batch = Batch(uuid.uuid4().hex, b"".join(formed.lines), len(formed.lines))
            self._waiting.append(Waiting(batch.key, batch.updates, batch))
            self._totals.taken += batch.updates
            self._hold(batch.updates)
        if formed.flush is not None:
            inbox.flushes.remove(formed.flush)
            self._is_mark_taken |= formed.flush is inbox.stop_mark
            self._waiting.append(formed.flush)
        for job_id in formed.starts:
            logger.info("Pipeline-Job %s gestartet", job_id)

    def _hold(self, updates: int) -> None:
        """Counts updates that are in memory, but no more in the queue."""
        self._totals.held += updates
        self._inbox.room = self._options.queue_updates_max - self._totals.held

    # Sending.

    def _send_if_due(self) -> bool:
        head = self._waiting[0]
        if isinstance(head, Flush):
            self._waiting.popleft()
            head.is_durable = self._totals.lost == head.lost_before
            head.reached.open()
            return True
        now = time.monotonic()
        if now < self._try_at:
            return False
        if self._elders:
            return not self._is_behind_elders(now)
        batch = head.batch or self._read(head)
        if batch is None:
            return True
        try:
            answer = self._deliver(batch)
        except JobslateError as error:
            self._fail(head, error)
        else:
            self._settle(head, batch, answer)
        return True

    def _deliver(self, batch: Batch) -> Answer:
        headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": batch.key}
        self._totals.requests += 1
        try:
            with self._hands_off():
                reply = self._transport.send(
                    Call("POST", "/v1/updates", batch.body, headers, writes=True)
                )
            return _answer(reply.json(), replayed=reply.is_replayed)
        except AllRejected as refusal:
            return _answer(refusal.body, replayed=refusal.replayed)
        except Problem as problem:
            if problem.code not in _ABOUT_CONTENT or problem.outcome == "unknown":
                raise
            if batch.updates == 1:
                why = Rejection(0, None, problem.code, problem.detail)
                return Answer(accepted=0, rejected=1, durable=True, errors=(why,))
            # One bad update must not hold up the others.
            return joined([self._deliver(half) for half in batch.halves()])

    def _settle(self, head: Waiting, batch: Batch, answer: Answer) -> None:
        totals = self._totals
        self._forget(head)
        totals.batches += 1
        totals.largest_batch = max(totals.largest_batch, batch.updates)
        totals.stored += answer.accepted
        totals.stale += answer.stale
        totals.rejected += answer.rejected
        totals.replayed += answer.replayed
        self._backoff.reset()
        self._try_at = 0.0
        if totals.away_since is not None:
            away_s = time.monotonic() - totals.away_since
            totals.away_since = None
            logger.info("The job status server takes updates again, after %.1f s", away_s)
        logger.info("Batch updated %d job statuses", answer.accepted)
        if answer.rejected:
            self._report_rejections(batch, answer)

    def _report_rejections(self, batch: Batch, answer: Answer) -> None:
        first = answer.errors[0] if answer.errors else None
        logger.warning(
            "The job status server refused %d of %d updates; the first: %s",
            answer.rejected,
            batch.updates,
            first.detail if first else "it gave no reason",
        )
        lines = batch.body.splitlines()
        for rejection in answer.errors:
            self._tell(rejection_of(rejection), [json.loads(lines[rejection.index])])

    def _fail(self, head: Waiting, error: JobslateError) -> None:
        totals = self._totals
        totals.retries += 1
        totals.last_error = str(error)
        if isinstance(error, Problem) and error.status == 500:
            head.faults += 1
            if head.faults >= _FAULTS_MAX:
                self._lose(head, f"the server failed over them {head.faults} times: {error}")
                return
        wait_s = self._backoff.next_wait_s(random.random(), error.retry_after_s)  # noqa: S311
        self._try_at = time.monotonic() + wait_s
        if totals.away_since is None:
            totals.away_since = time.monotonic()
            place = "in memory" if self._spill is None else f"in {self._spill.path}"
            level = logging.WARNING if error.retryable else logging.ERROR
            logger.log(level, "Job status updates wait %s: %s", place, error)
            if not error.retryable:
                self._tell(error, [])

    def _forget(self, head: Waiting) -> None:
        """Takes the head off, which is answered or lost."""
        self._waiting.popleft()
        if head.slot is None:
            self._hold(-head.updates)
            return
        self._totals.spilled_now -= head.updates
        if self._spill is not None:
            self._spill.done(head.slot)
            self._totals.spill_bytes = self._spill.bytes

    def _lose(self, head: Waiting, why: str) -> None:
        updates = (
            [] if head.batch is None else [json.loads(it) for it in head.batch.body.splitlines()]
        )
        self._forget(head)
        self._totals.lost += head.updates
        logger.error("%d job status updates are lost: %s", head.updates, why)
        self._tell(UpdatesLost(f"{head.updates} updates are lost: {why}"), updates)

    # The spill file.

    def _adopt(self, spill: Spill) -> None:
        """Looks for updates of dead processes, which come before all of this one."""
        self._adopt_at = time.monotonic() + _ADOPT_INTERVAL_S
        try:
            slots = spill.adopt()
            elders = spill.elders()
        except SpillFailed as error:
            self._spill_failed(error)
            return
        for slot in reversed(slots):
            self._waiting.appendleft(Waiting(slot.key, slot.updates, None, slot))
        found = sum(slot.updates for slot in slots)
        # What this process had left itself at a stop is not news.
        self._totals.adopted += max(found - self._left_before, 0)
        self._left_before = 0
        self._totals.spilled_now += found
        self._totals.spill_bytes = spill.bytes
        if found:
            logger.info("%d job status updates wait in %s: sending them", found, spill.path)
        self._elders = elders if self._elders is None else self._elders & elders

    def _is_behind_elders(self, now: float) -> bool:
        """True while another process still sends what is older than all of this one.

        For the first minute only: newer updates win in any case, so that an order which is lost
        then costs the feed its order, and no job its status.
        """
        if self._spill is None or now > self._began_at + _ELDERS_S_MAX:
            self._elders = set()
        else:
            # It may have died too: then what it had comes first here.
            self._adopt(self._spill)
        self._try_at = now + _ELDERS_POLL_S if self._elders else 0.0
        return bool(self._elders)

    def _spill_if_needed(self) -> None:
        """Writes what is in memory to the disk, unless it can be sent at once."""
        if self._spill is None or not self._totals.held:
            return
        head = self._waiting[0]
        is_behind = isinstance(head, Waiting) and (head.slot is not None or bool(self._elders))
        if self._totals.away_since is not None or is_behind:
            self._spill_tail()

    def _spill_tail(self) -> bool:
        """Writes the batch in memory, which is the last one; true if it is on disk."""
        spill = self._spill
        if spill is None or time.monotonic() < self._spill_at:
            return False
        for waiting in reversed(self._waiting):
            if isinstance(waiting, Waiting) and waiting.batch is not None:
                break
        else:
            return True
        try:
            waiting.slot = spill.append(waiting.batch)
        except SpillFailed as error:
            self._spill_failed(error)
            return False
        waiting.batch = None
        self._hold(-waiting.updates)
        self._totals.spilled += waiting.updates
        self._totals.spilled_now += waiting.updates
        self._totals.spill_bytes = spill.bytes
        return True

    def _spill_failed(self, error: SpillFailed) -> None:
        self._spill_at = time.monotonic() + _SPILL_RETRY_S
        self._totals.last_error = str(error)
        if self._may_warn("spill"):
            logger.error("Job status updates stay in memory: %s", error)
            self._tell(error, [])

    def _read(self, head: Waiting) -> Batch | None:
        """The batch of a slot; if it is damaged it is lost."""
        if head.slot is None:
            raise AssertionError("a batch is in memory or on disk")
        try:
            body = head.slot.file.read(head.slot)
        except SpillFailed as error:
            self._lose(head, str(error))
            return None
        return Batch(head.key, body, head.updates)

    # The end.

    def _is_late(self) -> bool:
        stop_by = self._inbox.stop_by
        return stop_by is not None and until(stop_by) <= 0

    def _end(self) -> None:
        """Spills what is left, or says that it is lost, and leaves the rest to the next process."""
        self._spill_at = 0.0
        if self._totals.held and self._spill is not None:
            self._spill_tail()
        while self._inbox.entries and not self._is_mark_taken:
            self._take()
            if self._totals.held and (self._spill is None or not self._spill_tail()):
                self._lose_memory()
        self._lose_memory()
        left = sum(it.updates for it in self._waiting if isinstance(it, Waiting))
        for waiting in self._waiting:
            if isinstance(waiting, Flush):
                waiting.reached.open()
        self._waiting.clear()
        if left and self._spill is not None:
            path = self._spill.path
            logger.warning("%d job status updates wait in %s for the next start", left, path)
        if self._spill is not None:
            self._spill.close()
        self._transport.close()

    def _lose_memory(self) -> None:
        for _ in range(len(self._waiting)):
            waiting = self._waiting[0]
            if isinstance(waiting, Waiting) and waiting.batch is not None:
                self._lose(waiting, f"the process stops while they cannot be stored: {self._why()}")
            else:
                self._waiting.rotate(-1)

    def _why(self) -> str:
        return self._totals.last_error or "there was no time"

    # Waiting and telling.

    def _sleep(self) -> None:
        inbox, now = self._inbox, time.monotonic()
        moments = [moment for moment in (self._next_due(), inbox.stop_by) if moment is not None]
        if self._spill is not None and not self._waiting:
            moments.append(self._adopt_at)
        wake_at = NEVER
        if self._waiting:
            moments.append(self._try_at)
            if self._totals.held and self._spill is not None:
                moments.append(self._spill_at)
        if not self._totals.held:
            is_catching_up = bool(self._waiting) and self._totals.away_since is None
            wake_at = NEVER if is_catching_up else self._options.batch_size
            if self._gathering_since is None:
                wake_at = 1
        if self._is_mark_taken:
            # All that comes now is left to the next sender.
            wake_at = NEVER
        inbox.wake_at = wake_at
        # After wake_at was set: a caller either sees it, or its entry is seen here.
        is_asked_for = bool(
            inbox.entries and inbox.flushes and not (self._totals.held or self._is_mark_taken)
        )
        if len(inbox.entries) < wake_at and not is_asked_for:
            with self._hands_off():
                inbox.bell.sleep(max(min(moments) - now, 0.0) if moments else None)
        inbox.wake_at = NEVER

    def _next_due(self) -> float | None:
        if self._gathering_since is None or self._totals.held or self._is_mark_taken:
            return None
        return self._gathering_since + self._options.flush_interval_s

    def _warn_of_pressure(self) -> None:
        queued = self._inbox.updates + self._totals.held
        room = self._options.queue_updates_max
        if queued * 100 >= room * _PRESSURE_PERCENT and self._may_warn("pressure"):
            logger.warning(
                "Connection pool pressure: %d of %d job status updates are queued",
                queued,
                room,
            )

    def _may_warn(self, what: str) -> bool:
        now = time.monotonic()
        if now - self._warned_at[what] < _LOG_INTERVAL_S:
            return False
        self._warned_at[what] = now
        return True

    def _refuse(self, problem: JobslateError, fields: Mapping[str, Any]) -> None:
        """Refuses an update that cannot be sent."""
        self._totals.taken += 1
        self._totals.rejected += 1
        logger.warning("A job status update cannot be sent: %s", problem)
        self._tell(problem, [fields])

    def _tell(self, error: JobslateError, updates: Sequence[Mapping[str, Any]]) -> None:
        self._totals.last_error = str(error)
        tell(self._options, error, updates)


class _GivenUp(BaseException):  # it never leaves this module
    """Another thread has taken over."""


def _answer(body: Mapping[str, Any], *, replayed: bool) -> Answer:
    """The answer to a batch; ``Foreign`` if jobslate does not answer like that."""
    try:
        return Answer.of(body, replayed=replayed)
    except (KeyError, TypeError):
        raise foreign(0, json.dumps(body).encode(), "unknown") from None
