"""The feed, read for as long as one likes, over broken connections and restarts of the server.

A watch holds the seq that it stands at, and nothing else. Every event of the stream names the seq
up to which everything was said, also the signs of life between the updates: so a watch whose filter
lets nothing through does not fall behind what the feed holds.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from .backoff import Backoff
from .errors import JobslateError, OtherStore
from .model import FeedEntry
from .problems import problem_of
from .transport import Call, Transport, refusal, target

if TYPE_CHECKING:
    from types import TracebackType

_PIECE_BYTES_MAX = 64 << 10
#: A connection that lasts so long ends an outage, though nothing came yet.
_STEADY_AFTER_S = 5.0


class Event(NamedTuple):
    """One event of a stream of Server-Sent Events; what was not given is empty."""

    name: str
    id: str
    data: str


class EventReader:
    """Takes the pieces of a stream as they come, and gives whole events."""

    def __init__(self) -> None:
        self._rest = b""
        self._name = self._id = ""
        self._data: list[str] = []

    def push(self, piece: bytes) -> Iterator[Event]:
        """The events that ``piece`` completes."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            event = self._take(line.rstrip(b"\r").decode("utf-8", "replace"))
            if event is not None:
                yield event

    def _take(self, line: str) -> Event | None:
        if not line:
            event = Event(self._name, self._id, "\n".join(self._data))
            self._name, self._id, self._data = "", "", []
            return event if any(event) else None
        name, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if name == "event":
            self._name = value
        elif name == "id":
            self._id = value
        elif name == "data":
            self._data.append(value)
        return None


class Watch(Iterator[FeedEntry]):
    """An iterator over the feed; it ends only by an error, or when it is closed.

    For one thread, but ``close`` may be called from another.
    """

    def __init__(
        self,
        transport: Transport,
        after: int,
        filters: Mapping[str, object],
        *,
        silence_s_max: float,
        retry_for_s: float | None,
    ) -> None:
        self._transport = transport
        self._after = after
        self._filters = filters
        self._silence_s_max = silence_s_max
        self._retry_for_s = retry_for_s
        self._store_id: str | None = None
        self._backoff = Backoff()
        self._failing_since: float | None = None
        self._events: Iterator[Event] = iter(())
        self._stream: _Stream | None = None
        self._is_closed = threading.Event()

    @property
    def after(self) -> int:
        """The seq up to which everything was said: another watch after it misses nothing."""
        return self._after

    def __iter__(self) -> Watch:
        return self

    def __next__(self) -> FeedEntry:
        while not self._is_closed.is_set():
            try:
                for event in self._events:
                    entry = self._entry(event)
                    if entry is not None:
                        return entry
                self._events = self._next_events()
            except JobslateError as error:
                self._lose(error)
        raise StopIteration

    def close(self) -> None:
        """Ends the watch, also one that another thread waits for."""
        self._is_closed.set()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _next_events(self) -> Iterator[Event]:
        if self._stream is None:
            stream = _Stream.open(self._transport, self._after, self._filters, self._silence_s_max)
            known, self._store_id = self._store_id or stream.store_id, stream.store_id
            if known != stream.store_id:
                stream.close()
                raise OtherStore(
                    f"{self._transport.url} has another store: {stream.store_id}, no more {known}"
                )
            self._stream = stream
            if self._is_closed.is_set():
                stream.close()
        return self._stream.events()

    def _entry(self, event: Event) -> FeedEntry | None:
        if event.name not in {"", "message"}:
            if event.name in {"gone", "problem"}:
                body = json.loads(event.data)
                raise problem_of(int(body.get("status", 0)), body)
            return None
        # A connection that is cut as soon as it is greeted belongs to the same outage.
        if self._stream is not None and (event.data or self._stream.is_steady()):
            self._failing_since = None
            self._backoff.reset()
        if not event.data:
            if event.id.isdecimal():
                self._after = max(self._after, int(event.id))
            return None
        entry = FeedEntry.of(json.loads(event.data))
        if entry.seq <= self._after:
            return None
        self._after = entry.seq
        return entry

    def _lose(self, error: JobslateError) -> None:
        """Waits before the next try; raises ``error`` if none would mend it, or after too many."""
        stream, self._stream = self._stream, None
        self._events = iter(())
        if stream is not None:
            stream.close()
        if self._is_closed.is_set():
            return
        now = time.monotonic()
        since = self._failing_since = now if self._failing_since is None else self._failing_since
        wait_s = self._backoff.next_wait_s(random.random(), error.retry_after_s)  # noqa: S311
        is_over = self._retry_for_s is not None and now + wait_s - since > self._retry_for_s
        if not error.retryable or is_over:
            raise error
        self._is_closed.wait(wait_s)


class _Stream:
    """One connection to the feed."""

    def __init__(
        self,
        connection: http.client.HTTPConnection,
        sock: socket.socket,
        answer: http.client.HTTPResponse,
        transport: Transport,
        call: Call,
    ) -> None:
        self._connection = connection
        self._sock = sock
        self._answer = answer
        self._transport = transport
        self._call = call
        self._reader = EventReader()
        self._opened_at = time.monotonic()
        self.store_id = answer.headers.get("store-id")

    @classmethod
    def open(
        cls, transport: Transport, after: int, filters: Mapping[str, object], silence_s_max: float
    ) -> _Stream:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        path = target("v1", "updates", format="sse", **filters)
        call = Call("GET", path, headers=headers)
        connection = transport.connect(timeout_s=silence_s_max)
        sock: socket.socket = connection.sock
        try:
            transport.request(connection, call)
            answer = connection.getresponse()
            if answer.status != 200:
                named = {name.lower(): value for name, value in answer.getheaders()}
                raise refusal(answer.status, named, answer.read(), writes=False)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise transport.unavailable(error, call) from error
        except BaseException:
            connection.close()
            raise
        return cls(connection, sock, answer, transport, call)

    def events(self) -> Iterator[Event]:
        """Waits for the next piece; raises ``Unavailable`` when there is none any more."""
        try:
            piece = self._answer.read1(_PIECE_BYTES_MAX)
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            # The last two: it was closed from another thread meanwhile.
            raise self._transport.unavailable(error, self._call) from error
        if not piece:
            raise self._transport.unavailable(EOFError("the stream ended"), self._call)
        return self._reader.push(piece)

    def is_steady(self) -> bool:
        return time.monotonic() - self._opened_at >= _STEADY_AFTER_S

    def close(self) -> None:
        # Wakes a thread that reads; closing alone would leave it waiting.
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._connection.close()
