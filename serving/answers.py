"""Answers as they leave the service, and the ids that name them."""

import os
import time
import uuid
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
    "encode",
    "encode_answer",
    "new_decision_id",
]


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
    return Answer(
        decision_id=decision_id or new_decision_id(),
        id=row.id,
        risk_score=row.risk_score,
        decision=row.decision,
        reasons=row.reasons,
        flags=row.flags,
        at_this_score=AtThisScore(
            false_positive_rate=row.false_positive_rate, alerts_per_day=row.alerts_per_day
        ),
        model=ModelName(scorer.name, scorer.model_version, scorer.policy_version),
        degraded=is_degraded,
    )


def new_decision_id() -> str:
    """Return a UUID of version 7 (RFC 9562): ids sort by the millisecond they were made in."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (1 << 48) - 1) << 80 | random
    value = value & ~(0xF000 << 64) | 0x7000 << 64
    value = value & ~(0xC000 << 48) | 0x8000 << 48
    return str(uuid.UUID(int=value))


def encode_answer(answer: Answer) -> bytes:
    """Return the JSON of an answer; that of a repeated one is the first one's."""
    return answer.content if isinstance(answer, RepeatedAnswer) else encode(answer)


def encode(value: Any) -> bytes:
    """Return JSON bytes; a number that is none (NaN) becomes null."""
    return msgspec.json.encode(value)
