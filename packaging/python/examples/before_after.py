"""What batching changes for a pipeline: the same pipeline run twice, with and without jobslate.

    packaging/peers --exec python packaging/python/examples/before_after.py --server jobslate

A pool of threads reads, hashes and parses files (JSON, CSV, text) that were made beforehand. A job
reports `queued`, `processing`, `completed`; one whose file is broken reports `error`, and is tried
again with more patience, which helps with two of three. That is 12,000 calls for 3,957 jobs.

BEFORE: each call is a transaction on PostgreSQL, on a connection of SQLAlchemy's pool. A call that
finds 80 % of the pool or more in use is counted as a warning `Connection pool pressure`.

AFTER: each call goes to `jobslate.compat`, and the server that is started here makes batches
durable. Its transactions are all that it made: batches, and folds of its journal into its tables.

Both count until everything is durable. Needs SQLAlchemy, psycopg, and a PostgreSQL that is named in
JOBSLATE_PEERS_POSTGRES (`host=... port=... user=... dbname=...`). Exits with 1 if the stores do not
end with the same status and error for every job, if there is a warning AFTER, or if the database
is spared less than `--least` percent of the transactions.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import logging
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Callable

import psycopg
import sqlalchemy
from sqlalchemy.pool import QueuePool

from jobslate import Client
from jobslate.compat import RobustDatabaseWrapper

if TYPE_CHECKING:
    from collections.abc import Iterator

PRESSURE = "Connection pool pressure"
POOL_SIZE, POOL_OVERFLOW = 10, 5
PRESSURE_PERCENT = 80
ATTEMPTS_MAX = 2
# Of so many jobs so many have a broken file.
BROKEN, BROKEN_OF = 129, 3957

UpdateJobStatus = Callable[[str, str, "str | None"], object]


# ---- The pipeline: it knows one function that takes a status, and no store. ----


def run_pipeline(files: list[Path], update_job_status: UpdateJobStatus, workers: int) -> None:
    """Register all files, then take them in; each job reports each of its steps."""
    with ThreadPoolExecutor(workers, thread_name_prefix="ingest") as pool:
        digests = list(pool.map(lambda file: register(file, update_job_status), files))

        def take_in(file: Path, digest: str) -> None:
            ingest(file, digest, update_job_status)

        # A list, for the first that raises is to be heard of.
        list(pool.map(take_in, files, digests))


def register(file: Path, update_job_status: UpdateJobStatus) -> str:
    """Read and hash one file, as a pipeline does that asks whether it is new."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    update_job_status(file.stem, "queued", None)
    return digest


def ingest(file: Path, digest: str, update_job_status: UpdateJobStatus) -> None:
    """Take one file in. What is wrong with it is no reason to stop the others."""
    job_id = file.stem
    update_job_status(job_id, "processing", None)
    for attempt in range(1, ATTEMPTS_MAX + 1):
        try:
            parse(file.suffix, file.read_bytes(), is_patient=attempt > 1)
        except ValueError as error:
            what = f"attempt {attempt}: {type(error).__name__}: {error}"
            update_job_status(job_id, "error", f"{what} (sha256 {digest[:12]})")
        else:
            update_job_status(job_id, "completed", None)
            return


def parse(suffix: str, data: bytes, *, is_patient: bool) -> float:
    """Give what a report would hold of a file; patience leaves out what cannot be read."""
    text = data.decode(errors="replace" if is_patient else "strict")
    if suffix == ".json":
        return float(sum(record["size"] for record in json.loads(text)))
    if suffix == ".csv":
        total = 0.0
        for row in csv.reader(text.splitlines()):
            if is_patient and len(row) != 3:
                continue
            _name, size, rate = row
            total += int(size) * float(rate)
        return total
    return float(Counter(text.split()).most_common(1)[0][1])


def make_files(directory: Path, jobs: int) -> list[Path]:
    """Make one file for each job, always the same: a third each of JSON, CSV and text."""
    chance = random.Random(3957)
    files = []
    for index in range(jobs):
        kind = ("json", "csv", "txt")[index % 3]
        lines = chance.randint(10, 400)
        is_broken = index * BROKEN // BROKEN_OF != (index + 1) * BROKEN // BROKEN_OF
        file = directory / f"doc-{index:05}.{kind}"
        file.write_bytes(make_file(kind, lines, chance, is_broken=is_broken))
        files.append(file)
    return files


