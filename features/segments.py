"""Segments of rows: the values of some columns of the contract, joined to one text per row.

Policies have thresholds by segment, so training, batch scoring and requests must spell a segment
alike. Columns that may segment are known for every request: categories and derived columns.
"""

import difflib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

if TYPE_CHECKING:
    from features.contract import Contract

SegmentArray: TypeAlias = NDArray[np.object_]
"""A text for each row, None where a part of its segment is missing."""

_SEPARATOR = " | "


def segment_keys(rows: pl.DataFrame, columns: Sequence[str]) -> SegmentArray | None:
    """Return each row's segment; None without columns.

    Args:
        rows: A conformed table with its derived columns.
        columns: Whose values make up a segment, in this order.

    Shape:
        ``(n_rows,)``.
    """
    if not columns:
        return None
    parts = [pl.col(name).cast(pl.String) for name in columns]
    keys = rows.select(pl.concat_str(parts, separator=_SEPARATOR)).to_series()
    return np.array(keys.to_list(), dtype=object)


def segment_keys_of_requests(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str]
) -> SegmentArray | None:
    """Return what :func:`segment_keys` does for typed rows of a request, whose values are texts.

    Shape:
        ``(n_rows,)``.
    """
    if not columns:
        return None
    values = [[row[name] for name in columns] for row in rows]
    keys = np.empty(len(rows), dtype=object)
    keys[:] = [None if None in parts else _SEPARATOR.join(parts) for parts in values]
    return keys


def check_segments(names: Sequence[str], contract: "Contract", *, where: str) -> None:
    """Refuse columns that may not segment rows.

    Raises:
        ValueError: Naming the column and its role.
    """
    columns = contract.columns
    allowed = (*contract.categorical_features, *contract.derived)
    roles = {
        "columns.groups": (columns.groups, "groups are measured, never decided by"),
        "columns.pii": (columns.pii, "a policy keeps its segments in clear"),
    }
    for name in names:
        for role, (found, why) in roles.items():
            if name in found:
                raise ValueError(f"{where} names {name!r}, which is under {role}: {why}")
        if not any(name == each or fnmatchcase(name, each) for each in allowed):
            close = difflib.get_close_matches(name, allowed, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"{where} names {name!r}, which is neither a categorical nor a derived column{hint}"
            )
    twice = [name for at, name in enumerate(names) if name in names[:at]]
    if twice:
        raise ValueError(f"{where} names {twice[0]!r} twice: keep one")
