"""The client against a real server, and on a way on which answers get lost."""

from __future__ import annotations

import asyncio
import inspect
import os
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from enum import Enum
from typing import Callable
from uuid import UUID

import pytest

from jobslate import (
    AllRejected,
    AsyncClient,
    Client,
    Draining,
    Foreign,
    Gone,
    QueueFull,
    StatusConflict,
    StorageFull,
    Unavailable,
    UnknownJob,
    Update,
)
from jobslate.problems import InvalidJobId, InvalidStatus, InvalidTime

from . import proxy as fates
from .proxy import Proxy, Request
from .server import Server


def test_each_call_gives_what_the_server_has(server: Server) -> None:
    client = server.client()
    at = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=timezone.utc)
    labels = {"source": "scan"}
    answer = client.update(
        "a/b c", "processing", at=at, pipeline="pdf", progress=0.5, message="page 1", labels=labels
    )
    assert (answer.applied, answer.durable, answer.first_seq) == (1, True, 1)
    job = client.get("a/b c")
    assert (job.status, job.kind, job.pipeline) == ("processing", "running", "pdf")
    assert (job.status_at, job.progress, job.message, job.labels) == (at, 0.5, "page 1", labels)
    many = client.update_many(
        [Update(17, "queued"), {"job_id": "x", "status": "error", "error_message": "boom"}]
    )
    assert (many.applied, many.first_seq, many.last_seq) == (2, 2, 3)
    found = client.lookup([17, "nobody", "x"])
    assert ([it.job_id for it in found.found], found.missing) == (["17", "x"], ("nobody",))
    assert [it.error for it in client.history("x")] == ["boom"]
    counts = client.counts()
    assert (counts.total, counts.by_kind) == (3, {"failed": 1, "running": 1, "waiting": 1})
    assert counts.by_pipeline["pdf"].by_status == {"processing": 1}
    queued = client.update("late", "queued", ack="queued")
    assert (queued.accepted, queued.durable, queued.last_seq) == (1, False, None)
    assert client.flush() == 4
    assert client.stats()["updates"]["applied"] == 4
    client.expect("pdf", 1)
    client.delete("x")
    with pytest.raises(UnknownJob):
        client.get("x")


def test_lists_walk_over_pages(server: Server) -> None:
    client = server.client()
    client.update_many([Update(f"{number:03}", "error") for number in range(25)])
    client.update("other", "queued")
    ids = [job.job_id for job in client.list(kind="failed", order="id", page_jobs_max=10)]
    assert ids == [f"{number:03}" for number in range(25)]
    assert [job.job_id for job in client.list(prefix="00", order="id")] == ids[:10]
    assert len(list(client.list(status=["error", "queued"]))) == 26
    assert list(client.list(updated_before=datetime(2020, 1, 1, tzinfo=timezone.utc))) == []


def test_many_updates_are_sent_as_several_requests(proxy: Proxy) -> None:
    client = Client(proxy.url)
    updates = [{"job_id": f"job-{number}", "status": "queued"} for number in range(12_000)]
    updates[11_500]["status"] = "not a status"
    answer = client.update_many(updates)
    assert len(proxy.requests) == 3
    assert len(set(proxy.keys())) == 3
    assert (answer.accepted, answer.rejected, answer.errors[0].index) == (11_999, 1, 11_500)
    assert (answer.first_seq, answer.last_seq) == (1, 11_999)


def test_refusals_have_names(server: Server) -> None:
    client = server.client()
    client.update("a", "processing")
    with pytest.raises(StatusConflict) as conflict:
        client.update("a", "completed", if_status="queued")
    assert (conflict.value.status, conflict.value.outcome) == (409, "not_applied")
    with pytest.raises(UnknownJob):
        client.update("nobody", progress=0.5)
    with pytest.raises(InvalidStatus):
        client.update("a", "in progress")
    with pytest.raises(AllRejected) as all_rejected:
        client.update_many([Update("a", "in progress")])
    assert all_rejected.value.body["errors"][0]["code"] == "invalid_status"


def test_values_of_python_are_taken_as_they_are(server: Server) -> None:
    class Status(Enum):
        BUSY = "processing"

    class Word(str, Enum):
        DONE = "completed"

    client = server.client()
    uuid = UUID(int=7)
    client.update(uuid, Status.BUSY)  # type: ignore[arg-type]
    assert client.get(uuid).status == "processing"
    client.update(b"\xff\x00bytes"[2:], Word.DONE)  # type: ignore[arg-type]
    assert client.get("bytes").status == "completed"
    client.update("broken-\udcff-name", "error", ValueError("boom"))  # type: ignore[arg-type]
    assert client.get(r"broken-\udcff-name").error == "ValueError: boom"
    for bad in (None, True, 1.5, [], object()):
        with pytest.raises(InvalidJobId):
            client.update(bad, "queued")  # type: ignore[arg-type]
    with pytest.raises(InvalidTime):
        client.update("a", "queued", at=datetime(2026, 1, 1))


