"""Table rules: what a table as a whole must satisfy, from the contract and from a profile.

Breaking one stops the flow. They judge the rows that passed the row rules, for those go on.

What the profile of the last released version implies is judged here and never row by row: a
fraud outside every range seen before must reach the scorer, not the quarantine. So unseen
categories and values outside the old range count as shares, and only a share far from the old
one stops the flow.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import sqrt
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from features.contract import Contract
from features.contract_blocks import Bounds
from features.durations import format_duration
from features.validation.profile import ColumnProfile, DataProfile

VARIES = "varies"
"""Of a column that had several values: it still has."""

Unit = Literal["rows", "share", "seconds", "std", "flag"]

_SAMPLING_SLACK = 4.0
"""Standard errors by which a small table may differ from the profile by chance alone."""


_CHANCE_OF_A_CONSTANT = 1e-9
"""Below it, a column that varied and has a single value now is no chance."""


class DriftTolerances(BaseModel):
    """How far a table may lie from the profile of the last released version.

    To each, four standard errors of the table's own size are added, so that a small table is
    not stopped by chance.

    Attributes:
        mean_shift: Distance of means, in standard deviations of the profile.
        null_share: Difference in the share of missing values, in [0, 1].
        category_shift: Total variation distance of the category shares, in [0, 1].
        unseen_share: Share of values in no category of the profile, in [0, 1].
        outside_share: Share of values outside the range of the profile, in [0, 1].
        label_rate_factor: The label rate may lie between 1/factor and factor times the old one.
        least_rows: Least number of rows, as a share of the rows of the profile.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean_shift: float = Field(default=1.0, gt=0)
    null_share: float = Field(default=0.1, gt=0, le=1)
    category_shift: float = Field(default=0.25, gt=0, le=1)
    unseen_share: float = Field(default=0.1, gt=0, le=1)
    outside_share: float = Field(default=0.05, gt=0, le=1)
    label_rate_factor: float = Field(default=3.0, gt=1)
    least_rows: float = Field(default=0.1, ge=0, le=1)


