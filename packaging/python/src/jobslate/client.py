"""The client: each call waits for the answer of the server.

Calls that fail for a reason that passes (a server that restarts, a full queue, a full disk) are
tried again for ``retry_for_s`` seconds. A call that writes has an idempotency key, so that a repeat
after a lost answer counts once.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Callable, TypeVar, Union

from .answers import joined
from .backoff import Backoff
from .errors import JobslateError
from .feed import Watch
from .model import Answer, Counts, Job, Lookup, Transition
from .problems import AllRejected, InvalidUpdate
from .transport import Call, Reply, Transport, target
from .update import At, JobId, Update, id_text, line_of, other_fields

if TYPE_CHECKING:
    from types import TracebackType

    from .stats import Stats

#: A request of more is cut into several; a server takes 10,000 updates and 8 MiB by default.
REQUEST_UPDATES_MAX = 5_000
REQUEST_BYTES_MAX = 4 << 20
LOOKUP_JOBS_MAX = 1_000

Words = Union[str, Sequence[str]]
T = TypeVar("T")

#: Ends the tries of the calls of this thread.
_given_up: ContextVar[threading.Event | None] = ContextVar("given_up", default=None)


class Client:
    """Calls a server; safe to share between threads, each of which has a connection of its own.

    ``url`` is ``JOBSLATE_URL`` of the environment, or ``http://127.0.0.1:7411``. ``timeout_s``
    bounds each wait for an answer, ``retry_for_s`` the time of all tries of a call (0: one try).

    Every call raises ``Unavailable`` if there is no answer, ``Foreign`` if another program answers,
    and a ``Problem`` for a refusal, named after its code.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        timeout_s: float = 30.0,
        connect_timeout_s: float = 5.0,
        retry_for_s: float = 30.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._transport = Transport(
            url, timeout_s=timeout_s, connect_timeout_s=connect_timeout_s, headers=headers
        )
        self._retry_for_s = retry_for_s
        self._options = {
            "timeout_s": timeout_s,
            "connect_timeout_s": connect_timeout_s,
            "retry_for_s": retry_for_s,
            "headers": headers,
        }

    @property
    def url(self) -> str:
        """The server that is called."""
        return self._transport.url

    @property
    def transport(self) -> Transport:
        """The way to it, for calls that this class does not have."""
        return self._transport

    def update(
        self,
        job_id: JobId,
        status: str | None = None,
        error: str | None = None,
        *,
        at: At | None = None,
        attempt: int | None = None,
        pipeline: str | None = None,
        progress: float | None = None,
        message: str | None = None,
        labels: Mapping[str, str] | None = None,
        if_status: str | None = None,
        ack: str = "durable",
        idempotency_key: str | None = None,
    ) -> Answer:
        """Reports one fact of a job, and waits until it is on the disk of the server.

        With ``ack="queued"`` it only waits until the server has queued it. An update that comes too
        late is no error: the answer says ``stale=1``.

        Raises ``StatusConflict`` if ``if_status`` does not hold, ``UnknownJob`` for an update
        without a status of a job that is not known, and ``Invalid...`` for a value that is wrong.
        """
        given = {
            "status": status,
            "error": error,
            "at": at,
            "attempt": attempt,
            "pipeline": pipeline,
            "progress": progress,
            "message": message,
            "labels": labels,
            "if_status": if_status,
        }
        path = target("v1", "jobs", id_text(job_id), ack=_unless_durable(ack))
        body = line_of(other_fields(given))
        return self._answer(_write("PUT", path, body, idempotency_key))

    def update_many(
        self,
        updates: Iterable[Update | Mapping[str, Any]],
        *,
        ack: str = "durable",
        atomic: bool = False,
        idempotency_key: str | None = None,
    ) -> Answer:
        """Reports many facts; a refused one stands in ``errors`` and harms no other.

        More than 5,000 or 4 MiB are sent as several requests one after another, whose answers are
        added up; with ``atomic=True`` it is one request, kept or dropped as a whole.

        Raises ``AllRejected`` if none was accepted.
        """
        key = idempotency_key or uuid.uuid4().hex
        path = target("v1", "updates", ack=_unless_durable(ack), atomic=atomic or None)
        answers: list[Answer] = []
        refusal: AllRejected | None = None
        index = 0
        for body, count in _requests(updates, whole=atomic):
            try:
                answer = self._answer(_write("POST", path, body, f"{key}-{index}", lines=True))
            except AllRejected as error:
                refusal = error
                answer = Answer.of(error.body)
            answers.append(answer)
            index += count
        if not answers:
            raise InvalidUpdate.invalid("there is no update")
        whole = joined(answers)
        if refusal is not None and whole.accepted == 0:
            raise refusal
        return whole

    def get(self, job_id: JobId, *, fresh: bool = False) -> Job:
        """The job. ``fresh`` waits for all that the server has queued.

        Raises ``UnknownJob``.
        """
        return Job.of(self._read("v1", "jobs", id_text(job_id), fresh=fresh or None))

    def lookup(self, job_ids: Iterable[JobId], *, fresh: bool = False) -> Lookup:
        """Many jobs, and the ids that are missing; of one moment for each 1,000 ids."""
        ids = [id_text(job_id) for job_id in job_ids]
        path = target("v1", "lookup", fresh=fresh or None)
        found: list[Job] = []
        missing: list[str] = []
        as_of_seq: int | None = None
        for start in range(0, max(len(ids), 1), LOOKUP_JOBS_MAX):
            body = line_of({"job_ids": ids[start : start + LOOKUP_JOBS_MAX]})
            headers = {"Content-Type": "application/json"}
            part = Lookup.of(self._send(Call("POST", path, body, headers)).json())
            found += part.found
            missing += part.missing
            as_of_seq = part.as_of_seq if as_of_seq is None else min(as_of_seq, part.as_of_seq)
        return Lookup(tuple(found), tuple(missing), as_of_seq or 0)

    def history(self, job_id: JobId, *, fresh: bool = False) -> tuple[Transition, ...]:
        """The last 32 changes of status of the job, oldest first.

        Raises ``UnknownJob``.
        """
        body = self._read("v1", "jobs", id_text(job_id), "history", fresh=fresh or None)
        return tuple(Transition.of(it) for it in body["transitions"])

    def counts(self, *, fresh: bool = False) -> Counts:
        """How many jobs there are, by status, kind and pipeline; kept, never counted."""
        return Counts.of(self._read("v1", "counts", fresh=fresh or None))

    def stats(self) -> Stats:
        """The numbers of the server: its queue, batches, commits, files."""
        stats: Stats = self._read("v1", "stats")
        return stats

    def flush(self) -> int:
        """Waits until all that the server took is on its disk; the last durable seq."""
        seq: int = self._send(Call("POST", target("v1", "flush"), b"", {})).json()["durable_seq"]
        return seq

    def delete(self, job_id: JobId, *, idempotency_key: str | None = None) -> None:
        """Removes a job; the feed keeps its past.

        Raises ``UnknownJob``.
        """
        self._send(_write("DELETE", target("v1", "jobs", id_text(job_id)), None, idempotency_key))

    def expect(self, pipeline: str, total: int | None) -> None:
        """Says how many jobs of ``pipeline`` will finish; ``None`` takes that back."""
        body = line_of({"expected_total": total})
        self._send(_write("PUT", target("v1", "pipelines", pipeline), body, None))

    def is_ready(self) -> bool:
        """True if the server answers and takes updates now; one try, no wait."""
        try:
            self._transport.send(Call("GET", target("readyz")))
        except JobslateError:
            return False
        return True

    def watch(
        self,
        after: int | None = None,
        *,
        job: JobId | None = None,
        pipeline: str | None = None,
        status: Words | None = None,
        kind: Words | None = None,
        silence_s_max: float = 45.0,
        retry_for_s: float | None = None,
    ) -> Watch:
        """Every durable update after the seq ``after``, or from now on; an iterator without an end.

        It goes on by itself over broken connections and restarts of the server: each update that
        passes the filter comes once and in order. ``retry_for_s`` bounds the tries of one outage
        (``None``: for ever). Iterating raises ``Gone`` if the place is not held any more.
        """
        filters = {
            "job": None if job is None else id_text(job),
            "pipeline": pipeline,
            "status": status,
            "kind": kind,
        }
        if after is None:
            after = int(self._read("v1", "updates", limit=1)["as_of_seq"])
        return Watch(
            self._transport, after, filters, silence_s_max=silence_s_max, retry_for_s=retry_for_s
        )

    def close(self) -> None:
        """Closes the connection of this thread; the next call makes a new one."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _client, (self.url, self._options)

    # Below the other methods, as its name hides the built-in one from there on.
    def list(
        self,
        *,
        status: Words | None = None,
        kind: Words | None = None,
        pipeline: str | None = None,
        prefix: str | None = None,
        updated_after: At | None = None,
        updated_before: At | None = None,
        stalled_for: str | None = None,
        order: str | None = None,
        page_jobs_max: int = 1_000,
        fresh: bool = False,
    ) -> Iterator[Job]:
        """All jobs that pass the filters, page by page as they are read, newest first.

        The walk shows the moment of its beginning: a job that changes meanwhile is left out, none
        comes twice. ``stalled_for`` is a duration like ``"10m"``, ``order`` one of ``newest``,
        ``oldest`` and ``id``.
        """
        query: dict[str, object] = {
            "status": status,
            "kind": kind,
            "pipeline": pipeline,
            "prefix": prefix,
            "updated_after": _moment(updated_after),
            "updated_before": _moment(updated_before),
            "stalled_for": stalled_for,
            "order": order,
            "limit": page_jobs_max,
            "fresh": fresh or None,
        }
        while True:
            page = self._read("v1", "jobs", **query)
            yield from map(Job.of, page["jobs"])
            if page["next"] is None:
                return
            query["cursor"] = page["next"]

    def _read(self, *segments: str, **query: object) -> Any:
        return self._send(Call("GET", target(*segments, **query))).json()

    def _answer(self, call: Call) -> Answer:
        reply = self._send(call)
        return Answer.of(reply.json(), replayed=reply.is_replayed)

    def _send(self, call: Call) -> Reply:
        give_up_at = time.monotonic() + self._retry_for_s
        backoff = Backoff()
        while True:
            try:
                return self._transport.send(call)
            except JobslateError as error:
                is_safe = call.is_repeatable or error.outcome == "not_applied"
                if not (error.retryable and is_safe):
                    raise
                wait_s = backoff.next_wait_s(random.random(), error.retry_after_s)  # noqa: S311
                if time.monotonic() + wait_s > give_up_at:
                    raise
                given_up = _given_up.get()
                if given_up is None:
                    time.sleep(wait_s)
                elif given_up.wait(wait_s):
                    raise


def until_given_up(given_up: threading.Event, call: Callable[[], T]) -> T:
    """Makes ``call``, which tries no more once ``given_up`` is set."""
    before = _given_up.set(given_up)
    try:
        return call()
    finally:
        _given_up.reset(before)


def _client(url: str, options: dict[str, Any]) -> Client:
    return Client(url, **options)


def _write(
    method: str, path: str, body: bytes | None, key: str | None, *, lines: bool = False
) -> Call:
    headers = {"Idempotency-Key": key or uuid.uuid4().hex}
    if body is not None:
        headers["Content-Type"] = "application/x-ndjson" if lines else "application/json"
    return Call(method, path, body, headers, writes=True)


def _requests(
    updates: Iterable[Update | Mapping[str, Any]], *, whole: bool
) -> Iterator[tuple[bytes, int]]:
    """The bodies of as many requests as are needed, each with its number of updates."""
    lines: list[bytes] = []
    size = 0
    for update in updates:
        line = line_of(_fields(update))
        is_full = len(lines) >= REQUEST_UPDATES_MAX or size + len(line) > REQUEST_BYTES_MAX
        if lines and is_full and not whole:
            yield b"".join(lines), len(lines)
            lines, size = [], 0
        lines.append(line)
        size += len(line)
    if lines:
        yield b"".join(lines), len(lines)


def _fields(update: Update | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(update, Update):
        return update.fields()
    return {"job_id": id_text(update.get("job_id")), **other_fields(update)}


def _unless_durable(ack: str) -> str | None:
    return None if ack == "durable" else ack


def _moment(at: At | None) -> object:
    return None if at is None else other_fields({"at": at})["at"]
