"""The calls of an ingestion pipeline as they are, with jobslate behind them.

An existing ``ingestion_module_database_wrapper.py`` gets three lines at its end, and keeps its SQL:

    from jobslate.compat import *
    from jobslate.compat import with_job_updates
    RobustDatabaseWrapper = with_job_updates(RobustDatabaseWrapper)

The functions of this module share one updater for each process. It is made by the first of them,
from ``configure(...)`` or from the environment:

* ``JOBSLATE_URL``: the server, ``http://127.0.0.1:7411`` if it is not set;
* ``JOBSLATE_SPILL_PATH``: a directory for updates that wait while the server is away.

A ``JOBSLATE_URL`` that is none makes the import fail, so that no call of the pipeline does.
"""

from __future__ import annotations

import inspect
import os
import threading
from typing import Any, Callable, Protocol, TypeVar

from .process import drain_on_sigterm
from .totals import BatchUpdateStats
from .transport import Transport
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


# Before the pipeline has begun, so that no call of it fails for that.
try:
    Transport()
except ValueError as error:
    raise ValueError(f"JOBSLATE_URL: {error}") from None

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
    """The job updates of a class of database calls."""

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


class RobustDatabaseWrapper(JobUpdates):
    """The job updates beside any database: what is not about updates goes to ``database``.

    Without a ``database`` it has the job updates alone. ``options`` are those of
    ``BatchJobStatusUpdater``, for an updater of its own; without any it uses the shared one.
    """

    def __init__(self, database: object | None = None, **options: Any) -> None:
        self._database = database
        if options:
            self._own_updater = BatchJobStatusUpdater(options.pop("url_or_client", None), **options)

    def get_statistics(self) -> dict[str, Any]:
        """The numbers of the database, and under ``job_updates`` those of the updates."""
        return _statistics(self, getattr(self._database, "get_statistics", None))

    def close_all_connections(self) -> None:
        """Stops the updater, which stores what is queued, then closes the database."""
        _close(self, getattr(self._database, "close_all_connections", None))

    def __getattr__(self, name: str) -> Any:
        # It is asked for before __init__, by copy and pickle.
        if name == "_database" or self._database is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
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
    """The class itself, which has the methods of ``JobUpdates`` now.

    It is changed in place: objects of it and classes derived from it that are there already report
    to jobslate as well. ``get_statistics`` of the class is kept, with ``job_updates`` added;
    ``close_all_connections`` stores the queued updates first, as they may be about what the
    connections still do. A second time changes nothing.
    """
    if vars(database_class).get("_has_job_updates"):
        return database_class
    statistics = _kept(database_class, "get_statistics")
    close = _kept(database_class, "close_all_connections")

    def get_statistics(self: Any) -> dict[str, Any]:
        """The numbers of the database, and under ``job_updates`` those of the updates."""
        return _statistics(self, statistics(self))

    def close_all_connections(self: Any) -> None:
        """Stops the updater, which stores what is queued, then closes the database."""
        _close(self, close(self))

    for name, member in vars(JobUpdates).items():
        if name == "_own_updater" or not name.startswith("_"):
            setattr(database_class, name, member)
    changed: Any = database_class
    changed.get_statistics = get_statistics
    changed.close_all_connections = close_all_connections
    changed._has_job_updates = True  # noqa: SLF001
    return database_class


def _after_fork_in_child() -> None:
    # Another thread of the parent may have held it, and does not exist here.
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _kept(database_class: type, name: str) -> Callable[[Any], Any]:
    """What binds the method that a class has now to an object; ``None`` if it has none."""
    found = inspect.getattr_static(database_class, name, None)
    if not hasattr(found, "__get__"):
        return lambda _: found
    return lambda self: found.__get__(self, type(self))


def _statistics(updates: JobUpdates, of_database: Callable[[], Any] | None) -> dict[str, Any]:
    statistics = {} if of_database is None else dict(of_database() or {})
    statistics["job_updates"] = updates.get_batch_update_stats()
    return statistics


def _close(updates: JobUpdates, database: Callable[[], Any] | None) -> None:
    try:
        updates.batch_job_updater.stop()
    finally:
        if database is not None:
            database()
