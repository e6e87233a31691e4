"""Stops that are broken off, that meet each other, or that meet a thread which hangs."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable

import pytest

from jobslate import BatchJobStatusUpdater, JobslateError
from jobslate import updater as module
from jobslate.sender import Sender
from jobslate.transport import Transport

from . import proxy as fates
from .proxy import Proxy, Request
from .server import Server
from .test_updater import _feed, _until

MakeUpdater = Callable[..., BatchJobStatusUpdater]


def test_an_updater_goes_on_after_a_stop_that_was_broken_off(
    server: Server, make_updater: MakeUpdater, monkeypatch: pytest.MonkeyPatch
) -> None:
    updater = make_updater(server.url, flush_interval_s=3600)
    updater.batch_update_job_status("a", "queued")
    assert updater.flush_job_status_updates()
    thread = updater._thread
    assert thread is not None

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(thread, "join", interrupt)
    with pytest.raises(KeyboardInterrupt):
        updater.stop()
    _until(lambda: not thread.is_alive())
    for number in range(60):
        updater.batch_update_job_status(f"job-{number}", "queued")
    assert updater.flush_job_status_updates(10)
    assert updater.stop()
    assert server.client().counts().total == 61


@pytest.mark.parametrize("reports_between", [False, True])
def test_a_stop_joins_the_one_that_is_under_way(
    proxy: Proxy, make_updater: MakeUpdater, reports_between: bool
) -> None:
    go_on = threading.Event()

    def fate(_: Request) -> fates.Fate:
        go_on.wait(60)
        return fates.PASS

    proxy.fate = fate
    updater = make_updater(proxy.url, flush_interval_s=3600, stop_timeout_s=20)
    updater.batch_update_job_status("a", "queued")
    asked = threading.Semaphore(0)
    ask = updater._inbox.ask_to_stop

    def ask_and_say(*values: Any) -> Any:
        answer = ask(*values)
        asked.release()
        return answer

    updater._inbox.ask_to_stop = ask_and_say  # type: ignore[assignment,method-assign]
    answers: list[bool] = []
    stops = [threading.Thread(target=lambda: answers.append(updater.stop())) for _ in range(2)]
    stops[0].start()
    # The mark of the first is taken, and the request before it is on its way.
    _until(lambda: len(proxy.requests) == 1)
    assert asked.acquire(timeout=30)
    if reports_between:
        updater.batch_update_job_status("b", "queued")
    stops[1].start()
    assert asked.acquire(timeout=30)
    go_on.set()
    for stop in stops:
        stop.join()
    assert answers == [True, True]
    assert updater.get_batch_update_stats()["stored"] == 1 + reports_between
    assert len(proxy.requests) == 1 + reports_between
    assert updater._thread is None


class Hanging:
    """A name server that does not answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_met, self.go_on = threading.Event(), threading.Event()
        connect = Transport.connect

        def hang(transport: Transport, timeout_s: float | None = None) -> Any:
            self.is_met.set()
            self.go_on.wait(60)
            return connect(transport, timeout_s)

        monkeypatch.setattr(Transport, "connect", hang)
        monkeypatch.setattr(module, "_BREAK_OFF_S", 0.05)


def test_what_a_hanging_thread_holds_is_spilled(
    server: Server, make_updater: MakeUpdater, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = Hanging(monkeypatch)
    updater = make_updater(server.url, spill_path=tmp_path, flush_interval_s=3600)
    for number in range(60):
        updater.batch_update_job_status(f"job-{number}", "queued")
    assert hanging.is_met.wait(30)
    thread = updater._thread
    for number in range(60, 75):
        updater.batch_update_job_status(f"job-{number}", "queued")
    assert updater.stop(0.05) is False
    stats = updater.get_batch_update_stats()
    assert (stats["spilled_now"], stats["pending"], stats["lost"]) == (75, 0, 0)
    # It comes back when all was taken over, and does nothing more; the updater goes on.
    hanging.go_on.set()
    assert thread is not None
    thread.join()
    updater.batch_update_job_status("last", "queued")
    assert updater.flush_job_status_updates()
    seen = [entry.job_id for entry in _feed(server)]
    assert sorted(seen, key=str) == sorted([*(f"job-{it}" for it in range(75)), "last"])
    assert updater.get_batch_update_stats()["spilled_now"] == 0


def test_what_a_hanging_thread_holds_is_told_if_there_is_no_disk(
    server: Server, make_updater: MakeUpdater, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = Hanging(monkeypatch)
    told: list[Sequence[Mapping[str, Any]]] = []
    updater = make_updater(server.url, on_error=lambda _, updates: told.append(updates))
    for number in range(60):
        updater.batch_update_job_status(f"job-{number}", "queued")
    assert hanging.is_met.wait(30)
    assert updater.stop(0.05) is False
    assert sum(len(updates) for updates in told) == 60
    stats = updater.get_batch_update_stats()
    assert (stats["lost"], stats["pending"]) == (60, 0)
    hanging.go_on.set()


def test_a_thread_that_hangs_in_their_code_is_told_of(
    server: Server, make_updater: MakeUpdater, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BREAK_OFF_S", 0.05)
    is_met, go_on = threading.Event(), threading.Event()
    told: list[str] = []

    def on_error(error: JobslateError, _: Sequence[Mapping[str, Any]]) -> None:
        told.append(str(error))
        if not is_met.is_set():
            is_met.set()
            go_on.wait(60)

    updater = make_updater(server.url, on_error=on_error, flush_interval_s=0.01)
    updater.batch_update_job_status("a", "no status")
    assert is_met.wait(30)
    for number in range(7):
        updater.batch_update_job_status(f"job-{number}", "queued")
    assert updater.stop(0.05) is False
    assert "7 updates are lost if the process ends now" in told[-1]
    go_on.set()
    # It comes back too late for its stop, and says what it does.
    _until(lambda: updater._thread is None)
    assert updater.get_batch_update_stats()["lost"] == 7
    assert "7 updates are lost: " in told[-1]
    updater.batch_update_job_status("a", "queued")
    # The first one after a loss tells of it.
    assert updater.flush_job_status_updates() is False
    assert updater.flush_job_status_updates() is True
    assert updater.get_batch_update_stats()["stored"] == 1


def test_what_is_reported_during_a_stop_in_vain_makes_nobody_busy(
    server: Server, make_updater: MakeUpdater, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.kill()
    updater = make_updater(server.url, spill_path=tmp_path, flush_interval_s=0.01)
    updater.batch_update_job_status("a", "queued")
    _until(lambda: updater.get_batch_update_stats()["spilled_now"] == 1)
    steps = [0]
    step = Sender._step

    def count(sender: Sender) -> bool:
        steps[0] += 1
        return step(sender)

    monkeypatch.setattr(Sender, "_step", count)
    stop = threading.Thread(target=updater.stop, args=(1.0,))
    stop.start()
    _until(lambda: updater._inbox.stop_by is not None and not updater._inbox.flushes)
    for number in range(200):
        updater.batch_update_job_status("b", f"step-{number}")
    stop.join()
    # A try for each wait of the back-off, and no loop beside it.
    assert steps[0] < 500
    server.start()
    assert updater.flush_job_status_updates()
    assert len(_feed(server)) == 201
