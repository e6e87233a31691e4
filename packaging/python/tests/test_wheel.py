"""The wheel in an empty environment, without an index: command, server and client out of one file.

It is built from the dev profile, unless ``JOBSLATE_WHEEL`` names one.
"""

from __future__ import annotations

import email
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from .server import ROOT

TALK = """
import sys
import jobslate

url, place = sys.argv[1:]
assert jobslate.__file__.startswith(place), jobslate.__file__
with jobslate.BatchJobStatusUpdater(url) as updater:
    for number in range(120):
        updater.batch_update_job_status(f"doc-{number}", "processing")
    updater.batch_update_job_status("doc-7", "error", "no such page")
with jobslate.Client(url) as client:
    job = client.get("doc-7")
    print(client.counts().total, job.status, job.error)
"""


def clean_environment() -> dict[str, str]:
    """Without anything that would let another jobslate, or settings of this run, in."""
    mine = ("JOBSLATE_", "PYTHON", "PIP_", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(mine)}


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    named = os.environ.get("JOBSLATE_WHEEL")
    if named:
        return Path(named)
    out = run(ROOT / "packaging" / "wheel", "--dev", "--out", tmp_path_factory.mktemp("wheel"))
    return Path(out.splitlines()[-1])


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of an environment that holds the wheel alone."""
    venv = tmp_path_factory.mktemp("empty")
    run(sys.executable, "-m", "venv", venv)
    python = venv / "bin" / "python"
    run(python, "-m", "pip", "install", "--no-index", "--disable-pip-version-check", wheel)
    return venv / "bin"


def version() -> str:
    found = re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def test_the_wheel_says_what_it_is_and_holds_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        home = f"jobslate-{version()}.dist-info"
        metadata = file.read(f"{home}/METADATA").decode()
        licence = file.read(f"{home}/licenses/LICENSE").decode()
    head, _, description = metadata.partition("\n\n")
    about = email.message_from_string(head)
    assert about["Name"] == "jobslate"
    assert about["Version"] == version()
    assert about["License-Expression"] == "Apache-2.0"
    assert about["License-File"] == "LICENSE"
    assert licence == (ROOT / "LICENSE").read_text()
    assert about["Requires-Python"] == ">=3.9"
    assert about.get_all("Requires-Dist") is None
    assert "Typing :: Typed" in about.get_all("Classifier", [])
    readme = (ROOT / "packaging" / "python" / "README.md").read_text()
    assert description.strip() == readme.strip()

    sources = ROOT / "packaging" / "python" / "src"
    modules = {str(it.relative_to(sources)) for it in sources.rglob("*.py")}
    modules.add("jobslate/py.typed")
    others = {name for name in names if not name.startswith(f"{home}/")}
    assert others == {*modules, f"jobslate-{version()}.data/scripts/jobslate"}


def test_command_server_and_client_come_out_of_the_wheel(programs: Path, tmp_path: Path) -> None:
    command, log = programs / "jobslate", tmp_path / "log"
    assert run(command, "--version").strip() == f"jobslate {version()}"

    with log.open("wb") as out:
        server = subprocess.Popen(
            [command, "serve", "--listen", "127.0.0.1:0"],
            cwd=tmp_path,
            env=clean_environment(),
            stdout=out,
            stderr=out,
        )
    try:
        url = address(server, log)
        told = run(programs / "python", "-I", "-c", TALK, url, programs.parent, cwd=tmp_path)
        assert told == "120 error no such page\n"
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0, log.read_text()
    finally:
        server.kill()
        server.wait()
    data = tmp_path / "jobslate-data"
    assert run(command, "check", "--data-dir", data).startswith("clean: 120 jobs, 121 updates")


def address(server: subprocess.Popen[bytes], log: Path) -> str:
    """Where the server listens, once it says that it is ready."""
    for _ in range(6000):
        if found := re.search(r"listening on (http://[0-9.:]+).*ready", log.read_text()):
            return found[1]
        assert server.poll() is None, log.read_text()
        time.sleep(0.01)
    pytest.fail(log.read_text())
