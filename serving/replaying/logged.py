"""Decisions as the log holds them, opened as far as the keys of their subjects allow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.feature_set import FeatureArrays
from serving.answers import Answer
from serving.decisions.opened import personal_of
from serving.decisions.record import Personal, StoredRecord, decoded_answer, whole_row
from serving.decisions.sealing import LogSecret, Unreadable
from serving.decisions.store import DecisionStore


@dataclass(frozen=True)
class LoggedDecision:
    """A decision to be replayed.

    Attributes:
        writer_id: Of the process that decided.
        stored: As it is written.
        personal: What is sealed of it, opened; None where nothing is, or it does not open.
        why_sealed: Why it does not open; empty where it does.
    """

    writer_id: str
    stored: StoredRecord
    personal: Personal | None = None
    why_sealed: str = ""

    @cached_property
    def answer(self) -> Answer:
        """What the client got."""
        return decoded_answer(self.stored.answer)

    @property
    def row(self) -> Mapping[str, Any]:
        """The typed row; without what does not open."""
        return whole_row(self.stored, self.personal)

    @property
    def numeric(self) -> bytes:
        """float32, little-endian; NaN in place of what does not open."""
        return (
            self.personal.numeric
            if self.personal and self.personal.numeric
            else (self.stored.numeric)
        )

    @property
    def categorical(self) -> bytes:
        """int64, little-endian; -1 in place of what does not open."""
        return (
            self.personal.categorical
            if self.personal and self.personal.categorical
            else (self.stored.categorical)
        )


def opened_decisions(
    records: Sequence[tuple[str, StoredRecord]], store: DecisionStore, secret: LogSecret
) -> list[LoggedDecision]:
    """Return decisions with what is personal of them.

    Args:
        records: Each with its writer.
        store: Has the keys.
        secret: Of the log.

    Raises:
        LogUnreachable: If the log does not answer.
    """
    subjects = [stored.subject for _, stored in records if stored.subject is not None]
    keys = store.subject_keys(subjects)
    return [_opened(writer_id, stored, keys, secret) for writer_id, stored in records]


def arrays_of(
    decisions: Sequence[LoggedDecision], *, n_numeric: int, n_categorical: int
) -> FeatureArrays:
    """Return the features of decisions.

    Shape:
        ``(n, n_numeric)`` float32 and ``(n, n_categorical)`` int64.

    Raises:
        ValueError: If one was decided with another number of features.
    """
    numeric = np.frombuffer(b"".join([each.numeric for each in decisions]), dtype="<f4")
    codes = np.frombuffer(b"".join([each.categorical for each in decisions]), dtype="<i8")
    return FeatureArrays(
        numeric.reshape(len(decisions), n_numeric).astype(np.float32),
        codes.reshape(len(decisions), n_categorical).astype(np.int64),
    )


def logits_of(decisions: Sequence[LoggedDecision]) -> NDArray[np.float32]:
    """Return the logged logits, ``(n, 2)``."""
    return np.array([each.stored.logits for each in decisions], dtype=np.float32)


def _opened(
    writer_id: str, stored: StoredRecord, keys: Mapping[bytes, bytes], secret: LogSecret
) -> LoggedDecision:
    try:
        personal = personal_of(stored, keys.get(stored.subject or b""), secret)
    except Unreadable as error:
        return LoggedDecision(writer_id, stored, why_sealed=str(error).rstrip("."))
    return LoggedDecision(writer_id, stored, personal)
