"""The velocity plan: which features over time a contract declares, and what they need to know.

One plan for both evaluators. Offline, ``velocity_table`` computes it over a table; online,
``features.online`` over the stored events of a row's entities.

A window is ``[t - window, t)``: strictly before the row, the same instant excluded. A row with
a missing entity (or part of a pair) has no features of that entity and is nobody's event.
"""

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, lru_cache

from features.aggregates import LabelRateFeature, VelocityFeature, declared_features
from features.contract import Contract
from features.contract_blocks import Columns, Label, LabelRate, Names, Velocity
from infra.storage import sha256_json

__all__ = ["LabelRateFeature", "VelocityFeature", "VelocityPlan", "velocity_plan"]

# Raise it when stored events come to mean something else.
_STATE_FORMAT = 1

MAX_AMOUNT_MINOR = 10**12
"""Amounts further from zero (minor units) count as events but have no amount: sums stay exact."""


@dataclass(frozen=True)
class VelocityPlan:
    """Features over time, compiled from a contract by :func:`velocity_plan`.

    Attributes:
        features: In the order of ``contract.numeric_features``.
        columns: The roles of the columns.
        label: What a label is, and when it is known.
        velocity: The ``[[velocity]]`` blocks.
        label_rate: The ``[[label_rate]]`` blocks.
    """

    features: tuple[VelocityFeature | LabelRateFeature, ...]
    columns: Columns
    label: Label
    velocity: tuple[Velocity, ...]
    label_rate: tuple[LabelRate, ...]

    def __bool__(self) -> bool:
        return bool(self.features)

    @cached_property
    def names(self) -> Names:
        """Name of each feature, in order."""
        return tuple(feature.name for feature in self.features)

    @cached_property
    def velocity_features(self) -> tuple[VelocityFeature, ...]:
        """The features of ``[[velocity]]``, in order."""
        return tuple(each for each in self.features if isinstance(each, VelocityFeature))

    @cached_property
    def label_features(self) -> tuple[LabelRateFeature, ...]:
        """The features of ``[[label_rate]]``, in order."""
        return tuple(each for each in self.features if isinstance(each, LabelRateFeature))

    @cached_property
    def entities(self) -> tuple[Names, ...]:
        """Each entity or pair that a feature is about, in order of first use."""
        return tuple(dict.fromkeys(feature.entity for feature in self.features))

    @cached_property
    def value_columns(self) -> Names:
        """Columns whose values events must carry, in order of first use."""
        columns = (feature.column for feature in self.velocity_features)
        return tuple(dict.fromkeys(name for name in columns if name is not None))

    @cached_property
    def source_columns(self) -> Names:
        """Columns of a row that its features or its event need, in order."""
        event_time = self.columns.event_time
        amount = self.columns.amount if self.needs_amount else None
        names = (
            *((event_time.column,) if event_time else ()),
            *((amount.column,) if amount else ()),
            *(name for entity in self.entities for name in entity),
            *self.value_columns,
        )
        return tuple(dict.fromkeys(names)) if self.features else ()

    @cached_property
    def needs_amount(self) -> bool:
        """Whether any feature reads amounts."""
        return any(feature.needs_amount for feature in self.velocity_features)

    @cached_property
    def longest_horizon(self) -> timedelta:
        """The longest look-back of any feature; zero without features."""
        return max((self.horizon(entity) for entity in self.entities), default=timedelta(0))

    def horizon(self, entity: Names) -> timedelta:
        """Return how far back events of an entity are needed, label delay included."""
        return max(each.look_back for each in self.features if each.entity == entity)

    @cached_property
    def state_key(self) -> str:
        """SHA-256 over all that shapes stored events: another key, another state."""
        columns, label = self.columns, self.label
        event_time, amount = columns.event_time, columns.amount
        return sha256_json(
            {
                "format": _STATE_FORMAT,
                "id": columns.id,
                "entities": columns.entities,
                "values": self.value_columns,
                "event_time": event_time.model_dump(mode="json") if event_time else None,
                "amount": amount.model_dump(mode="json") if amount else None,
                "velocity": [block.model_dump(mode="json") for block in self.velocity],
                "label_rate": [block.model_dump(mode="json") for block in self.label_rate],
                "label": label.model_dump(mode="json", include={"delay", "absent_means"}),
            }
        )


def velocity_plan(contract: Contract) -> VelocityPlan:
    """Return the plan of a contract; empty (false) where it declares no features over time."""
    return _plan(contract.columns, contract.label, contract.velocity, contract.label_rate)


@lru_cache(maxsize=64)
def _plan(
    columns: Columns,
    label: Label,
    velocity: tuple[Velocity, ...],
    label_rate: tuple[LabelRate, ...],
) -> VelocityPlan:
    features = declared_features(velocity, label_rate, label.delay)
    return VelocityPlan(features, columns, label, velocity, label_rate)
