"""Boosted trees apart from the library that grew them, in the words that ONNX has for them."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np


@dataclass(frozen=True, slots=True)
class Leaf:
    """An end of a tree, and what it adds to the log odds."""

    value: float


@dataclass(frozen=True, slots=True)
class Split:
    """A question that a row answers with yes or no.

    Attributes:
        column: Of the feature matrix: numbers, then category codes.
        bound: Yes where the number is not above it; a float32, so that comparing it in any
            precision gives the same answer. None where codes are asked for.
        codes: Yes where the code is one of them.
        missing_is_yes: The answer of a missing number. A code is never missing.
        yes: Where in the tree a row with that answer goes.
        no: Where it goes otherwise.
    """

    column: int
    bound: float | None
    codes: tuple[int, ...]
    missing_is_yes: bool
    yes: int
    no: int


Tree: TypeAlias = tuple[Split | Leaf, ...]
"""The first node is the root; children stand behind their parents."""


@dataclass(frozen=True, slots=True)
class BoostedTrees:
    """Trees whose leaves add up to log odds.

    Attributes:
        trees: In the order of boosting.
        base: What every row starts from, shifts of the odds taken out.
    """

    trees: tuple[Tree, ...]
    base: float


def at_most(bound: float) -> float:
    """Return the largest float32 that is not above a bound.

    For a float32 ``x``, ``x <= bound`` and ``x <= at_most(bound)`` are the same.
    """
    with np.errstate(over="ignore"):
        nearest = float(np.float32(bound))
    return nearest if nearest <= bound else below(nearest)


def below(bound: float) -> float:
    """Return the largest float32 that is less than a float32 bound.

    For a float32 ``x``, ``x < bound`` and ``x <= below(bound)`` are the same.
    """
    return float(np.nextafter(np.float32(bound), np.float32(-np.inf)))
