"""One link to each state, closed after its last user."""

from pathlib import Path
from typing import Any

import pytest

from features.contract import Contract, parse_contract
from serving.state_links import StateLinks


@pytest.fixture
def links(tmp_path: Path) -> StateLinks:
    return StateLinks(tmp_path / "state")


def contract(corner: dict[str, Any], **changes: Any) -> Contract:
    return parse_contract(corner | changes, source="tests")


def test_the_same_feature_set_has_the_same_link(links: StateLinks, corner_contract) -> None:
    one, same = contract(corner_contract), contract(corner_contract, reasons={})

    assert links.take(one) is links.take(same)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "kiosk"},
        {"velocity": [{"entity": "CUSTOMER", "windows": ["1d"], "aggregates": ["count"]}]},
        # The state refuses what is ahead of its own limit.
        {"policy": {"max_clock_skew": "1h"}},
    ],
)
def test_another_state_or_limit_has_another(
    links: StateLinks, corner_contract, changes: dict[str, Any]
) -> None:
    one = links.take(contract(corner_contract))

    assert links.take(contract(corner_contract, **changes)) is not one


def test_it_is_closed_with_its_last_user_and_opened_again(
    links: StateLinks, corner_contract
) -> None:
    shared = contract(corner_contract)
    link = links.take(shared)
    links.take(shared)
    links.give_back(shared)
    still_open = link.ask(lambda state: state.newest())
    links.give_back(shared)

    assert still_open is None
    assert links.take(shared) is not link
