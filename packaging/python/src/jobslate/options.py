"""The options of an updater, each with its bounds."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Callable, Optional

from .errors import JobslateError

logger = logging.getLogger("jobslate")

#: Is told what went wrong, and with which updates; called by the background thread, or by the
#: caller whose update was not taken. What it raises is logged.
OnError = Callable[[JobslateError, Sequence[Mapping[str, Any]]], None]


@dataclass(frozen=True)
class Options:
    """How an updater works; ``BatchJobStatusUpdater`` says what each means."""

    batch_size: int = 50
    flush_interval_s: float = 2.0
    queue_updates_max: int = 100_000
    queue_bytes_max: int = 64 << 20
    batch_updates_max: int = 1_000
    batch_bytes_max: int = 1 << 20
    spill_path: Optional[Path] = None  # noqa: UP045 - read at run time by Python 3.9
    spill_bytes_max: int = 1 << 30
    on_error: Optional[OnError] = None  # noqa: UP045
    raise_errors: bool = False
    log_job_starts: bool = False
    flush_timeout_s: float = 30.0
    stop_timeout_s: float = 5.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if is_number and not value > 0 and "timeout" not in field.name:
                raise ValueError(f"{field.name} is {value!r}; it must be more than 0")
        if self.batch_size > self.batch_updates_max:
            raise ValueError(
                f"batch_size is {self.batch_size}, more than batch_updates_max "
                f"({self.batch_updates_max})"
            )


def tell(options: Options, error: JobslateError, updates: Sequence[Mapping[str, Any]]) -> None:
    """Tells ``on_error``, which may fail as it likes."""
    if options.on_error is not None:
        try:
            options.on_error(error, updates)
        except Exception:
            logger.exception("on_error failed")
