"""Splits: which rows are learnt from, watched, calibrated on, and read once at the end.

In time the order is train, gap, validation, calibration, gap, test. A gap as long as the label
delay leaves out rows whose labels nobody had when the next part began.
"""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.contract_blocks import Split
from infra.errors import InputError

PARTS = ("train", "validation", "calibration", "test")
TRAIN, VALIDATION, CALIBRATION, TEST = PARTS
MIN_PER_CLASS = 2
"""Rows of each class that every part must hold; below that nothing can be measured on it."""

IntArray = NDArray[np.int64]


class SplitError(InputError):
    """Raised when the rows cannot be split as asked for."""


def assign_parts(
    table: pl.DataFrame,
    split: Split,
    *,
    label_delay: timedelta,
    has_test: bool = True,
    test_start: datetime | None = None,
) -> pl.Series:
    """Return the part of each row: a name of :data:`PARTS`, or null where a gap leaves it out.

    Args:
        table: Labelled rows with ``label``, with ``event_time`` where the split is in time, and
            with the split's own column where there is one.
        split: How to split.
        label_delay: Length of the gaps where the split does not state one.
        has_test: Whether the test part comes out of these rows. Otherwise the other parts share
            its place in their proportions.
        test_start: When the rows of a separate test begin. If that is after all of these rows,
            a split in time leaves a gap before it, as it does before its own test part.

    Raises:
        SplitError: If a part would hold fewer than ``MIN_PER_CLASS`` rows of a class, or the
            split's column holds another word than the parts' names.
    """
    gap = label_delay if split.gap is None else split.gap
    shares = _shares(split, has_test=has_test)
    assign: dict[str, Callable[[], pl.Series]] = {
        "time": lambda: _by_time(table["event_time"], shares, gap),
        "cuts": lambda: _by_cuts(table["event_time"], split, gap, has_test=has_test),
        "random": lambda: _by_chance(table["label"], shares, split.seed),
        "column": lambda: _by_column(table[split.column or ""], has_test=has_test),
    }
    parts = assign[split.by]().alias("part")
    if test_start is not None and split.by in ("time", "cuts"):
        is_later = bool((table["event_time"] <= test_start).all())
        starts = {TEST: test_start} if is_later else {}
        parts = _without_gaps(parts, table["event_time"], starts, gap)
    _check_counts(parts, table["label"], split, has_test=has_test)
    return parts


def _shares(split: Split, *, has_test: bool) -> tuple[float, ...]:
    if has_test:
        return split.fractions
    kept = 1 - split.fractions[3]
    return (*(share / kept for share in split.fractions[:3]), 0.0)


def _by_time(event_time: pl.Series, shares: tuple[float, ...], gap: timedelta) -> pl.Series:
    require_times(event_time)
    order = time_order(event_time)
    ends = [round(len(order) * share) for share in np.cumsum(shares)]
    parts = np.full(len(order), None, dtype=object)
    for name, start, end in zip(PARTS, [0, *ends], ends, strict=False):
        parts[order[start:end]] = name
    starts = {
        name: event_time[int(order[start])]
        for name, start in zip(PARTS, [0, *ends], strict=False)
        if start < len(order)
    }
    return _without_gaps(pl.Series(parts, dtype=pl.String), event_time, starts, gap)


def _by_cuts(event_time: pl.Series, split: Split, gap: timedelta, *, has_test: bool) -> pl.Series:
    require_times(event_time)
    assert split.cuts is not None
    moments = [cut if cut.tzinfo else cut.replace(tzinfo=UTC) for cut in split.cuts]
    starts = dict(zip(PARTS[1:], moments, strict=True))
    if not has_test:
        del starts[TEST]
    parts = pl.Series([TRAIN], dtype=pl.String).new_from_index(0, len(event_time))
    for name, start in starts.items():
        parts = parts.zip_with(event_time < start, pl.Series([name]).new_from_index(0, len(parts)))
    return _without_gaps(parts, event_time, starts, gap)


