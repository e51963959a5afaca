"""Sums over long parts of a hot entity's events, by arrays: as exact as those of short ones."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from features.online.past import MISSING

LONG = 400
"""From this many events on, arrays are faster than plain Python."""

# Sums of so many amounts, of at most 10^12 each, and of products of their halves fit 64 bits.
_AT_ONCE = 1 << 20
_HALF_BITS = 20


def known_amounts(part: Sequence[int]) -> NDArray[np.int64]:
    """Return the amounts that count.

    Shape:
        ``(n,)``, minor units
    """
    amounts = np.asarray(part, dtype=np.int64)
    is_missing = amounts == MISSING
    return amounts[~is_missing] if is_missing.any() else amounts


def exact_sum(amounts: NDArray[np.int64]) -> int:
    """Return the sum of amounts up to ±10^12 each, exactly.

    Example:
        >>> exact_sum(np.full(10, 10**12))
        10000000000000
    """
    return sum(int(part.sum()) for part in _parts(amounts))


def exact_squares(amounts: NDArray[np.int64]) -> int:
    """Return the sum of the squares of amounts up to ±10^12 each, exactly.

    Example:
        >>> exact_squares(np.array([-(10**12), 3])) == 10**24 + 9
        True
    """
    total = 0
    for part in _parts(amounts):
        high, low = part >> _HALF_BITS, part & ((1 << _HALF_BITS) - 1)
        total += int((high * high).sum()) << 2 * _HALF_BITS
        total += int((high * low).sum()) << _HALF_BITS + 1
        total += int((low * low).sum())
    return total


def different(part: Sequence[int]) -> list[int]:
    """Return each code of a part once."""
    codes: list[int] = np.unique(np.asarray(part, dtype=np.int64)).tolist()
    return codes


def reports_before(part: Sequence[int], moment: int) -> tuple[int, int]:
    """Return how many report codes lie below ``moment``, and how many of those are positive."""
    codes = np.asarray(part, dtype=np.int64)
    in_time = codes[(codes > MISSING) & (codes < moment)]
    return in_time.size, int((in_time & 1).sum())


def _parts(amounts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [amounts[at : at + _AT_ONCE] for at in range(0, amounts.size, _AT_ONCE)]
