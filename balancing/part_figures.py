"""What is told of parts of the test rows: groups of people, segments, stretches of time."""

from pydantic import BaseModel, ConfigDict

from balancing.metrics.intervals import Interval

FOUR_FIFTHS = 0.8
"""A ratio to the group that fares best below this is worth a question."""


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GroupFigures(_Figures):
    """One group's rows.

    Attributes:
        value: What they have in common; None for rows without a value.
        rows: How many.
        positives: How many of them are positive.
        approved: Share approved outright.
        declined: Share declined.
        recall: Share of the positives that is reviewed or declined; None with too few.
        false_positive_rate: Share of the negatives that is; None with too few.
        precision: Share of positives among the alerts; None with too few alerts.
        average_precision: None with too few rows of a class.
        mean_score: Mean risk score.
        observed_rate: Share of positives.
        calibration_gap: Mean score less that share: above 0 the group looks riskier than it is.
        ratios: To the group that fares best, by what is granted: ``approved``, ``not_declined``,
            and ``approved_good`` (of the negatives alone). Empty where groups are not compared.
    """

    value: str | None
    rows: int
    positives: int
    approved: Interval
    declined: Interval
    recall: Interval | None
    false_positive_rate: Interval | None
    precision: Interval | None
    average_precision: Interval | None
    mean_score: float
    observed_rate: Interval
    calibration_gap: Interval
    ratios: dict[str, Interval] = {}

    @property
    def below_four_fifths(self) -> tuple[str, ...]:
        """The ratios that lie below four fifths."""
        return tuple(name for name, ratio in self.ratios.items() if ratio.value < FOUR_FIFTHS)


class SmallGroup(_Figures):
    """A group of too few rows to say anything of.

    Attributes:
        value: What they have in common.
        rows: How many.
    """

    value: str | None
    rows: int


class Grouped(_Figures):
    """A column's groups.

    Attributes:
        column: That tells them apart.
        groups: Those with enough rows, in the order of their values.
        left_out: The groups that are too small.
    """

    column: str
    groups: tuple[GroupFigures, ...]
    left_out: tuple[SmallGroup, ...]


class PartsReport(_Figures):
    """What a model does to parts of its test rows.

    Attributes:
        groups: By the columns that are measured and never used, held against each other.
        segments: By categories that the model knows.
        periods: By month or week of the test period; None where rows carry no time.
    """

    groups: tuple[Grouped, ...] = ()
    segments: tuple[Grouped, ...] = ()
    periods: Grouped | None = None
