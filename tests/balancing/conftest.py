"""Toy rows that a small network learns in a second, and the devices to learn them on."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from balancing.dataset import LabelledArrays

CARDINALITIES = (5, 40)
"""Codes of the toy's two categorical columns: one small, one large enough to be embedded."""

MakeToy = Callable[..., LabelledArrays]


def _make_toy(
    n_rows: int = 600, *, seed: int = 0, n_positives: int | None = None, categories: bool = True
) -> LabelledArrays:
    """Return rows whose positives have a large first column or the small category 3."""
    rng = np.random.default_rng(seed)
    numeric = rng.normal(size=(n_rows, 4)).astype(np.float32)
    categorical = np.stack([rng.integers(2, c, n_rows) for c in CARDINALITIES], axis=1)
    risk = numeric[:, 0] + 1.5 * (categorical[:, 0] == 3) * categories
    n_positives = n_rows // 10 if n_positives is None else n_positives
    label = np.zeros(n_rows, dtype=np.int8)
    label[np.argsort(-risk)[:n_positives]] = 1
    numeric[rng.random(n_rows) < 0.05, 1] = np.nan
    numeric[:, 3] = 7.0
    return LabelledArrays(numeric, categorical[:, : 2 * categories], label)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Several test workers share the cores; toy networks gain nothing from more threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_toy() -> MakeToy:
    """A maker of toy rows: four numeric columns (one constant, one with gaps), two codes."""
    return _make_toy


@pytest.fixture(scope="session")
def cardinalities() -> tuple[int, ...]:
    """Codes of the toy's categorical columns."""
    return CARDINALITIES


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Each device in turn; CUDA is skipped where there is none."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return str(request.param)