def test_an_answer_that_was_lost_counts_once(proxy: Proxy, server: Server) -> None:
    for fate in (fates.LOSE_ANSWER, fates.HALF_ANSWER):
        job_id = fate.replace(" ", "-")
        proxy.fate = _first_only(fate)
        answer = Client(proxy.url).update(job_id, "processing")
        assert (answer.applied, answer.replayed) == (1, True)
        assert _feed_of(server, job_id) == ["processing"]


def test_without_a_key_the_same_loss_counts_twice(proxy: Proxy, server: Server) -> None:
    """The control: shows that the test above can fail."""

    def strip(request: Request) -> fates.Fate:
        raw = b"\r\n".join(
            line for line in request.raw.split(b"\r\n") if not line.lower().startswith(b"idemp")
        )
        object.__setattr__(request, "raw", raw)
        return once(request)

    once = _first_only(fates.LOSE_ANSWER)
    proxy.fate = strip
    Client(proxy.url).update("twice", "processing")
    assert _feed_of(server, "twice") == ["processing", "processing"]


def test_a_call_is_tried_again_if_the_refusal_passes(proxy: Proxy) -> None:
    for code, status in [("queue_full", 429), ("draining", 503), ("storage_full", 507)]:
        refusal = fates.problem(status, code, outcome="not_applied", retryable=True)
        proxy.requests.clear()
        proxy.fate = _first_only(refusal, count=3)
        assert Client(proxy.url).update("a", "processing").accepted == 1
        assert len(proxy.requests) == 4
        assert len(set(proxy.keys())) == 1


def test_retries_end_in_time_and_honour_what_the_server_asks(proxy: Proxy) -> None:
    proxy.fate = lambda _: fates.problem(
        429, "queue_full", retry_after="30", outcome="not_applied", retryable=True
    )
    with pytest.raises(QueueFull) as full:
        Client(proxy.url, retry_for_s=5.0).update("a", "processing")
    assert full.value.retry_after_s == 30.0
    # A second try would have come too early.
    assert len(proxy.requests) == 1
    proxy.fate = lambda _: fates.problem(503, "draining", retryable=True)
    with pytest.raises(Draining):
        Client(proxy.url, retry_for_s=0.0).update("a", "processing")
    proxy.fate = lambda _: fates.problem(507, "storage_full", retryable=False)
    with pytest.raises(StorageFull):
        Client(proxy.url).update("a", "processing")


def test_nobody_and_strangers_have_names_too(proxy: Proxy, server: Server) -> None:
    server.kill()
    with pytest.raises(Unavailable) as nobody:
        Client(server.url, retry_for_s=0.0).counts()
    assert (nobody.value.outcome, nobody.value.retryable) == ("not_applied", True)
    page = b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n<h1>!</h1"
    proxy.fate = lambda _: page
    with pytest.raises(Foreign) as foreign:
        Client(proxy.url).update("a", "processing")
    assert (foreign.value.status, foreign.value.outcome) == (404, "unknown")
    proxy.fate = lambda _: b"SSH-2.0-OpenSSH_9.2\r\n"
    with pytest.raises(Unavailable):
        Client(proxy.url, retry_for_s=0.0).update("a", "processing")
    for bad in ("localhost", "ftp://x", "http://", "http://x/?y=1"):
        with pytest.raises(ValueError, match="URL of a server"):
            Client(bad)


def test_a_connection_that_the_server_closed_is_made_anew(server: Server) -> None:
    client = Client(server.url, retry_for_s=0.0)
    client.update("a", "queued")
    server.stop()
    server.start()
    assert client.get("a").status == "queued"


def test_each_thread_keeps_one_connection(server: Server) -> None:
    client = server.client()
    before = client.stats()["http"]["connections"]["now"]
    barrier = threading.Barrier(4)

    def work(number: int) -> None:
        barrier.wait()
        for _ in range(20):
            client.update(f"job-{number}", "processing")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
        assert client.stats()["http"]["connections"]["now"] <= before + 4


