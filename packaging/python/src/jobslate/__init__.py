"""jobslate keeps the status of every job of an ingestion pipeline.

* ``BatchJobStatusUpdater`` takes status updates in microseconds and stores them in batches.
* ``Client`` and ``AsyncClient`` call the server and wait for its answer.
* ``jobslate.compat`` has the calls of an existing pipeline.
* ``jobslate.errors`` and ``jobslate.problems`` say what can go wrong.
"""

from .aio import AsyncClient
from .client import Client
from .errors import (
    Foreign,
    JobslateError,
    LocalQueueFull,
    OtherStore,
    SpillFailed,
    Unavailable,
    UpdatesLost,
)
from .feed import Watch
from .model import (
    Answer,
    Counts,
    FeedEntry,
    Job,
    Lookup,
    PipelineCounts,
    Rejection,
    Transition,
)
from .problems import (
    AllRejected,
    Draining,
    Gone,
    Opening,
    Problem,
    QueueFull,
    StatusConflict,
    StorageFailed,
    StorageFull,
    UnknownJob,
)
from .process import drain_on_sigterm
from .stats import Stats
from .totals import BatchUpdateStats
from .update import Update
from .updater import BatchJobStatusUpdater

__all__ = [
    "AllRejected",
    "Answer",
    "AsyncClient",
    "BatchJobStatusUpdater",
    "BatchUpdateStats",
    "Client",
    "Counts",
    "Draining",
    "FeedEntry",
    "Foreign",
    "Gone",
    "Job",
    "JobslateError",
    "LocalQueueFull",
    "Lookup",
    "Opening",
    "OtherStore",
    "PipelineCounts",
    "Problem",
    "QueueFull",
    "Rejection",
    "SpillFailed",
    "Stats",
    "StatusConflict",
    "StorageFailed",
    "StorageFull",
    "Transition",
    "Unavailable",
    "UnknownJob",
    "Update",
    "UpdatesLost",
    "Watch",
    "drain_on_sigterm",
]
