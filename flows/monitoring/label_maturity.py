"""How fast labels become known, and how many positives are still to come."""

from dataclasses import dataclass

import polars as pl

from balancing.metrics.cells import FloatArray
from balancing.metrics.maturity import ReportingCurve, known_share, reporting_curve, still_to_come

_WEEK = "1w"


@dataclass(frozen=True, slots=True)
class Cohort:
    """Rows that happened in one week.

    Attributes:
        begin: Its first day, ISO 8601.
        rows: How many.
        labelled: Old enough to be judged, and of a known label.
        known_positives: Reported so far, however young the rows are.
        expected_positives: An estimate of how many there will be in all; None where the rows are
            too young to say.
    """

    begin: str
    rows: int
    labelled: int
    known_positives: int
    expected_positives: float | None


@dataclass(frozen=True, slots=True)
class Maturity:
    """The state of labels at the moment of knowledge.

    Attributes:
        known_share: At ``d`` the share of rows with a label within d days, of rows that old.
        reports: How fast positives are reported; None without a report that tells.
        known_positives: Of the window, reported so far.
        expected_to_come: An estimate of how many more are to come; None where nobody can say.
        n_too_young: Known positives too young to count in that estimate.
        cohorts: By week, the oldest first.
    """

    known_share: FloatArray
    reports: ReportingCurve | None
    known_positives: int
    expected_to_come: float | None
    n_too_young: int
    cohorts: tuple[Cohort, ...]


def label_maturity(window: pl.DataFrame, maturing: pl.DataFrame) -> Maturity | None:
    """Return the state of labels; None where rows carry no time.

    Args:
        window: The rows looked at.
        maturing: Rows whose reports say how fast labels become known; those of the window among
            them or not.
    """
    # A row that happens after the moment of knowledge has no age.
    timed = maturing.filter(pl.col("age") >= 0)
    if timed.is_empty():
        return None
    reported = timed.filter(pl.col("is_positive") & (pl.col("known_after") <= pl.col("age")))
    curve = reporting_curve(reported["known_after"].to_numpy(), reported["age"].to_numpy())
    known = window.filter(pl.col("is_positive") & (pl.col("age") >= 0))
    to_come = None if curve is None else still_to_come(curve, known["age"].to_numpy())
    after, age = timed["known_after"].to_numpy(), timed["age"].to_numpy()
    return Maturity(
        known_share=known_share(after, age),
        reports=curve,
        known_positives=known.height,
        expected_to_come=None if to_come is None else to_come.expected,
        n_too_young=0 if to_come is None else to_come.n_too_young,
        cohorts=tuple(_cohorts(timed, curve)),
    )


def _cohorts(rows: pl.DataFrame, curve: ReportingCurve | None) -> list[Cohort]:
    weeks = rows.with_columns(week=pl.col("happened_at").dt.truncate(_WEEK)).sort("week")
    found = []
    for (week,), part in weeks.partition_by("week", as_dict=True, maintain_order=True).items():
        known = part.filter(pl.col("is_positive"))
        ages = known["age"].to_numpy()
        to_come = None if curve is None or known.is_empty() else still_to_come(curve, ages)
        is_told = to_come is not None and not to_come.n_too_young
        found.append(
            Cohort(
                begin=week.date().isoformat(),
                rows=part.height,
                labelled=part["label"].count(),
                known_positives=known.height,
                expected_positives=known.height + to_come.expected
                if is_told and to_come is not None
                else None,
            )
        )
    return found
