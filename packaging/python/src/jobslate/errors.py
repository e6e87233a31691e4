"""What can go wrong; each problem code of the server has an exception of its own in ``problems``.

``JobslateError`` is the base of all. Four attributes say what to do:

* ``code``: a stable name for programs; ``detail`` is a sentence for people;
* ``outcome``: ``"not_applied"`` (send it again freely), ``"unknown"`` (send it again with the same
  idempotency key; the clients do), or ``None`` for calls that only read;
* ``retryable``: the same call may succeed later;
* ``retry_after_s``: seconds that the server asks to wait, if it asks.
"""

from __future__ import annotations

from typing import Any, Literal, Optional

Outcome = Optional[Literal["not_applied", "unknown"]]


class JobslateError(Exception):
    """The base of all errors of this package. ``status`` is 0 if there was no answer."""

    code: str = "jobslate_error"
    status: int = 0
    outcome: Outcome = None
    retryable: bool = False
    retry_after_s: float | None = None

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.detail} ({self.code})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword arguments would be lost on the way to another process.
        return _restored, (type(self), self.detail, dict(self.__dict__))


def _restored(kind: type[JobslateError], detail: str, state: dict[str, Any]) -> JobslateError:
    error = kind(detail)
    error.__dict__.update(state)
    return error


class Unavailable(JobslateError):
    """No connection, a broken one, or no answer in time.

    What became of a write is unknown, unless there never was a connection.
    """

    code = "unavailable"
    retryable = True

    def __init__(self, detail: str, outcome: Outcome = None) -> None:
        super().__init__(detail)
        self.outcome = outcome


class Foreign(JobslateError):
    """Somebody answered, but not jobslate: a proxy, or another program on that port."""

    code = "foreign"

    def __init__(self, detail: str, status: int = 0, outcome: Outcome = None) -> None:
        super().__init__(detail)
        self.status = status
        self.outcome = outcome
        # A proxy before a server that restarts.
        self.retryable = status in {429, 502, 503, 504}


class OtherStore(JobslateError):
    """The server has another store than before: its updates are others, whatever their numbers."""

    code = "other_store"


class LocalQueueFull(JobslateError):
    """The queue of this process is full, and the update was not taken.

    The server has been away for long, or reports come faster than they can be sent.
    """

    code = "local_queue_full"
    outcome = "not_applied"
    retryable = True


class UpdatesLost(JobslateError):
    """Updates that this process had queued could neither be stored nor spilled."""

    code = "updates_lost"
    outcome = "unknown"


class SpillFailed(JobslateError):
    """The spill file cannot be written or read; what is in memory stays there."""

    code = "spill_failed"
