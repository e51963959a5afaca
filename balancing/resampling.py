"""Rows added or dropped by imbalanced-learn, each with the row that it came from.

The methods run in imbalanced-learn's default settings. Where there are too few rows for the
default number of neighbours, fewer are asked; where a method cannot work at all, rows are repeated
or dropped at random instead. Both are logged.
"""

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from balancing.dataset import POSITIVE, FloatArray, IntArray
from balancing.extras import extra

logger = logging.getLogger(__name__)

Oversampler = Literal[
    "random_over", "smote", "borderline_smote", "svm_smote", "adasyn", "smoteenn"
]  # fmt: skip
Undersampler = Literal["random_under", "nearmiss", "cluster_centroids"]
Cleaner = Literal["allknn"]
Method: TypeAlias = Oversampler | Undersampler | Cleaner

K_NEIGHBOURS, M_NEIGHBOURS, NEARMISS_NEIGHBOURS = 5, 10, 3


class NotSuited(Exception):
    """Raised within this module when a method cannot work on the rows at hand."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows after re-sampling.

    Attributes:
        points: Where they lie, float32.
        label: 0 or 1, int64.
        origin: Number of the row that each one is, or, for a made-up row, of the nearest row of
            its class, int64.

    Shape:
        ``(n_sampled, d)``, ``(n_sampled,)``, ``(n_sampled,)``.
    """

    points: FloatArray
    label: IntArray
    origin: IntArray

    @property
    def sizes(self) -> tuple[int, int]:
        """Negative and positive rows."""
        positives = int((self.label == POSITIVE).sum())
        return len(self.label) - positives, positives


Step: TypeAlias = Callable[[Sample, tuple[int, int], int], Sample]
"""Rows, class sizes asked for, seed -> rows."""


def resample(
    points: FloatArray, label: IntArray, *, method: Method, sizes: tuple[int, int], seed: int
) -> Sample:
    """Return the rows that a method leaves or makes.

    Args:
        points: Rows as the method compares them, ``(n_rows, d)`` float32, finite, ``d`` at least 1.
        label: 0 or 1, ``(n_rows,)`` int64; both occur.
        method: How.
        sizes: Negative and positive rows asked for. ``allknn`` drops what it drops, ``smoteenn``
            more on top, and ``adasyn`` meets the number about.
        seed: Fixes every draw.

    Raises:
        MissingExtra: If imbalanced-learn is not installed.
    """
    with extra("resampling", needed_by=f"Re-sampling by {method}"):
        import imblearn  # noqa: F401  # for the steps
    start = Sample(points, label, np.arange(len(label)))
    try:
        return _STEPS[method](start, sizes, seed)
    except NotSuited as error:
        instead: Method = "random_under" if method in get_args(Undersampler) else "random_over"
        facts = {"method": method, "instead": instead, "reason": str(error)}
        logger.warning("rows cannot be re-sampled as asked for", extra=facts)
        return _STEPS[instead](start, sizes, seed)


def _random_over(rows: Sample, sizes: tuple[int, int], seed: int) -> Sample:
    from imblearn.over_sampling import RandomOverSampler

    return _picked(rows, RandomOverSampler(sampling_strategy={1: sizes[1]}, random_state=seed))


def _random_under(rows: Sample, sizes: tuple[int, int], seed: int) -> Sample:
    from imblearn.under_sampling import RandomUnderSampler

    return _picked(rows, RandomUnderSampler(sampling_strategy={0: sizes[0]}, random_state=seed))


def _nearmiss(rows: Sample, sizes: tuple[int, int], seed: int) -> Sample:  # noqa: ARG001
    from imblearn.under_sampling import NearMiss

    k = _at_most(NEARMISS_NEIGHBOURS, min(rows.sizes))
    return _picked(rows, NearMiss(sampling_strategy={0: sizes[0]}, n_neighbors=k))


def _allknn(rows: Sample, sizes: tuple[int, int], seed: int) -> Sample:  # noqa: ARG001
    from imblearn.under_sampling import AllKNN

    return _picked(rows, AllKNN(sampling_strategy=[0]))


def _smoteenn(rows: Sample, sizes: tuple[int, int], seed: int) -> Sample:
    """SMOTE, then edited nearest neighbours on both classes: what ``SMOTEENN`` does."""
    from imblearn.under_sampling import EditedNearestNeighbours

    return _picked(_smote(rows, sizes, seed), EditedNearestNeighbours(sampling_strategy="all"))


def _smote(rows: Sample, sizes: tuple[int, int], seed: int) -> Sample:
    from imblearn.over_sampling import SMOTE

    return _with_made(rows, sizes, SMOTE, seed=seed, k_neighbors=_positive_neighbours(rows))


