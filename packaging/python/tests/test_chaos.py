"""Random troubles, one after another: the server is killed, stopped, frozen, the updater stopped.

``JOBSLATE_SEED`` repeats the troubles of a run, as it was printed; their moments differ each time.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Callable

from jobslate import BatchJobStatusUpdater

from .server import Server
from .test_updater import _feed

SEED = int(os.environ.get("JOBSLATE_SEED", "1"))
TROUBLES = 6


def test_no_update_is_lost_or_doubled_by_any_trouble(
    make_server: Callable[..., Server],
    make_updater: Callable[..., BatchJobStatusUpdater],
    tmp_path: Path,
) -> None:
    print(f"JOBSLATE_SEED={SEED}")
    # Connections are closed between batches, requests take too long, the queue is soon full.
    server = make_server("--idle-timeout", "1s", "--queue-updates-max", "10000")
    updaters = [
        make_updater(
            server.url,
            spill_path=tmp_path / "spill" if number else None,
            flush_interval_s=0.1,
            timeout_s=1,
        )
        for number in range(4)
    ]
    reporters = [_Reporter(number, updater) for number, updater in enumerate(updaters)]
    for reporter in reporters:
        reporter.start()
    chance = random.Random(SEED)
    for _ in range(TROUBLES):
        time.sleep(chance.random() / 2)
        trouble = chance.choice([_kill, _restart, _freeze, _stop_updater])
        trouble(server, updaters[2], chance.random())
    for reporter in reporters:
        reporter.is_over.set()
        reporter.join()
    assert all(updater.flush_job_status_updates() for updater in updaters)

    seen: Counter[str] = Counter()
    by_job: defaultdict[str, list[int]] = defaultdict(list)
    for entry in _feed(server):
        name = entry.error or ""
        seen[name] += 1
        by_job[entry.job_id or ""].append(int(name.partition("-")[2]))
    reported = {f"{it.number}-{call}" for it in reporters for call in range(it.calls)}
    assert set(seen) == reported
    assert max(seen.values()) == 1
    assert all(numbers == sorted(numbers) for numbers in by_job.values())


class _Reporter(threading.Thread):
    """Reports as a pipeline does: in bursts, with pauses."""

    def __init__(self, number: int, updater: BatchJobStatusUpdater) -> None:
        super().__init__(daemon=True)
        self.number = number
        self.calls = 0
        self.is_over = threading.Event()
        self._updater = updater

    def run(self) -> None:
        pause = random.Random(self.number)
        while not self.is_over.is_set():
            job = f"job-{self.number}-{self.calls % 5}"
            error = f"{self.number}-{self.calls}"
            if self._updater.batch_update_job_status(job, "error", error):
                self.calls += 1
            self.is_over.wait(1.2 if pause.random() < 0.001 else pause.random() / 500)


def _kill(server: Server, _: BatchJobStatusUpdater, length: float) -> None:
    server.kill()
    time.sleep(length)
    server.start()


def _restart(server: Server, _: BatchJobStatusUpdater, length: float) -> None:
    server.stop()
    time.sleep(length)
    server.start()


def _freeze(server: Server, _: BatchJobStatusUpdater, length: float) -> None:
    server.freeze()
    # Longer than a request may take, in one of two cases.
    time.sleep(2 * length)
    server.thaw()


def _stop_updater(server: Server, updater: BatchJobStatusUpdater, length: float) -> None:
    server.kill()
    time.sleep(length / 2)
    updater.stop(0.1)
    time.sleep(length / 2)
    server.start()