def test_a_child_does_not_use_the_connection_of_its_parent(server: Server) -> None:
    client = server.client()
    client.update("a", "queued")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for _ in range(50):
                status = int(client.get("a").status != "queued")
        finally:
            os._exit(status)
    for _ in range(50):
        assert client.get("a").status == "queued"
    assert os.waitpid(child, 0)[1] == 0


def test_a_client_can_be_pickled(server: Server) -> None:
    copied = pickle.loads(pickle.dumps(server.client()))
    assert copied.counts().total == 0


def test_a_watch_goes_on_over_restarts_of_the_server(server: Server) -> None:
    client = server.client()
    seen: list[int] = []
    watch = client.watch(0)

    def follow() -> None:
        seen.extend(entry.seq for entry in watch)

    thread = threading.Thread(target=follow)
    thread.start()
    for round_ in range(3):
        client.update_many([Update(f"job-{round_}-{it}", "processing") for it in range(40)])
        server.kill()
        server.start()
    client.update("last", "completed")
    _until(lambda: len(seen) == 121)
    watch.close()
    thread.join(10)
    assert not thread.is_alive()
    assert seen == list(range(1, 122))


def test_a_watch_filters_and_begins_now(server: Server) -> None:
    client = server.client()
    client.update("before", "error")
    with client.watch(kind="failed") as watch:
        client.update_many([Update("a", "processing"), Update("b", "error"), Update("c", "failed")])
        assert [next(watch).job_id, next(watch).job_id] == ["b", "c"]
        assert watch.after == 4


def test_a_place_that_is_not_held_is_an_exception(server: Server) -> None:
    client = server.client()
    client.update("a", "processing")
    with pytest.raises(Gone) as gone:
        next(client.watch(17))
    assert (gone.value.first_seq_held, gone.value.last_seq_held) == (1, 1)


def test_a_watch_gives_up_when_it_is_told_to(server: Server) -> None:
    watch = server.client().watch(0, retry_for_s=0.2)
    server.kill()
    with pytest.raises(Unavailable):
        next(watch)


def test_the_asyncio_twin_gives_the_same(server: Server) -> None:
    async def work() -> None:
        async with AsyncClient(server.url) as client:
            await asyncio.gather(*(client.update(f"job-{it}", "queued") for it in range(30)))
            answer = await client.update_many([{"job_id": "a", "status": "error"}])
            assert answer.accepted == 1
            assert (await client.get("a")).kind == "failed"
            assert (await client.lookup(["a", "b"])).missing == ("b",)
            assert len(await client.history("a")) == 1
            assert (await client.counts()).total == 31
            assert (await client.stats())["updates"]["applied"] == 31
            assert await client.flush() == 31
            assert await client.is_ready()
            jobs = [job async for job in client.list(page_jobs_max=10)]
            assert len(jobs) == 31
            seen = []
            async for entry in client.watch(0):
                seen.append(entry.seq)
                if len(seen) == 31:
                    break
            assert seen == list(range(1, 32))
            with pytest.raises(UnknownJob):
                await client.get("nobody")

    asyncio.run(work())


@pytest.mark.parametrize("end", ["cancel", "close"])
def test_an_asyncio_call_that_is_over_is_not_tried_again(end: str) -> None:
    async def work() -> None:
        client = AsyncClient("http://127.0.0.1:9", retry_for_s=3600)
        call = asyncio.create_task(client.get("a"))
        while not client._under_way:
            await asyncio.sleep(0.01)
        if end == "cancel":
            call.cancel()
        # Else it would wait for an hour.
        await asyncio.wait_for(client.close(), 30)
        with pytest.raises(asyncio.CancelledError if end == "cancel" else Unavailable):
            await call
        assert not [it for it in threading.enumerate() if it.name.startswith("jobslate-aio")]

    asyncio.run(work())


def test_both_clients_have_the_same_calls() -> None:
    def calls(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(it).parameters)
            for name, it in vars(kind).items()
            if callable(it) and not name.startswith("_")
        }

    assert calls(AsyncClient) == calls(Client)


def _first_only(fate: fates.Fate, count: int = 1) -> Callable[[Request], fates.Fate]:
    left = [count]

    def decide(_: Request) -> fates.Fate:
        left[0] -= 1
        return fate if left[0] >= 0 else fates.PASS

    return decide


def _feed_of(server: Server, job_id: str) -> list[str | None]:
    client = server.client()
    last = client.counts().as_of_seq
    statuses = []
    with client.watch(0) as watch:
        for entry in watch:
            if entry.job_id == job_id:
                statuses.append(entry.status)
            if entry.seq == last:
                return statuses
    return statuses


def _until(is_so: Callable[[], bool], timeout_s: float = 30.0) -> None:
    give_up_at = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
