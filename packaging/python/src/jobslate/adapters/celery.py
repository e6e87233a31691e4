"""Reports the states of Celery tasks; the job id is the task id, the attempt its retries plus one.

::

    jobslate.adapters.celery.install(app, jobslate.BatchJobStatusUpdater())

To be called where tasks are published and where they run. They are `queued`, `processing`, then
`completed`, `error` or `cancelled` (revoked, expired); a retry is `error`, then `queued` again.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Callable

from celery import current_task, signals  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from jobslate.updater import BatchJobStatusUpdater

FLUSH_TIMEOUT_S = 5.0  # at most, when a process of the worker ends
LABEL_BYTES_MAX = 256


def install(
    app: Any | None, updater: BatchJobStatusUpdater, *, pipeline: str | None = None
) -> Callable[[], None]:
    """Report the tasks of `app` (of all apps, if it is None); the answer undoes it."""
    reporter = _Reporter(app, updater, pipeline)
    handlers = {
        signals.before_task_publish: reporter.published,
        signals.task_prerun: reporter.started,
        signals.task_success: reporter.succeeded,
        signals.task_failure: reporter.failed,
        signals.task_retry: reporter.retried,
        signals.task_revoked: reporter.revoked,
        # Processes of the prefork pool end without the handlers of `atexit`.
        signals.worker_process_shutdown: reporter.flush,
        signals.worker_shutdown: reporter.flush,
    }
    undo = ExitStack()
    for signal, handler in handlers.items():
        signal.connect(handler, weak=False)
        undo.callback(signal.disconnect, handler)
    return undo.close


class _Reporter:
    def __init__(self, app: Any | None, updater: BatchJobStatusUpdater, pipeline: str | None):
        self._app, self._updater, self._pipeline = app, updater, pipeline
        self._retry = threading.local()  # when this thread published the task's next attempt

    def published(self, sender: str, headers: dict[str, Any], body: Any, **_: object) -> None:
        task = headers if "task" in headers else body
        attempt = (task.get("retries") or 0) + 1
        running = current_task.request if current_task else None
        if running and running.id == task["id"] and attempt > running.retries + 1:
            # `task_retry` follows on this thread, and first says what was wrong.
            self._retry.at = int(time.time() * 1000)
        else:
            self._report(sender, task["id"], "queued", attempt)

    def started(self, sender: Any, task_id: str, **_: object) -> None:
        self._retry.at = None
        self._report(sender.name, task_id, "processing", sender.request.retries + 1)

    def succeeded(self, sender: Any, **_: object) -> None:
        self._report(sender.name, sender.request.id, "completed", sender.request.retries + 1)

    def failed(self, sender: Any, task_id: str, exception: BaseException, **_: object) -> None:
        # A timeout is told by the main process, where this task has no request.
        attempt = sender.request.retries + 1 if sender.request.id == task_id else None
        self._report(sender.name, task_id, "error", attempt, error=_said(exception))

    def retried(self, sender: Any, request: Any, reason: Any = None, **_: object) -> None:
        at = getattr(self._retry, "at", None)
        error, attempt = _said(getattr(reason, "exc", None) or reason), request.retries + 1
        self._report(sender.name, request.id, "error", attempt, error=error)
        if at is not None:
            # Not "now": another worker may have started it meanwhile, and the newest wins.
            self._report(sender.name, request.id, "queued", attempt + 1, at=at)

    def revoked(self, sender: Any, request: Any, expired: bool, **_: object) -> None:
        error = "expired" if expired else "revoked"
        self._report(sender.name, request.id, "cancelled", request.retries + 1, error=error)

    def flush(self, **_: object) -> None:
        self._updater.flush_job_status_updates(timeout_s=FLUSH_TIMEOUT_S)

    def _report(self, task: str, job_id: str, word: str, attempt: int | None, **more: Any) -> None:
        if self._app is None or task in self._app.tasks:
            more["labels"] = {"task": task.encode()[-LABEL_BYTES_MAX:].decode(errors="ignore")}
            self._updater.update(job_id, word, attempt=attempt, pipeline=self._pipeline, **more)


def _said(reason: object) -> object:
    return "cancelled by Celery" if reason is None else reason
