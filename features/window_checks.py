"""Whether ``[[velocity]]`` and ``[[label_rate]]`` fit the columns that the contract names."""

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

from features.aggregates import LabelRateFeature, VelocityFeature
from features.contract_blocks import Columns, Names


def check_windows_fit(
    features: Sequence[VelocityFeature | LabelRateFeature], columns: Columns, derived: Names
) -> None:
    """Check features over time against the roles of the columns.

    Args:
        features: What the blocks declare.
        columns: The roles; patterns may be expanded or not.
        derived: Names of the derived columns.

    Raises:
        ValueError: If an entity or a column is unknown, an aggregate of amounts finds no amount,
            or the name of a feature is taken.
    """
    for feature in features:
        block = "velocity" if isinstance(feature, VelocityFeature) else "label_rate"
        _check_entity(block, feature.entity, columns.entities)
        if isinstance(feature, VelocityFeature):
            _check_columns(feature, columns)
    _check_names([feature.name for feature in features], columns, derived)


def _check_entity(block: str, entity: Names, entities: Names) -> None:
    if not entity:
        raise ValueError(f"{block}.entity is empty: name one of columns.entities")
    if len(set(entity)) < len(entity):
        raise ValueError(f"{block}.entity names {entity[0]!r} twice: keep one")
    for name in entity:
        if name not in entities:
            hint = _did_you_mean(name, entities)
            raise ValueError(f"{block}.entity {name!r} is not one of columns.entities{hint}")


def _check_columns(feature: VelocityFeature, columns: Columns) -> None:
    if feature.needs_amount and columns.amount is None:
        raise ValueError(f"velocity.aggregates {feature.aggregate!r} needs columns.amount")
    if feature.column is None:
        return
    textual = (*columns.entities, *columns.categorical, *((columns.id,) if columns.id else ()))
    name = feature.column
    if name not in textual and not any(fnmatchcase(name, pattern) for pattern in textual):
        raise ValueError(
            f"velocity.aggregates '{feature.aggregate}:{feature.column}' looks at a column that is "
            f"neither an entity nor categorical{_did_you_mean(feature.column, textual)}"
        )
    if (feature.column,) == feature.entity:
        raise ValueError(
            f"velocity.aggregates '{feature.aggregate}:{feature.column}' is the same for every "
            "row of its entity: name another column"
        )


def _check_names(names: Sequence[str], columns: Columns, derived: Names) -> None:
    roles = (columns.entities, columns.numeric, columns.categorical, columns.drop, columns.groups)
    taken = {name: "a column" for role in roles for name in role}
    for named in (columns.event_time, columns.amount):
        if named is not None:
            taken[named.column] = "a column"
    if columns.id is not None:
        taken[columns.id] = "a column"
    taken |= dict.fromkeys(derived, "a derived column")
    for name in names:
        if name in taken:
            raise ValueError(f"{taken[name]} has the name of feature {name!r}: keep one of them")
        taken[name] = "another [[velocity]] or [[label_rate]]"


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
