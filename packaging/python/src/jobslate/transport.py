"""One call over HTTP/1.1, on a connection that each thread keeps for itself.

A call is sent once; whether it is worth another try is decided above. The one exception is a kept
connection that the server has closed meanwhile: then the call is sent again on a new one, if it is
safe to repeat.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from .errors import Foreign, JobslateError, Outcome, Unavailable
from .problems import problem_of

DEFAULT_URL = "http://127.0.0.1:7411"

#: What a name with lone surrogates is written as, here as in a body.
_ERRORS = "backslashreplace"
#: Longest part of a foreign answer that an error message repeats.
_FOREIGN_SHOWN_MAX = 200


@dataclass(frozen=True)
class Call:
    """What is sent. ``writes``: it changes the store, so that a lost answer leaves it unknown.

    ``is_repeatable``: sent twice, it counts once: it reads, or has an idempotency key.
    """

    method: str
    target: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    writes: bool = False
    is_repeatable: bool = True
    timeout_s: float | None = None


@dataclass(frozen=True)
class Reply:
    """What came back, with a status of 2xx; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON.

        Raises ``Foreign`` if it is none.
        """
        try:
            return json.loads(self.body)
        except ValueError:
            raise foreign(self.status, self.body, None) from None

    @property
    def is_replayed(self) -> bool:
        """True if it is the first answer to the same call, made before with the same key."""
        return self.headers.get("idempotent-replayed") == "true"


def target(*segments: str, **query: object) -> str:
    """A path below the root with its query; ``None`` leaves a parameter out.

    Sequences are joined by commas, ``True`` is written as the server reads it.
    """
    path = "/" + "/".join(_quoted(it) for it in segments)
    given = {name: _parameter(value) for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given, quote_via=quote, errors=_ERRORS)}" if given else path


def _quoted(segment: str) -> str:
    return quote(segment, safe="", errors=_ERRORS)


def _parameter(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple, set, frozenset)):
        return ",".join(str(it) for it in value)
    return str(value)


class Transport:
    """The way to one server; safe to share between threads and over ``fork``.

    ``connect_timeout_s`` bounds the making of a connection, ``timeout_s`` each wait for the server
    after that.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        timeout_s: float = 30.0,
        connect_timeout_s: float = 5.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.url = (url or os.environ.get("JOBSLATE_URL") or DEFAULT_URL).rstrip("/")
        parts, port = _parts(self.url)
        self._is_tls = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = port or (443 if self._is_tls else 80)
        self._prefix = parts.path
        self._headers = dict(headers or {})
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._kept = threading.local()
        self._last_sock: socket.socket | None = None
        self._is_broken_off = False

    @property
    def options(self) -> dict[str, Any]:
        """What makes another way to the same server."""
        return {
            "url": self.url,
            "timeout_s": self._timeout_s,
            "connect_timeout_s": self._connect_timeout_s,
            "headers": self._headers,
        }

    def send(self, call: Call) -> Reply:
        """Sends ``call`` and reads the whole answer.

        Raises a ``Problem`` for a refusal, ``Foreign`` if another program answered, and
        ``Unavailable`` if nobody did.
        """
        connection = self._kept_connection()
        if connection is not None:
            try:
                return self._exchange(connection, call)
            except _Stale as stale:
                # The server closes a connection that is idle for long, just as it may restart.
                if self._is_broken_off:
                    raise self.unavailable(stale.cause, call) from stale.cause
        connection = self.connect()
        self._kept.connection, self._kept.pid = connection, os.getpid()
        try:
            return self._exchange(connection, call, is_new=True)
        except _Stale as stale:
            raise self.unavailable(stale.cause, call) from stale.cause

    def close(self) -> None:
        """Closes the connection of this thread; those of others end with their threads."""
        connection = self._kept_connection()
        self._kept.__dict__.clear()
        if connection is not None:
            connection.close()

    def interrupt(self) -> None:
        """Breaks off the call of another thread, the only one that uses this transport."""
        self._is_broken_off = True
        sock = self._last_sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def connect(self, timeout_s: float | None = None) -> http.client.HTTPConnection:
        """A new connection, for a caller who closes it. Each wait on it is bounded."""
        kind: type[http.client.HTTPConnection] = http.client.HTTPConnection
        options: dict[str, Any] = {"timeout": self._connect_timeout_s}
        if self._is_tls:
            kind = http.client.HTTPSConnection
            options["context"] = ssl.create_default_context()
        connection = kind(self._host, self._port, **options)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise Unavailable(f"no connection to {self.url}: {error}", "not_applied") from error
        self._last_sock = connection.sock
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sock.settimeout(self._timeout_s if timeout_s is None else timeout_s)
        return connection

    def request(self, connection: http.client.HTTPConnection, call: Call) -> None:
        """Writes ``call`` on ``connection``."""
        headers = {"Accept": "application/json", **self._headers, **call.headers}
        connection.request(call.method, self._prefix + call.target, body=call.body, headers=headers)

    def unavailable(self, error: BaseException, call: Call) -> Unavailable:
        """What a caller hears about ``error``."""
        outcome: Outcome = "unknown" if call.writes else None
        return Unavailable(f"no answer from {self.url}: {_reason(error)}", outcome)

    def _kept_connection(self) -> http.client.HTTPConnection | None:
        kept = self._kept.__dict__
        if kept.get("pid") != os.getpid():
            # After a fork: the parent goes on with it, so it is left alone here, not shut down.
            kept.pop("connection", None)
            return None
        return cast("http.client.HTTPConnection | None", kept.get("connection"))

    def _exchange(
        self, connection: http.client.HTTPConnection, call: Call, *, is_new: bool = False
    ) -> Reply:
        try:
            if call.timeout_s is not None:
                connection.sock.settimeout(call.timeout_s)
            try:
                self.request(connection, call)
            except (BrokenPipeError, ConnectionResetError):
                # A server that refuses a long body need not read all of it before it says so.
                if call.body is None or not is_new:
                    raise
            answer = connection.getresponse()
            body = answer.read()
            if call.timeout_s is not None and connection.sock is not None:
                connection.sock.settimeout(self._timeout_s)
        except (OSError, http.client.HTTPException, AttributeError) as error:
            # A socket that was closed meanwhile is None.
            self.close()
            is_stale = not isinstance(error, socket.timeout) and call.is_repeatable and not is_new
            if is_stale or is_new:
                raise _Stale(error) from error
            raise self.unavailable(error, call) from error
        except BaseException:
            # Interrupted in the middle of an answer: the rest of it must not be read as the next.
            self.close()
            raise
        headers = {name.lower(): value for name, value in answer.getheaders()}
        if answer.will_close:
            self.close()
        if 200 <= answer.status < 300:
            return Reply(answer.status, headers, body)
        raise refusal(answer.status, headers, body, writes=call.writes)


