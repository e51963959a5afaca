"""What ``[[velocity]]`` and ``[[label_rate]]`` declare: one feature for each aggregate and window.

Names are part of what a model is: ``CUSTOMER_ID_amount_sum_7d``, with a pair joined as
``CUSTOMER_ID_TERMINAL_ID_count_1d`` and windows in their shortest spelling (``24h`` is ``1d``).
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Literal

from features.contract_blocks import LONGEST_WINDOW, LabelRate, Names, Velocity
from features.durations import format_duration, parse_duration

COUNT = "count"
AMOUNT_SUM = "amount_sum"
AMOUNT_MEAN = "amount_mean"
AMOUNT_MAX = "amount_max"
AMOUNT_MIN = "amount_min"
AMOUNT_STD = "amount_std"
AMOUNT_TO_MEAN = "amount_to_mean"
SECONDS_SINCE_LAST = "seconds_since_last"
DISTINCT = "distinct"
SHARE = "share"
COUNT_RATIO = "count_ratio"
AMOUNT_MEAN_RATIO = "amount_mean_ratio"

_PLAIN = (
    COUNT, AMOUNT_SUM, AMOUNT_MEAN, AMOUNT_MAX, AMOUNT_MIN, AMOUNT_STD, AMOUNT_TO_MEAN,
    SECONDS_SINCE_LAST,
)  # fmt: skip
_WITH_ARGUMENT = {
    DISTINCT: "distinct:COLUMN",
    SHARE: "share:COLUMN=VALUE",
    COUNT_RATIO: "count_ratio:LONGER_WINDOW",
    AMOUNT_MEAN_RATIO: "amount_mean_ratio:LONGER_WINDOW",
}


@dataclass(frozen=True, slots=True)
class VelocityFeature:
    """One number about an entity's events in ``[t - window, t)``.

    Attributes:
        name: Name of the feature.
        entity: The columns whose values together say whose events count.
        aggregate: ``count``, ``amount_sum``, … ``distinct``, ``share``, without its argument.
        window: Length of the window; of ``seconds_since_last``, how far back it looks.
        column: Of ``distinct`` and ``share``, the column whose values are looked at.
        value: Of ``share``, the value that counts, as text.
        longer: Of the ratios, the longer window that the window is held against.
    """

    name: str
    entity: Names
    aggregate: str
    window: timedelta
    column: str | None = None
    value: str | None = None
    longer: timedelta | None = None

    @property
    def longest_window(self) -> timedelta:
        """The longest window that it looks at."""
        return self.window if self.longer is None else self.longer

    @property
    def look_back(self) -> timedelta:
        """How far before a row its events can lie."""
        return self.longest_window

    @property
    def needs_amount(self) -> bool:
        """Whether the amounts of events are read."""
        return self.aggregate.startswith("amount_")


@dataclass(frozen=True, slots=True)
class LabelRateFeature:
    """What is known of the labels of an entity's events in ``[t - delay - window, t - delay)``.

    Attributes:
        name: Name of the feature.
        entity: The columns whose values together say whose events count.
        kind: ``rate``, the share of positives among the known labels, or ``count``, their number.
        window: Length of the window.
        delay: The label delay, by which the window lies in the past.
    """

    name: str
    entity: Names
    kind: Literal["rate", "count"]
    window: timedelta
    delay: timedelta

    @property
    def longest_window(self) -> timedelta:
        """The window that it looks at."""
        return self.window

    @property
    def look_back(self) -> timedelta:
        """How far before a row its events can lie."""
        return self.window + self.delay


@lru_cache(maxsize=256)
def declared_features(
    velocity: tuple[Velocity, ...], label_rates: tuple[LabelRate, ...], delay: timedelta
) -> tuple[VelocityFeature | LabelRateFeature, ...]:
    """Return every feature that the blocks of a contract declare, in order.

    Args:
        velocity: The ``[[velocity]]`` blocks.
        label_rates: The ``[[label_rate]]`` blocks.
        delay: ``label.delay``.

    Raises:
        ValueError: If an aggregate is unknown or lacks its argument, or a window is impossible.
    """
    found = [feature for block in velocity for feature in _velocity_features(block)]
    rates = [feature for block in label_rates for feature in _label_features(block, delay)]
    return (*found, *rates)


def entity_columns(entity: str | Names) -> Names:
    """Return the columns of an entity or of a pair.

    Example:
        >>> entity_columns("CUSTOMER_ID"), entity_columns(("CUSTOMER_ID", "TERMINAL_ID"))
        (('CUSTOMER_ID',), ('CUSTOMER_ID', 'TERMINAL_ID'))
    """
    return (entity,) if isinstance(entity, str) else entity


def _velocity_features(block: Velocity) -> Iterator[VelocityFeature]:
    entity = entity_columns(block.entity)
    for text in block.aggregates:
        aggregate, argument = _split(text)
        prefix = "_".join(entity)
        if aggregate == SECONDS_SINCE_LAST:
            name = f"{prefix}_{aggregate}"
            yield VelocityFeature(name, entity, aggregate, max(block.windows))
            continue
        for window in block.windows:
            yield _windowed(prefix, entity, aggregate, argument, window)


def _windowed(
    prefix: str, entity: Names, aggregate: str, argument: str | None, window: timedelta
) -> VelocityFeature:
    if argument is None:
        name = f"{prefix}_{aggregate}_{format_duration(window)}"
        return VelocityFeature(name, entity, aggregate, window)
    if aggregate in (COUNT_RATIO, AMOUNT_MEAN_RATIO):
        longer = _longer(aggregate, argument, window)
        said = f"{aggregate}_{format_duration(longer)}"
        name = f"{prefix}_{said}_{format_duration(window)}"
        return VelocityFeature(name, entity, aggregate, window, longer=longer)
    column, _, value = argument.partition("=")
    said = f"{aggregate}_{column}_{value}" if aggregate == SHARE else f"{aggregate}_{column}"
    name = f"{prefix}_{said}_{format_duration(window)}"
    return VelocityFeature(
        name, entity, aggregate, window, column, value if aggregate == SHARE else None
    )


def _label_features(block: LabelRate, delay: timedelta) -> Iterator[LabelRateFeature]:
    entity = entity_columns(block.entity)
    kinds: tuple[Literal["rate", "count"], ...] = ("rate", "count")
    for kind in kinds:
        for window in block.windows:
            name = f"{'_'.join(entity)}_label_{kind}_{format_duration(window)}"
            yield LabelRateFeature(name, entity, kind, window, delay)


def _split(text: str) -> tuple[str, str | None]:
    aggregate, colon, argument = text.partition(":")
    if aggregate in _PLAIN:
        if colon:
            raise ValueError(f"velocity.aggregates: {aggregate!r} takes no argument; got {text!r}")
        return aggregate, None
    spelling = _WITH_ARGUMENT.get(aggregate)
    if spelling is None:
        close = difflib.get_close_matches(aggregate, [*_PLAIN, *_WITH_ARGUMENT], n=1)
        hint = f"; did you mean {_WITH_ARGUMENT.get(close[0], close[0])!r}?" if close else ""
        raise ValueError(f"velocity.aggregates: unknown aggregate {text!r}{hint}")
    column, equals, value = argument.partition("=")
    if not argument or (aggregate == SHARE and not (column and equals and value)):
        raise ValueError(f"velocity.aggregates: write {spelling}; got {text!r}")
    return aggregate, argument


def _longer(aggregate: str, argument: str, window: timedelta) -> timedelta:
    try:
        longer = parse_duration(argument)
    except ValueError as error:
        raise ValueError(f"velocity.aggregates {aggregate}: {error}") from None
    if not window < longer <= LONGEST_WINDOW:
        raise ValueError(
            f"velocity.aggregates '{aggregate}:{argument}' needs a window longer than each of its "
            f"block, which has {format_duration(window)!r}: put the longer windows in another block"
        )
    return longer
