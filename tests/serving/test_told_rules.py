"""The ledger hears of hard rules once for each change, whoever looks."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from features.contract import parse_contract
from infra.database import StateUnavailable
from infra.ledger import Ledger
from serving.rule_book import RuleBook
from serving.told_rules import RULES_TAKEN, ToldRules


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules").mkdir()
    return tmp_path / "rules"


def told_by(folder: Path, shop_contract: dict, ledger: Ledger) -> tuple[RuleBook, ToldRules]:
    book = RuleBook(folder)
    book.rules_of(parse_contract(shop_contract, source="tests"))
    return book, ToldRules(ledger, book, actor="service")


def test_a_change_is_told_once_with_what_was_before(
    folder: Path, shop_contract: dict, tmp_path: Path
) -> None:
    ledger, file = Ledger(tmp_path / "ledger.db"), folder / "shop.toml"
    file.write_text("")
    several = [told_by(folder, shop_contract, ledger) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda each: each[1].look(), several))
    file.write_text("# nobody is denied any more\n")
    for book, told in several * 2:  # a file must stand still from one look to the next
        book.look()
        told.look()
    for book, told in several:
        book.look()
        told.look()

    first, second = (hashlib.sha256(text).hexdigest() for text in
                     (b"", b"# nobody is denied any more\n"))  # fmt: skip
    assert [entry.details for entry in ledger.entries("shop", event=RULES_TAKEN)] == [
        {"before": None, "sha256": first}, {"before": first, "sha256": second},
    ]  # fmt: skip


def test_no_rules_are_nothing_to_tell(folder: Path, shop_contract: dict, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")

    told_by(folder, shop_contract, ledger)[1].look()

    assert ledger.entries() == []


def test_a_ledger_that_is_away_is_told_later(
    folder: Path, shop_contract: dict, tmp_path: Path
) -> None:
    (folder / "shop.toml").write_text("")
    (tmp_path / "blocked").write_text("no folder")
    ledger = Ledger(tmp_path / "blocked" / "ledger.db")
    _, told = told_by(folder, shop_contract, ledger)

    with pytest.raises(StateUnavailable):
        told.look()
    (tmp_path / "blocked").unlink()
    told.look()

    assert len(ledger.entries()) == 1
