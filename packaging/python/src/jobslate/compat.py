"""The calls of an ingestion pipeline as they are, with jobslate behind them.

An existing ``ingestion_module_database_wrapper.py`` gets three lines at its end, and keeps its SQL:

    from jobslate.compat import *
    from jobslate.compat import with_job_updates
    RobustDatabaseWrapper = with_job_updates(RobustDatabaseWrapper)

The functions of this module share one updater for each process. It is made by the first of them,
from ``configure(...)`` or from the environment:

* ``JOBSLATE_URL``: the server, ``http://127.0.0.1:7411`` if it is not set;
* ``JOBSLATE_SPILL_PATH``: a directory for updates that wait while the server is away.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any, Callable, Protocol, TypeVar

from .process import drain_on_sigterm
from .totals import BatchUpdateStats
from .update import JobId
from .updater import BatchJobStatusUpdater

__all__ = [
    "batch_update_job_status",
    "flush_job_status_updates",
    "get_batch_update_stats",
    "update_job_status",
]


class Updates(Protocol):
    """What a pipeline needs of an updater."""

    def batch_update_job_status(
        self, job_id: JobId, status: str, error_message: object | None = None
    ) -> bool:
        """Queues a status."""


_lock = threading.RLock()
_options: dict[str, Any] = {}
_updater: BatchJobStatusUpdater | None = None


def configure(**options: Any) -> BatchJobStatusUpdater:
    """Makes the shared updater with ``options``, those of ``BatchJobStatusUpdater``.

    One that is there is stopped first, so that nothing is lost. Unless they say otherwise, the
    options are those of a pipeline: ``Pipeline-Job ID gestartet`` is logged, the spill directory is
    that of the environment, and SIGTERM stores what is queued, unless the process handles it.
    """
    global _options, _updater
    with _lock:
        before, _updater, _options = _updater, None, options
    if before is not None:
        before.stop()
    return shared_updater()


def shared_updater() -> BatchJobStatusUpdater:
    """The updater of this process; the first call makes it."""
    global _updater  # noqa: PLW0603
    updater = _updater
    if updater is None:
        with _lock:
            updater = _updater
            if updater is None:
                options = {
                    "spill_path": os.environ.get("JOBSLATE_SPILL_PATH") or None,
                    "log_job_starts": True,
                    **_options,
                }
                is_drained = options.pop("drain_on_sigterm", True)
                updater = BatchJobStatusUpdater(options.pop("url_or_client", None), **options)
                if is_drained:
                    drain_on_sigterm()
                updater.start()
                _updater = updater
    return updater


def batch_update_job_status(
    job_id: JobId, status: str, error_message: object | None = None
) -> bool:
    """Queues a status and returns at once; true if it was taken."""
    return (_updater or shared_updater()).batch_update_job_status(job_id, status, error_message)


def update_job_status(job_id: JobId, status: str, error_message: object | None = None) -> bool:
    """The same under the name of the single call, which was a transaction of its own once."""
    return (_updater or shared_updater()).batch_update_job_status(job_id, status, error_message)


def flush_job_status_updates(timeout_s: float | None = None) -> bool:
    """Waits until all that was queued is on the disk of the server; false if it is not in time."""
    return shared_updater().flush_job_status_updates(timeout_s)


def get_batch_update_stats() -> BatchUpdateStats:
    """What became of the updates of this process so far."""
    return shared_updater().get_batch_update_stats()


class JobUpdates:
    """Gives a class of database calls the job updates, and keeps what it has besides.

    ``get_statistics`` of the class is kept, with ``job_updates`` added; ``close_all_connections``
    stores the queued updates first, as they may be about what the connections still do.
    """

    _own_updater: BatchJobStatusUpdater | None = None

    @property
    def batch_job_updater(self) -> BatchJobStatusUpdater:
        """The updater of this process, unless this object was given one of its own."""
        return self._own_updater or shared_updater()

    @batch_job_updater.setter
    def batch_job_updater(self, updater: object) -> None:
        """Keeps one of jobslate; one that their ``__init__`` still makes is left alone."""
        if isinstance(updater, BatchJobStatusUpdater):
            self._own_updater = updater

    def batch_update_job_status(
        self, job_id: JobId, status: str, error_message: object | None = None
    ) -> bool:
        """Queues a status and returns at once."""
        return self.batch_job_updater.batch_update_job_status(job_id, status, error_message)

    def update_job_status(
        self, job_id: JobId, status: str, error_message: object | None = None
    ) -> bool:
        """The same."""
        return self.batch_job_updater.batch_update_job_status(job_id, status, error_message)

    def flush_job_status_updates(self, timeout_s: float | None = None) -> bool:
        """Waits until all that was queued is on the disk of the server."""
        return self.batch_job_updater.flush_job_status_updates(timeout_s)

    def get_batch_update_stats(self) -> BatchUpdateStats:
        """What became of the updates so far."""
        return self.batch_job_updater.get_batch_update_stats()

    def get_statistics(self) -> dict[str, Any]:
        """The numbers of the database, and under ``job_updates`` those of the updates."""
        statistics = dict(_of_base(self, "get_statistics", dict)())
        statistics["job_updates"] = self.get_batch_update_stats()
        return statistics

    def close_all_connections(self) -> None:
        """Stops the updater, which stores what is queued, then closes the database."""
        self.batch_job_updater.stop()
        _of_base(self, "close_all_connections", lambda: None)()


class RobustDatabaseWrapper(JobUpdates):
    """The job updates beside any database: what is not about updates goes to ``database``.

    Without a ``database`` it has the job updates alone. ``options`` are those of
    ``BatchJobStatusUpdater``, for an updater of its own; without any it uses the shared one.
    """

    def __init__(self, database: object | None = None, **options: Any) -> None:
        self._database = database
        if options:
            self._own_updater = BatchJobStatusUpdater(options.pop("url_or_client", None), **options)

    def __getattr__(self, name: str) -> Any:
        if name == "_database":
            # It is asked for before __init__, by copy and pickle.
            raise AttributeError(name)
        return getattr(self._database, name)


class Pipeline:
    """A pipeline that reports its jobs: ``pipeline.update_job_status(job_id, "processing")``.

    ``name`` groups its jobs at the server; a class that is derived from this may set
    ``pipeline_name`` instead. Without either the jobs are of the pipeline ``default``.
    """

    pipeline_name: str | None = None

    def __init__(
        self, name: str | None = None, *, updater: BatchJobStatusUpdater | None = None
    ) -> None:
        if name is not None:
            self.pipeline_name = name
        self._updater = updater

    def update_job_status(
        self, job_id: JobId, status: str, error_message: object | None = None
    ) -> bool:
        """Queues a status of a job of this pipeline and returns at once."""
        updater = self.__dict__.get("_updater") or shared_updater()
        if self.pipeline_name is None:
            return updater.batch_update_job_status(job_id, status, error_message)
        return updater.update(job_id, status, error_message, pipeline=self.pipeline_name)


Class = TypeVar("Class", bound=type)


def with_job_updates(database_class: Class) -> Class:
    """The class with ``JobUpdates``; it keeps its name and everything else that it has."""
    names = ("__module__", "__qualname__", "__doc__")
    kept: Mapping[str, Any] = {name: getattr(database_class, name) for name in names}
    bases = (JobUpdates, database_class)
    return type(database_class.__name__, bases, dict(kept))  # type: ignore[return-value]


def _after_fork_in_child() -> None:
    # Another thread of the parent may have held it, and does not exist here.
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _of_base(self: JobUpdates, name: str, otherwise: Callable[[], Any]) -> Callable[[], Any]:
    """The method of the class that the updates were added to, or of the database beside them."""
    found = getattr(super(JobUpdates, self), name, None)
    if found is None:
        found = getattr(self.__dict__.get("_database"), name, None)
    return otherwise if found is None else found