@dataclass(frozen=True, slots=True)
class TableRule:
    """One figure of the table and the interval it must lie in.

    Attributes:
        rule: What is judged.
        column: The column it is judged on, if it is one.
        unit: What the figure counts.
        low: Least value allowed.
        high: Greatest value allowed.
        before: The same figure in the profile, where there is one.
        is_drift: Whether it holds the table against the profile, and not against the contract.
    """

    rule: str
    column: str | None
    unit: Unit
    low: float | None = None
    high: float | None = None
    before: float | None = None
    is_drift: bool = False

    @property
    def name(self) -> str:
        """The rule as messages name it, for example ``mean_drift(V14)``."""
        return self.rule if self.column is None else f"{self.rule}({self.column})"


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What a table is judged by.

    Attributes:
        profile: The profile of the rows that passed.
        reference: The moment that freshness is measured from, UTC.
        outside: Share of values outside the range of the old profile, by numeric column.
    """

    profile: DataProfile
    reference: datetime
    outside: Mapping[str, float]


def table_rules(
    contract: Contract, profile: DataProfile | None, tolerances: DriftTolerances, *, n_rows: int
) -> tuple[TableRule, ...]:
    """Return every table rule.

    Args:
        contract: Resolved against the table.
        profile: Profile of the last released version, if there is one.
        tolerances: How far from the profile a table may lie.
        n_rows: Rows that passed; sets the allowance for chance.
    """
    rules = [*_contract_rules(contract)]
    if profile is not None:
        against_profile = _profile_rules(contract, profile, tolerances, n_rows)
        rules += [replace(rule, is_drift=True) for rule in against_profile]
    return tuple(rules)


def observe(rule: TableRule, facts: TableFacts, profile: DataProfile | None) -> float | None:
    """Return the figure that a rule judges, or None where there is nothing to judge."""
    now = facts.profile
    if rule.column is not None and profile is not None:
        old, new = profile.columns[rule.column], now.columns[rule.column]
        return _observe_column(rule, old, new, facts.outside.get(rule.column))
    if rule.rule == "row_count":
        return float(now.n_rows)
    if rule.rule == "label_rate":
        return now.label_rate
    if rule.rule == "time_order":
        return None if now.is_time_ordered is None else float(now.is_time_ordered)
    return _age(now.last_event, facts.reference)


def in_words(rule: TableRule) -> str:
    """Return what a rule allows, in words."""
    if rule.rule == "time_order":
        return "rows in order of event time"
    if rule.rule == VARIES:
        return "several values, as before (mend the table, or drop the column in the contract)"
    low, high = (_quantity(value, rule.unit) for value in (rule.low, rule.high))
    if rule.low is None:
        return f"at most {high}"
    return f"at least {low}" if rule.high is None else f"from {low} to {high}"


def observed_in_words(rule: TableRule, observed: float | None) -> str:
    """Return an observed figure in words."""
    if observed is None:
        return "nothing to judge"
    if rule.rule == "time_order":
        return "in order" if observed else "not in order"
    if rule.rule == VARIES:
        return "several values" if observed else "one value in all rows"
    return _quantity(observed, rule.unit)


def _contract_rules(contract: Contract) -> Iterator[TableRule]:
    table = contract.expectations.table
    rows = table.rows or Bounds()
    # An empty table stops the flow whatever the contract says: nothing could follow from it.
    yield TableRule("row_count", None, "rows", low=max(rows.min or 1.0, 1.0), high=rows.max)
    if table.label_rate is not None:
        band = table.label_rate
        yield TableRule("label_rate", None, "share", low=band.min, high=band.max)
    if table.freshness is not None:
        yield TableRule("freshness", None, "seconds", high=table.freshness.total_seconds())


def _profile_rules(
    contract: Contract, profile: DataProfile, tolerances: DriftTolerances, n_rows: int
) -> Iterator[TableRule]:
    least = float(round(profile.n_rows * tolerances.least_rows))
    yield TableRule("row_count", None, "rows", low=least, before=float(profile.n_rows))
    if profile.label_rate is not None:
        yield _label_rate_rule(profile.label_rate, tolerances, n_rows)
    if profile.is_time_ordered and contract.event_time_column is not None:
        yield TableRule("time_order", None, "flag", low=1.0, before=1.0)
    known = {*contract.numeric_columns, *contract.categorical_features}
    for name, column in profile.columns.items():
        if name in known:
            yield from _column_rules(name, column, tolerances, n_rows)


def _label_rate_rule(rate: float, tolerances: DriftTolerances, n_rows: int) -> TableRule:
    slack = _slack(sqrt(rate * (1 - rate)), n_rows)
    low = max(rate / tolerances.label_rate_factor - slack, 0.0)
    high = min(rate * tolerances.label_rate_factor + slack, 1.0)
    return TableRule("label_rate", None, "share", low=low, high=high, before=rate)


def _can_be_constant(column: ColumnProfile, n_rows: int) -> bool:
    """Return whether chance alone may give so many rows a single value."""
    n_values = n_rows * (1 - column.null_share)
    return float(column.largest_share**n_values) > _CHANCE_OF_A_CONSTANT


def _column_rules(
    name: str, column: ColumnProfile, tolerances: DriftTolerances, n_rows: int
) -> Iterator[TableRule]:
    share_slack = _slack(0.5, n_rows)
    null = tolerances.null_share + share_slack
    low, high = max(column.null_share - null, 0.0), min(column.null_share + null, 1.0)
    yield TableRule("null_share", name, "share", low=low, high=high, before=column.null_share)
    if column.type == "text":
        unseen = min(tolerances.unseen_share + share_slack, 1.0)
        # Chance alone moves k shares by about sqrt(k / n) / 2 in total.
        shift = tolerances.category_shift + _slack(0.1 * sqrt(len(column.categories)), n_rows)
        yield TableRule("unseen_categories", name, "share", high=unseen)
        yield TableRule("category_drift", name, "share", high=min(shift, 1.0))
    elif column.mean is not None:
        outside = min(tolerances.outside_share + share_slack, 1.0)
        shift = tolerances.mean_shift + _slack(1.0, n_rows)
        yield TableRule("outside_range", name, "share", high=outside)
        yield TableRule("mean_drift", name, "std", high=shift, before=column.mean)
    if not _can_be_constant(column, n_rows):
        yield TableRule(VARIES, name, "flag", low=1.0, before=1.0)


def _observe_column(
    rule: TableRule, old: ColumnProfile, new: ColumnProfile, outside: float | None
) -> float | None:
    if rule.rule == "null_share":
        return new.null_share
    if rule.rule == "outside_range":
        return outside
    if rule.rule == "mean_drift":
        return mean_shift(old, new)
    if new.null_share == 1.0:
        return None
    return _observe_values(rule, old, new)


def _observe_values(rule: TableRule, old: ColumnProfile, new: ColumnProfile) -> float:
    if rule.rule == VARIES:
        return float(not new.is_constant)
    if rule.rule == "unseen_categories":
        return sum(share for value, share in new.categories.items() if _is_unseen(value, old))
    return category_shift(old, new)


def mean_shift(old: ColumnProfile, new: ColumnProfile) -> float | None:
    """Return the distance of two means in standard deviations of the older column.

    A column that was constant has none; then any other mean is infinitely far, reported as the
    greatest float.
    """
    if old.mean is None or new.mean is None or old.std is None:
        return None
    distance = abs(new.mean - old.mean)
    if distance <= 1e-12 * max(abs(old.mean), 1.0):
        return 0.0
    return min(distance / old.std, sys.float_info.max) if old.std > 0 else sys.float_info.max


def category_shift(old: ColumnProfile, new: ColumnProfile) -> float:
    """Return the total variation distance of two columns' category shares, in [0, 1].

    Categories beyond the 200 kept count together as one.

    Example:
        >>> was = ColumnProfile(type="text", null_share=0, categories={"a": 0.5, "b": 0.5})
        >>> now = ColumnProfile(type="text", null_share=0, categories={"a": 0.8, "c": 0.2})
        >>> round(category_shift(was, now), 3)
        0.5
    """
    # A category that only one side keeps may be in the other's rest; only kept ones compare.
    kept = set(old.categories) | {c for c in new.categories if _is_unseen(c, old)}
    gone = [abs(old.categories.get(c, 0.0) - new.categories.get(c, 0.0)) for c in sorted(kept)]
    rest_old = 1 - sum(old.categories.values())
    rest_new = 1 - sum(new.categories.get(c, 0.0) for c in kept)
    return min((sum(gone) + abs(rest_old - rest_new)) / 2, 1.0)


def _is_unseen(category: str, old: ColumnProfile) -> bool:
    """Return whether a category is new for sure: the profile kept all of its categories."""
    return category not in old.categories and (old.n_distinct or 0) <= len(old.categories)


def _slack(std: float, n_rows: int) -> float:
    return _SAMPLING_SLACK * std / sqrt(max(n_rows, 1))


def _age(newest: datetime | None, reference: datetime) -> float | None:
    return None if newest is None else (reference - newest).total_seconds()


def _quantity(value: float | None, unit: Unit) -> str:
    if value is None:
        return ""
    if unit == "seconds":
        return format_duration(timedelta(seconds=round(value)))
    if unit == "rows":
        return f"{value:,.0f} rows"
    if unit == "share":
        return f"{100 * value:.4g} %"
    is_endless = value == sys.float_info.max
    return "away from a constant" if is_endless else f"{value:.3g} standard deviations"
