"""The updater over fork, spawn, signals and the end of the interpreter."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Callable

import pytest

from jobslate import BatchJobStatusUpdater, process

from .server import Server, run_python, start_python
from .test_updater import _feed, _until

MakeUpdater = Callable[..., BatchJobStatusUpdater]

START = """
import os, signal, sys, threading, time
from jobslate import BatchJobStatusUpdater, drain_on_sigterm
updater = BatchJobStatusUpdater(sys.argv[1], flush_interval_s=3600, batch_size=1000)
"""


def test_the_exit_of_the_interpreter_stores_what_is_queued(server: Server) -> None:
    run_python(START + "updater.batch_update_job_status('a', 'queued')", server.url)
    assert server.client().get("a").status == "queued"


def test_also_after_an_exception_and_a_forgotten_updater(server: Server) -> None:
    code = """
updater.batch_update_job_status('a', 'queued')
BatchJobStatusUpdater(sys.argv[1]).batch_update_job_status('b', 'queued')
import gc; gc.collect()
raise ValueError
"""
    assert run_python(START + code, server.url, check=False).returncode == 1
    assert server.client().counts().total == 2


def test_the_exit_does_not_wait_for_ever_for_a_server_that_is_away(server: Server) -> None:
    # Neither for one that refuses the connection nor for one that takes it and says nothing.
    code = """
updater = BatchJobStatusUpdater(sys.argv[1], stop_timeout_s=0.5, timeout_s=3600)
updater.batch_update_job_status('a', 'queued')
"""
    server.freeze()
    done = run_python(START + code, server.url, timeout_s=30)
    assert "1 job status updates are lost" in done.stderr
    server.thaw()
    server.kill()
    done = run_python(START + code, server.url, timeout_s=30)
    assert "1 job status updates are lost" in done.stderr


def test_updates_of_exit_functions_are_stored(server: Server) -> None:
    code = """
import atexit
atexit.register(lambda: updater.batch_update_job_status('late', 'completed'))
updater.batch_update_job_status('a', 'queued')
"""
    run_python(START + code, server.url)
    assert server.client().counts().total == 2
    # Registered before the package is imported, it runs after the package has stopped.
    early = (
        "import atexit\natexit.register(lambda: updater.batch_update_job_status('z', 'error'))\n"
    )
    run_python(early + START + "updater.batch_update_job_status('a', 'queued')", server.url)
    assert server.client().get("z").status == "error"


def test_sigterm_stores_what_is_queued(server: Server) -> None:
    code = (
        START
        + """
assert drain_on_sigterm()
updater.batch_update_job_status('a', 'queued')
print("ready", flush=True)
time.sleep(60)
"""
    )
    with start_python(code, server.url) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        # As without it: whoever waits sees that the signal ended it.
        assert process.wait(timeout=30) == -signal.SIGTERM
    assert server.client().get("a").status == "queued"


def test_sigterm_in_the_middle_of_calls_stores_what_they_took(server: Server) -> None:
    code = (
        START
        + """
import logging
logging.basicConfig(level=logging.INFO)
updater = BatchJobStatusUpdater(sys.argv[1], log_job_starts=True)
assert drain_on_sigterm()
def report(name):
    number = 0
    while True:
        updater.batch_update_job_status(name, f"step-{number}", "x" * 300)
        if number % 10 == 9 or name == "main":
            os.write(1, f"{name} {number}\\n".encode())
            time.sleep(0.001)
        number += 1
        logging.getLogger().info("the pipeline logs too")
threading.Thread(target=report, args=("thread",), daemon=True).start()
report("main")
"""
    )
    with start_python(code, server.url) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(300)]
        process.terminate()
        process.stdout.readlines()
        assert process.wait(timeout=30) == -signal.SIGTERM
    reported = [int(line.split()[1]) for line in lines if line.startswith("main")]
    assert reported
    seen = [entry.status for entry in _feed(server) if entry.job_id == "main"]
    # It went on while it was drained.
    assert len(seen) > reported[-1]
    assert seen == [f"step-{number}" for number in range(len(seen))]


def test_sigterm_ends_the_first_process_of_a_container_too(server: Server) -> None:
    # The system ignores a signal that such a process sends to itself.
    code = """
os.getpid = lambda: 1
os.kill = lambda *_: None
assert drain_on_sigterm()
updater.batch_update_job_status('a', 'queued')
signal.raise_signal(signal.SIGTERM)
time.sleep(20)
"""
    assert run_python(START + code, server.url, check=False).returncode == 128 + signal.SIGTERM
    assert server.client().get("a").status == "queued"


def test_a_child_of_multiprocessing_finalizes_an_updater_once(server: Server) -> None:
    code = """
import multiprocessing, multiprocessing.util as util
def work():
    before = len(util._finalizer_registry)
    for number in range(5):
        updater.batch_update_job_status(f"job-{number}", "queued")
        assert updater.stop()
    assert len(util._finalizer_registry) == before + 1
child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join()
sys.exit(child.exitcode)
"""
    run_python(START + code, server.url)
    assert server.client().counts().total == 5


def test_a_handler_of_the_pipeline_is_left_alone(server: Server) -> None:
    code = (
        START
        + """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
