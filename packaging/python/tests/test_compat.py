"""The calls of an existing pipeline, unchanged, over its own module with its own SQL."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from jobslate import BatchJobStatusUpdater, UpdatesLost, compat

from .server import Server, environment, run_python
from .test_processes import in_child

# What a team has: a module with a pool, SQL of its own, and one transaction for each status.
OLD_MODULE = '''
import sqlite3, threading

class RobustDatabaseWrapper:
    """Calls the database, one connection for each thread."""

    def __init__(self, path):
        self.path = path
        self.connections = []
        self.local = threading.local()
        self.queries = 0
        # The updater of before, of which there may be something left.
        self.batch_job_updater = object()

    def execute(self, sql, *values):
        if not hasattr(self.local, "connection"):
            self.local.connection = sqlite3.connect(self.path, check_same_thread=False)
            self.connections.append(self.local.connection)
        self.queries += 1
        with self.local.connection:
            return self.local.connection.execute(sql, values).fetchall()

    def save_document(self, name, text):
        self.execute("CREATE TABLE IF NOT EXISTS documents (name TEXT PRIMARY KEY, text TEXT)")
        self.execute("INSERT OR REPLACE INTO documents VALUES (?, ?)", name, text)

    def update_job_status(self, job_id, status, error_message=None):
        self.execute("CREATE TABLE IF NOT EXISTS jobs (id PRIMARY KEY, status, error)")
        self.execute("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?)", job_id, status, error_message)

    def get_statistics(self):
        return {"queries": self.queries, "connections": len(self.connections)}

    def close_all_connections(self):
        for connection in self.connections:
            connection.close()
        self.connections.clear()

def get_wrapper(path, _made={}):
    return _made.setdefault(path, RobustDatabaseWrapper(path))
'''

THREE_LINES = """
from jobslate.compat import *
from jobslate.compat import with_job_updates
RobustDatabaseWrapper = with_job_updates(RobustDatabaseWrapper)
"""

# The code of the pipeline, which nobody wants to touch.
PIPELINE = """
import logging, sys
from concurrent.futures import ThreadPoolExecutor
from ingestion_module_database_wrapper import (
    batch_update_job_status, flush_job_status_updates, get_batch_update_stats, get_wrapper,
)
logging.basicConfig(level=logging.INFO, stream=sys.stdout)

class Pipeline:
    def __init__(self, database):
        self.database = database

    def update_job_status(self, job_id, status, error_message=None):
        self.database.update_job_status(job_id, status, error_message)

    def work_on(self, job_id):
        self.update_job_status(job_id, 'processing')
        try:
            if job_id % 10 == 3:
                raise ValueError(f"page {job_id} is damaged")
            self.database.save_document(f"doc-{job_id}", "text")
            self.update_job_status(job_id, 'completed')
        except ValueError as error:
            batch_update_job_status(job_id, 'error', str(error))

database = get_wrapper(sys.argv[1])
with ThreadPoolExecutor(8) as pool:
    list(pool.map(Pipeline(database).work_on, range(100)))
