"""One function for evaluation, batch and HTTP: the same bits whichever way a row comes."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from balancing.calibration.thresholds import DECISION_NAMES
from serving import scorer as scorer_module
from serving.refusals import RequestRefused
from serving.requests import request_rows
from serving.scored import ScoredRow, UnscorableRow
from serving.scorer import Scorer


def test_a_score_can_be_added_up(scorer: Scorer, shop_row) -> None:
    # -2 + 0.01 * 100 + 0 - 0.002 * 500 + 0.5 * 1 + 0 + 0 = -1.5; sigmoid(-1.5) = 0.182426
    result = scorer.score_rows([shop_row()])[0]

    assert result.risk_score == pytest.approx(0.182426, abs=1e-6)
    assert (result.id, result.decision, result.flags) == ("17", "approve", ())
    assert result.false_positive_rate == pytest.approx(1 - 0.182426, abs=1e-6)
    assert result.alerts_per_day == pytest.approx(100 * (1 - 0.182426), abs=1e-4)


def test_single_rows_batches_and_tables_give_the_same_bits(scorer: Scorer, table) -> None:
    frame = table(300)
    requests = request_rows(frame, scorer.bundle.contract, scorer.bundle.feature_set.input_types)

    whole = scorer.score_frame(frame)
    together = scorer.score_rows(requests)
    alone = [scorer.score_rows([request])[0] for request in requests]

    assert together == alone
    assert [row.risk_score for row in alone] == whole.risk_score.tolist()
    assert [row.decision for row in alone] == [DECISION_NAMES[d] for d in whole.decision]
    assert [row.reasons for row in alone] == [whole.reasons.get(at, ()) for at in range(len(alone))]
    assert [row.flags for row in alone] == [whole.flags.get(at, ()) for at in range(len(alone))]
    singles = [scorer.score_frame(frame[at]) for at in range(len(frame))]
    assert np.array_equal(np.concatenate([one.logits for one in singles]), whole.logits)


def test_a_long_table_is_scored_in_order_across_its_parts(
    scorer: Scorer, table, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = table(500)
    whole = scorer.score_frame(frame)

    monkeypatch.setattr(scorer_module, "_ROWS_AT_ONCE", 64)
    parts = scorer.score_frame(frame)

    for name in ("logits", "risk_score", "decision"):
        assert np.array_equal(getattr(parts, name), getattr(whole, name))
    assert (parts.flags, parts.reasons) == (whole.flags, whole.reasons)
    assert np.array_equal(parts.arrays.numeric, whole.arrays.numeric, equal_nan=True)


def test_a_bad_row_gets_its_refusal_in_its_place(scorer: Scorer, shop_row) -> None:
    results = scorer.score_rows(
        [shop_row(ORDER_ID=1), shop_row(AMOUNT="x"), shop_row(ORDER_ID=3), {}]
    )

    assert [type(result) for result in results] == [
        ScoredRow, RequestRefused, ScoredRow, RequestRefused,
    ]  # fmt: skip
    assert [result.id for result in results[::2]] == ["1", "3"]


def test_no_rows_give_no_results(scorer: Scorer, table) -> None:
    assert scorer.score_rows([]) == []
    assert scorer.score_rows([{}, {}])[1].code == "missing_field"
    assert len(scorer.score_frame(table(5).clear()).risk_score) == 0


def test_an_infinite_value_in_a_table_is_one_line_with_a_way_out(scorer: Scorer, table) -> None:
    frame = table(5).with_columns(pl.lit(float("inf")).alias("DISTANCE"))

    with pytest.raises(UnscorableRow, match="'DISTANCE' has an infinite value.*whitecrow validate"):
        scorer.score_frame(frame)


def test_reasons_can_be_left_out(scorer: Scorer, table) -> None:
    frame = table(300)

    assert any(scorer.score_frame(frame).reasons.values())
    assert not scorer.score_frame(frame, with_reasons=False).reasons


def test_a_model_without_time_id_or_categories_scores(
    new_home, shop_contract, tmp_path: Path
) -> None:
    from serving.verification import load_scorer

    contract = {
        "name": "plain",
        "columns": {"numeric": ["AMOUNT", "AGE_DAYS", "DISTANCE"]},
        "label": {"column": "IS_FRAUD"},
        "split": {"by": "random"},
    }
    plain = load_scorer(new_home(tmp_path, contract=contract), "plain")

    result = plain.score_rows([{"AMOUNT": 100, "AGE_DAYS": 500, "DISTANCE": None}])[0]

    assert result.id is None
    assert result.risk_score == pytest.approx(0.119203, abs=1e-6)  # sigmoid(-2)