def _without_gaps(
    parts: pl.Series, event_time: pl.Series, starts: dict[str, datetime], gap: timedelta
) -> pl.Series:
    """Leave out rows too close before validation and before test."""
    for name in (VALIDATION, TEST):
        if gap and name in starts:
            is_earlier = parts.is_in(PARTS[: PARTS.index(name)])
            is_close = (event_time + gap > starts[name]) & is_earlier
            parts = parts.set(is_close.fill_null(value=False), None)
    return parts


def _by_chance(label: pl.Series, shares: tuple[float, ...], seed: int) -> pl.Series:
    """Split as scikit-learn does: test off the whole, then the judges off the rest, then those."""
    from sklearn.model_selection import train_test_split

    train, validation, calibration, test = shares
    y = label.to_numpy()
    parts = np.full(len(y), TRAIN, dtype=object)

    def cut(index: IntArray, share: float) -> tuple[IntArray, IntArray]:
        try:
            # Rounded: 0.1 + 0.2 of 10 rows are 3, and scikit-learn rounds up.
            first, second = train_test_split(
                index, test_size=round(share, 12), stratify=y[index], random_state=seed
            )
        except ValueError:
            needed = math.ceil(MIN_PER_CLASS / min(share for share in shares if share))
            raise SplitError(
                f"Cannot split {len(y)} rows with {int(y.sum())} positives so that every part "
                f"has {MIN_PER_CLASS} of each class: that takes about {needed} positives and "
                f"{needed} negatives. Bring more data, or widen the narrow parts in "
                "split.fractions."
            ) from None
        return first, second

    rest = np.arange(len(y), dtype=np.int64)
    if test:
        rest, parts_of_test = cut(rest, test)
        parts[parts_of_test] = TEST
    judges_share = validation + calibration
    rest, judges = cut(rest, judges_share / (train + judges_share))
    parts[judges] = VALIDATION
    _, calibrating = cut(judges, calibration / judges_share)
    parts[calibrating] = CALIBRATION
    return pl.Series(parts, dtype=pl.String)


def _by_column(column: pl.Series, *, has_test: bool) -> pl.Series:
    known = PARTS if has_test else PARTS[:3]
    found = column.cast(pl.String)
    strange = found.filter(found.is_not_null() & ~found.is_in(known)).unique().sort()
    if len(strange):
        raise SplitError(
            f"Column {column.name!r} holds {strange[0]!r}, which is no part. "
            f"Write {', '.join(known)}, or nothing for rows to leave out."
        )
    return found


def time_order(event_time: pl.Series) -> IntArray:
    """Return row numbers by time; rows of the same instant keep their order."""
    return np.argsort(event_time.to_physical().to_numpy(), kind="stable")


def require_times(event_time: pl.Series) -> None:
    """Raise :class:`SplitError` where a row has no event time."""
    if event_time.null_count():
        raise SplitError(
            f"{event_time.null_count()} rows have no event time and cannot be placed in time. "
            'Validation would quarantine them; or write split.by = "random".'
        )


def _check_counts(parts: pl.Series, label: pl.Series, split: Split, *, has_test: bool) -> None:
    wanted = PARTS if has_test else PARTS[:3]
    counts = {
        name: (
            int(((parts == name) & (label == 1)).sum()),
            int(((parts == name) & (label == 0)).sum()),
        )
        for name in wanted
    }
    short = [name for name, both in counts.items() if min(both) < MIN_PER_CLASS]
    if not short:
        return
    shown = ", ".join(f"{name} {pos} of {pos + neg}" for name, (pos, neg) in counts.items())
    raise SplitError(
        f"Every part needs {MIN_PER_CLASS} positives and {MIN_PER_CLASS} negatives at least; "
        f"positives by part: {shown}. {_way_out(short[0], split, int((label == 1).sum()))}"
    )


def _way_out(part: str, split: Split, n_positive: int) -> str:
    if split.by in ("cuts", "column"):
        return f"Give the {part} part more rows (split.{split.by}), or bring more data."
    share = split.fractions[PARTS.index(part)]
    needed = max(math.ceil(MIN_PER_CLASS / share), n_positive + 1)
    wider = "split.fractions" + (" or shorten split.gap" if split.by == "time" else "")
    return (
        f"Widen the {part} part in {wider}, or bring about {needed} positives: "
        f"there are {n_positive}."
    )
