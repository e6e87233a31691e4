"""The answers of several requests as that of one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .model import Answer, Rejection

#: As many rejections as the server lists in one answer.
ERRORS_MAX = 100


def joined(answers: Sequence[Answer]) -> Answer:
    """The sum of ``answers``, each for the updates after those of the one before."""
    if len(answers) == 1:
        return answers[0]
    errors: list[Rejection] = []
    index = 0
    for answer in answers:
        errors += [replace(it, index=index + it.index) for it in answer.errors]
        index += answer.accepted + answer.rejected
    seqs = [it for it in answers if it.first_seq is not None]
    is_truncated = len(errors) > ERRORS_MAX or any(it.errors_truncated for it in answers)
    return Answer(
        accepted=sum(it.accepted for it in answers),
        rejected=sum(it.rejected for it in answers),
        durable=all(it.durable for it in answers),
        applied=sum(it.applied for it in answers),
        stale=sum(it.stale for it in answers),
        merged=sum(it.merged for it in answers),
        first_seq=seqs[0].first_seq if seqs else None,
        last_seq=seqs[-1].last_seq if seqs else None,
        errors=tuple(errors[:ERRORS_MAX]),
        errors_truncated=is_truncated,
        replayed=all(it.replayed for it in answers),
    )
