"""What people decide of rows, as the scorer asks for it."""

from collections.abc import Sequence
from typing import Any, Protocol

from serving.refusals import RequestRefused
from serving.requests import TypedRow
from serving.scored import ScoredRow


class RowRulings(Protocol):
    """What people decide of rows whatever the model says (:mod:`serving.hard_rules`)."""

    def apply(
        self,
        rows: Sequence[TypedRow],
        scored: Sequence[ScoredRow],
        *,
        at_least_review: bool = False,
    ) -> list[ScoredRow | RequestRefused]:
        """Return the rows as people decide them."""
        ...

    def binds(self, row: TypedRow) -> bool:
        """Return whether people have a say in a row, be it that they say what the model does."""
        ...

    def describe(self) -> dict[str, Any] | None:
        """Return what is known of the rulings themselves; None where there are none."""
        ...
