"""The updater in one process: batches, order, times, refusals, the way over bad servers."""

from __future__ import annotations

import logging
import pickle
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import pytest

from jobslate import BatchJobStatusUpdater, Client, FeedEntry, JobslateError, LocalQueueFull, batch
from jobslate import problems as named
from jobslate.sender import Sender

from . import proxy as fates
from .proxy import Proxy, Request, problem
from .server import Server

MakeUpdater = Callable[..., BatchJobStatusUpdater]


@pytest.fixture(autouse=True)
def log_level(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever other tests made of the root logger."""
    caplog.set_level(logging.INFO, logger="jobslate")


def test_twelve_thousand_calls_are_far_fewer_transactions(
    server: Server, make_updater: MakeUpdater
) -> None:
    updater = make_updater(server.url)
    with ThreadPoolExecutor(64) as pool:
        for number in range(3_000):
            pool.submit(_work_on, updater, f"job-{number}")
    assert updater.flush_job_status_updates()
    stats = updater.get_batch_update_stats()
    assert (stats["queued"], stats["stored"], stats["pending"]) == (12_000, 12_000, 0)
    assert stats["batches"] <= 240
    assert stats["saved_percent"] >= 98.0
    server_stats = server.client().stats()
    assert server_stats["updates"]["applied"] == 12_000
    assert server_stats["batches"]["committed"] <= 240
    assert server.client().counts().by_status == {"completed": 3_000}


def test_a_batch_is_sent_when_it_is_full(proxy: Proxy, make_updater: MakeUpdater) -> None:
    updater = make_updater(proxy.url, flush_interval_s=3600)
    for number in range(49):
        updater.batch_update_job_status(f"job-{number}", "queued")
    # Nothing could have been sent: no time has passed for it, and 49 are no batch.
    assert proxy.requests == []
    updater.batch_update_job_status("job-49", "queued")
    _until(lambda: updater.get_batch_update_stats()["stored"] == 50)
    assert len(proxy.requests) == 1


def test_a_batch_is_sent_when_it_is_old(proxy: Proxy, make_updater: MakeUpdater) -> None:
    updater = make_updater(proxy.url, flush_interval_s=0.05)
    updater.batch_update_job_status("a", "queued")
    _until(lambda: updater.get_batch_update_stats()["stored"] == 1)
    # Also after it has been idle.
    updater.batch_update_job_status("b", "queued")
    _until(lambda: updater.get_batch_update_stats()["stored"] == 2)


def test_a_flush_waits_for_what_is_queued(server: Server, make_updater: MakeUpdater) -> None:
    updater = make_updater(server.url, flush_interval_s=3600)
    assert updater.flush_job_status_updates()
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda it: _report_and_flush(updater, server, it), range(40))
        assert all(answers)


def test_a_flush_in_vain_ends_in_time(make_updater: MakeUpdater, server: Server) -> None:
    updater = make_updater(server.url)
    server.kill()
    updater.batch_update_job_status("a", "queued")
    assert updater.flush_job_status_updates(0.1) is False
    server.start()
    assert updater.flush_job_status_updates() is True


def test_everything_that_an_update_may_say_arrives(
    server: Server, make_updater: MakeUpdater
) -> None:
    updater = make_updater(server.url)
    labels = {"source": "scan"}
    updater.update(
        17, "processing", pipeline="pdf", progress=0.5, message="m", labels=labels, attempt=2
    )
    labels["source"] = "changed after the call"
    updater.update("timed", "queued", at=1_764_000_000_123)
    updater.batch_update_job_status("failed", "error", ValueError("boom"))
    updater.update_job_status(job_id="named", status="completed", error_message=None)
    assert updater.flush_job_status_updates()
    client = server.client()
    job = client.get(17)
    assert (job.pipeline, job.progress, job.message, job.attempt) == ("pdf", 0.5, "m", 2)
    assert job.labels == {"source": "scan"}
    assert client.get("timed").status_at.timestamp() == 1_764_000_000.123
    assert client.get("failed").error == "ValueError: boom"
    assert client.get("named").status == "completed"


def test_times_are_those_of_the_calls_and_never_go_back(
    server: Server, make_updater: MakeUpdater, monkeypatch: pytest.MonkeyPatch
) -> None:
    updater = make_updater(server.url, flush_interval_s=3600)
    start = 1_764_000_000_000
    # A clock that is set back by an hour, then one that was never set: 1970.
    clock = [start, start + 5, start - 3_600_000, start + 7, 12_345]
    monkeypatch.setattr(batch, "times", batch.Times())
    with monkeypatch.context() as patch:
        for number, now_ms in enumerate(clock):
            patch.setattr(time, "time_ns", lambda now_ms=now_ms: now_ms * 1_000_000)
            updater.batch_update_job_status("a", f"step-{number}")
    assert updater.flush_job_status_updates()
    entries = _feed(server)
    ats = [round(entry.at.timestamp() * 1000) for entry in entries]
    assert ats[:4] == [start, start + 5, start + 5, start + 7]
    # Without a clock the server's counts, which is later than all of these.
    assert ats[4] > start + 7
    assert all(entry.applied for entry in entries)
    assert server.client().get("a").status == "step-4"


def test_times_do_not_go_back_over_a_stop_or_to_another_updater(
    server: Server, make_updater: MakeUpdater, monkeypatch: pytest.MonkeyPatch
) -> None:
    updater, now = make_updater(server.url), time.time_ns()
    updater.batch_update_job_status("a", "queued")
    assert updater.stop()
    monkeypatch.setattr(time, "time_ns", lambda: now - 3_600_000_000_000)
    updater.batch_update_job_status("a", "processing")
    assert updater.stop()
    other = make_updater(server.url)
    other.batch_update_job_status("a", "completed")
    assert other.stop()
    assert server.client().get("a").status == "completed"
    stale = [it.get_batch_update_stats()["stale"] for it in (updater, other)]
    assert stale == [0, 0]


def test_flushes_in_vain_take_no_room(server: Server, make_updater: MakeUpdater) -> None:
    server.kill()
    updater = make_updater(server.url, queue_updates_max=20, stop_timeout_s=0.1)
    updater.batch_update_job_status("a", "queued")
    for _ in range(30):
        assert updater.flush_job_status_updates(0.001) is False
    # At most the one that was taken, and the one that stands.
    assert len(updater._inbox.flushes) <= 1
    taken = 0
    for _ in range(19):
        taken += updater.batch_update_job_status("a", "queued")
        updater.flush_job_status_updates(0.001)
    assert taken == 19
    assert updater.batch_update_job_status("a", "queued") is False
    stats = updater.get_batch_update_stats()
    assert (stats["queued"], stats["pending"], stats["queue_full"]) == (20, 20, 1)
    server.start()
    assert updater.flush_job_status_updates()


def test_what_is_being_taken_from_the_queue_is_pending(
    server: Server, make_updater: MakeUpdater, monkeypatch: pytest.MonkeyPatch
) -> None:
    updater = make_updater(server.url)
    seen: list[int] = []
    take = batch.Former.take

    def take_and_look(former: batch.Former, *values: Any) -> Any:
        formed = take(former, *values)
        seen.append(updater.get_batch_update_stats()["pending"])
        return formed

    monkeypatch.setattr(batch.Former, "take", take_and_look)
    updater.batch_update_job_status("a", "queued")
    assert updater.flush_job_status_updates()
    assert seen[0] == 1
    assert updater.get_batch_update_stats()["pending"] == 0


def test_long_ids_and_statuses_are_refused_at_the_call(
    server: Server, make_updater: MakeUpdater
) -> None:
    updater = make_updater(server.url)
    for job_id in ("x" * 256, "\N{SNOWMAN}" * 85):
        assert updater.batch_update_job_status(job_id, "s" * 32)
    for job_id in ("x" * 257, "\N{SNOWMAN}" * 86, "x" * 1_000_000):
        assert updater.update(job_id, "queued") is False
    assert updater.batch_update_job_status("x" * 257, "queued") is False
    assert updater.batch_update_job_status("a", "s" * 33) is False
    assert updater.flush_job_status_updates()
    stats = updater.get_batch_update_stats()
    assert (stats["stored"], stats["invalid"], stats["rejected"]) == (2, 5, 0)


def test_labels_and_pipelines_count_among_the_bytes(
    server: Server, make_updater: MakeUpdater
) -> None:
    server.kill()
    updater = make_updater(server.url, queue_bytes_max=100_000, stop_timeout_s=0.1)
    long = "x" * 9_000
    assert sum(updater.update("a", "queued", labels={"a": long}) for _ in range(30)) <= 11
    other = make_updater(server.url, queue_bytes_max=100_000, stop_timeout_s=0.1)
    assert sum(other.update("a", "queued", pipeline=long) for _ in range(30)) <= 11


def test_a_full_queue_says_so_and_never_waits(
    server: Server, make_updater: MakeUpdater, caplog: pytest.LogCaptureFixture
) -> None:
    server.kill()
    told: list[tuple[JobslateError, Sequence[Mapping[str, Any]]]] = []
    updater = make_updater(
        server.url, queue_updates_max=100, on_error=lambda *it: told.append(it), stop_timeout_s=0.1
    )
    taken = [updater.batch_update_job_status(f"job-{it}", "queued") for it in range(150)]
    assert taken == [True] * 100 + [False] * 50
    assert updater.update("job-x", progress=0.1) is False
    stats = updater.get_batch_update_stats()
    assert (stats["queued"], stats["queue_full"]) == (100, 51)
    assert [type(error) for error, _ in told] == [LocalQueueFull] * 51
    assert told[0][1] == [{"job_id": "job-100", "status": "queued"}]
    refusals = [it for it in caplog.messages if "not taken" in it]
    # Once in a while, not for each.
    assert len(refusals) == 1
    server.start()
    assert updater.flush_job_status_updates()
    assert updater.batch_update_job_status("job-100", "queued")
    assert updater.flush_job_status_updates()
    assert server.client().counts().total == 101


def test_a_queue_is_bounded_by_bytes_too(server: Server, make_updater: MakeUpdater) -> None:
    server.freeze()
    updater = make_updater(server.url, queue_bytes_max=100_000, timeout_s=0.2)
    taken = [updater.batch_update_job_status("a", "error", "x" * 8_000) for _ in range(60)]
    assert 12 <= taken.count(True) < 60
    server.thaw()
    assert updater.flush_job_status_updates()
    # The bytes were given back.
    assert all(updater.batch_update_job_status("a", "error", "x" * 8_000) for _ in range(12))
    assert updater.flush_job_status_updates()


def test_nothing_raises_unless_asked(server: Server, make_updater: MakeUpdater) -> None:
    quiet = make_updater(server.url, on_error=_raise)
    for bad in (None, True, 1.5, [], object(), b"bytes"):
        quiet.batch_update_job_status(bad, "queued")  # type: ignore[arg-type]
        quiet.batch_update_job_status("a", bad)  # type: ignore[arg-type]
        quiet.batch_update_job_status("a", "error", bad)
        quiet.update("a", "queued", at=bad, labels=bad, progress=bad)  # type: ignore[arg-type]
    quiet.update("a", progress=float("nan"))
    quiet.update("a", labels={"a": _Unspeakable()})  # type: ignore[dict-item]
    quiet.batch_update_job_status("a", "error", _Unspeakable())
    quiet.batch_update_job_status("a", "in progress")
    assert quiet.flush_job_status_updates()
    stats = quiet.get_batch_update_stats()
    assert stats["queued"] == stats["stored"] + stats["rejected"]
    assert min(stats["invalid"], stats["rejected"], stats["stored"]) > 0


def test_what_is_wrong_is_raised_if_asked(server: Server, make_updater: MakeUpdater) -> None:
    loud = make_updater(server.url, raise_errors=True, queue_updates_max=2, flush_interval_s=3600)
    with pytest.raises(named.InvalidJobId):
        loud.batch_update_job_status(None, "queued")  # type: ignore[arg-type]
    with pytest.raises(named.InvalidStatus):
        loud.batch_update_job_status("a", None)  # type: ignore[arg-type]
    loud.batch_update_job_status("a", "in progress")
    with pytest.raises(named.InvalidStatus):
        loud.flush_job_status_updates()
    assert loud.flush_job_status_updates()
    server.freeze()
    loud.batch_update_job_status("a", "queued")
    loud.batch_update_job_status("a", "queued")
    with pytest.raises(LocalQueueFull):
        loud.batch_update_job_status("a", "queued")
    server.thaw()


def test_texts_of_any_kind_arrive(server: Server, make_updater: MakeUpdater) -> None:
    updater = make_updater(server.url)
    huge = "\N{SNOWMAN}" * 5_000_000
    updater.batch_update_job_status("huge", "error", huge)
    updater.batch_update_job_status("broken-\udcff", "error", "bad \ud800 name\r\n\u2028")
    updater.batch_update_job_status("other-\udcfe", "error", b"\xff\xfe raw")
    assert updater.flush_job_status_updates()
    client = server.client()
    error = client.get("huge").error
    assert error is not None
    assert error.endswith(f" [cut, {len(huge) * 3} bytes]")
    assert 8_185 < len(error.encode()) <= 8_192
    assert client.get("broken-\udcff").error == "bad \\ud800 name\r\n\u2028"
    assert client.get(r"other-\udcfe").error == r"\xff\xfe raw"


def test_refused_updates_are_told_and_harm_no_other(
    server: Server, make_updater: MakeUpdater, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[JobslateError, Sequence[Mapping[str, Any]]]] = []
    updater = make_updater(server.url, on_error=lambda *it: told.append(it))
    updater.batch_update_job_status("a", "queued")
    updater.batch_update_job_status("b", "in progress")
    updater.update("nobody", progress=0.5)
    updater.batch_update_job_status("c", "queued")
    assert updater.flush_job_status_updates()
    assert {type(error) for error, _ in told} == {named.InvalidStatus, named.UnknownJob}
    assert sorted(updates[0]["job_id"] for _, updates in told) == ["b", "nobody"]
    assert server.client().counts().total == 2
    stats = updater.get_batch_update_stats()
    assert (stats["stored"], stats["rejected"]) == (2, 2)
    assert any("refused 2 of 4 updates" in it for it in caplog.messages)


def test_a_batch_of_refused_updates_is_not_sent_for_ever(
    server: Server, make_updater: MakeUpdater
) -> None:
    updater = make_updater(server.url)
    updater.batch_update_job_status("b", "in progress")
    assert updater.flush_job_status_updates()
    assert updater.get_batch_update_stats()["rejected"] == 1


def test_one_update_that_is_too_large_holds_up_no_other(
    make_server: Callable[..., Server], make_updater: MakeUpdater
) -> None:
    server = make_server("--body-bytes-max", "4KiB")
    updater = make_updater(server.url, flush_interval_s=3600, batch_size=1000)
    for number in range(200):
        error = "x" * 7_000 if number == 77 else None
        updater.batch_update_job_status(f"job-{number:03}", "error", error)
    assert updater.flush_job_status_updates()
    stats = updater.get_batch_update_stats()
    assert (stats["stored"], stats["rejected"], stats["lost"]) == (199, 1, 0)
    seen = [entry.job_id for entry in _feed(server)]
    assert seen == [f"job-{number:03}" for number in range(200) if number != 77]


def test_a_fault_of_the_server_over_one_batch_ends(
    proxy: Proxy, make_updater: MakeUpdater, caplog: pytest.LogCaptureFixture
) -> None:
    def fate(request: Request) -> fates.Fate:
        if b"poison" in request.body:
            return problem(500, "internal", outcome="unknown", retryable=False)
        return fates.PASS

    proxy.fate = fate
    told: list[JobslateError] = []
    updater = make_updater(proxy.url, on_error=lambda error, _: told.append(error))
    updater.batch_update_job_status("poison", "queued")
    assert updater.flush_job_status_updates() is False
    updater.batch_update_job_status("a", "queued")
    assert updater.flush_job_status_updates() is True
    stats = updater.get_batch_update_stats()
    assert (stats["lost"], stats["stored"]) == (1, 1)
    assert told[-1].code == "updates_lost"
    assert any("1 job status updates are lost" in it for it in caplog.messages)


def test_a_lost_answer_counts_once(proxy: Proxy, server: Server, make_updater: MakeUpdater) -> None:
    lost = [0]

    def fate(request: Request) -> fates.Fate:
        lost[0] += 1
        return (fates.LOSE_ANSWER, fates.CUT, fates.HALF_ANSWER, fates.PASS)[lost[0] % 4]

    proxy.fate = fate
    updater = make_updater(proxy.url, batch_updates_max=50)
    for number in range(500):
        updater.batch_update_job_status(f"job-{number % 50}", f"step-{number // 50}")
    assert updater.flush_job_status_updates()
    stats = updater.get_batch_update_stats()
    assert stats["retries"] > stats["batches"] / 2
    assert stats["replayed"] > 0
    reported = [(entry.job_id, entry.status) for entry in _feed(server)]
    assert reported == [(f"job-{it % 50}", f"step-{it // 50}") for it in range(500)]


def test_with_a_new_key_for_each_try_the_same_loss_counts_twice(
    proxy: Proxy, server: Server, make_updater: MakeUpdater, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: shows that the test above can fail."""
    send = Sender._deliver
    tries = iter(range(1000))

    def send_under_another_key(self: Sender, it: Any) -> Any:
        return send(self, type(it)(f"{it.key}-{next(tries)}", it.body, it.updates))

    monkeypatch.setattr(Sender, "_deliver", send_under_another_key)
    answers = iter([fates.LOSE_ANSWER])
    proxy.fate = lambda _: next(answers, fates.PASS)
    updater = make_updater(proxy.url)
    updater.batch_update_job_status("a", "queued")
    assert updater.flush_job_status_updates()
    assert len(_feed(server)) == 2


def test_refusals_that_pass_are_waited_for(
    proxy: Proxy, server: Server, make_updater: MakeUpdater
) -> None:
    codes = [(429, "queue_full"), (503, "draining"), (507, "storage_full"), (503, "opening")]
    refusals = [problem(*it, outcome="not_applied", retryable=True) for it in codes]
    # Also what nobody should call a passing refusal: a pipeline cannot mend it, a person can.
    refusals.append(problem(421, "misdirected_request", retryable=False))
    refusals.append(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\n???")
    refusals.append(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    answers = iter(refusals)
    proxy.fate = lambda _: next(answers, fates.PASS)
    updater = make_updater(proxy.url)
    updater.batch_update_job_status("a", "queued")
    assert updater.flush_job_status_updates()
    assert updater.get_batch_update_stats()["retries"] == len(refusals)
    assert len(set(proxy.keys())) == 1
    assert len(_feed(server)) == 1


def test_what_the_server_asks_to_wait_is_waited(proxy: Proxy, make_updater: MakeUpdater) -> None:
    asked = problem(429, "queue_full", retry_after="60", outcome="not_applied", retryable=True)
    proxy.fate = lambda _: asked
    updater = make_updater(proxy.url)
    updater.batch_update_job_status("a", "queued")
    assert updater.flush_job_status_updates(1.0) is False
    # Without the wish of the server there would have been several tries by now.
    assert len(proxy.requests) == 1
    # And the pipeline goes on meanwhile.
    assert all(updater.batch_update_job_status("a", "queued") for _ in range(1_000))
    proxy.fate = lambda _: fates.PASS
    assert updater.stop() is True
    assert updater.get_batch_update_stats()["stored"] == 1_001


def test_a_stop_stores_what_is_queued_and_can_be_started_again(
    server: Server, make_updater: MakeUpdater
) -> None:
    updater = make_updater(server.url, flush_interval_s=3600)
    for round_ in range(3):
        for number in range(10):
            updater.batch_update_job_status(f"job-{number}", f"round-{round_}")
        assert updater.stop()
        assert not [it for it in threading.enumerate() if it.name == "jobslate-updater"]
        assert server.client().counts().by_status == {f"round-{round_}": 10}
    assert updater.stop()
    with make_updater(server.url) as other:
        other.batch_update_job_status("a", "queued")
    assert server.client().get("a").status == "queued"


@pytest.mark.parametrize("has_connection", [False, True])
def test_a_stop_in_vain_ends_in_time_and_says_what_is_lost(
    server: Server,
    make_updater: MakeUpdater,
    caplog: pytest.LogCaptureFixture,
    has_connection: bool,
) -> None:
    told: list[tuple[JobslateError, Sequence[Mapping[str, Any]]]] = []
    updater = make_updater(server.url, on_error=lambda *it: told.append(it), timeout_s=3600)
    if has_connection:
        updater.batch_update_job_status("before", "queued")
        assert updater.flush_job_status_updates()
    # One that takes the connection and never answers is the worst.
    server.freeze()
    for number in range(120):
        updater.batch_update_job_status(f"job-{number}", "queued")
    assert updater.stop(timeout_s=0.2) is False
    lost = [update["job_id"] for error, updates in told for update in updates]
    assert sorted(lost) == sorted(f"job-{number}" for number in range(120))
    assert {error.code for error, _ in told} == {"updates_lost"}
    assert any("are lost" in message for message in caplog.messages)
    server.thaw()


def test_the_log_is_as_it_was(
    server: Server, make_updater: MakeUpdater, caplog: pytest.LogCaptureFixture
) -> None:
    updater = make_updater(server.url, log_job_starts=True, flush_interval_s=3600)
    for number in range(25):
        updater.batch_update_job_status(f"doc-{number}", "processing")
        updater.batch_update_job_status(f"doc-{number}", "completed")
    assert updater.flush_job_status_updates()
    assert "Batch updated 50 job statuses" in caplog.messages
    assert sum("gestartet" in it for it in caplog.messages) == 25
    assert "Pipeline-Job doc-7 gestartet" in caplog.messages
    assert not [it for it in caplog.messages if "Connection pool pressure" in it]


def test_pressure_is_said_when_there_is_some(
    server: Server, make_updater: MakeUpdater, caplog: pytest.LogCaptureFixture
) -> None:
    updater = make_updater(server.url, queue_updates_max=100, stop_timeout_s=0.1)
    server.kill()
    for _ in range(95):
        updater.batch_update_job_status("a", "queued")
    # While it retries it looks at the queue.
    _until(lambda: any("Connection pool pressure" in it for it in caplog.messages))


def test_an_updater_can_be_pickled(server: Server, make_updater: MakeUpdater) -> None:
    updater = make_updater(server.url, batch_size=7, flush_interval_s=3600)
    updater.batch_update_job_status("a", "queued")
    copied = pickle.loads(pickle.dumps(updater))
    assert copied.get_batch_update_stats()["queued"] == 0
    copied.batch_update_job_status("b", "queued")
    assert copied.stop()
    assert updater.flush_job_status_updates()
    assert server.client().counts().total == 2


def test_options_that_make_no_sense_are_refused() -> None:
    for options in ({"batch_size": 0}, {"flush_interval_s": -1}, {"queue_updates_max": 0}):
        with pytest.raises(ValueError, match="must be more than 0"):
            BatchJobStatusUpdater(**options)  # type: ignore[arg-type]
    for url in ("nonsense", "http://a:99999", "http://a:b", "http://user:word@a"):
        with pytest.raises(ValueError, match="URL") as refused:
            BatchJobStatusUpdater(url)
        assert url.rpartition("/")[2].replace("user:word", "...") in str(refused.value)
        assert "word" not in str(refused.value)


def test_a_client_names_the_server_too(server: Server, make_updater: MakeUpdater) -> None:
    updater = make_updater(Client(server.url))
    assert updater.url == server.url
    updater.batch_update_job_status("a", "queued")
    assert updater.flush_job_status_updates()


class _Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def _raise(error: JobslateError, updates: Sequence[Mapping[str, Any]]) -> None:
    raise RuntimeError("on_error itself fails")


def _work_on(updater: BatchJobStatusUpdater, job_id: str) -> None:
    for status in ("queued", "processing", "error", "completed"):
        updater.batch_update_job_status(job_id, status)


def _report_and_flush(updater: BatchJobStatusUpdater, server: Server, number: int) -> bool:
    updater.batch_update_job_status(f"job-{number}", "completed")
    assert updater.flush_job_status_updates()
    return Client(server.url).get(f"job-{number}").status == "completed"


def _feed(server: Server) -> list[FeedEntry]:
    client = server.client()
    last = client.counts().as_of_seq
    entries: list[FeedEntry] = []
    with client.watch(0) as watch:
        while not entries or entries[-1].seq < last:
            entries.append(next(watch))
    return entries


def _until(is_so: Callable[[], bool], timeout_s: float = 30.0) -> None:
    give_up_at = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
