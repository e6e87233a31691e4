"""What the server answers, as frozen values: jobs, counts, answers, updates of the feed.

Times are aware ``datetime`` values in UTC. Fields that a later server adds are left out, so that
these shapes stay as they are documented.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Json = Mapping[str, Any]


def time_of(text: str) -> datetime:
    """The moment of an answer: RFC 3339 in UTC with milliseconds."""
    # Before Python 3.11, fromisoformat does not know the Z.
    return datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)


def _optional_time(text: str | None) -> datetime | None:
    return None if text is None else time_of(text)


@dataclass(frozen=True)
class Job:
    """The present state of a job.

    ``kind`` is what the status means: ``waiting``, ``running``, ``succeeded``, ``failed`` or
    ``cancelled``. ``progress`` runs from 0 to 1. ``transitions`` counts the changes of status there
    ever were; ``history`` has the last 32.
    """

    job_id: str
    pipeline: str
    status: str
    kind: str
    error: str | None
    message: str | None
    attempt: int
    progress: float | None
    labels: Mapping[str, str] = field(hash=False)
    created_at: datetime
    status_at: datetime
    seen_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime
    seq: int
    transitions: int

    @classmethod
    def of(cls, body: Json) -> Job:
        """The job of an answer."""
        return cls(
            job_id=body["job_id"],
            pipeline=body["pipeline"],
            status=body["status"],
            kind=body["kind"],
            error=body["error"],
            message=body["message"],
            attempt=body["attempt"],
            progress=body["progress"],
            labels=body["labels"],
            created_at=time_of(body["created_at"]),
            status_at=time_of(body["status_at"]),
            seen_at=time_of(body["seen_at"]),
            started_at=_optional_time(body["started_at"]),
            finished_at=_optional_time(body["finished_at"]),
            updated_at=time_of(body["updated_at"]),
            seq=body["seq"],
            transitions=body["transitions"],
        )


@dataclass(frozen=True)
class Transition:
    """One change of a job's status, given attempt or error; the error is cut to 256 bytes."""

    seq: int
    status: str
    at: datetime
    attempt: int
    error: str | None

    @classmethod
    def of(cls, body: Json) -> Transition:
        """The transition of an answer."""
        at = time_of(body["at"])
        return cls(body["seq"], body["status"], at, body["attempt"], body["error"])


@dataclass(frozen=True)
class Rejection:
    """Why one update was refused; ``index`` is its place in the call, from 0."""

    index: int
    job_id: str | None
    code: str
    detail: str

    @classmethod
    def of(cls, body: Json) -> Rejection:
        """The rejection of an answer."""
        return cls(body["index"], body["job_id"], body["code"], body["detail"])


@dataclass(frozen=True)
class Answer:
    """What became of the updates of a call; ``accepted = applied + stale + merged``.

    With ``ack="queued"`` only ``accepted``, ``rejected`` and ``errors`` are known, and ``durable``
    is false. ``errors`` has the first 100. ``replayed``: the same call was answered before.
    """

    accepted: int
    rejected: int
    durable: bool
    applied: int = 0
    stale: int = 0
    merged: int = 0
    first_seq: int | None = None
    last_seq: int | None = None
    errors: tuple[Rejection, ...] = ()
    errors_truncated: bool = False
    replayed: bool = field(default=False, compare=False)

    @classmethod
    def of(cls, body: Json, *, replayed: bool = False) -> Answer:
        """The answer of the server, also that of a refusal which has its counters."""
        return cls(
            accepted=body["accepted"],
            rejected=body["rejected"],
            durable=body["durable"],
            applied=body.get("applied", 0),
            stale=body.get("stale", 0),
            merged=body.get("merged", 0),
            first_seq=body.get("first_seq"),
            last_seq=body.get("last_seq"),
            errors=tuple(Rejection.of(it) for it in body["errors"]),
            errors_truncated=body.get("errors_truncated", False),
            replayed=replayed,
        )


@dataclass(frozen=True)
class PipelineCounts:
    """The part of one pipeline in ``Counts``."""

    total: int
    by_status: Mapping[str, int] = field(hash=False)


@dataclass(frozen=True)
class Counts:
    """How many jobs there are; words and pipelines that have none are left out."""

    total: int
    by_status: Mapping[str, int] = field(hash=False)
    by_kind: Mapping[str, int] = field(hash=False)
    by_pipeline: Mapping[str, PipelineCounts] = field(hash=False)
    as_of_seq: int

    @classmethod
    def of(cls, body: Json) -> Counts:
        """The counts of an answer."""
        pipelines = {
            name: PipelineCounts(it["total"], it["by_status"])
            for name, it in body["by_pipeline"].items()
        }
        by_status, by_kind = body["by_status"], body["by_kind"]
        return cls(body["total"], by_status, by_kind, pipelines, body["as_of_seq"])


@dataclass(frozen=True)
class Lookup:
    """What was found, in the order that was asked for, and what is missing."""

    found: tuple[Job, ...]
    missing: tuple[str, ...]
    as_of_seq: int

    @classmethod
    def of(cls, body: Json) -> Lookup:
        """The lookup of an answer."""
        found = tuple(Job.of(it) for it in body["found"])
        return cls(found, tuple(body["missing"]), body["as_of_seq"])


@dataclass(frozen=True)
class FeedEntry:
    """One durable update; ``status``, ``kind``, ``pipeline`` and ``attempt`` are absolute.

    ``applied`` is false if it came too late and changed nothing. ``job_id`` is ``None`` if it is
    about the pipeline itself, ``status`` is ``None`` if the job was removed (``deleted``).
    """

    seq: int
    job_id: str | None
    pipeline: str
    previous_pipeline: str | None
    status: str | None
    kind: str | None
    previous: str | None
    applied: bool
    at: datetime
    attempt: int | None
    error: str | None
    message: str | None = None
    progress: float | None = None
    labels: Mapping[str, str] | None = field(default=None, hash=False)
    heartbeat: bool = False
    deleted: bool = False
    pipeline_finished: bool = False
    expected_total: int | None = None

    @classmethod
    def of(cls, body: Json) -> FeedEntry:
        """The entry of an answer or of an event."""
        return cls(
            seq=body["seq"],
            job_id=body["job_id"],
            pipeline=body["pipeline"],
            previous_pipeline=body["previous_pipeline"],
            status=body["status"],
            kind=body["kind"],
            previous=body["previous"],
            applied=body["applied"],
            at=time_of(body["at"]),
            attempt=body["attempt"],
            error=body["error"],
            message=body.get("message"),
            progress=body.get("progress"),
            labels=body.get("labels"),
            heartbeat=body.get("heartbeat", False),
            deleted=body.get("deleted", False),
            pipeline_finished=body.get("pipeline_finished", False),
            expected_total=body.get("expected_total"),
        )