def _borderline_smote(rows: Sample, sizes: tuple[int, int], seed: int) -> Sample:
    from imblearn.over_sampling import BorderlineSMOTE

    k, m = _positive_neighbours(rows), _at_most(M_NEIGHBOURS, len(rows.label) - 1)
    return _with_made(rows, sizes, BorderlineSMOTE, seed=seed, k_neighbors=k, m_neighbors=m)


def _svm_smote(rows: Sample, sizes: tuple[int, int], seed: int) -> Sample:
    from imblearn.over_sampling import SVMSMOTE

    k, m = _positive_neighbours(rows), _at_most(M_NEIGHBOURS, len(rows.label) - 1)
    return _with_made(rows, sizes, SVMSMOTE, seed=seed, k_neighbors=k, m_neighbors=m)


def _adasyn(rows: Sample, sizes: tuple[int, int], seed: int) -> Sample:
    from imblearn.over_sampling import ADASYN

    return _with_made(rows, sizes, ADASYN, seed=seed, n_neighbors=_positive_neighbours(rows))


def _cluster_centroids(rows: Sample, sizes: tuple[int, int], seed: int) -> Sample:
    from imblearn.under_sampling import ClusterCentroids

    if sizes[0] >= rows.sizes[0]:
        return rows
    sampler = ClusterCentroids(sampling_strategy={0: sizes[0]}, random_state=seed)
    points, label = _run(sampler, rows)
    centroids = points[label != POSITIVE]
    is_positive = rows.label == POSITIVE
    return Sample(
        np.concatenate([centroids, rows.points[is_positive]]),
        np.repeat([0, 1], [len(centroids), is_positive.sum()]),
        np.concatenate([_nearest(rows, centroids, label=0), rows.origin[is_positive]]),
    )


_STEPS: dict[Method, Step] = {
    "random_over": _random_over,
    "random_under": _random_under,
    "smote": _smote,
    "borderline_smote": _borderline_smote,
    "svm_smote": _svm_smote,
    "adasyn": _adasyn,
    "smoteenn": _smoteenn,
    "nearmiss": _nearmiss,
    "allknn": _allknn,
    "cluster_centroids": _cluster_centroids,
}


def _picked(rows: Sample, sampler: Any) -> Sample:
    """Return the rows that a sampler picks, some perhaps more than once."""
    _run(sampler, rows)
    picked = np.asarray(sampler.sample_indices_, dtype=np.int64)
    sample = Sample(rows.points[picked], rows.label[picked], rows.origin[picked])
    if min(sample.sizes) == 0:
        raise NotSuited("it leaves no row of one class")
    return sample


def _with_made(rows: Sample, sizes: tuple[int, int], sampler: Any, **settings: Any) -> Sample:
    """Return the rows and the positives that a sampler makes."""
    if sizes[1] <= rows.sizes[1]:
        return rows
    seed = settings.pop("seed")
    made, _ = _run(sampler(sampling_strategy={1: sizes[1]}, random_state=seed, **settings), rows)
    made = made[len(rows.label) :]
    if len(made) == 0:
        raise NotSuited("it finds no positive row to start from")
    return Sample(
        np.concatenate([rows.points, made]),
        np.concatenate([rows.label, np.full(len(made), POSITIVE)]),
        np.concatenate([rows.origin, _nearest(rows, made, label=POSITIVE)]),
    )


def _run(sampler: Any, rows: Sample) -> tuple[FloatArray, IntArray]:
    from sklearn.exceptions import ConvergenceWarning

    try:
        with warnings.catch_warnings():
            # As many clusters as asked for cannot be found among rows that are alike.
            warnings.simplefilter("ignore", ConvergenceWarning)
            points, label = sampler.fit_resample(rows.points, rows.label)
    except (ValueError, RuntimeError) as error:  # how imbalanced-learn says that it cannot
        raise NotSuited(str(error)) from error
    return points, label


def _nearest(rows: Sample, made: FloatArray, *, label: int) -> IntArray:
    """Return the origin of the row of a class that is nearest to each made-up one."""
    from sklearn.neighbors import NearestNeighbors

    own: NDArray[np.int64] = np.flatnonzero(rows.label == label)
    search = NearestNeighbors(n_neighbors=1).fit(rows.points[own])
    return np.asarray(rows.origin[own[search.kneighbors(made, return_distance=False)[:, 0]]])


def _positive_neighbours(rows: Sample) -> int:
    positives = rows.sizes[1]
    if positives < 2:
        raise NotSuited("there is one positive row only, and so none to move towards")
    return _at_most(K_NEIGHBOURS, positives - 1)


def _at_most(usual: int, available: int) -> int:
    if available < usual:
        facts = {"usual": usual, "available": available}
        logger.info("fewer neighbours than usual", extra=facts)
    return min(usual, available)