assert not drain_on_sigterm()
assert not [it for it in [None] if drain_on_sigterm()]
updater.batch_update_job_status('a', 'queued')
print("ready", flush=True)
time.sleep(60)
"""
    )
    with start_python(code, server.url) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.wait(timeout=30) == 3
    assert server.client().get("a").status == "queued"


def test_a_fork_in_the_middle_sends_each_update_once(
    server: Server, make_updater: MakeUpdater, tmp_path: Path
) -> None:
    updater = make_updater(server.url, flush_interval_s=0.01, spill_path=tmp_path)
    is_over = threading.Event()

    def report(name: str) -> None:
        number = 0
        while not is_over.is_set():
            updater.batch_update_job_status(name, f"step-{number}")
            number += 1
            time.sleep(0.0001)

    threads = [threading.Thread(target=report, args=(f"thread-{it}",)) for it in range(4)]
    for thread in threads:
        thread.start()
    children = []
    for number in range(8):
        # With some in the queue of the parent, which are not the child's.
        updater.batch_update_job_status("parent", f"before-{number}")
        children.append(in_child(partial(_report_steps, updater, f"child-{number}")))
        time.sleep(0.01)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
    is_over.set()
    for thread in threads:
        thread.join()
    assert updater.flush_job_status_updates()
    by_job: dict[str | None, list[str | None]] = {}
    for entry in _feed(server):
        by_job.setdefault(entry.job_id, []).append(entry.status)
    assert by_job.pop("parent") == [f"before-{number}" for number in range(8)]
    for number in range(8):
        assert by_job.pop(f"child-{number}") == [f"step-{step}" for step in range(100)]
    assert len(by_job) == 4
    for statuses in by_job.values():
        assert statuses == [f"step-{step}" for step in range(len(statuses))]


def test_without_the_care_at_a_fork_the_child_has_what_its_parent_queued(
    server: Server, make_updater: MakeUpdater
) -> None:
    """The control: it would send those updates a second time."""
    updater = make_updater(server.url, flush_interval_s=3600)
    updater.batch_update_job_status("a", "queued")
    cared_for = process.updaters.copy()
    process.updaters.clear()
    child = in_child(lambda: len(updater._inbox.entries) == 1)
    process.updaters.update(cared_for)
    assert os.waitpid(child, 0)[1] == 0
    assert os.waitpid(in_child(lambda: not updater._inbox.entries), 0)[1] == 0
    assert updater.flush_job_status_updates()
    assert len(_feed(server)) == 1


def test_a_child_holds_nothing_of_its_parent(
    server: Server, make_updater: MakeUpdater, tmp_path: Path
) -> None:
    updater = make_updater(server.url, spill_path=tmp_path)
    server.kill()
    updater.batch_update_job_status("a", "queued")
    assert not updater.flush_job_status_updates(0.5)
    server.start()
    assert updater.flush_job_status_updates()
    server.kill()
    updater.batch_update_job_status("a", "queued")
    _until(lambda: updater.get_batch_update_stats()["spill_bytes"] > 0)
    assert _held_files(tmp_path)
    assert os.waitpid(in_child(lambda: not _held_files(tmp_path)), 0)[1] == 0


def in_child(check: Callable[[], bool]) -> int:
    """Forks; the child ends with 0 if ``check`` is true there, and never comes back here."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if check() else 2
        finally:
            os._exit(status)
    return child


def _report_steps(updater: BatchJobStatusUpdater, name: str) -> bool:
    is_fresh = updater.get_batch_update_stats()["queued"] == 0
    for step in range(100):
        updater.batch_update_job_status(name, f"step-{step}")
    return is_fresh and updater.stop(20)


def _held_files(folder: Path) -> set[str]:
    """The open files in ``folder``."""
    held = set()
    for it in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            path = Path(os.readlink(f"/proc/self/fd/{it}"))
            held |= {path.name} if path.parent == folder else set()
    return held


CHILDREN = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from jobslate import BatchJobStatusUpdater

updater = BatchJobStatusUpdater(sys.argv[1], flush_interval_s=3600, batch_size=1000)

def work(number):
    updater.batch_update_job_status(f"job-{number}", "completed")

def given(handed, number):
    handed.batch_update_job_status(f"given-{number}", "completed")

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[2])
    updater.batch_update_job_status("parent", "completed")
    processes = [context.Process(target=given, args=(updater, it)) for it in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        list(pool.map(work, range(20)))
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_store_what_they_queued(
    server: Server, tmp_path: Path, method: str
) -> None:
    script = tmp_path / "children.py"
    script.write_text(CHILDREN)
    code = "import runpy, sys; sys.argv[0] = sys.argv.pop(1); runpy.run_path(sys.argv[0])"
    # A file, as spawn imports it again by its name.
    code = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, *sys.argv[1:]]))"
    run_python(code, str(script), server.url, method)
    names = {job.job_id for job in server.client().list(status="completed")}
    expected = {"parent", *(f"given-{it}" for it in range(3)), *(f"job-{it}" for it in range(20))}
    assert names == expected
    assert len(_feed(server)) == len(expected)


def test_no_thread_is_left_to_be_had(
    server: Server, make_updater: MakeUpdater, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of the interpreter no thread can be started: then the caller does the work."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    updater = make_updater(server.url)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    updater.batch_update_job_status("a", "queued")
    monkeypatch.undo()
    assert server.client().get("a").status == "queued"
    updater.batch_update_job_status("b", "queued")
    assert updater.flush_job_status_updates()
    assert sys.version_info >= (3, 9)
