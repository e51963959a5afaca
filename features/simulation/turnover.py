"""Old customers and terminals go and new ones come: which id a place goes by, and when.

A world has places: so many people with their homes and habits, so many shops and merchants.
With turnover a place changes hands now and then. What was usual there stays usual; but its id
is a new one, without a past.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from features.simulation.rhythm import SECONDS_PER_DAY
from features.simulation.terminals import FloatArray, IndexArray

_SECONDS_PER_YEAR = 365 * SECONDS_PER_DAY


@dataclass(frozen=True, slots=True)
class Tenancies:
    """The ids of some places over time.

    Attributes:
        yearly: How often a place changes hands, a year; 0 is never.
        phase: How far each place is into its first tenancy, in [0, 1), one per place.
    """

    yearly: float
    phase: FloatArray

    @classmethod
    def drawn(cls, rng: np.random.Generator, n_places: int, *, yearly: float) -> Self:
        """Return tenancies of one length that begin at different times."""
        return cls(yearly, rng.random(n_places))

    def ids(self, place: IndexArray, second: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the id that each place goes by at a second since the start.

        The first id of a place is its index; each later one is higher by the number of places.
        What happened before the start goes by the first id.
        """
        passed = second / _SECONDS_PER_YEAR * self.yearly + self.phase[place]
        generation = np.maximum(np.floor(passed), 0).astype(np.int64)
        ids: NDArray[np.int64] = place + generation * len(self.phase)
        return ids

    def within(
        self, place: IndexArray, first: NDArray[np.int64], end: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
        """Return every id that a place goes by in ``[first, end)``, and which span it is of.

        Shape:
            Two arrays of one length, at least that of ``place``: the ids, and indices into it.
        """
        oldest, newest = self.ids(place, first), self.ids(place, end - 1)
        n_ids = (newest - oldest) // len(self.phase) + 1
        span = np.repeat(np.arange(len(place)), n_ids)
        later = np.arange(len(span)) - np.repeat(np.cumsum(n_ids) - n_ids, n_ids)
        return oldest[span] + later * len(self.phase), span
