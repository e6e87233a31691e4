"""The problem codes of the server, each as an exception: ``queue_full`` is ``QueueFull``.

A code that this version does not know is a plain ``Problem``: ``error.code`` can always be asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from .errors import JobslateError, Outcome

if TYPE_CHECKING:
    from .model import Rejection


class Problem(JobslateError):
    """The server refused a call, or one update of it, and said why.

    ``body`` is the whole problem document. ``replayed`` is true if it is the first answer to the
    same call, made before with the same idempotency key.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.body: Mapping[str, Any] = {}
        self.replayed = False

    @classmethod
    def invalid(cls, detail: str) -> Problem:
        """An update that was refused before it was sent."""
        problem = cls(detail)
        problem.outcome = "not_applied"
        return problem


class Gone(Problem):
    """The feed no longer holds what was asked for, or never did.

    Read the jobs again, then go on after the ``as_of_seq`` of that.
    """

    code = "gone"
    status = 410

    @property
    def first_seq_held(self) -> int | None:
        """The first update that the feed holds."""
        return cast("int | None", self.body.get("first_seq_held"))

    @property
    def last_seq_held(self) -> int | None:
        """The last update that the feed holds."""
        return cast("int | None", self.body.get("last_seq_held"))


class Opening(Problem):
    """The store of the server is not open yet."""

    code = "opening"
    status = 503
    retryable = True

    @property
    def percent(self) -> int | None:
        """How far it is open, from 0 to 100."""
        return cast("int | None", self.body.get("percent"))


class AllRejected(Problem):
    """Every update of the call was refused; ``body["errors"]`` says why."""

    code = "all_rejected"
    status = 422


class InvalidBody(Problem):
    """The body cannot be parsed as a whole, or holds no update."""

    code = "invalid_body"
    status = 400


class MalformedRequest(Problem):
    """A request that could be read in two ways, or cannot be read at all."""

    code = "malformed_request"
    status = 400


class InvalidQuery(Problem):
    """A parameter of the query is unknown, or outside its bounds."""

    code = "invalid_query"
    status = 400


class InvalidIdempotencyKey(Problem):
    """The key is empty, too long, or given twice."""

    code = "invalid_idempotency_key"
    status = 400


class BadCursor(Problem):
    """The filters changed, or the store: begin the walk again."""

    code = "bad_cursor"
    status = 400


class AckMustBeDurable(Problem):
    """``if_status`` and ``atomic`` need ``ack="durable"``."""

    code = "ack_must_be_durable"
    status = 400


class ForeignOrigin(Problem):
    """A page of another site sent it."""

    code = "foreign_origin"
    status = 403


class NotFound(Problem):
    """No such path."""

    code = "not_found"
    status = 404


class UnknownPipeline(Problem):
    """A pipeline without a job and without an expected total."""

    code = "unknown_pipeline"
    status = 404


class MethodNotAllowed(Problem):
    """The path does not take this method."""

    code = "method_not_allowed"
    status = 405


class BodyTimeout(Problem):
    """The body did not arrive in time."""

    code = "body_timeout"
    status = 408
    retryable = True


class BodyTooLarge(Problem):
    """More bytes than ``body_bytes_max``: send less at a time."""

    code = "body_too_large"
    status = 413


class RequestTooLarge(Problem):
    """More than one batch of the server may hold: send less at a time."""

    code = "request_too_large"
    status = 413


class UnsupportedMediaType(Problem):
    """The body is of a type that is not taken."""

    code = "unsupported_media_type"
    status = 415


class MisdirectedRequest(Problem):
    """The server has another name: see its ``allowed_hosts``."""

    code = "misdirected_request"
    status = 421


class InvalidExpectedTotal(Problem):
    """The expected total is outside its bounds."""

    code = "invalid_expected_total"
    status = 422


class IdempotencyKeyReused(Problem):
    """The key belongs to another call."""

    code = "idempotency_key_reused"
    status = 422


class HeadTooLarge(Problem):
    """The head of the request is too long."""

    code = "head_too_large"
    status = 431


class QueueFull(Problem):
    """The queue of the server is full; nothing was taken."""

    code = "queue_full"
    status = 429
    retryable = True


class BodiesFull(Problem):
    """The server reads as many bodies as it may."""

    code = "bodies_full"
    status = 429
    retryable = True


