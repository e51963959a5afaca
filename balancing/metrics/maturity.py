"""Labels that come late: which share of them is known after how many days, and what is to come.

The delay of reports is seen cut off: of a row that is five days old only reports within five days
can be known. The share reported within d days is therefore built from the oldest day back, each
step from rows that are old enough to tell (the estimator of right-truncated data; chain ladder to
actuaries). It speaks of reports within the longest age that was seen, and of none later.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from balancing.metrics.cells import FloatArray, IntArray, share

LONGEST_DAYS = 730
SMALLEST_SHARE = 0.1
"""Below it a known positive would stand for more than ten unknown ones: nothing is said."""


@dataclass(frozen=True, slots=True)
class ReportingCurve:
    """Share of the positives whose report is there within so many days of their event.

    Attributes:
        share: At ``d`` the share within d days, from 0 days on; rising, the last one is 1.
        n_reports: Reports behind it.

    Shape:
        ``(n_days + 1,)``.
    """

    share: FloatArray
    n_reports: int

    def at(self, age_days: ArrayLike) -> FloatArray:
        """Return the share at ages in days, straight lines between days; 1 beyond the last one."""
        ages = np.asarray(age_days, dtype=np.float64)
        return np.interp(ages, np.arange(len(self.share)), self.share)


@dataclass(frozen=True, slots=True)
class StillToCome:
    """Positives of which nobody has heard yet: an estimate.

    Attributes:
        expected: How many are to come, as the known ones let expect.
        n_too_young: Known positives whose rows are too young to say anything of others.
    """

    expected: float
    n_too_young: int


def reporting_curve(lag_days: ArrayLike, age_days: ArrayLike) -> ReportingCurve | None:
    """Return how fast positives become known; None without a report that can be judged.

    Args:
        lag_days: Days from event to report, of each reported positive.
        age_days: Days from event to the moment that knowledge is of.

    Raises:
        ValueError: If a report lies before its event or after that moment.
    """
    lag, age = _whole_days(lag_days), _whole_days(age_days)
    if lag.shape != age.shape or (lag < 0).any() or (lag > age).any():
        raise ValueError("Every report lies between its event and the moment of knowledge.")
    age = np.minimum(age, LONGEST_DAYS)
    # A day that is not over yet says less than a whole one.
    is_judged = lag < age
    lag, age = lag[is_judged], age[is_judged]
    if not lag.size:
        return None
    n_days = int(age.max())
    shares = np.ones(n_days + 1)
    for day in range(n_days - 1, -1, -1):
        old_enough = age > day
        n_within = int((old_enough & (lag <= day)).sum())
        n_that_day = int((old_enough & (lag == day)).sum())
        shares[day] = shares[day + 1] * (1 - (n_that_day / n_within if n_within else 0.0))
    return ReportingCurve(shares, len(lag))


def still_to_come(curve: ReportingCurve, age_days: ArrayLike) -> StillToCome:
    """Return how many positives are still to come beside those known.

    Args:
        curve: Of :func:`reporting_curve`.
        age_days: Age of each known positive in days.
    """
    known = curve.at(age_days)
    is_old_enough = known >= SMALLEST_SHARE
    expected = (1 / known[is_old_enough] - 1).sum()
    return StillToCome(float(expected), int((~is_old_enough).sum()))


def known_share(known_after_days: ArrayLike, age_days: ArrayLike) -> FloatArray:
    """Return which share of rows has a label within so many days, of rows that old at least.

    Args:
        known_after_days: Days from event to label; NaN where none is known.
        age_days: Whole days from event to the moment that knowledge is of.

    Shape:
        ``(n_rows,)`` each -> ``(n_days + 1,)``; NaN where no row is so old.
    """
    known = np.asarray(known_after_days, dtype=np.float64)
    age = np.minimum(_whole_days(age_days), LONGEST_DAYS)
    if not age.size:
        return np.empty(0)
    n_days = int(age.max())
    n_old_enough = np.bincount(age, minlength=n_days + 1)[::-1].cumsum()[::-1].astype(np.float64)
    # A row counts from the first day on which it is known, up to its age.
    first = np.where(np.isnan(known), np.inf, np.ceil(known))
    is_known = first <= age
    begins = np.bincount(first[is_known].astype(np.int64), minlength=n_days + 2)
    ends = np.bincount(age[is_known] + 1, minlength=n_days + 2)
    n_known = (begins - ends)[: n_days + 1].cumsum().astype(np.float64)
    return share(n_known, n_old_enough)


def _whole_days(days: ArrayLike) -> IntArray:
    return np.floor(np.asarray(days, dtype=np.float64)).astype(np.int64)
