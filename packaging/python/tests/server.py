"""A real server of its own for a test: started, killed, started again on the same port and data."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from jobslate import Client

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "packaging" / "python" / "src"
_LISTENING = re.compile(r"listening on (http://[0-9.:]+)")


def binary() -> Path:
    """The server under test: ``JOBSLATE_BINARY``, or that of a debug build."""
    named = os.environ.get("JOBSLATE_BINARY")
    if named:
        return Path(named)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "debug" / "jobslate"


class Server:
    """One server; ``url`` stays the same over its restarts."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self._folder = folder
        self._flags = flags
        self._address = "127.0.0.1:0"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self, *more_flags: str) -> Server:
        """Starts it, and waits until it takes updates."""
        assert self._process is None
        log = self._folder / "log"
        seen = log.stat().st_size if log.exists() else 0
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [
                    *(str(binary()), "serve", "--listen", self._address),
                    *("--data-dir", str(self._folder / "data")),
                    *self._flags,
                    *more_flags,
                ],
                stdout=out,
                stderr=out,
            )
        give_up_at = time.monotonic() + 60
        while True:
            with log.open("rb") as text:
                text.seek(seen)
                found = _LISTENING.search(text.read().decode())
            if found:
                self.url = found.group(1)
                self._address = self.url.removeprefix("http://")
                if Client(self.url).is_ready():
                    return self
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < give_up_at, log.read_text()
            time.sleep(0.01)

    def kill(self) -> None:
        """Ends it as a power cut would end its process."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ends it cleanly."""
        assert self._end(signal.SIGTERM) == 0, self.log()

    def freeze(self) -> None:
        """Lets it answer nothing, with all connections open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets it go on."""
        self._signal(signal.SIGCONT)

    def log(self) -> str:
        """What it logged since the first start."""
        return (self._folder / "log").read_text()

    def client(self) -> Client:
        """A client of it."""
        return Client(self.url)

    def close(self) -> None:
        """Ends it, if it runs."""
        if self._process is not None:
            self.kill()

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _end(self, number: int) -> int:
        process, self._process = self._process, None
        assert process is not None
        process.send_signal(number)
        return process.wait(timeout=60)


def run_python(
    code: str, *arguments: str, timeout_s: float = 60, check: bool = True, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs ``code`` in a process of its own that can import the package."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def start_python(code: str, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    """The same, but does not wait for its end."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=environment(**variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # A pipe that nobody reads would stop it.
        stderr=subprocess.DEVNULL,
        text=True,
    )


def environment(**variables: str) -> dict[str, str]:
    """That of this process, in which the package can be imported."""
    path = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, **variables}
