"""Batch scoring: every row of a file through a released model and its policy."""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from balancing.calibration.thresholds import DECISION_NAMES
from features.feature_table import with_row_id
from features.ingestion.conforming import conform
from features.ingestion.tables import read_table
from flows.past_rows import scored_columns, with_past
from infra.settings import Settings
from infra.storage import write_atomically
from serving.answer_shapes import Reason
from serving.model_store import ModelStore
from serving.scored import ScoredBatch
from serving.scorer import Scorer
from serving.verification import load_scorer

_REASON = pl.Struct({"column": pl.String, "text": pl.String, "effect": pl.Float64})

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ScoringSummary:
    """What was scored, by whom, and how it was decided."""

    rows: int
    name: str
    model_version: str
    policy_version: str
    decisions: dict[str, int]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the summary as one JSON object."""
        return asdict(self)


def score_table(
    settings: Settings,
    source: str,
    reference: str,
    out: Path,
    *,
    history: str | None = None,
    with_reasons: bool = True,
) -> ScoringSummary:
    """Score every row of a table and write a Parquet file of answers, in the table's order.

    Columns that scoring does not need may be there or not. Features over time see the rows of
    the table and of its history that happened before; labels count where there are any.

    Args:
        settings: Where things are.
        source: Path or URI of the table.
        reference: Which model.
        out: The file to write.
        history: Path or URI of a table of earlier rows.
        with_reasons: Whether rows that are not approved are explained.

    Raises:
        DataError: If a table cannot be read, or a value does not fit its column.
        UnknownModel: If the reference names no released version.
        InputError: If there is history and the model has no features over time.
    """
    started = time.monotonic()
    scorer = load_scorer(ModelStore.open(settings), reference, threads=os.cpu_count() or 1)
    contract = scorer.bundle.contract
    rows = conform(scored_columns(read_table(source), contract), contract)
    rows = with_past(rows, contract, None if history is None else read_table(history))
    scored = scorer.score_frame(rows, with_reasons=with_reasons)
    with write_atomically(out) as staging:
        answers(with_row_id(rows, contract)["row_id"], scored, scorer).write_parquet(staging)
    counts = np.bincount(scored.decision, minlength=len(DECISION_NAMES)).tolist()
    return ScoringSummary(
        rows=rows.height,
        name=scorer.name,
        model_version=scorer.model_version,
        policy_version=scorer.policy_version,
        decisions=dict(zip(DECISION_NAMES, counts, strict=True)),
        seconds=time.monotonic() - started,
    )


def answers(row_id: pl.Series, scored: ScoredBatch, scorer: Scorer) -> pl.DataFrame:
    """Return one row of answer for each scored row."""
    return pl.DataFrame(
        {
            "id": row_id,
            "risk_score": scored.risk_score,
            "decision": pl.Series(DECISION_NAMES).gather(scored.decision),
            "reasons": _column(scored.reasons, row_id.len(), pl.List(_REASON), _as_dicts),
            "flags": _column(scored.flags, row_id.len(), pl.List(pl.String), list),
        }
    ).with_columns(
        model_version=pl.lit(scorer.model_version), policy_version=pl.lit(scorer.policy_version)
    )


def _column(
    values: Mapping[int, tuple[Any, ...]],
    n_rows: int,
    dtype: pl.List,
    convert: Callable[[Any], list[Any]],
) -> pl.Series:
    """Return a column of lists, empty but for the rows that have values."""
    lists = pl.Series([[], *(convert(value) for value in values.values())], dtype=dtype)
    place = np.zeros(n_rows, dtype=np.uint32)
    place[list(values)] = np.arange(1, len(values) + 1)
    return lists.gather(place)


def _as_dicts(reasons: Sequence[Reason]) -> list[dict[str, Any]]:
    return [msgspec.structs.asdict(reason) for reason in reasons]