assert flush_job_status_updates()
stats = get_batch_update_stats()
assert stats["stored"] == 200, stats
statistics = database.get_statistics()
assert statistics["connections"] > 0 and statistics["queries"] == 180, statistics
assert statistics["job_updates"]["stored"] == 200
assert database.batch_job_updater.get_batch_update_stats()["stored"] == 200
assert [tuple(row) for row in database.execute("SELECT count(*) FROM documents")] == [(90,)]
batch_update_job_status("last", "completed")
database.close_all_connections()
assert not database.connections
assert get_batch_update_stats()["stored"] == 201
print("all went well")
"""


@pytest.fixture
def shared(server: Server) -> Iterator[BatchJobStatusUpdater]:
    yield compat.configure(url_or_client=server.url, drain_on_sigterm=False)
    compat.shared_updater().stop(0.0)
    compat._updater = None
    compat._options.clear()


def test_three_lines_in_their_module_are_enough(server: Server, tmp_path: Path) -> None:
    (tmp_path / "ingestion_module_database_wrapper.py").write_text(OLD_MODULE + THREE_LINES)
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "pipeline.py"), str(tmp_path / "db.sqlite")],
        env=environment(JOBSLATE_URL=server.url),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "all went well" in done.stdout, done.stdout + done.stderr
    assert "Pipeline-Job 17 gestartet" in done.stdout
    assert "Connection pool pressure" not in done.stdout
    assert done.stdout.count("Batch updated") <= 10
    client = server.client()
    assert client.counts().by_status == {"completed": 91, "error": 10}
    assert client.get(13).error == "page 13 is damaged"
    # Their statuses are no more in their own table.
    assert b"CREATE TABLE jobs" not in (tmp_path / "db.sqlite").read_bytes()


def test_without_the_three_lines_it_is_as_it_was(tmp_path: Path) -> None:
    """The control: each status is a transaction of their own database."""
    (tmp_path / "ingestion_module_database_wrapper.py").write_text(OLD_MODULE)
    code = "from ingestion_module_database_wrapper import batch_update_job_status"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "ImportError" in done.stderr


def test_the_names_of_the_pipeline_are_functions(
    server: Server, shared: BatchJobStatusUpdater
) -> None:
    assert compat.batch_update_job_status("a", "processing") is True
    assert compat.batch_update_job_status(17, "error", "boom") is True
    assert compat.update_job_status("b", "completed") is True
    assert compat.batch_update_job_status(job_id="c", status="error", error_message=None)
    assert compat.flush_job_status_updates() is True
    assert compat.get_batch_update_stats()["stored"] == 4
    assert compat.shared_updater() is shared
    assert server.client().get(17).error == "boom"


def test_a_pipeline_reports_under_its_name(server: Server, shared: BatchJobStatusUpdater) -> None:
    class PdfPipeline(compat.Pipeline):
        pipeline_name = "pdf"

        def __init__(self) -> None:
            self.own = "state"

    PdfPipeline().update_job_status("a", "processing")
    compat.Pipeline("html").update_job_status("b", "error", "boom")
    compat.Pipeline().update_job_status("c", "completed")
    assert shared.flush_job_status_updates()
    counts = server.client().counts()
    assert set(counts.by_pipeline) == {"pdf", "html", "default"}


def test_a_wrapper_beside_a_database_hands_on_the_rest(
    server: Server, shared: BatchJobStatusUpdater
) -> None:
    order = []

    class Database:
        def get_statistics(self) -> dict[str, int]:
            return {"queries": 7}

        def close_all_connections(self) -> None:
            order.append(("closed", shared.get_batch_update_stats()["stored"]))

        def query(self) -> str:
            return "answer"

    wrapper = compat.RobustDatabaseWrapper(Database())
    assert wrapper.query() == "answer"
    wrapper.update_job_status("a", "processing")
    wrapper.batch_job_updater.batch_update_job_status("b", "completed")
    assert wrapper.get_statistics()["queries"] == 7
    assert wrapper.get_statistics()["job_updates"]["queued"] == 2
    wrapper.close_all_connections()
    # First the updates were stored, then the database was closed.
    assert order == [("closed", 2)]
    # Another object of the process may report on.
    assert compat.batch_update_job_status("c", "queued")
    assert compat.flush_job_status_updates()


def test_a_wrapper_may_have_an_updater_of_its_own(make_server: Callable[..., Server]) -> None:
    server = make_server()
    wrapper = compat.RobustDatabaseWrapper(url_or_client=server.url, batch_size=5)
    wrapper.batch_update_job_status("a", "queued")
    assert wrapper.flush_job_status_updates()
    assert wrapper.get_statistics()["job_updates"]["stored"] == 1
    wrapper.close_all_connections()
    assert compat._updater is None


def test_a_changed_class_keeps_its_name() -> None:
    class Wrapper:
        """Their words."""

        def save(self) -> str:
            return "saved"

    changed = compat.with_job_updates(Wrapper)
    assert (changed.__name__, changed.__doc__) == ("Wrapper", "Their words.")
    assert changed.__module__ == Wrapper.__module__
    assert changed().save() == "saved"
    assert isinstance(changed(), Wrapper)


def test_objects_and_classes_that_are_there_already_report_too(
    shared: BatchJobStatusUpdater,
) -> None:
    class Base:
        def get_statistics(self) -> dict[str, int]:
            return {"of_base": 1}

    class Wrapper(Base):
        def __init__(self) -> None:
            # As it was written before there was another way.
            super(Wrapper, self).__init__()  # noqa: UP008
            self.batch_job_updater = object()
            self.closed = 0

        def update_job_status(self, job_id: str, status: str) -> None:
            raise AssertionError("that is the old way")

        def get_statistics(self) -> dict[str, int]:
            return {**super().get_statistics(), "of_wrapper": 2}

        def close_all_connections(self) -> None:
            self.closed += 1

    class Derived(Wrapper):
        pass

    made_before = Wrapper()
    # A module may be run twice.
    assert [compat.with_job_updates(Wrapper) for _ in range(2)] == [Wrapper, Wrapper]
    databases: list[Any] = [made_before, Derived(), Wrapper(), compat.with_job_updates(Derived)()]
    for number, database in enumerate(databases):
        assert database.update_job_status(f"job-{number}", "completed") is True
        assert database.batch_job_updater is shared
        statistics = database.get_statistics()
        assert (statistics["of_base"], statistics["of_wrapper"]) == (1, 2)
        assert statistics["job_updates"]["queued"] == number + 1
    for database in databases:
        database.close_all_connections()
        assert database.closed == 1
    assert shared.get_batch_update_stats()["stored"] == 4


def test_the_database_is_closed_whatever_becomes_of_the_updates(server: Server) -> None:
    server.kill()
    closed = []

    class Database:
        def close_all_connections(self) -> None:
            closed.append(self)

    wrapper = compat.RobustDatabaseWrapper(
        Database(), url_or_client=server.url, raise_errors=True, stop_timeout_s=0.1
    )
    wrapper.update_job_status("a", "queued")
    with pytest.raises(UpdatesLost):
        wrapper.close_all_connections()
    assert len(closed) == 1


def test_a_wrapper_without_a_database_says_what_it_lacks() -> None:
    with pytest.raises(AttributeError, match=r"'RobustDatabaseWrapper' object has no .* 'query'"):
        compat.RobustDatabaseWrapper().query()


def test_a_url_that_is_none_is_told_at_the_import() -> None:
    done = run_python("import jobslate.compat", check=False, JOBSLATE_URL="http://host:74111")
    assert done.returncode == 1
    assert "ValueError: JOBSLATE_URL: 'http://host:74111' is not the URL" in done.stderr


def test_a_fork_while_another_thread_holds_the_lock(shared: BatchJobStatusUpdater) -> None:
    compat._updater = None
    is_held, is_over = threading.Event(), threading.Event()

    def hold() -> None:
        with compat._lock:
            is_held.set()
            is_over.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait()
    child = in_child(lambda: compat.shared_updater() is not None)
    assert os.waitpid(child, 0)[1] == 0
    is_over.set()
    thread.join()
    compat._updater = shared


def test_configure_stops_the_one_before(server: Server, shared: BatchJobStatusUpdater) -> None:
    compat.batch_update_job_status("a", "queued")
    other = compat.configure(url_or_client=server.url, batch_size=7, drain_on_sigterm=False)
    assert other is not shared
    assert server.client().get("a").status == "queued"
