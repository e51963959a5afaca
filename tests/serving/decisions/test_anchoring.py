"""Heads go into the ledger once, while they move; whoever starts later goes on from there."""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from infra.ledger import Ledger, LedgerEntry, open_ledger
from infra.signing import KeyUnusable, SigningKey
from serving.decisions import anchoring
from serving.decisions.anchoring import ANCHORED, Anchoring
from tests.serving.conftest import ROW

from .conftest import LogPlace

KEY = SigningKey.generate()


def new_anchoring(shop: LogPlace, ledger: Ledger, **options: Any) -> Anchoring:
    store = shop.store()
    options = {"read_key": lambda: KEY, "actor": "service"} | options
    return Anchoring(ledger, lambda: store, options.pop("read_key"), **options)


def decide(model: Any, *numbers: int) -> None:
    model.answer_rows(
        [ROW | {"ORDER_ID": str(number)} for number in numbers], places=range(len(numbers))
    )


def heads_in(entry: LedgerEntry | None) -> dict[str, Any]:
    assert entry is not None
    heads: dict[str, Any] = entry.details["statement"]["writers"]
    return heads


def test_nothing_decided_is_nothing_written(shop: LogPlace) -> None:
    ledger = open_ledger(shop.settings())

    assert new_anchoring(shop, ledger).anchor() is None
    assert ledger.entries() == []


def test_what_moved_is_anchored_once_whoever_looks(shop: LogPlace) -> None:
    ledger, model, other = open_ledger(shop.settings()), shop.serve(), shop.serve()
    several = [new_anchoring(shop, ledger) for _ in range(3)]
    decide(model, 1, 2)

    with ThreadPoolExecutor(3) as pool:
        first = [each for each in pool.map(Anchoring.anchor, several) if each]
    decide(other, 3)
    second = [each for each in map(Anchoring.anchor, several) if each]

    assert len(first) == len(second) == 1
    (own,) = heads_in(first[0]).values()
    (others,) = heads_in(second[0]).values()
    assert (own[:2], others[:2]) == ([1, 2], [1, 1])
    assert ledger.verify() == 2
    assert new_anchoring(shop, ledger).anchor() is None


def test_nobody_anchors_again_within_half_the_time(shop: LogPlace) -> None:
    ledger, model = open_ledger(shop.settings()), shop.serve()
    slow = new_anchoring(shop, ledger, seconds=60.0)
    decide(model, 1)
    assert slow.anchor() is not None
    decide(model, 2)

    assert slow.anchor() is None
    assert heads_in(slow.anchor(at_once=True))


def test_a_complete_anchor_comes_again(shop: LogPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anchoring, "_COMPLETE_EVERY", 3)
    ledger, model, other = open_ledger(shop.settings()), shop.serve(), shop.serve()
    decide(other, 0)
    for number in range(1, 6):
        decide(model, number)
        assert new_anchoring(shop, ledger).anchor() is not None

    entries = ledger.entries(event=ANCHORED)

    assert [len(heads_in(entry)) for entry in entries] == [2, 1, 1, 2, 1]
    assert [e.details["statement"]["since_complete"] for e in entries] == [0, 1, 2, 0, 1]


def _raise_unusable() -> SigningKey | None:
    raise KeyUnusable("others can read it")


@pytest.mark.parametrize(("read_key", "why"), [
    (lambda: None, "has no private key"), (_raise_unusable, "others can read it"),
])  # fmt: skip
def test_without_a_key_it_anchors_unsigned_and_says_so_once(
    shop: LogPlace, caplog: pytest.LogCaptureFixture, read_key: Any, why: str
) -> None:
    ledger, model = open_ledger(shop.settings()), shop.serve()
    unsigned = new_anchoring(shop, ledger, read_key=read_key)
    with caplog.at_level(logging.WARNING):
        for number in range(2):
            decide(model, number)
            entry = unsigned.anchor()
            assert entry is not None
            assert entry.details["signature"] is None

    told = [record for record in caplog.records if "without signatures" in record.message]
    assert len(told) == 1
    assert why in told[0].why  # type: ignore[attr-defined]
