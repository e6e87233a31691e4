"""A way to a server on which answers get lost, and refusals come from nowhere."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import Callable, Union
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Request:
    """A whole request, as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    raw: bytes = field(repr=False)

    @property
    def key(self) -> str | None:
        return self.headers.get("idempotency-key")


#: What becomes of a request: it passes; its answer is lost after the server gave it; half of the
#: answer comes; the connection is cut before the server sees it; or this text is the answer.
PASS, LOSE_ANSWER, HALF_ANSWER, CUT = "pass", "lose answer", "half answer", "cut"
Fate = Union[str, bytes]


def problem(status: int, code: str, *, retry_after: str = "", **body: object) -> bytes:
    """The text of a refusal."""
    text = json.dumps({"code": code, "detail": f"made up: {code}", "status": status, **body})
    asked = f"Retry-After: {retry_after}\r\n" if retry_after else ""
    return (
        f"HTTP/1.1 {status} X\r\nContent-Type: application/problem+json\r\n{asked}"
        f"Content-Length: {len(text)}\r\n\r\n{text}"
    ).encode()


class Proxy:
    """Listens on a port of its own; ``fate`` is asked about every request."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "", parts.port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.fate: Callable[[Request], Fate] = lambda _: PASS
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def keys(self) -> list[str | None]:
        """The idempotency keys of the requests so far."""
        return [request.key for request in self.requests]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while True:
                request = _read_request(connection)
                if request is None:
                    return
                with self._lock:
                    self.requests.append(request)
                    fate = self.fate(request)
                if fate == CUT:
                    _reset(connection)
                    return
                if isinstance(fate, bytes):
                    connection.sendall(fate)
                    continue
                answer = self._ask(request)
                if fate == LOSE_ANSWER:
                    _reset(connection)
                    return
                if fate == HALF_ANSWER:
                    connection.sendall(answer[: len(answer) - 10])
                    _reset(connection)
                    return
                connection.sendall(answer)

    def _ask(self, request: Request) -> bytes:
        with socket.create_connection(self._upstream) as upstream:
            host = f"Host: {self._upstream[0]}:{self._upstream[1]}\r\n"
            line, _, rest = request.raw.partition(b"\r\n")
            lines = rest.split(b"\r\n\r\n", 1)[0].split(b"\r\n")
            kept = [it for it in lines if not it.lower().startswith((b"host:", b"connection:"))]
            head = b"\r\n".join([line, *kept])
            end = f"\r\n{host}Connection: close\r\n\r\n".encode()
            upstream.sendall(head + end + request.body)
            answer = b""
            while piece := upstream.recv(65536):
                answer += piece
        # The connection to the client stays.
        return answer.replace(b"connection: close\r\n", b"", 1)


def _read_request(connection: socket.socket) -> Request | None:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    length = int(headers.get("content-length", "0"))
    while len(body) < length:
        body += connection.recv(65536)
    method, target, _ = first.split(" ")
    return Request(method, target, headers, body, head + b"\r\n\r\n")


def _reset(connection: socket.socket) -> None:
    """Closes with a reset, as a process that was killed, or a cable."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
