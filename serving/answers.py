"""Answers as they leave the service, and the ids that name them."""

import os
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from serving.answer_shapes import Answer, AtThisScore, ModelName
from serving.scored import ScoredRow
from serving.scorer import Scorer

__all__ = [
    "Answer",
    "AtThisScore",
    "ModelName",
    "RepeatedAnswer",
    "answer",
    "answers",
    "encode",
    "encode_answer",
    "new_decision_id",
    "new_decision_ids",
]

_RANDOM_BYTES = 10  # 74 bits of them are used
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


class RepeatedAnswer(Answer, frozen=True, kw_only=True):
    """The answer to a row that was decided before: the first one, to the last byte.

    Attributes:
        content: Its JSON, as it was sent first.
    """

    content: bytes


def answer(
    row: ScoredRow, scorer: Scorer, *, decision_id: str | None = None, is_degraded: bool = False
) -> Answer:
    """Return the answer to a scored row.

    Args:
        row: What the scorer says.
        scorer: Which scorer that was.
        decision_id: Default: a new one.
        is_degraded: Whether the row was decided without its features over time.
    """
    return _answer(row, scorer.model_name, decision_id or new_decision_id(), is_degraded)


def answers(rows: Sequence[ScoredRow], scorer: Scorer) -> list[Answer]:
    """Return the answers to rows that were scored together, each under a new id.

    Args:
        rows: What the scorer says.
        scorer: Which scorer that was.
    """
    model = scorer.model_name
    ids = new_decision_ids(len(rows))
    return [_answer(row, model, name, False) for row, name in zip(rows, ids, strict=True)]


def _answer(row: ScoredRow, model: ModelName, decision_id: str, is_degraded: bool) -> Answer:
    return Answer(
        decision_id,
        row.id,
        row.risk_score,
        row.decision,
        row.reasons,
        row.flags,
        AtThisScore(row.false_positive_rate, row.alerts_per_day),
        model,
        is_degraded,
    )


def new_decision_id() -> str:
    """Return a UUID of version 7 (RFC 9562): ids sort by the millisecond they were made in."""
    return new_decision_ids(1)[0]


def new_decision_ids(n: int) -> list[str]:
    """Return as many UUIDs of version 7, all of this millisecond."""
    moment = f"{time.time_ns() // 1_000_000 & (1 << 48) - 1:012x}"
    head = f"{moment[:8]}-{moment[8:]}-7"
    random = os.urandom(n * _RANDOM_BYTES).hex()
    parts = (random[at : at + 2 * _RANDOM_BYTES] for at in range(0, len(random), 2 * _RANDOM_BYTES))
    # Of the first digit two bits are the variant's, as the version's four are set.
    return [f"{head}{p[1:4]}-{_VARIANT[p[0]]}{p[4:7]}-{p[7:19]}" for p in parts]


def encode_answer(answer: Answer) -> bytes:
    """Return the JSON of an answer; that of a repeated one is the first one's."""
    return answer.content if isinstance(answer, RepeatedAnswer) else encode(answer)


def encode(value: Any) -> bytes:
    """Return JSON bytes; a number that is none (NaN) becomes null."""
    return msgspec.json.encode(value)
