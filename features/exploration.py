"""Whether what is to be explored can be told from a contract's rows."""

from typing import TYPE_CHECKING

from infra.exploration import Exploration

if TYPE_CHECKING:
    from features.contract import Contract


def check_exploration(exploration: Exploration | None, contract: "Contract", *, where: str) -> None:
    """Refuse a bound on amounts where rows have none.

    Raises:
        ValueError: Naming the key.
    """
    if exploration is None or exploration.max_amount is None:
        return
    if contract.columns.amount is None:
        raise ValueError(
            f"{where}.max_amount bounds amounts, and the contract has none: name columns.amount, "
            "or leave it out"
        )
