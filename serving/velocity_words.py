"""Features over time in the words of reasons: what was unusual, of whom, and since when."""

from collections.abc import Iterator

from features.aggregates import (
    AMOUNT_MAX,
    AMOUNT_MEAN,
    AMOUNT_MEAN_RATIO,
    AMOUNT_MIN,
    AMOUNT_STD,
    AMOUNT_SUM,
    AMOUNT_TO_MEAN,
    COUNT,
    COUNT_RATIO,
    DISTINCT,
    SECONDS_SINCE_LAST,
    SHARE,
    LabelRateFeature,
    VelocityFeature,
)
from features.contract import Contract
from features.durations import format_duration
from features.velocity import velocity_plan

_EVENTS = {"transactions": "transactions", "loans": "applications"}
_POSITIVES = {"transactions": "frauds", "loans": "defaults"}
_WORDS = {
    COUNT: "number of {events} of this {entity} in the last {window}",
    AMOUNT_SUM: "sum of amounts of this {entity} in the last {window}",
    AMOUNT_MEAN: "mean amount of this {entity} in the last {window}",
    AMOUNT_MAX: "largest amount of this {entity} in the last {window}",
    AMOUNT_MIN: "smallest amount of this {entity} in the last {window}",
    AMOUNT_STD: "spread of amounts of this {entity} in the last {window}",
    AMOUNT_TO_MEAN: "amount, for the mean of this {entity} in the last {window}",
    SECONDS_SINCE_LAST: "time since the last of the {events} of this {entity}",
    DISTINCT: "number of different {column} of this {entity} in the last {window}",
    SHARE: "share of {column} {value} of this {entity} in the last {window}",
    COUNT_RATIO: "pace of {events} of this {entity} in the last {window}, for the last {longer}",
    AMOUNT_MEAN_RATIO: "mean amount of this {entity} in the last {window}, for the last {longer}",
}
_LABEL_WORDS = {
    "rate": "share of {positives} among earlier {events} of this {entity} ({window})",
    "count": "number of earlier {events} of this {entity} with a known outcome ({window})",
}


def velocity_words(contract: Contract) -> dict[str, str]:
    """Return the text of each feature over time, by its name.

    Example:
        ``Unusual number of transactions of this CUSTOMER_ID in the last 1h``
    """
    return {
        feature.name: f"Unusual {_words(feature, contract)}"
        for feature in velocity_plan(contract).features
    }


def velocity_columns(contract: Contract) -> dict[str, frozenset[str]]:
    """Return the columns that each feature over time tells something of, by its name."""
    return {
        feature.name: frozenset(_columns(feature, contract))
        for feature in velocity_plan(contract).features
    }


def _columns(feature: VelocityFeature | LabelRateFeature, contract: Contract) -> Iterator[str]:
    yield from feature.entity
    if isinstance(feature, LabelRateFeature):
        yield contract.label.column
        return
    if feature.column is not None:
        yield feature.column
    if feature.needs_amount and contract.amount_column is not None:
        yield contract.amount_column


def _words(feature: VelocityFeature | LabelRateFeature, contract: Contract) -> str:
    facts = {
        "entity": " with this ".join(feature.entity),
        "window": format_duration(feature.window),
        "events": _EVENTS[contract.domain],
        "positives": _POSITIVES[contract.domain],
    }
    if isinstance(feature, LabelRateFeature):
        return _LABEL_WORDS[feature.kind].format(**facts)
    longer = "" if feature.longer is None else format_duration(feature.longer)
    return _WORDS[feature.aggregate].format(
        **facts, column=feature.column, value=feature.value, longer=longer
    )
