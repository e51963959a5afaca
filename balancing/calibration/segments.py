"""Segments of rows: values of a contract's columns, one text key per row."""

from collections.abc import Iterable
from itertools import repeat

import numpy as np
from numpy.typing import ArrayLike

from balancing.metrics.cells import IntArray

UNKNOWN_SEGMENT = -1


def segment_codes(segment: ArrayLike, known: Iterable[str]) -> IntArray:
    """Return the place of each row's segment among the known ones, -1 where it is none of them.

    A missing segment (``None``) is unknown, as is one that was never seen.

    Shape:
        ``(n_rows,)`` -> ``(n_rows,)``.

    Raises:
        ValueError: If there is not one segment per row in a flat array.

    Example:
        >>> segment_codes(["shop", None, "web"], ["web", "shop"])
        array([ 1, -1,  0])
    """
    keys = np.asarray(segment, dtype=object)
    if keys.ndim != 1:
        raise ValueError(f"segment must hold one text per row. Got shape {keys.shape}.")
    # A dictionary over a million keys takes a tenth of a second; sorting them takes ten times it.
    place = {key: number for number, key in enumerate(known)}.get
    codes = map(place, keys.tolist(), repeat(UNKNOWN_SEGMENT))
    return np.fromiter(codes, dtype=np.int64, count=len(keys))
