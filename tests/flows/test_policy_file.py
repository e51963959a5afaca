"""What a policy file leaves out is the contract's, and what it says is looked at."""

from pathlib import Path
from typing import Any

import pytest

from features.contract import Contract, read_contract
from flows.policy_file import PolicyFileError, read_policy_file
from infra.exploration import Exploration


@pytest.fixture
def contract() -> Contract:
    """The simulated stream, whose policy lets one declined row in a hundred through."""
    plain = read_contract("simulated_stream")
    policy = plain.policy.model_copy(update={"exploration": Exploration(rate=0.01)})
    return plain.model_copy(update={"policy": policy})


def written(folder: Path, text: str) -> Path:
    path = folder / "policy.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", Exploration(rate=0.01)),
        ("exploration = {rate = 0.2, max_amount = 50}", Exploration(rate=0.2, max_amount=50.0)),
        ("exploration = false", None),
        ("[policy]\nexploration = false", None),
    ],
)
def test_exploration_is_the_contracts_unless_the_file_says_otherwise(
    contract: Contract, tmp_path: Path, text: str, wanted: Exploration | None
) -> None:
    found = read_policy_file(written(tmp_path, text), contract)

    assert found.exploration == wanted
    assert found.review == contract.policy.review


def test_a_bound_on_amounts_needs_amounts(contract: Contract, tmp_path: Path) -> None:
    columns = contract.columns.model_copy(update={"amount": None})
    without: Any = contract.model_copy(update={"columns": columns})
    path = written(tmp_path, "exploration = {rate = 0.2, max_amount = 50}")

    with pytest.raises(PolicyFileError, match=r"exploration\.max_amount bounds amounts"):
        read_policy_file(path, without)
