"""Fixtures: a server for each test that asks for one, and a way to it that breaks on demand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from jobslate import BatchJobStatusUpdater

from .proxy import Proxy
from .server import Server, binary


def pytest_sessionstart() -> None:
    if not binary().exists():
        pytest.exit(f"{binary()} is missing: cargo build, or set JOBSLATE_BINARY", returncode=2)


@pytest.fixture(autouse=True)
def no_fault(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The sender survives its own bugs, so a test would not notice one."""
    yield
    assert not [it for it in caplog.get_records("call") if "met a fault" in it.getMessage()]


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Makes servers that are ended with the test."""
    servers: list[Server] = []

    def make(*flags: str) -> Server:
        folder = tmp_path / f"server-{len(servers)}"
        folder.mkdir()
        # Tests tell updates apart by their status.
        servers.append(Server(folder, "--statuses-max", "100000", *flags))
        return servers[-1].start()

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    """A running server with an empty store."""
    return make_server()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """A way to the server that does to each request what the test wants."""
    proxy = Proxy(server.url)
    yield proxy
    proxy.close()


@pytest.fixture
def make_updater() -> Iterator[Callable[..., BatchJobStatusUpdater]]:
    """Makes updaters that are stopped with the test."""
    updaters: list[BatchJobStatusUpdater] = []

    def make(*values: object, **options: object) -> BatchJobStatusUpdater:
        updaters.append(BatchJobStatusUpdater(*values, **options))  # type: ignore[arg-type]
        return updaters[-1]

    yield make
    for updater in updaters:
        updater._stop(0.0)
