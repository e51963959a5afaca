"""Reasons name what raised a score, and never what must not be named."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from serving.scored import ScoredRow
from serving.scorer import Scorer
from serving.verification import load_scorer

RISKY: dict[str, Any] = {
    "AMOUNT": 300.0, "COUNTRY": "XX", "DEVICE": 2, "DISTANCE": 1.0, "AGE_DAYS": 0,
    "PLACED_AT": "2026-03-01T03:00:00Z",
}  # fmt: skip


def test_the_effects_can_be_added_up(scorer: Scorer, shop_row) -> None:
    # Log-odds -2 + 3.0 - 1.0 + 0.5 = 0.5; with the benign amount of 20: 0.5 - 2.8 = -2.3.
    result = scorer.score_rows([shop_row(AMOUNT=300.0)])[0]

    amount, distance = result.reasons
    assert result.risk_score == pytest.approx(0.622459, abs=1e-6)
    assert (amount.column, amount.text) == ("AMOUNT", "Amount unusual for this customer")
    assert amount.effect == pytest.approx(0.622459 - 0.091123, abs=1e-6)
    assert (distance.column, distance.effect) == ("DISTANCE", pytest.approx(0.12246, abs=1e-5))


def test_at_most_four_are_named_the_strongest_first(scorer: Scorer, shop_row) -> None:
    reasons = scorer.score_rows([shop_row(**RISKY)])[0].reasons

    assert [reason.column for reason in reasons] == ["AMOUNT", "COUNTRY", "IS_NIGHT", "DEVICE"]
    assert all(a.effect >= b.effect > 0 for a, b in pairwise(reasons))


def test_replacing_a_named_factor_lowers_the_score(scorer: Scorer, shop_row) -> None:
    before = scorer.score_rows([shop_row(**RISKY)])[0]
    benign = scorer.bundle.benign | {"DEVICE": 1}

    for reason in before.reasons:
        change = (
            {"PLACED_AT": "2026-03-01T12:00:00Z"}
            if reason.column == "IS_NIGHT"
            else {reason.column: benign[reason.column]}
        )
        after = scorer.score_rows([shop_row(**(RISKY | change))])[0]

        assert before.risk_score - after.risk_score == pytest.approx(reason.effect, abs=1e-12)
        assert after.risk_score < before.risk_score


def test_an_approved_row_has_none(scorer: Scorer, shop_row) -> None:
    assert scorer.score_rows([shop_row()])[0].reasons == ()


def test_the_same_row_gets_the_same_reasons_in_any_company(scorer: Scorer, shop_row, table) -> None:
    alone = scorer.score_rows([shop_row(**RISKY)])[0]
    company = [shop_row(AMOUNT=float(amount)) for amount in range(0, 1000, 7)]

    together = scorer.score_rows([*company, shop_row(**RISKY), *company])

    assert together[len(company)] == alone
    assert scorer.score_rows([shop_row(**RISKY)])[0] == alone


def test_a_denied_column_is_never_named(scorer: Scorer, shop_row) -> None:
    # A young account is what makes this row risky; the contract denies AGE_DAYS.
    results = scorer.score_rows(
        [shop_row(AGE_DAYS=-age, AMOUNT=50.0) for age in range(0, 2000, 100)]
    )

    stopped = [row for row in results if isinstance(row, ScoredRow) and row.decision != "approve"]
    assert stopped
    assert not {reason.column for row in stopped for reason in row.reasons} & {"AGE_DAYS"}


def test_what_is_derived_from_a_denied_column_is_not_named_either(
    new_home, shop_contract, shop_row, tmp_path: Path
) -> None:
    reasons = {"deny": ["PLACED_AT"]}
    denying = load_scorer(new_home(tmp_path, contract=shop_contract | {"reasons": reasons}), "shop")

    named = {reason.column for reason in denying.score_rows([shop_row(**RISKY)])[0].reasons}

    assert named == {"AMOUNT", "COUNTRY", "DEVICE", "AGE_DAYS"}


def test_loans_are_explained_in_words_for_loans(
    new_home, shop_contract, shop_row, tmp_path: Path
) -> None:
    lending = load_scorer(new_home(tmp_path, contract=shop_contract | {"domain": "loans"}), "shop")

    reasons = lending.score_rows([shop_row(**RISKY)])[0].reasons

    assert reasons[0].text == "Amount unusual for this customer"
    assert reasons[1].text == "COUNTRY differs from that of loans that were repaid"
