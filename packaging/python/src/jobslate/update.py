"""One reported fact, and its way to a line of JSON.

What a pipeline hands over is taken as it comes: ids that are integers or UUIDs, statuses that are
enums, errors that are exceptions, texts with surrogates (file names that are no UTF-8), bytes.
Values that the server can judge are left to it, so that there is one rule and one wording.
"""

from __future__ import annotations

import json
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Union
from uuid import UUID

from .problems import InvalidJobId, InvalidLabels, InvalidStatus, InvalidTime, InvalidUpdate

#: What may name a job; an integer is kept as its decimal digits.
JobId = Union[str, int, UUID]
#: A moment: Unix milliseconds, an aware datetime, or an RFC 3339 text.
At = Union[int, datetime, str]

#: Longest id and status that the server takes, in bytes and in letters.
ID_BYTES_MAX = 256
STATUS_LENGTH_MAX = 32
#: Longest error and message that the server keeps, in bytes; longer ones are cut.
ERROR_BYTES_MAX = 8 * 1024
MESSAGE_BYTES_MAX = 1024

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


@dataclass(frozen=True)
class Update:
    """What is known of a job: all but ``job_id`` may be left out.

    Without a ``status`` it is a sign of life. ``progress`` runs from 0 to 1; ``labels`` replace
    those that the job has; ``if_status`` is the status that the job must have now.
    """

    job_id: JobId
    status: str | None = None
    error: str | None = None
    at: At | None = None
    attempt: int | None = None
    pipeline: str | None = None
    progress: float | None = None
    message: str | None = None
    labels: Mapping[str, str] | None = None
    if_status: str | None = None

    def fields(self) -> dict[str, Any]:
        """The body of the update.

        Raises an ``Invalid...`` problem for a value that JSON cannot say.
        """
        return {"job_id": id_text(self.job_id), **other_fields(self.__dict__)}


#: The fields of an update, in the order in which they are sent.
FIELDS = tuple(Update.__dataclass_fields__)


def other_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """What stands beside ``job_id``; ``None`` is left out.

    Raises an ``Invalid...`` problem for an unknown field, or a value that JSON cannot say.
    """
    fields: dict[str, Any] = {}
    for name, value in given.items():
        if value is None or name == "job_id":
            continue
        make = _MAKERS.get(name)
        if make is None:
            raise InvalidUpdate.invalid(f"unknown field {name!r}; the fields are {_NAMES}")
        fields[name] = make(value)
    return fields


def line_of(fields: Mapping[str, Any]) -> bytes:
    """The update as a line of NDJSON.

    Raises ``InvalidUpdate`` if a value is nothing that JSON knows.
    """
    try:
        text = _encode(fields)
    except (TypeError, ValueError) as error:
        raise InvalidUpdate.invalid(f"not to be said in JSON: {error}") from error
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:
        return _encode(_spelled(fields)).encode() + b"\n"


def id_text(job_id: object) -> str:
    """The id as text.

    Raises ``InvalidJobId`` for what names nothing: ``None``, a bool, a float, a container.
    """
    if isinstance(job_id, str):
        return str(job_id.value if isinstance(job_id, Enum) else job_id)
    if isinstance(job_id, (bytes, bytearray)):
        return _decoded(job_id)
    if isinstance(job_id, numbers.Integral) and not isinstance(job_id, bool):
        return str(int(job_id))
    if isinstance(job_id, UUID):
        return str(job_id)
    kind = type(job_id).__name__
    raise InvalidJobId.invalid(f"job_id is of type {kind}; give a string, an integer or a UUID")


def status_text(status: object) -> str:
    """The status as text; what it may hold is judged by the server.

    Raises ``InvalidStatus`` for what is no word.
    """
    value = status.value if isinstance(status, Enum) else status
    if isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray)):
        return _decoded(value)
    raise InvalidStatus.invalid(f"status is of type {type(status).__name__}; give a word")


def bounded_id(text: str) -> str:
    """The id, for one who keeps it for long.

    Raises ``InvalidJobId`` if it is longer than any server takes.
    """
    length = len(text)
    if length <= ID_BYTES_MAX and not text.isascii():
        length = len(text.encode("utf-8", "backslashreplace"))
    if length > ID_BYTES_MAX:
        shown = repr(text[:32])
        raise InvalidJobId.invalid(f"job_id {shown}... is longer than {ID_BYTES_MAX} bytes")
    return text


def bounded_status(text: str) -> str:
    """The status, for one who keeps it for long.

    Raises ``InvalidStatus`` if it is longer than any server takes.
    """
    if len(text) > STATUS_LENGTH_MAX:
        shown = repr(text[:STATUS_LENGTH_MAX])
        raise InvalidStatus.invalid(f"status {shown}... is longer than {STATUS_LENGTH_MAX} letters")
    return text


def error_text(error: object) -> str:
    """The error as text, at most 8 KiB: an exception says its type and its message."""
    return _cut(_said(error), ERROR_BYTES_MAX)


def message_text(message: object) -> str:
    """The message as text, at most 1 KiB."""
    return _cut(_said(message), MESSAGE_BYTES_MAX)


def _said(value: object) -> str:
    if isinstance(value, str):
        return str(value.value) if isinstance(value, Enum) else value
    if isinstance(value, (bytes, bytearray)):
        return _decoded(value)
    try:
        if isinstance(value, BaseException):
            text = str(value)
            name = type(value).__name__
            return f"{name}: {text}" if text else name
        return str(value)
    except Exception as error:  # noqa: BLE001 - their __str__ may raise what it likes
        return f"{type(value).__name__} (its text failed: {type(error).__name__})"


def _time(at: object) -> object:
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise InvalidTime.invalid("at is a datetime without a zone; give one with a zone")
        return round(at.timestamp() * 1000)
    return at


def _labels(labels: object) -> object:
    try:
        given = dict(labels)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        kind = type(labels).__name__
        raise InvalidLabels.invalid(f"labels is of type {kind}; give a dict of texts") from None
    return {str(name): value if value is None else _said(value) for name, value in given.items()}


def _number(value: object) -> object:
    """Numbers of other libraries as those of Python; everything else is the server's to judge."""
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) else value


_MAKERS = {
    "status": status_text,
    "error": error_text,
    "error_message": error_text,
    "at": _time,
    "attempt": _number,
    "pipeline": _said,
    "progress": _number,
    "message": message_text,
    "labels": _labels,
    "if_status": status_text,
}
_NAMES = ", ".join(FIELDS)


def _cut(text: str, bytes_max: int) -> str:
    """Cuts as the server does: to ``bytes_max`` bytes, the note included, between characters."""
    if len(text) * 4 <= bytes_max:
        return text
    # As an error may be huge, only the kept part is copied wherever that is possible.
    length = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    if length <= bytes_max:
        return text
    note = f" [cut, {length} bytes]"
    kept = text[:bytes_max].encode("utf-8", "surrogatepass")[: bytes_max - len(note)]
    while kept:
        try:
            return kept.decode("utf-8", "surrogatepass") + note
        except UnicodeDecodeError:
            kept = kept[:-1]
    return note


def _decoded(value: bytes | bytearray) -> str:
    return bytes(value).decode("utf-8", "backslashreplace")


def _spelled(value: Any) -> Any:
    r"""Writes lone surrogates, which UTF-8 cannot say, as ``\udc80``: two names stay two."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_spelled(name): _spelled(it) for name, it in value.items()}
    return value
