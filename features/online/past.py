"""The past of one row: the stored events of its entities, as columns.

What a column holds is decided here once, for every store: times in microseconds, amounts in
minor units, and 64-bit codes for values. Everything is a whole number, so that a store can
pack it and two stores give the same features.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from features.aggregates import LabelRateFeature
from features.durations import microseconds
from features.online.events import Event, LabelReport
from features.velocity import MAX_AMOUNT_MINOR, VelocityPlan

MISSING = -(2**63)
"""Stands for a missing amount, value or report: none of them is ever this number."""


@dataclass(slots=True)
class EntityPast:
    """Events of one entity, in ascending order of time.

    It holds every stored event in ``[t - horizon, t)`` of the row that it is the past of. It may
    hold others: whoever reads it looks at the times.

    Attributes:
        times: Microseconds since 1970-01-01 UTC.
        amounts: Minor units, ``MISSING`` where none counts; empty where no feature reads them.
        values: For each of the layout's value columns, codes of the values (:func:`value_code`).
        reports: Label reports (:func:`report_code`), ``MISSING`` where none came; empty where
            none came for any of the events.
    """

    times: Sequence[int]
    amounts: Sequence[int] = ()
    values: tuple[Sequence[int], ...] = ()
    reports: Sequence[int] = ()


Past = tuple[EntityPast | None, ...]
"""The past of one row by ``plan.entities``; None where the row has no such entity."""


@dataclass(frozen=True, slots=True)
class EntityLayout:
    """What is stored of the events of one entity or pair.

    Attributes:
        entity: The columns of the entity.
        key_of: Returns the entity's key for an event; None where a part is missing.
        horizon: How far back features look, in microseconds.
        amounts: Whether a feature reads amounts.
        values: Positions in ``plan.value_columns`` of the columns that features read.
        labels: Whether a feature reads labels.
    """

    entity: tuple[str, ...]
    key_of: Callable[[Event], str | None]
    horizon: int
    amounts: bool
    values: tuple[int, ...]
    labels: bool


def entity_layouts(plan: VelocityPlan) -> tuple[EntityLayout, ...]:
    """Return the layout of each of ``plan.entities``, in order."""
    return tuple(_layout(plan, at) for at in range(len(plan.entities)))


def no_events(layout: EntityLayout) -> EntityPast:
    """Return the past of an entity that has none."""
    return EntityPast((), values=((),) * len(layout.values))


def layout_number(key: str) -> int:
    """Return which layout an entity's key belongs to."""
    return int(key.partition(":")[0])


def key_text(layout: EntityLayout, key: str) -> str:
    """Return the values of an entity, as a person reads them, from its key."""
    n_parts = len(layout.entity)
    return key.split(":", 1 if n_parts == 1 else 1 + n_parts)[-1]


def stored_amount(amount_minor: int | None) -> int:
    """Return the amount as aggregates see it: ``MISSING`` beyond ±10^12 minor units."""
    if amount_minor is None or not -MAX_AMOUNT_MINOR <= amount_minor <= MAX_AMOUNT_MINOR:
        return MISSING
    return amount_minor


@lru_cache(maxsize=1 << 16)
def value_code(value: str | None) -> int:
    """Return the signed 64-bit code of a value; equal values have equal codes.

    Two different values share a code with probability 2^-64: among a million distinct values
    in one window, once in 37 million such windows.
    """
    if value is None:
        return MISSING
    hashed = hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    code = int.from_bytes(hashed, "little", signed=True)
    return code if code != MISSING else 0


def report_code(report: LabelReport) -> int:
    """Return a report as one number; of two reports the larger one counts.

    That is the later one. Of two at the same moment the positive one counts, whichever was
    handed in first.
    """
    return 2 * report.reported_at + report.label


def _layout(plan: VelocityPlan, at: int) -> EntityLayout:
    entity = plan.entities[at]
    features = [each for each in plan.velocity_features if each.entity == entity]
    columns = {each.column for each in features}
    return EntityLayout(
        entity=entity,
        key_of=_key_of(plan, at),
        horizon=microseconds(plan.horizon(entity)),
        amounts=any(each.needs_amount for each in features),
        values=tuple(n for n, name in enumerate(plan.value_columns) if name in columns),
        labels=any(
            isinstance(each, LabelRateFeature) for each in plan.features if each.entity == entity
        ),
    )


def _key_of(plan: VelocityPlan, at: int) -> Callable[[Event], str | None]:
    """Return the function that names an event's entity: ``0:17``, or ``2:4:17|9`` for a pair.

    The first number tells entities of one name apart, the others where a part ends. What the
    contract calls personal is named by its hash.
    """
    entity, columns = plan.entities[at], plan.columns
    positions = tuple(columns.entities.index(name) for name in entity)
    is_personal = any(name in columns.pii for name in entity)
    if len(positions) == 1 and not is_personal:
        only, prefix = positions[0], f"{at}:"

        def key_of_one(event: Event) -> str | None:
            text = event.entities[only]
            return None if text is None else prefix + text

        return key_of_one

    def key_of_parts(event: Event) -> str | None:
        parts = [event.entities[position] for position in positions]
        if None in parts:
            return None
        texts = [text for text in parts if text is not None]
        key = ":".join(str(len(text)) for text in texts) + ":" + "|".join(texts)
        return f"{at}:{_pseudonym(key, plan.state_key) if is_personal else key}"

    return key_of_parts


def _pseudonym(text: str, state_key: str) -> str:
    content = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=16, key=state_key[:64].encode()).hexdigest()
