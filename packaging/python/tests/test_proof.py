"""The proof: many processes and threads, a server that is killed, a pipeline that is restarted.

Every update is there, none is there twice, and those of a job are in the order of the calls.
``JOBSLATE_PYTHON_UPDATES=1000`` makes it 8 processes x 8 threads x 1,000 updates (100 without it).
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from .pipeline import JOBS_PER_THREAD
from .server import Server, environment
from .test_updater import _feed, _until

PROCESSES, THREADS = 8, 8
UPDATES = int(os.environ.get("JOBSLATE_PYTHON_UPDATES", "100"))
#: How long each thread works, so that something can happen in the middle.
WORK_S = 3.0


@dataclass(frozen=True)
class Outcome:
    """What the feed holds after it, beside what was reported."""

    missing: int
    twice: int
    disordered: int
    strange: int


class Pipeline:
    """Runs ``pipeline.py``, stops it, and lets it go on."""

    def __init__(self, server: Server, folder: Path, spill: Path | None, updates: int) -> None:
        self._server = server
        self._spill = spill
        self._updates = updates
        self._progress = folder / "progress"
        self._progress.write_bytes(bytes(8 * PROCESSES * THREADS))
        self._stats = folder / "stats"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, stop_s: float) -> None:
        values: list[object] = [self._server.url, self._spill or "", self._progress, self._stats]
        values += [PROCESSES, THREADS, self._updates, WORK_S / self._updates, stop_s]
        script = Path(__file__).with_name("pipeline.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), *map(str, values)],
            env=environment(),
            start_new_session=True,
        )

    def stop(self) -> None:
        """As a service manager does it."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGTERM)
        self.wait()

    def wait(self) -> None:
        assert self._process is not None
        assert self._process.wait(timeout=120) == 0

    def calls(self) -> int:
        """How many calls were made so far."""
        return sum(struct.unpack(f"<{PROCESSES * THREADS}q", self._progress.read_bytes()))

    def stats(self) -> Counter[str]:
        """The sums of what its processes counted."""
        sums: Counter[str] = Counter()
        for line in self._stats.read_text().splitlines():
            page = json.loads(line)
            sums.update({name: it for name, it in page.items() if isinstance(it, int)})
        return sums


def test_nothing_is_lost_and_nothing_comes_twice(server: Server, tmp_path: Path) -> None:
    began_at = time.monotonic()
    pipeline = Pipeline(server, tmp_path, tmp_path / "spill", UPDATES)
    total = PROCESSES * THREADS * UPDATES
    pipeline.start(stop_s=0.2)
    _until(lambda: server.client().counts().as_of_seq > total * 0.1)
    server.kill()
    _until(lambda: pipeline.calls() > total * 0.4)
    pipeline.stop()
    assert pipeline.calls() < total
    assert _spilled_bytes(tmp_path / "spill") > 0
    pipeline.start(stop_s=60)
    _until(lambda: pipeline.calls() > total * 0.5)
    server.start()
    _until(lambda: server.client().counts().as_of_seq > total * 0.6)
    server.kill()
    server.start()
    pipeline.wait()
    assert pipeline.calls() == total
    outcome = judge(server, UPDATES)
    stats = pipeline.stats()
    print(
        f"\n{PROCESSES} x {THREADS} x {UPDATES} = {total} updates in "
        f"{time.monotonic() - began_at:.1f} s: {outcome}; {stats['batches']} batches, "
        f"{stats['retries']} retries, {stats['replayed']} known answers, "
        f"{stats['spilled']} spilled, {stats['adopted']} adopted after the restart"
    )
    assert outcome == Outcome(missing=0, twice=0, disordered=0, strange=0)
    assert stats["lost"] == stats["rejected"] == stats["queue_full"] == 0
    assert stats["spilled"] > 0
    assert stats["adopted"] > 0
    # Those of the second start; the first was stopped while the server was away.
    assert stats["all"] == PROCESSES
    assert os.listdir(tmp_path / "spill") == ["LOCK"]
    assert server.client().counts().total == PROCESSES * THREADS * JOBS_PER_THREAD


def test_without_a_spill_file_the_restart_is_noticed(server: Server, tmp_path: Path) -> None:
    """The control: the same run without the spill file loses updates, and the judge says so."""
    pipeline = Pipeline(server, tmp_path, None, 50)
    pipeline.start(stop_s=0.2)
    _until(lambda: pipeline.calls() > PROCESSES * THREADS * 10)
    server.kill()
    pipeline.stop()
    server.start()
    pipeline.start(stop_s=60)
    pipeline.wait()
    outcome = judge(server, 50)
    assert outcome.missing > 0
    assert outcome.missing == pipeline.stats()["lost"]
    assert (outcome.twice, outcome.strange) == (0, 0)


def judge(server: Server, updates: int) -> Outcome:
    """Compares the feed with what was reported."""
    expected = {
        f"{process}-{thread}-{number}"
        for process in range(PROCESSES)
        for thread in range(THREADS)
        for number in range(updates)
    }
    seen: Counter[str] = Counter()
    by_job: dict[str, list[int]] = defaultdict(list)
    for entry in _feed(server):
        name = entry.error or ""
        seen[name] += 1
        by_job[entry.job_id or ""].append(int(name.rpartition("-")[2]))
    return Outcome(
        missing=len(expected - set(seen)),
        twice=sum(count > 1 for count in seen.values()),
        disordered=sum(numbers != sorted(numbers) for numbers in by_job.values()),
        strange=len(set(seen) - expected),
    )


def _spilled_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())
