"""The asyncio twin of ``Client``: the same calls, awaited.

Each call runs in one of a few threads of the client's own, so that both have one way to the server
and one rule for retries. A call that is cancelled may still take effect, and is not tried again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from .client import Client, Words, until_given_up

if TYPE_CHECKING:
    from types import TracebackType

    from .feed import Watch
    from .model import Answer, Counts, FeedEntry, Job, Lookup, Transition
    from .stats import Stats
    from .update import At, JobId, Update

T = TypeVar("T")

_END: Any = object()


class AsyncClient:
    """Calls a server from asyncio; see ``Client`` for the options and for what each call raises.

    ``calls_max`` bounds the calls that are on their way at a time; more wait for their turn.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        timeout_s: float = 30.0,
        connect_timeout_s: float = 5.0,
        retry_for_s: float = 30.0,
        headers: Mapping[str, str] | None = None,
        calls_max: int = 8,
    ) -> None:
        self._client = Client(
            url,
            timeout_s=timeout_s,
            connect_timeout_s=connect_timeout_s,
            retry_for_s=retry_for_s,
            headers=headers,
        )
        #: Each is set when its call is over.
        self._under_way: set[threading.Event] = set()
        self._threads = ThreadPoolExecutor(calls_max, thread_name_prefix="jobslate-aio")

    @property
    def url(self) -> str:
        """The server that is called."""
        return self._client.url

    async def update(
        self,
        job_id: JobId,
        status: str | None = None,
        error: str | None = None,
        *,
        at: At | None = None,
        attempt: int | None = None,
        pipeline: str | None = None,
        progress: float | None = None,
        message: str | None = None,
        labels: Mapping[str, str] | None = None,
        if_status: str | None = None,
        ack: str = "durable",
        idempotency_key: str | None = None,
    ) -> Answer:
        """Reports one fact of a job, and waits until it is on the disk of the server."""
        return await self._run(
            self._client.update,
            job_id,
            status,
            error,
            at=at,
            attempt=attempt,
            pipeline=pipeline,
            progress=progress,
            message=message,
            labels=labels,
            if_status=if_status,
            ack=ack,
            idempotency_key=idempotency_key,
        )

    async def update_many(
        self,
        updates: Iterable[Update | Mapping[str, Any]],
        *,
        ack: str = "durable",
        atomic: bool = False,
        idempotency_key: str | None = None,
    ) -> Answer:
        """Reports many facts; a refused one stands in ``errors`` and harms no other."""
        return await self._run(
            self._client.update_many,
            list(updates),
            ack=ack,
            atomic=atomic,
            idempotency_key=idempotency_key,
        )

    async def get(self, job_id: JobId, *, fresh: bool = False) -> Job:
        """The job."""
        return await self._run(self._client.get, job_id, fresh=fresh)

    async def lookup(self, job_ids: Iterable[JobId], *, fresh: bool = False) -> Lookup:
        """Many jobs, and the ids that are missing."""
        return await self._run(self._client.lookup, list(job_ids), fresh=fresh)

    async def history(self, job_id: JobId, *, fresh: bool = False) -> tuple[Transition, ...]:
        """The last 32 changes of status of the job, oldest first."""
        return await self._run(self._client.history, job_id, fresh=fresh)

    async def counts(self, *, fresh: bool = False) -> Counts:
        """How many jobs there are, by status, kind and pipeline."""
        return await self._run(self._client.counts, fresh=fresh)

    async def stats(self) -> Stats:
        """The numbers of the server."""
        return await self._run(self._client.stats)

    async def flush(self) -> int:
        """Waits until all that the server took is on its disk; the last durable seq."""
        return await self._run(self._client.flush)

    async def delete(self, job_id: JobId, *, idempotency_key: str | None = None) -> None:
        """Removes a job; the feed keeps its past."""
        await self._run(self._client.delete, job_id, idempotency_key=idempotency_key)

    async def expect(self, pipeline: str, total: int | None) -> None:
        """Says how many jobs of ``pipeline`` will finish; ``None`` takes that back."""
        await self._run(self._client.expect, pipeline, total)

    async def is_ready(self) -> bool:
        """True if the server answers and takes updates now."""
        return await self._run(self._client.is_ready)

    async def watch(
        self,
        after: int | None = None,
        *,
        job: JobId | None = None,
        pipeline: str | None = None,
        status: Words | None = None,
        kind: Words | None = None,
        silence_s_max: float = 45.0,
        retry_for_s: float | None = None,
    ) -> AsyncIterator[FeedEntry]:
        """Every durable update after the seq ``after``, or from now on; without an end.

        It has a thread of its own while it is iterated, and ends when the iteration does.
        """
        watch: Watch = await self._run(
            self._client.watch,
            after,
            job=job,
            pipeline=pipeline,
            status=status,
            kind=kind,
            silence_s_max=silence_s_max,
            retry_for_s=retry_for_s,
        )
        async for entry in _pulled(watch, watch.close):
            yield entry

    async def list(
        self,
        *,
        status: Words | None = None,
        kind: Words | None = None,
        pipeline: str | None = None,
        prefix: str | None = None,
        updated_after: At | None = None,
        updated_before: At | None = None,
        stalled_for: str | None = None,
        order: str | None = None,
        page_jobs_max: int = 1_000,
        fresh: bool = False,
    ) -> AsyncIterator[Job]:
        """All jobs that pass the filters, page by page as they are read, newest first."""
        jobs = self._client.list(
            status=status,
            kind=kind,
            pipeline=pipeline,
            prefix=prefix,
            updated_after=updated_after,
            updated_before=updated_before,
            stalled_for=stalled_for,
            order=order,
            page_jobs_max=page_jobs_max,
            fresh=fresh,
        )
        async for job in _pulled(jobs, lambda: None):
            yield job

    async def close(self) -> None:
        """Ends the threads, after the calls on their way, which are not tried again."""
        for given_up in list(self._under_way):
            given_up.set()
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _run(self, call: Callable[..., T], *values: Any, **named: Any) -> T:
        loop, given_up = asyncio.get_running_loop(), threading.Event()
        work = partial(until_given_up, given_up, partial(call, *values, **named))
        self._under_way.add(given_up)
        try:
            return await loop.run_in_executor(self._threads, work)
        finally:
            # Cancelled, its thread would try on, and hold up the end of the program.
            given_up.set()
            self._under_way.discard(given_up)


async def _pulled(source: Iterator[T], end: Callable[[], None]) -> AsyncIterator[T]:
    """Pulls from ``source`` in one thread; ``end`` wakes it when the iteration is over."""
    loop = asyncio.get_running_loop()
    thread = ThreadPoolExecutor(1, thread_name_prefix="jobslate-pull")
    try:
        while True:
            value = await loop.run_in_executor(thread, next, source, _END)
            if value is _END:
                return
            yield value
    finally:
        end()
        thread.shutdown(wait=False)
