"""The page of numbers of a server: names and meanings are those of ``GET /v1/stats``."""

from __future__ import annotations

from typing import TypedDict


class BackupsStats(TypedDict):
    """The backups that the server makes by itself at intervals."""

    failed: int
    failing: bool
    last_at: str | None
    last_bytes: int | None
    last_ms: float | None
    last_seq: int | None
    made: int
    scheduled: bool


class ClosedByStats(TypedDict):
    """Batches by the reason that closed them."""

    drain: int
    flush: int
    interval: int
    size: int
    waiter: int


class BatchesStats(TypedDict):
    """Write transactions, and what batching saved."""

    closed_by: ClosedByStats
    committed: int
    saved_percent: float


class CommitMsStats(TypedDict):
    """How long commits took, in milliseconds."""

    max: float
    p50: float
    p99: float


class FilesStats(TypedDict):
    """The files of the store, and what was written to them."""

    journal_bytes: int
    last_seq: int
    moments_held: int
    syncs: int
    tables_bytes: int
    written_bytes: int


class FoldStats(TypedDict):
    """Folds, how long they took, and how often and how long the writer waited for one."""

    count: int
    ms_last: float
    ms_max: float
    wait_ms: float
    waits: int


class ConnectionsStats(TypedDict):
    """Connections: open now, the most ever, the most served, turned away, closed while idle."""

    idle_closed: int
    max: int
    now: int
    peak: int
    turned_away: int


#: Responses by class.
ResponsesStats = TypedDict(
    "ResponsesStats",
    {"2xx": int, "3xx": int, "4xx": int, "5xx": int},
)


class HttpStats(TypedDict):
    """The server's own numbers."""

    connections: ConnectionsStats
    in_flight: int
    requests: int
    responses: ResponsesStats
    watchers: int


class IdempotencyStats(TypedDict):
    """Calls with an idempotency key: in all, repeated, and refused for another body."""

    calls: int
    hit_percent: float
    replayed: int
    reused: int


class ProcessStats(TypedDict):
    """The process."""

    open_files: int | None
    pid: int
    resident_bytes: int | None
    uptime_s: int
    version: str


class QueueStats(TypedDict):
    """The queue now, its bounds, its highest mark in updates, and how often it refused."""

    bytes: int
    bytes_max: int
    full: int
    peak: int
    updates: int
    updates_max: int


class RetentionStats(TypedDict):
    """The jobs that the server removes by itself because they are old or many."""

    failed: int
    last_at: str | None
    on: bool
    removed: int
    removed_last: int
    runs: int


class ScrubStats(TypedDict):
    """The scrub: all that is stored is read again at intervals, slowly."""

    last_at: str | None
    percent: int
    problems: int
    problems_last: int
    rounds: int
    rows: int
    running: bool
    scheduled: bool


class TailStats(TypedDict):
    """What is durable in the journal and not yet folded into the tables."""

    bytes: int
    jobs: int
    updates: int


class UpdatesStats(TypedDict):
    """What became of updates. `accepted = applied + stale + merged + queued_now`, once at rest."""

    accepted: int
    applied: int
    merged: int
    queued_now: int
    rejected: int
    rejected_at_commit: int
    stale: int


class Stats(TypedDict):
    """Everything that is counted."""

    backups: BackupsStats
    batches: BatchesStats
    commit_ms: CommitMsStats
    files: FilesStats
    fold: FoldStats
    http: HttpStats
    idempotency: IdempotencyStats
    process: ProcessStats
    queue: QueueStats
    retention: RetentionStats
    scrub: ScrubStats
    tail: TailStats
    updates: UpdatesStats
