"""What an updater counts, and the page of it that it shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict


class BatchUpdateStats(TypedDict):
    """Numbers of this process since the updater was made, or since the fork.

    At rest ``queued + adopted = stored + rejected + lost + spilled_now + pending``.
    """

    #: Updates that calls handed over and the queue took.
    queued: int
    #: Of these, in the memory of this process and not answered.
    pending: int
    #: On the disk of the server; ``stale`` of them came too late and changed nothing.
    stored: int
    stale: int
    #: Refused by the server, or not to be sent.
    rejected: int
    #: Neither stored nor on any disk: the process stopped while the server was away.
    lost: int
    #: Not taken, because the queue of this process was full, or the value of a call was no update.
    queue_full: int
    invalid: int
    #: Batches that the server answered, and the share of calls that batching saved, in percent.
    batches: int
    saved_percent: float
    largest_batch: int
    #: Requests that were made, those that failed and were made again, and answers that were known
    #: from the first try.
    requests: int
    retries: int
    replayed: int
    #: Updates that were written to the spill file, those that wait there now, and its bytes.
    spilled: int
    spilled_now: int
    spill_bytes: int
    #: Updates of earlier processes that were found there.
    adopted: int
    #: Seconds since the server did not answer; 0 while it does.
    away_s: float
    #: What went wrong last, or an empty text.
    last_error: str


@dataclass
class Totals:
    """The numbers that only grow; each is changed by one thread, or under a lock."""

    taken: int = 0
    stored: int = 0
    stale: int = 0
    rejected: int = 0
    lost: int = 0
    queue_full: int = 0
    invalid: int = 0
    batches: int = 0
    largest_batch: int = 0
    requests: int = 0
    retries: int = 0
    replayed: int = 0
    spilled: int = 0
    adopted: int = 0
    last_error: str = ""
    #: Updates that wait on the disk, and in the hands of the sender.
    spilled_now: int = 0
    spill_bytes: int = 0
    held: int = 0
    away_since: float | None = None
