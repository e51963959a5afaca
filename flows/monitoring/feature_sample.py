"""Features of many rows in little memory: a sample of them, and counts over all."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.feature_set import FeatureArrays, FeatureSet
from features.vocabulary import MISSING, UNKNOWN


@dataclass(frozen=True, slots=True)
class FeatureSample:
    """What rows hold, by feature.

    Attributes:
        names: The features, numeric ones first.
        numeric: Sampled rows, float32, NaN where missing.
        categorical: Sampled rows, codes of one vocabulary each.
        n_rows: All rows.
        n_missing: Of all rows those without a value, per feature.
        n_unseen: Of all rows those with a category unknown from training, per categorical feature.
    """

    names: tuple[str, ...]
    numeric: NDArray[np.float32]
    categorical: NDArray[np.int64]
    n_rows: int
    n_missing: NDArray[np.int64]
    n_unseen: NDArray[np.int64]


class FeatureSampler:
    """Takes rows part by part and keeps a uniform sample of them.

    Args:
        feature_set: Whose arrays the rows are.
        without: Features that are left out: nobody may read them.
        n_kept: Rows of the sample.
        seed: The same rows in the same parts with the same seed give the same sample.
    """

    def __init__(
        self, feature_set: FeatureSet, without: frozenset[str], *, n_kept: int, seed: int = 0
    ) -> None:
        self._numeric = [i for i, name in enumerate(feature_set.numeric) if name not in without]
        self._categorical = [
            i for i, name in enumerate(feature_set.categorical) if name not in without
        ]
        self.names = tuple(name for name in feature_set.names if name not in without)
        self._n_kept, self._rng, self._n_rows = n_kept, np.random.default_rng(seed), 0
        self._places: NDArray[np.float64] = np.empty(0)
        self._rows = FeatureArrays(
            np.empty((0, len(self._numeric)), dtype=np.float32),
            np.empty((0, len(self._categorical)), dtype=np.int64),
        )
        self._n_missing = np.zeros(len(self.names), dtype=np.int64)
        self._n_unseen = np.zeros(len(self._categorical), dtype=np.int64)

    def add(self, arrays: FeatureArrays) -> None:
        """Take some rows."""
        numeric = arrays.numeric[:, self._numeric]
        categorical = arrays.categorical[:, self._categorical]
        self._n_rows += len(numeric)
        is_missing = [np.isnan(numeric).sum(axis=0), (categorical == MISSING).sum(axis=0)]
        self._n_missing += np.concatenate(is_missing)
        self._n_unseen += (categorical == UNKNOWN).sum(axis=0)
        # Each row draws a number, and those with the smallest stay: however the rows are cut into
        # parts, each has the same chance.
        places = np.concatenate([self._places, self._rng.random(len(numeric))])
        kept = np.sort(np.argsort(places, kind="stable")[: self._n_kept])
        self._places = places[kept]
        self._rows = FeatureArrays(
            _picked(self._rows.numeric, numeric, kept),
            _picked(self._rows.categorical, categorical, kept),
        )

    def done(self) -> FeatureSample:
        """Return what was taken."""
        return FeatureSample(
            names=self.names,
            numeric=self._rows.numeric,
            categorical=self._rows.categorical,
            n_rows=self._n_rows,
            n_missing=self._n_missing,
            n_unseen=self._n_unseen,
        )


def sample_of(
    arrays: Sequence[FeatureArrays], feature_set: FeatureSet, without: frozenset[str], n_kept: int
) -> FeatureSample:
    """Return the sample of rows that are all at hand."""
    sampler = FeatureSampler(feature_set, without, n_kept=n_kept)
    for part in arrays:
        sampler.add(part)
    return sampler.done()


def _picked(first: NDArray, second: NDArray, kept: NDArray[np.int64]) -> NDArray:  # type: ignore[type-arg]
    """Return rows of two arrays behind each other."""
    is_first = kept < len(first)
    return np.concatenate([first[kept[is_first]], second[kept[~is_first] - len(first)]])
