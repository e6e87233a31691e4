"""The executor that reports by itself, around the real pools and against a real server."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Callable

import pytest

from jobslate import BatchJobStatusUpdater, Client
from jobslate.adapters.futures import ReportingExecutor

from .server import Server


def half(number: int) -> int:
    if number % 10 == 7:
        message = f"{number} is unlucky"
        raise ValueError(message)
    return number // 2


def name(number: int) -> str:
    return f"half-{number}"


def words(client: Client, job_id: str) -> list[str]:
    return [step.status for step in client.history(job_id)]


@pytest.fixture
def updater(
    server: Server, make_updater: Callable[..., BatchJobStatusUpdater]
) -> BatchJobStatusUpdater:
    return make_updater(server.url)


@pytest.mark.parametrize("make_pool", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_a_pool_reports_each_step_of_each_job(
    make_pool: Callable[[int], Executor], server: Server, updater: BatchJobStatusUpdater
) -> None:
    with ReportingExecutor(make_pool(4), updater, job_id=name, pipeline="halves") as pool:
        futures = [pool.submit(half, number) for number in range(200)]
        results = [None if future.exception() else future.result() for future in futures]
    assert results == [None if n % 10 == 7 else n // 2 for n in range(200)]
    assert updater.flush_job_status_updates()

    client = server.client()
    assert client.counts().by_pipeline["halves"].by_status == {"completed": 180, "error": 20}
    assert client.get("half-17").error == "ValueError: 17 is unlucky"
    for number in range(200):
        last = "error" if number % 10 == 7 else "completed"
        assert words(client, name(number)) == ["queued", "processing", last]


def test_map_reports_as_submit_does(server: Server, updater: BatchJobStatusUpdater) -> None:
    with ReportingExecutor(ThreadPoolExecutor(2), updater, job_id=name) as pool:
        assert list(pool.map(half, range(5))) == [0, 0, 1, 1, 2]
    assert updater.flush_job_status_updates()
    assert server.client().counts().by_status == {"completed": 5}


def test_a_job_that_is_cancelled_before_it_starts_says_so(
    server: Server, updater: BatchJobStatusUpdater
) -> None:
    go_on = threading.Event()
    pool = ReportingExecutor(ThreadPoolExecutor(1), updater, job_id=lambda job, *_: job)
    running = pool.submit(lambda _: go_on.wait(60), "first")
    waiting = pool.submit(str, "second")
    dropped = pool.submit(str, "third")
    assert waiting.cancel()
    pool.shutdown(wait=False, cancel_futures=True)
    go_on.set()
    assert running.result() is True
    assert dropped.cancelled()
    with pytest.raises(RuntimeError):
        pool.submit(str, "too-late")
    pool.shutdown()
    assert updater.flush_job_status_updates()

    client = server.client()
    assert words(client, "first") == ["queued", "processing", "completed"]
    assert words(client, "second") == ["queued", "cancelled"]
    assert words(client, "third") == ["queued", "cancelled"]
    late = client.get("too-late")
    assert (late.status, late.error) == (
        "cancelled",
        "RuntimeError: cannot schedule new futures after shutdown",
    )


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def fail(number: int) -> None:
    raise Unspeakable


def test_an_exception_without_a_text_ends_its_job_all_the_same(
    server: Server, updater: BatchJobStatusUpdater
) -> None:
    with ReportingExecutor(ThreadPoolExecutor(1), updater, job_id=name) as pool:
        assert isinstance(pool.submit(fail, 1).exception(), Unspeakable)
    assert updater.flush_job_status_updates()
    job = server.client().get("half-1")
    assert (job.status, job.error) == ("error", "Unspeakable (its text failed: RuntimeError)")


class AtOnce(Executor):
    """Has done the work before it hands the future out."""

    def submit(self, fn: Callable[..., object], /, *args: object, **kwargs: object) -> Future:  # type: ignore[type-arg]
        future: Future[object] = Future()
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(fn(*args, **kwargs))
            except ValueError as error:
                future.set_exception(error)
        return future


def test_a_job_that_ends_before_it_is_followed_has_all_its_steps(
    server: Server, updater: BatchJobStatusUpdater
) -> None:
    pool = ReportingExecutor(AtOnce(), updater, job_id=name)
    assert pool.submit(half, 8).result() == 4
    assert isinstance(pool.submit(half, 7).exception(), ValueError)
    assert updater.flush_job_status_updates()
    client = server.client()
    assert words(client, "half-8") == ["queued", "processing", "completed"]
    assert words(client, "half-7") == ["queued", "processing", "error"]


def test_a_future_is_not_kept_alive_by_its_report(updater: BatchJobStatusUpdater) -> None:
    class Result:
        pass

    with ReportingExecutor(ThreadPoolExecutor(1), updater, job_id=lambda: "big") as pool:
        future = pool.submit(Result)
        held = weakref.ref(future.result())
        pool.submit(Result).result()
        gc.disable()
        try:
            del future
            assert held() is None
        finally:
            gc.enable()
