"""A Celery application for the tests of the adapter, in this process or in a worker's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery import Celery  # type: ignore[import-untyped]

from jobslate import BatchJobStatusUpdater
from jobslate.adapters.celery import install


def make_app(broker: str, **settings: object) -> Any:
    app = Celery("tests", broker=broker, set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        broker_connection_retry_on_startup=True,
        worker_hijack_root_logger=False,
        **settings,
    )

    @app.task(name="tests.double", shared=False)  # type: ignore[untyped-decorator]
    def double(number: int) -> int:
        return 2 * number

    @app.task(name="tests.fail", shared=False)  # type: ignore[untyped-decorator]
    def fail(what: str) -> None:
        raise ValueError(what)

    @app.task(name="tests.flaky", shared=False, bind=True, max_retries=2)  # type: ignore[untyped-decorator]
    def flaky(self: Any, fail_count: int) -> int:
        if self.request.retries < fail_count:
            raise self.retry(exc=OSError(f"try {self.request.retries + 1}"), countdown=0)
        return fail_count

    @app.task(name="tests.mark", shared=False, bind=True)  # type: ignore[untyped-decorator]
    def mark(self: Any, file: str, fail_count: int) -> None:
        """Leaves a file behind, so that its end is seen without a look at what was reported."""
        if self.request.retries < fail_count:
            raise self.retry(countdown=0)
        Path(file).touch()

    @app.task(name="tests.again", shared=False, bind=True)  # type: ignore[untyped-decorator]
    def again(self: Any, left: int) -> None:
        if left:
            raise self.replace(again.s(left - 1))

    return app


def worker_app() -> Any:
    """For `celery --app`: all that it needs stands in the environment."""
    folder = os.environ["TEST_BROKER_FOLDER"]
    app = make_app(
        "filesystem://",
        broker_transport_options={
            "data_folder_in": folder,
            "data_folder_out": folder,
            "control_folder": f"{folder}/control",
        },
    )
    install(app, BatchJobStatusUpdater(flush_interval_s=3600.0, batch_size=10_000))
    return app


app = worker_app() if "TEST_BROKER_FOLDER" in os.environ else None