class AnswersFull(Problem):
    """Slow readers hold as many answers as they may."""

    code = "answers_full"
    status = 429
    retryable = True


class TooManyWatchers(Problem):
    """As many follow the feed as may."""

    code = "too_many_watchers"
    status = 429
    retryable = True


class CheckRunning(Problem):
    """One check at a time."""

    code = "check_running"
    status = 429
    retryable = True


class BackupRunning(Problem):
    """One backup at a time."""

    code = "backup_running"
    status = 429
    retryable = True


class Internal(Problem):
    """A fault of the server; its log has more."""

    code = "internal"
    status = 500


class CorruptRecord(Problem):
    """A record is not what was written; the log of the server names it."""

    code = "corrupt_record"
    status = 500


class Draining(Problem):
    """The server is stopping; send it again, to its successor."""

    code = "draining"
    status = 503
    retryable = True


class TooManyConnections(Problem):
    """The server has as many connections as it may."""

    code = "too_many_connections"
    status = 503
    retryable = True


class StorageFailed(Problem):
    """The disk of the server failed; ``outcome`` says what became of a write."""

    code = "storage_failed"
    status = 503
    retryable = True


class StorageFull(Problem):
    """The disk of the server is full; it goes on by itself when there is room."""

    code = "storage_full"
    status = 507
    retryable = True


class UnknownJob(Problem):
    """No status was reported for the job, or it was removed."""

    code = "unknown_job"
    status = 404


class StatusConflict(Problem):
    """``if_status`` named another status than the job has."""

    code = "status_conflict"
    status = 409


class InvalidUpdate(Problem):
    """The update is no object of known fields."""

    code = "invalid_update"
    status = 422


class UnknownField(Problem):
    """The update has a field that is not known."""

    code = "unknown_field"
    status = 422


class InvalidJobId(Problem):
    """A job id is 1 to 256 bytes without control characters."""

    code = "invalid_job_id"
    status = 422


class InvalidStatus(Problem):
    """A status is a word of ``[a-z0-9_.-]{1,32}``."""

    code = "invalid_status"
    status = 422


class UnknownStatus(Problem):
    """The server takes only the status words that it knows."""

    code = "unknown_status"
    status = 422


class InvalidPipeline(Problem):
    """The name of a pipeline is 1 to 64 bytes without control characters."""

    code = "invalid_pipeline"
    status = 422


class InvalidTime(Problem):
    """``at`` is no time, or outside its bounds."""

    code = "invalid_time"
    status = 422


class InvalidAttempt(Problem):
    """``attempt`` is an integer from 0 to 4294967295."""

    code = "invalid_attempt"
    status = 422


class InvalidProgress(Problem):
    """``progress`` is a number from 0 to 1."""

    code = "invalid_progress"
    status = 422


class InvalidLabels(Problem):
    """At most 16 labels, names of 64 and values of 256 bytes."""

    code = "invalid_labels"
    status = 422


class TooManyPipelines(Problem):
    """The server has as many pipelines as it may."""

    code = "too_many_pipelines"
    status = 422


class TooManyStatuses(Problem):
    """The server has as many status words as it may."""

    code = "too_many_statuses"
    status = 422


class AtomicNeighbour(Problem):
    """Another update of the same atomic call was refused."""

    code = "atomic_neighbour"
    status = 422


#: Each code with its exception.
PROBLEMS: Mapping[str, type[Problem]] = {kind.code: kind for kind in Problem.__subclasses__()}


def problem_of(
    status: int,
    body: Mapping[str, Any],
    *,
    retry_after_s: float | None = None,
    replayed: bool = False,
) -> Problem:
    """The exception for a problem document of the server."""
    code = str(body.get("code", "problem"))
    problem = PROBLEMS.get(code, Problem)(str(body.get("detail") or body.get("title") or code))
    problem.code = code
    problem.status = status
    problem.body = body
    problem.outcome = cast("Outcome", body.get("outcome"))
    problem.retryable = body.get("retryable") is True
    problem.retry_after_s = retry_after_s
    problem.replayed = replayed
    return problem


def rejection_of(rejection: Rejection) -> Problem:
    """The exception for one refused update of a call."""
    problem = PROBLEMS.get(rejection.code, Problem)(rejection.detail)
    problem.code = rejection.code
    problem.outcome = "not_applied"
    return problem
