"""The Celery adapter with real workers: in a thread of this process, eager, and prefork."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from celery.app.task import Context  # type: ignore[import-untyped]
from celery.contrib.testing.worker import start_worker  # type: ignore[import-untyped]
from celery.signals import task_failure, task_retry  # type: ignore[import-untyped]
from celery.worker import state as worker_state  # type: ignore[import-untyped]

from jobslate import BatchJobStatusUpdater, Client, UnknownJob
from jobslate.adapters.celery import install

from .celery_app import make_app
from .server import ROOT, Server, environment

Install = Callable[..., BatchJobStatusUpdater]


@pytest.fixture
def report(
    server: Server, make_updater: Callable[..., BatchJobStatusUpdater]
) -> Iterator[Callable[..., BatchJobStatusUpdater]]:
    """Installs the adapter for an app, for the time of a test."""
    uninstalls = []

    def report(app: Any, **options: Any) -> BatchJobStatusUpdater:
        updater = make_updater(server.url)
        uninstalls.append(install(app, updater, **options))
        return updater

    yield report
    for uninstall in uninstalls:
        uninstall()


@pytest.fixture
def app() -> Any:
    return make_app(f"memory://{uuid.uuid4().hex}")


def steps(client: Client, job_id: str) -> list[tuple[str, int]]:
    return [(step.status, step.attempt) for step in client.history(job_id)]


def until_ended(
    client: Client, updater: BatchJobStatusUpdater, *job_ids: str, attempt: int = 1
) -> None:
    """Waits until these jobs have ended. The bound tells a hang from an answer."""
    for _ in range(3000):
        updater.flush_job_status_updates()
        jobs = client.lookup(job_ids).found
        ended = [job for job in jobs if job.finished_at and job.attempt >= attempt]
        if len(ended) == len(job_ids):
            return
        time.sleep(0.02)
    pytest.fail(f"not ended: {jobs}")


def test_a_worker_reports_each_step_of_each_task(server: Server, app: Any, report: Install) -> None:
    updater = report(app, pipeline="tasks")
    client = server.client()
    with start_worker(app, perform_ping_check=False):
        app.tasks["tests.double"].apply_async((21,), task_id="good")
        app.tasks["tests.fail"].apply_async(("no such page",), task_id="bad")
        until_ended(client, updater, "good", "bad")
    assert steps(client, "good") == [("queued", 1), ("processing", 1), ("completed", 1)]
    assert steps(client, "bad") == [("queued", 1), ("processing", 1), ("error", 1)]
    good, bad = client.get("good"), client.get("bad")
    assert (good.pipeline, good.labels) == ("tasks", {"task": "tests.double"})
    assert bad.error == "ValueError: no such page"


def test_a_retry_tells_what_was_wrong_and_is_the_next_attempt(
    server: Server, app: Any, report: Install
) -> None:
    updater = report(app)
    client = server.client()
    with start_worker(app, perform_ping_check=False):
        app.tasks["tests.flaky"].apply_async((2,), task_id="twice")
        app.tasks["tests.flaky"].apply_async((9,), task_id="always")
        until_ended(client, updater, "twice", "always", attempt=3)
    tried = [
        *[("queued", 1), ("processing", 1), ("error", 1)],
        *[("queued", 2), ("processing", 2), ("error", 2)],
        *[("queued", 3), ("processing", 3)],
    ]
    assert steps(client, "twice") == [*tried, ("completed", 3)]
    assert steps(client, "always") == [*tried, ("error", 3)]
    errors = [step.error for step in client.history("always") if step.status == "error"]
    assert errors == ["OSError: try 1", "OSError: try 2", "OSError: try 3"]
    assert client.stats()["updates"]["stale"] == 0, "each report came in its order"


def test_a_task_that_replaces_itself_is_queued_again(
    server: Server, app: Any, report: Install
) -> None:
    updater = report(app)
    client = server.client()
    with start_worker(app, perform_ping_check=False):
        app.tasks["tests.again"].apply_async((1,), task_id="again")
        until_ended(client, updater, "again")
    assert [word for word, _ in steps(client, "again")] == [
        *["queued", "processing"],
        *["queued", "processing", "completed"],
    ]


def test_a_revoked_and_an_expired_task_are_cancelled(
    server: Server, app: Any, report: Install
) -> None:
    updater = report(app)
    client = server.client()
    app.tasks["tests.double"].apply_async((1,), task_id="late", expires=-1.0)
    app.tasks["tests.double"].apply_async((1,), task_id="unwanted")
    worker_state.revoked.add("unwanted")
    with start_worker(app, perform_ping_check=False):
        until_ended(client, updater, "late", "unwanted")
    assert steps(client, "late") == [("queued", 1), ("cancelled", 1)]
    assert client.get("late").error == "expired"
    assert client.get("unwanted").error == "revoked"


def test_an_eager_task_reports_where_it_is_called(
    server: Server, app: Any, report: Install
) -> None:
    app.conf.task_always_eager = True
    updater = report(None)
    app.tasks["tests.flaky"].apply_async((1,), task_id="eager")
    app.tasks["tests.fail"].apply_async(("no",), task_id="bad")
    assert updater.flush_job_status_updates()
    client = server.client()
    assert steps(client, "eager") == [
        *[("processing", 1), ("error", 1)],
        *[("processing", 2), ("completed", 2)],
    ]
    assert steps(client, "bad") == [("processing", 1), ("error", 1)]


def test_an_exception_without_a_text_ends_its_task_all_the_same(
    server: Server, app: Any, report: Install
) -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    updater = report(app)
    task = app.tasks["tests.double"]
    task_failure.send(sender=task, task_id="a", exception=Unspeakable())
    task_retry.send(sender=task, request=Context(id="b", retries=0), reason=Unspeakable())
    assert updater.flush_job_status_updates()
    for job_id in ("a", "b"):
        job = server.client().get(job_id)
        assert (job.status, job.error) == ("error", "Unspeakable (its text failed: RuntimeError)")


def test_only_the_tasks_of_the_named_app_are_reported(
    server: Server, app: Any, report: Install
) -> None:
    app.conf.task_always_eager = True
    updater = report(app)

    other = make_app("memory://", task_always_eager=True)

    @other.task(name="other.task", shared=False)  # type: ignore[untyped-decorator]
    def other_task() -> None:
        pass

    other_task.apply_async(task_id="other")
    app.tasks["tests.double"].apply_async((1,), task_id="mine")
    assert updater.flush_job_status_updates()
    client = server.client()
    assert client.get("mine").status == "completed"
    with pytest.raises(UnknownJob):
        client.get("other")


def test_the_processes_of_a_prefork_worker_store_what_they_reported(
    server: Server, tmp_path: Path
) -> None:
    """Their updaters would send nothing for an hour: only the end of the process does."""
    count = 40
    broker, marks = tmp_path / "broker", tmp_path / "marks"
    broker.mkdir()
    marks.mkdir()
    variables = environment(TEST_BROKER_FOLDER=str(broker), JOBSLATE_URL=server.url)
    folder = ROOT / "packaging" / "python"
    publish = (
        "from tests.celery_app import app\n"
        f"for n in range({count}):\n"
        f"    values = f'{marks}/{{n}}', 1 if n == 9 else 0\n"
        "    app.tasks['tests.mark'].apply_async(values, task_id=f'task-{n}')\n"
    )
    subprocess.run([sys.executable, "-c", publish], cwd=folder, env=variables, check=True)
    client = server.client()
    assert client.counts().by_status == {"queued": count}, "stored at the exit of the publisher"

    worker = subprocess.Popen(
        [
            *(sys.executable, "-m", "celery", "--app", "tests.celery_app:app", "worker"),
            *("--pool", "prefork", "--concurrency", "2", "--max-tasks-per-child", "5"),
            *("--loglevel", "WARNING", "--without-gossip", "--without-mingle"),
        ],
        cwd=folder,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        for _ in range(3000):
            # A worker that stops gives back what it has not begun.
            if len(list(marks.iterdir())) == count or worker.poll() is not None:
                break
            time.sleep(0.02)
        worker.terminate()
        output, _ = worker.communicate(timeout=60)
    finally:
        worker.kill()
    assert worker.returncode == 0, output
    assert client.counts().by_status == {"completed": count}, output
    assert steps(client, "task-7") == [("queued", 1), ("processing", 1), ("completed", 1)]
    assert steps(client, "task-9")[-1] == ("completed", 2)
