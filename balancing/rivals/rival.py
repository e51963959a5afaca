"""What every rival is: a way to fit a model that is not a network to labelled rows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from balancing.dataset import LabelledArrays
from balancing.rivals.trees import BoostedTrees

Float64Array: TypeAlias = NDArray[np.float64]

SearchSpace: TypeAlias = dict[str, tuple[Any, ...]]
"""Sensible values of each setting, the default among them."""


@dataclass(frozen=True, slots=True)
class FittedRival:
    """A fitted model.

    Attributes:
        model: The library's own.
        n_rounds: Trees or boosting rounds in it; ``None`` where there is no such thing.
        scored: From rows to log odds.
        trees: Reads the trees out of it, so that they can be released; ``None`` where it has none
            that add up to log odds.
    """

    model: Any
    n_rounds: int | None
    scored: Callable[[LabelledArrays], NDArray[np.floating[Any]]]
    trees: Callable[[], BoostedTrees] | None = None

    def log_odds(self, arrays: LabelledArrays) -> Float64Array:
        """Return each row's log odds of a positive at the training rows' own prevalence.

        Weights and samples that shift the odds are taken out.

        Shape:
            ``(n_rows,)`` float64.
        """
        return np.asarray(self.scored(arrays), dtype=np.float64)


class Rival(Protocol):
    """Fits a model.

    Attributes:
        search_space: Values to try, by the name of the setting.
        counts_rounds: Whether validation rows decide how many rounds there are.
    """

    search_space: ClassVar[SearchSpace]
    counts_rounds: ClassVar[bool]

    def fit(
        self,
        train: LabelledArrays,
        *,
        validation: LabelledArrays | None = None,
        n_rounds: int | None = None,
        seed: int = 0,
        n_threads: int | None = None,
    ) -> FittedRival:
        """Fit a model.

        Args:
            train: Rows to learn from.
            validation: Rows whose average precision decides when boosting stops.
            n_rounds: Exact number of rounds instead; where rounds count, one of the two is needed.
            seed: Fixes the result on one machine and thread count.
            n_threads: Threads; ``None`` for all cores.

        Raises:
            MissingExtra: If the library is not installed.
            OneClassOnly: If training or validation rows hold one class only.
            ValueError: If boosting is told neither validation rows nor rounds.
        """


def check_rows(
    train: LabelledArrays, validation: LabelledArrays | None, n_rounds: int | None
) -> None:
    """Refuse what boosting cannot learn from, or cannot stop on."""
    train.require_both_classes("training")
    if n_rounds is not None:
        return
    if validation is None:
        raise ValueError("Boosting needs validation rows or n_rounds to know when to stop.")
    validation.require_both_classes("validation")