def _parts(url: str) -> tuple[SplitResult, int | None]:
    """What a URL consists of, and its port.

    Raises ``ValueError`` if it is not that of a server.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{url!r} is not the URL of a server: {error}") from None
    if parts.username is not None or parts.password is not None:
        # Not shown: the text may be logged.
        shown = f"{parts.scheme}://...@{parts.hostname}"
        raise ValueError(
            f"{shown!r} is not the URL of a server: it names a user, and credentials are not sent "
            "from a URL; give them as headers of a Client"
        )
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
        raise ValueError(f"{url!r} is not the URL of a server, like {DEFAULT_URL}")
    return parts, port


class _Stale(Exception):  # it never leaves this module
    """The connection broke; on a kept one, perhaps only because it was kept."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def refusal(status: int, headers: Mapping[str, str], body: bytes, *, writes: bool) -> JobslateError:
    """The exception for an answer that is no success."""
    outcome: Outcome = "unknown" if writes else None
    try:
        problem = json.loads(body)
    except ValueError:
        return foreign(status, body, outcome)
    if not isinstance(problem, dict) or "code" not in problem:
        return foreign(status, body, outcome)
    asked = headers.get("retry-after", "")
    return problem_of(
        status,
        problem,
        retry_after_s=float(asked) if asked.isdecimal() else None,
        replayed=headers.get("idempotent-replayed") == "true",
    )


def foreign(status: int, body: bytes, outcome: Outcome) -> Foreign:
    """The exception for an answer that jobslate does not give."""
    shown = body[:_FOREIGN_SHOWN_MAX].decode("utf-8", "replace")
    return Foreign(f"HTTP {status}, not as jobslate answers: {shown!r}", status, outcome)


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
