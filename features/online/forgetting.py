"""Which stored entities are about one value of one column: what goes when somebody is erased."""

from collections.abc import Sequence

from features.online.events import Event
from features.online.past import entity_layouts
from features.velocity import VelocityPlan


class ForgottenEntity:
    """The keys of one value, alone and in pairs with others.

    A pair with a personal column is named by a hash that nobody can tell the value from, nor
    find by it: it goes when its events expire.

    Args:
        plan: Of the state.
        column: An entity of the contract.
        value: As text.

    Attributes:
        alone: Keys of the value by itself.
        paired: How keys of pairs begin that may be about it.
    """

    def __init__(self, plan: VelocityPlan, column: str, value: str) -> None:
        names = plan.columns.entities
        event = Event("", 0, None, tuple(value if each == column else None for each in names), ())
        keys = [layout.key_of(event) for layout in entity_layouts(plan)]
        self.alone = [key for key in keys if key is not None]
        self._value = value
        self._pairs = {
            at: (len(entity), entity.index(column))
            for at, entity in enumerate(plan.entities)
            if len(entity) > 1 and column in entity and not set(entity) & set(plan.columns.pii)
        }
        self.paired = [f"{at}:" for at in self._pairs]

    def is_named(self, key: str) -> bool:
        """Return whether a key is about the value."""
        if key in self.alone:
            return True
        at, _, rest = key.partition(":")
        if int(at) not in self._pairs:
            return False
        n_parts, position = self._pairs[int(at)]
        *lengths, text = rest.split(":", n_parts)
        return _parts(text, [int(length) for length in lengths])[position] == self._value


def _parts(text: str, lengths: Sequence[int]) -> list[str]:
    parts = []
    for length in lengths:
        parts.append(text[:length])
        text = text[length + 1 :]
    return parts
