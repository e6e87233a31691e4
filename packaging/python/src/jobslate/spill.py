"""Batches that wait on the disk of the pipeline's host while the server is away.

A directory holds one file for each process that had to spill; ``flock`` tells the living from the
dead. A file is append-only NDJSON:

    {"batch":"5f0c-17","updates":50,"bytes":5123,"crc32":1723}    a batch, and its idempotency key
    {"job_id":"doc-1","status":"error","at":1764000000123}        its updates, as they are sent
    {"done":"5f0c-17"}                                            the server has answered

A batch counts once its last byte is there: each is synced before it leaves the memory. A done mark
need not be synced, for a batch that is sent again under its key counts once. The file is removed
when all its batches are done. Files have ascending numbers, so those of dead processes are read in
the order in which they were begun, by one process, and the others wait until these are sent.

A torn end is left out. Damage in the middle costs what it covers, and no more; such a file is kept
as ``.damaged``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import mmap
import os
import re
import threading
import time
import weakref
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import SpillFailed

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows, where the server does not run either
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from pathlib import Path

    from .batch import Batch

logger = logging.getLogger("jobslate")

#: How the name of a file begins: that of the process that made it, or of one that took it over.
_ALIVE, _DEAD = "spill", "dead"
_NAME = re.compile(rf"(?:{_ALIVE}|{_DEAD})-(\d{{8,}})-\d+\.ndjson")
#: How long the lock of the directory is waited for, and between two looks at it.
_LOCK_S_MAX, _LOCK_POLL_S = 2.0, 0.005
_BEGIN = b'{"batch":'
#: Longest first line of a batch.
_HEAD_BYTES_MAX = 1024


#: Held while a descriptor is open that only one frame knows: no fork may copy it then, as a copy
#: would keep its lock.
_fork_lock = threading.Lock()
_open_spills: weakref.WeakSet[Spill] = weakref.WeakSet()


@dataclass(frozen=True)
class Slot:
    """A batch on disk that is not done."""

    file: SpillFile
    key: str
    updates: int
    offset: int
    bytes: int
    crc32: int


class Spill:
    """The directory, seen by one process. For one thread."""

    def __init__(self, path: Path, bytes_max: int) -> None:
        self.path = path
        self._bytes_max = bytes_max
        self._own: SpillFile | None = None
        self._files: list[SpillFile] = []
        _open_spills.add(self)

    @property
    def bytes(self) -> int:
        """What all files of this process hold, in bytes."""
        return sum(file.bytes for file in self._files)

    def adopt(self) -> list[Slot]:
        """Takes over the files of dead processes; what is not done in them, in its order.

        Raises ``SpillFailed`` if the directory cannot be used.
        """
        taken: list[SpillFile] = []
        with self._locked():
            for name in self._names():
                file = SpillFile.take(self.path / name)
                if file is not None:
                    taken.append(file)
                    self._files.append(file)
        slots: list[Slot] = []
        try:
            for file in taken:
                slots += file.scan()
        except SpillFailed:
            # None of them is sent before all are read: so they are left, for the next look.
            for file in taken:
                self._files.remove(file)
                file.close()
            raise
        for file in taken:
            self._retire(file)
        return slots

    def elders(self) -> set[str]:
        """The files of dead processes that another process has taken over and not yet sent."""
        ours = {file.path.name for file in self._files}
        with _reported(self.path):
            return {name for name in self._names() if name.startswith(_DEAD)} - ours

    def append(self, batch: Batch) -> Slot:
        """Writes ``batch`` and syncs it.

        Raises ``SpillFailed``; then nothing of it is there.
        """
        if self.bytes + len(batch.body) > self._bytes_max:
            raise SpillFailed(f"{self.path} holds as much as it may, {self._bytes_max} bytes")
        if self._own is None:
            with self._locked():
                number = 1 + max((_number(name) for name in self._names()), default=0)
                path = self.path / f"{_ALIVE}-{number:08}-{os.getpid()}.ndjson"
                self._own = SpillFile.create(path)
                self._files.append(self._own)
        return self._own.append(batch)

    def done(self, slot: Slot) -> None:
        """Notes that the server has answered the batch."""
        slot.file.done(slot)
        self._retire(slot.file)

    def close(self) -> None:
        """Leaves the files to the next process."""
        for file in self._files:
            file.close()
        self._files, self._own = [], None

    def _retire(self, file: SpillFile) -> None:
        if file.is_done:
            file.remove()
            self._files.remove(file)
            if file is self._own:
                self._own = None

    def _names(self) -> list[str]:
        names = (name for name in os.listdir(self.path) if _NAME.fullmatch(name))
        return sorted(names, key=_number)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """While one process looks for files, or makes one, no other does."""
        if fcntl is None:  # pragma: no cover
            raise SpillFailed("this system has no flock")
        with _fork_lock, _reported(self.path):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.path / "LOCK", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                self._wait_for(lock)
                yield
            finally:
                os.close(lock)

    def _wait_for(self, lock: int) -> None:
        """Others hold it for an instant, unless one is stopped: no fork may wait for that."""
        give_up_at = time.monotonic() + _LOCK_S_MAX
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > give_up_at:
                    raise SpillFailed(f"{self.path} is locked by another process") from None
                time.sleep(_LOCK_POLL_S)
            else:
                return


class SpillFile:
    """One file, locked for as long as it is open."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.bytes = 0
        self._descriptor = descriptor
        self._waiting: set[str] = set()
        self._is_damaged = False

    @classmethod
    def create(cls, path: Path) -> SpillFile:
        """A new file, whose name is durable."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _sync_directory(path.parent)
        return cls(path, descriptor)

    @classmethod
    def take(cls, path: Path) -> SpillFile | None:
        """The file of a dead process; ``None`` if its process lives, or it is another's.

        It gets another name, by which others see that older updates are on their way.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError as error:
            logger.warning("A spill file cannot be opened: %s", error)
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its process may have removed it, and made another of that name, before it let go.
            if not os.path.samestat(os.fstat(descriptor), path.stat()):
                raise FileNotFoundError(path)
            dead = path.with_name(path.name.replace(_ALIVE, _DEAD, 1))
            path.rename(dead)
        except OSError:
            os.close(descriptor)
            return None
        return cls(dead, descriptor)

    @property
    def is_done(self) -> bool:
        """True if no batch waits."""
        return not self._waiting

    def append(self, batch: Batch) -> Slot:
        """Writes ``batch`` and syncs it; nothing of it is there if that fails."""
        crc32 = _checksum(batch.key, batch.body)
        size = len(batch.body)
        head = {"batch": batch.key, "updates": batch.updates, "bytes": size, "crc32": crc32}
        text = json.dumps(head, separators=(",", ":")).encode() + b"\n"
        with _reported(self.path):
            if os.fstat(self._descriptor).st_size != self.bytes:
                # Something was written in part and could not be taken back: begin a new line.
                self.bytes = os.fstat(self._descriptor).st_size
                text = b"\n" + text
            self._write(text + batch.body)
            try:
                os.fsync(self._descriptor)
            except OSError:
                # A failed sync is not repeated: what it covered is written again, elsewhere.
                self._take_back()
                raise
        slot = Slot(self, batch.key, batch.updates, self.bytes + len(text), size, crc32)
        self.bytes += len(text) + size
        self._waiting.add(batch.key)
        return slot

    def read(self, slot: Slot) -> bytes:
        """The body of the batch, byte by byte as it was.

        Raises ``SpillFailed`` if it cannot be read, or is not what was written.
        """
        with _reported(self.path):
            body = os.pread(self._descriptor, slot.bytes, slot.offset)
        if _checksum(slot.key, body) != slot.crc32:
            self._is_damaged = True
            raise SpillFailed(f"{self.path} is damaged: batch {slot.key} is not what was written")
        return body

    def done(self, slot: Slot) -> None:
        """Marks the batch; if that fails it is sent once more, under its key."""
        self._waiting.discard(slot.key)
        text = json.dumps({"done": slot.key}, separators=(",", ":")).encode() + b"\n"
        with contextlib.suppress(OSError):
            self._write(text)
            self.bytes += len(text)

    def scan(self) -> list[Slot]:
        """What is not done, in its order."""
        self.bytes = os.fstat(self._descriptor).st_size
        if not self.bytes:
            return []
        slots: dict[str, Slot] = {}
        with _reported(self.path):
            content = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)
        with content:
            self._read_records(content, slots)
        self._waiting = set(slots)
        return list(slots.values())

    def _read_records(self, content: mmap.mmap, slots: dict[str, Slot]) -> None:
        place = end = 0
        while place < len(content):
            after = self._record(content, place, slots)
            if after is None:
                # Torn, unless a whole batch comes after it.
                found = content.find(_BEGIN, place + 1)
                place = found if found >= 0 else len(content)
                continue
            if end != place:
                self._is_damaged = True
                logger.error("%s: %d bytes are damaged", self.path, place - end)
            place = end = after
        self.bytes = end
        self._take_back()

    def remove(self) -> None:
        """Ends the file: all of it is done."""
        with contextlib.suppress(OSError):
            if self._is_damaged:
                self.path.rename(self.path.with_suffix(".damaged"))
            else:
                self.path.unlink()
        self.close()

    def close(self) -> None:
        """Closes the file and frees it for another process."""
        with contextlib.suppress(OSError):
            os.close(self._descriptor)
        self._descriptor = -1

    def _record(self, content: mmap.mmap, place: int, slots: dict[str, Slot]) -> int | None:
        """Reads the record at ``place``; where the next begins, or ``None`` if it is not whole."""
        line_end = content.find(b"\n", place, place + _HEAD_BYTES_MAX)
        if line_end < 0:
            return None
        try:
            head = json.loads(content[place:line_end])
            if "done" in head:
                slots.pop(head["done"], None)
                return line_end + 1
            start, size = line_end + 1, int(head["bytes"])
            slot = Slot(self, head["batch"], head["updates"], start, size, head["crc32"])
            body = content[start : start + size] if size >= 0 else b""
            is_whole = _checksum(slot.key, body) == slot.crc32
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return None
        if not is_whole or body.count(b"\n") != slot.updates:
            return None
        slots[slot.key] = slot
        return start + size

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError:
            self._take_back()
            raise

    def _take_back(self) -> None:
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, self.bytes)


@contextlib.contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpillFailed(f"{path}: {error.strerror or error}") from error


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _checksum(key: str, body: bytes) -> int:
    """Over the key too: under another one, a batch that was answered would count twice."""
    return zlib.crc32(body, zlib.crc32(key.encode()))


def _number(name: str) -> int:
    match = _NAME.fullmatch(name)
    return int(match.group(1)) if match else 0


def _after_fork_in_child() -> None:
    # Closing the copies does not unlock the files: that would take them from the parent.
    for spill in list(_open_spills):
        spill.close()
    _open_spills.clear()
    _fork_lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_fork_lock.acquire,
        after_in_parent=_fork_lock.release,
        after_in_child=_after_fork_in_child,
    )
