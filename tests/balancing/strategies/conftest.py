"""Small settings that the tests of single strategies share."""

from collections.abc import Callable
from typing import Any

import pytest

from balancing.strategies.registry import build_strategy, read_strategy

FitTwoEpochs = Callable[..., Any]


@pytest.fixture
def two_epochs(make_toy, cardinalities) -> FitTwoEpochs:
    """Return the toy's logits after two epochs of a strategy, dropout included."""

    def logits(kind: str, **settings: Any):
        network = {"kind": "mlp", "n_members": 2, "width": 8, "dropout": 0.25}
        small = {"network": network, "training": {"batch_size": 64}}
        strategy = build_strategy(read_strategy({"kind": kind, **small, **settings}))
        toy = make_toy()
        return strategy.fit(toy, cardinalities=cardinalities, n_epochs=2).logits(toy)

    return logits