def make_file(kind: str, lines: int, chance: random.Random, *, is_broken: bool) -> bytes:
    """Make the bytes of a file: a broken one is cut short, lacks a cell, or is no UTF-8."""
    if kind == "json":
        records = [{"name": f"part-{i}", "size": chance.randrange(10_000)} for i in range(lines)]
        text = json.dumps(records)
        return (text[: len(text) // 2] if is_broken else text).encode()
    if kind == "csv":
        rows = [f"part-{i},{chance.randrange(10_000)},{chance.random():.4f}" for i in range(lines)]
        if is_broken:
            rows[lines // 2] = "part"
        return "\n".join(rows).encode()
    words = " ".join(f"word{chance.randrange(500)}" for _ in range(lines * 8)).encode()
    return words[:50] + b"\xff\xfe" + words[50:] if is_broken else words


# ---- The two arms. ----


@dataclass
class Arm:
    """What an arm did. The times of the calls are in nanoseconds."""

    name: str
    transactions: int = 0
    warnings: int = 0
    seconds: float = 0.0
    calls_ns: list[int] = field(default_factory=list)
    statuses: dict[str, tuple[str, str | None]] = field(default_factory=dict)

    def timed(self, update_job_status: UpdateJobStatus) -> UpdateJobStatus:
        """Note how long each call keeps its caller."""
        note, now = self.calls_ns.append, time.perf_counter_ns

        def call(job_id: str, status: str, error: str | None) -> None:
            start = now()
            update_job_status(job_id, status, error)
            note(now() - start)

        return call


class PressureCounter(logging.Handler):
    """Counts warnings of pressure, wherever in this process they are logged."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        # A handler is called under its lock.
        self.count += record.getMessage().startswith(PRESSURE)


class PooledDatabase:
    """What teams have: a pool of connections, and a transaction for each call."""

    def __init__(self, conninfo: str) -> None:
        self.engine = sqlalchemy.create_engine(
            "postgresql+psycopg://",
            creator=lambda: psycopg.connect(conninfo),
            poolclass=QueuePool,
            pool_size=POOL_SIZE,
            max_overflow=POOL_OVERFLOW,
            pool_timeout=300,
        )
        self.log = logging.getLogger("ingestion.database")
        self.transactions = 0
        self._counting = threading.Lock()
        with self.engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE IF EXISTS before_after_jobs")
            connection.exec_driver_sql(
                "CREATE TABLE before_after_jobs (job_id text PRIMARY KEY, status text NOT NULL, "
                "error_message text, updated_at timestamptz NOT NULL DEFAULT now())"
            )
        sqlalchemy.event.listen(self.engine, "commit", self._count)
        self._upsert = sqlalchemy.text(
            "INSERT INTO before_after_jobs (job_id, status, error_message) "
            "VALUES (:job_id, :status, :error) ON CONFLICT (job_id) DO UPDATE SET "
            "status = excluded.status, error_message = excluded.error_message, updated_at = now()"
        )

    def update_job_status(self, job_id: str, status: str, error: str | None) -> None:
        self._look_at_pool()
        with self.engine.begin() as connection:
            connection.execute(self._upsert, {"job_id": job_id, "status": status, "error": error})

    def statuses(self) -> dict[str, tuple[str, str | None]]:
        with self.engine.connect() as connection:
            rows = connection.exec_driver_sql(
                "SELECT job_id, status, error_message FROM before_after_jobs"
            )
            return {job_id: (status, error) for job_id, status, error in rows}

    def _look_at_pool(self) -> None:
        pool = self.engine.pool
        assert isinstance(pool, QueuePool)
        used, most = pool.checkedout(), POOL_SIZE + POOL_OVERFLOW
        if used * 100 >= most * PRESSURE_PERCENT:
            self.log.warning("%s: %d of %d connections in use", PRESSURE, used, most)

    def _count(self, _connection: object) -> None:
        with self._counting:
            self.transactions += 1


def run_before(files: list[Path], workers: int, conninfo: str) -> Arm:
    arm = Arm("before")
    database = PooledDatabase(conninfo)
    with warnings_counted(arm):
        start = time.perf_counter()
        run_pipeline(files, arm.timed(database.update_job_status), workers)
        arm.seconds = time.perf_counter() - start
    arm.transactions = database.transactions
    arm.statuses = database.statuses()
    database.engine.dispose()
    return arm


def run_after(files: list[Path], workers: int, server: str, directory: Path) -> Arm:
    arm = Arm("after")
    with serving(server, directory) as (url, log), warnings_counted(arm):
        wrapper = RobustDatabaseWrapper(url_or_client=url)
        start = time.perf_counter()
        run_pipeline(files, arm.timed(wrapper.batch_update_job_status), workers)
        is_flushed = wrapper.flush_job_status_updates()
        arm.seconds = time.perf_counter() - start
        assert is_flushed, "the server did not take everything"
        wrapper.close_all_connections()
        with Client(url) as client:
            stats = client.stats()
            arm.transactions = stats["batches"]["committed"] + stats["fold"]["count"]
            arm.statuses = {job.job_id: (job.status, job.error) for job in client.list()}
        arm.warnings += log.read_text().count(PRESSURE)
    return arm


@contextmanager
def warnings_counted(arm: Arm) -> Iterator[None]:
    counter = PressureCounter()
    logging.getLogger().addHandler(counter)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(counter)
        arm.warnings += counter.count


@contextmanager
def serving(server: str, directory: Path) -> Iterator[tuple[str, Path]]:
    """A server on a free port, with its store and its log in `directory`."""
    log = directory / "jobslate.log"
    command = [server, "serve", "--listen", "127.0.0.1:0"]
    command += ["--data-dir", str(directory / "store"), "--log-file", str(log)]
    process = subprocess.Popen(command)
    try:
        yield wait_for_url(process, log), log
        process.terminate()
        assert process.wait(60) == 0, "the server did not stop cleanly"
    finally:
        process.kill()
        process.wait()


def wait_for_url(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until the server says that it is ready, and where."""
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        text = log.read_text() if log.exists() else ""
        if found := re.search(r"listening on (http://[^,\s]+).*ready", text):
            return found[1]
        time.sleep(0.02)
    message = f"the server is not ready (exit code {process.poll()})"
    raise RuntimeError(message)


# ---- The table. ----


def table(before: Arm, after: Arm) -> str:
    rows = [
        ("", "before", "after"),
        ("---", "---:", "---:"),
        ("jobs", *(f"{len(arm.statuses):,}" for arm in (before, after))),
        ("status calls", *(f"{len(arm.calls_ns):,}" for arm in (before, after))),
        ("database transactions", *(f"{arm.transactions:,}" for arm in (before, after))),
        ("fewer by", "", f"{reduction_percent(before, after):.1f} %"),
        (f"warnings `{PRESSURE}`", *(warnings_cell(arm) for arm in (before, after))),
        ("a status call, median", *(duration(quantile(arm, 0.5)) for arm in (before, after))),
        ("a status call, 99 of 100", *(duration(quantile(arm, 0.99)) for arm in (before, after))),
        ("all status calls", *(duration(sum(arm.calls_ns)) for arm in (before, after))),
        ("the whole run", *(duration(int(arm.seconds * 1e9)) for arm in (before, after))),
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def reduction_percent(before: Arm, after: Arm) -> float:
    return 100.0 * (1 - after.transactions / before.transactions)


def warnings_cell(arm: Arm) -> str:
    rate = f" ({arm.warnings / arm.seconds:.0f} a second)" if arm.warnings else ""
    return f"{arm.warnings:,}{rate}"


def quantile(arm: Arm, share: float) -> int:
    ordered = sorted(arm.calls_ns)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def duration(ns: int) -> str:
    for unit_ns, unit in ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs")):
        if ns >= unit_ns:
            return (
                f"{ns / unit_ns:.3g} {unit}"
                if ns < 100 * unit_ns
                else f"{ns / unit_ns:,.0f} {unit}"
            )
    return f"{ns} ns"


def machine() -> str:
    names = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    name = names[0] if names else platform.machine()
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}"


def versions(conninfo: str) -> str:
    with psycopg.connect(conninfo) as connection:
        found = connection.execute("SHOW server_version").fetchone()
    assert found is not None
    return f"PostgreSQL {found[0]}, SQLAlchemy {sqlalchemy.__version__}"


def complaints(before: Arm, after: Arm, least: float) -> list[str]:
    """What is not as it should be."""
    found: list[str] = []
    jobs = before.statuses.keys() | after.statuses.keys()
    differing = [job for job in jobs if before.statuses.get(job) != after.statuses.get(job)]
    found += [
        f"{job}: {before.statuses.get(job)} before, {after.statuses.get(job)} after"
        for job in sorted(differing)[:5]
    ]
    if differing:
        found.append(f"{len(differing)} of {len(jobs)} jobs differ")
    if after.warnings:
        found.append(f"{after.warnings} warnings after")
    if reduction_percent(before, after) < least:
        found.append(f"{reduction_percent(before, after):.2f} % fewer, asked is {least} %")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=3957)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--server", default="jobslate", help="the binary (default: of the path)")
    parser.add_argument("--least", type=float, default=98.0, help="percent of transactions spared")
    parser.add_argument("--directory", type=Path, help="for files and store (default: temporary)")
    options = parser.parse_args()
    conninfo = os.environ.get("JOBSLATE_PEERS_POSTGRES")
    if not conninfo:
        print("JOBSLATE_PEERS_POSTGRES names no PostgreSQL; packaging/peers --exec starts one")
        return 69
    # A team has its warnings in a file.
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        directory = Path(name)
        log = directory / "pipeline.log"
        logging.basicConfig(filename=log, level=logging.INFO, format="%(asctime)s %(message)s")
        (directory / "files").mkdir()
        files = make_files(directory / "files", options.jobs)
        before = run_before(files, options.workers, conninfo)
        after = run_after(files, options.workers, options.server, directory)
    print(
        f"{machine()}, {versions(conninfo)}; {options.workers} threads, "
        f"pool {POOL_SIZE} + {POOL_OVERFLOW}, pressure from {PRESSURE_PERCENT} %\n"
    )
    print(table(before, after))
    ends = Counter(status for status, _ in after.statuses.values())
    print("\nends: " + ", ".join(f"{count:,} {status}" for status, count in sorted(ends.items())))
    found = complaints(before, after, options.least)
    print("\n".join(found) or "both stores hold the same status and error for every job")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
