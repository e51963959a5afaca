"""Folds: rows to fit on and rows held out, for choosing and calibrating with few positives."""

import itertools
import logging
import math
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.contract_blocks import Split
from features.splits import IntArray, SplitError, require_times, time_order

logger = logging.getLogger(__name__)

_FIRST_FIT_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Fold:
    """Row numbers to fit on, and row numbers held out, both ascending int64."""

    fit_index: IntArray
    holdout_index: IntArray


def make_folds(
    table: pl.DataFrame, split: Split, *, label_delay: timedelta, n_folds: int, seed: int
) -> list[Fold]:
    """Return folds over rows that are not test rows.

    In time: forward chaining. The rows up to 40 % of the positives are only fitted on; the rest
    is cut into blocks of equally many positives, each held out once and fitted on all rows
    before it, less the gap. A fold whose gap leaves nothing to learn from is left out.
    Otherwise: stratified folds.

    Args:
        table: Labelled rows with ``label``, and ``event_time`` where the split is in time.
        split: How the rows were split.
        label_delay: Length of the gap where the split does not state one.
        n_folds: How many.
        seed: Of the shuffle, where the split is not in time.

    Raises:
        SplitError: If there are too few positives for that many folds.
    """
    label = table["label"].to_numpy()
    if split.by in ("time", "cuts"):
        gap = label_delay if split.gap is None else split.gap
        folds = _forward_chain(table, gap, n_folds)
    else:
        folds = _stratified_folds(label, n_folds, seed)
    usable = [fold for fold in folds if _has_both(label[fold.fit_index], label[fold.holdout_index])]
    if not usable:
        raise SplitError(
            f"None of {n_folds} folds has positives and negatives on both sides "
            f"({int(label.sum())} positives in {len(label)} rows). Shorten split.gap, or bring "
            "rows of a longer time."
        )
    if len(usable) < len(folds):
        logger.info("folds left out", extra={"asked": n_folds, "kept": len(usable)})
    return usable


def _has_both(*labels: NDArray[np.int8]) -> bool:
    return all(0 < int(label.sum()) < len(label) for label in labels)


def _forward_chain(table: pl.DataFrame, gap: timedelta, n_folds: int) -> list[Fold]:
    event_time, label = table["event_time"], table["label"].to_numpy()
    require_times(event_time)
    order = time_order(event_time)
    edges = _block_edges(np.flatnonzero(label[order] == 1), len(order), n_folds)
    folds = []
    for start, end in itertools.pairwise(edges):
        known = event_time + gap <= event_time[int(order[start])] if gap else None
        fit = order[:start]
        fit = fit if known is None else fit[known.to_numpy()[fit]]
        folds.append(Fold(_ascending(fit), _ascending(order[start:end])))
    return folds


def _block_edges(positives: IntArray, n_rows: int, n_folds: int) -> list[int]:
    """Return where the blocks begin, in rows in time order, and the end of the last.

    Blocks hold equally many positives, not rows: with few positives, equal blocks of rows may
    hold none.
    """
    needed = math.ceil(n_folds / (1 - _FIRST_FIT_SHARE)) + 1
    if len(positives) < needed:
        raise SplitError(
            f"{n_folds} folds in time need {needed} positives at least; there are "
            f"{len(positives)}. Take fewer folds, or more data."
        )
    first = round(len(positives) * _FIRST_FIT_SHARE)
    firsts = np.linspace(first, len(positives), n_folds + 1).round().astype(np.int64)
    return [*positives[firsts[:-1]].tolist(), n_rows]


def _stratified_folds(label: NDArray[np.int8], n_folds: int, seed: int) -> list[Fold]:
    from sklearn.model_selection import StratifiedKFold

    if int(label.sum()) < n_folds:
        raise SplitError(
            f"{n_folds} folds need {n_folds} positives at least; there are {int(label.sum())}. "
            "Take fewer folds, or more data."
        )
    splitter = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    return [Fold(_ascending(fit), _ascending(out)) for fit, out in splitter.split(label, label)]


def _ascending(index: NDArray[np.integer]) -> IntArray:
    return np.sort(index).astype(np.int64)
