"""An executor that reports what it does, around any of `concurrent.futures`.

::

    pool = ReportingExecutor(ThreadPoolExecutor(8), updater, job_id=lambda path: path.name)
    pool.submit(ingest, path)

Submitted is `queued`, taken up `processing` (a process pool takes up one more than it has
processes), returned `completed`, raised `error`, cancelled `cancelled`.
"""

from __future__ import annotations

import threading
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, Callable, TypeVar

if TYPE_CHECKING:
    from jobslate.updater import BatchJobStatusUpdater

T = TypeVar("T")


class ReportingExecutor(Executor):
    """Hands everything on to `executor`; `shutdown` does not flush the updater.

    `job_id` names the job and is called with the arguments of the submitted function.
    """

    def __init__(
        self,
        executor: Executor,
        updater: BatchJobStatusUpdater,
        *,
        job_id: Callable[..., object],
        pipeline: str | None = None,
    ) -> None:
        self._executor, self._updater = executor, updater
        self._job_id, self._pipeline = job_id, pipeline

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Submit `fn` as a job; raise what the executor raises, and then the job is cancelled."""
        job_id = str(self._job_id(*args, **kwargs))
        self._report(job_id, "queued")
        try:
            future = self._executor.submit(fn, *args, **kwargs)
        except BaseException as error:
            self._report(job_id, "cancelled", error)
            raise
        self._follow(job_id, future)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the executor down."""
        # Not every executor knows the other option.
        options = {"cancel_futures": True} if cancel_futures else {}
        self._executor.shutdown(wait, **options)

    def _follow(self, job_id: str, future: Future[Any]) -> None:
        """Report from now on. Whoever runs the future says so to it, in this process."""
        start, first = future.set_running_or_notify_cancel, threading.Lock()

        def report_start() -> None:
            if first.acquire(blocking=False):
                self._report(job_id, "processing")

        def started() -> bool:
            if is_running := start():
                report_start()
            return is_running

        def ended(future: Future[Any]) -> None:
            del future.set_running_or_notify_cancel  # its reference to the future
            if future.cancelled():
                self._report(job_id, "cancelled")
                return
            # It may have started before it was followed.
            report_start()
            error = future.exception()
            self._report(job_id, "completed" if error is None else "error", error)

        future.set_running_or_notify_cancel = started  # type: ignore[method-assign]
        if future.running():
            report_start()
        future.add_done_callback(ended)

    def _report(self, job_id: str, status: str, error: BaseException | None = None) -> None:
        self._updater.update(job_id, status, error, pipeline=self._pipeline)
