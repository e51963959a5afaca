"""Resampling rows without drawing each of them.

Rows are resampled with independent Poisson(1) weights, which is the bootstrap of n rows drawn
with replacement up to the total. Scores are sorted once. A sum of Poisson weights is itself
Poisson, so the negatives between two neighbouring positives need one draw instead of thousands:
a replicate costs as much as there are positives, and nothing is approximated. Classes are not
stratified, as a new sample would bring another number of positives too.

Rows that belong together (one card's, one customer's) are no independent draws. Given their
clusters, whole clusters get the weights (the cluster bootstrap); one cluster's negatives within a
cell then move as one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from balancing.metrics.cells import (
    FloatArray,
    IntArray,
    ScoreCells,
    check_labels,
    check_scores,
    descending_cells,
    positive_amounts,
)

_WEIGHTS_AT_ONCE = 4_000_000


@dataclass(frozen=True, slots=True)
class _Slots:
    """Where positives and groups of negatives lie in one score's cells."""

    positive: IntArray  # cell of each positive row, (n_positives,)
    negative: IntArray  # cell of each group of negatives, (n_groups,)
    n_cells: int

    def count(self, weights: FloatArray, place: IntArray) -> FloatArray:
        """Sum weights ``(n_replicates, n_items)`` by cell -> ``(n_replicates, n_cells)``."""
        order = np.argsort(place, kind="stable")
        occupied, first = np.unique(place[order], return_index=True)
        counts = np.zeros((len(weights), self.n_cells))
        if len(occupied):
            ordered = weights if np.array_equal(order, np.arange(len(order))) else weights[:, order]
            counts[:, occupied] = np.add.reduceat(ordered, first, axis=1)
        return counts


@dataclass(frozen=True, slots=True)
class _Clusters:
    """Which cluster each positive row and each group of negatives belongs to."""

    positive: IntArray  # (n_positives,)
    negative: IntArray  # (n_groups,)
    n: int


@dataclass(frozen=True, slots=True)
class CellResampler:
    """Resamples the rows behind one or several scores, each seeing the same weights.

    Attributes:
        slots: One per score.
        group_sizes: Negatives that no score tells apart, ``(n_groups,)``; the unit of drawing.
        amount: Amount of each positive row, or ``None``.
        clusters: What gets one weight together, or ``None`` where each row is drawn by itself.
    """

    slots: tuple[_Slots, ...]
    group_sizes: IntArray
    amount: FloatArray | None
    clusters: _Clusters | None = None

    @classmethod
    def of(
        cls,
        label: ArrayLike,
        scores: Sequence[ArrayLike],
        *,
        amount: ArrayLike | None = None,
        cluster: ArrayLike | None = None,
    ) -> "CellResampler":
        """Sort each score once and group the negatives that lie between the same positives.

        Raises:
            ValueError: If labels, scores or amounts are unusable.
        """
        labels = check_labels(label)
        checked = [check_scores(score, len(labels)) for score in scores]
        places = [_merge_negative_runs(score, labels == 1) for score in checked]
        return cls.by_cell(labels, places, amount=amount, cluster=cluster)

    @classmethod
    def by_cell(
        cls,
        label: IntArray,
        places: Sequence[IntArray],
        *,
        amount: ArrayLike | None = None,
        cluster: ArrayLike | None = None,
    ) -> "CellResampler":
        """Take each row's cell as given, ``(n_rows,)`` per score, cells counted from 0."""
        is_positive = label == 1
        numbers = None if cluster is None else cluster_numbers(cluster, len(label))
        apart = [*places] if numbers is None else [*places, numbers]
        groups, sizes = _group_rows([place[~is_positive] for place in apart])
        clusters = None
        if numbers is not None:
            clusters = _Clusters(numbers[is_positive], groups.pop(), int(numbers.max()) + 1)
        slots = tuple(
            _Slots(place[is_positive], group, int(place.max()) + 1)
            for place, group in zip(places, groups, strict=True)
        )
        value = None if amount is None else positive_amounts(amount, label)[is_positive]
        return cls(slots, sizes, value, clusters)

    def observed(self) -> list[ScoreCells]:
        """Return the cells of the data themselves, one per score, ``(n_cells,)``."""
        n_positives = len(self.slots[0].positive)
        cells = self._cells(np.ones((1, n_positives)), self.group_sizes[None].astype(np.float64))
        return [_first(each) for each in cells]

    def draw(self, n_replicates: int, *, seed: int) -> Iterator[list[ScoreCells]]:
        """Yield blocks of replicates, one set of cells ``(n_block, n_cells)`` per score."""
        rng = np.random.default_rng(seed)
        n_positives, n_groups = len(self.slots[0].positive), len(self.group_sizes)
        block = max(1, _WEIGHTS_AT_ONCE // max(1, n_positives + n_groups))
        for start in range(0, n_replicates, block):
            n = min(block, n_replicates - start)
            if self.clusters is not None:
                weights = rng.poisson(1.0, (n, self.clusters.n)).astype(np.float64)
                positive = weights[:, self.clusters.positive]
                negative = weights[:, self.clusters.negative] * self.group_sizes
            else:
                positive = rng.poisson(1.0, (n, n_positives)).astype(np.float64)
                negative = rng.poisson(self.group_sizes, (n, n_groups)).astype(np.float64)
            yield self._cells(positive, negative)

    def _cells(self, positive: FloatArray, negative: FloatArray) -> list[ScoreCells]:
        return [
            ScoreCells(
                slots.count(positive, slots.positive),
                slots.count(negative, slots.negative),
                None
                if self.amount is None
                else slots.count(positive * self.amount, slots.positive),
            )
            for slots in self.slots
        ]


def cluster_numbers(cluster: ArrayLike, n_rows: int) -> IntArray:
    """Return the clusters as numbers from 0 on, in any order.

    Raises:
        ValueError: If there is not one per row.
    """
    names = np.asarray(cluster)
    if names.shape != (n_rows,):
        raise ValueError(f"cluster must have one value per label ({n_rows}). Got {names.shape}.")
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _first(cells: ScoreCells) -> ScoreCells:
    amount = None if cells.positive_amount is None else cells.positive_amount[0]
    return ScoreCells(cells.positives[0], cells.negatives[0], amount)


def _group_rows(places: list[IntArray]) -> tuple[list[IntArray], IntArray]:
    """Return the distinct combinations of cells, a column per score, and their row counts."""
    codes = places[0]
    for place in places[1:]:
        pairs = codes * (int(place.max(initial=0)) + 1) + place
        # Numbered anew each time, so that no number of scores is beyond a whole number.
        codes = np.unique(pairs, return_inverse=True)[1]
    _, first, sizes = np.unique(codes, return_index=True, return_counts=True)
    return [place[first].astype(np.int64) for place in places], sizes.astype(np.int64)


def _merge_negative_runs(score: FloatArray, is_positive: NDArray[np.bool_]) -> IntArray:
    """Return each row's cell, highest score first, negatives between two positives merged."""
    distinct, place = descending_cells(score)
    holds_positive = np.zeros(len(distinct), dtype=bool)
    holds_positive[place[is_positive]] = True
    starts_cell = holds_positive.copy()
    starts_cell[1:] |= holds_positive[:-1]
    starts_cell[0] = True
    merged = np.cumsum(starts_cell).astype(np.int64) - 1
    return merged[place]
