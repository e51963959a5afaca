"""Thresholds by amount and by segment where requests come in: the same for rows and tables."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from balancing.calibration.policy import Policy, PolicyMismatch
from balancing.calibration.post_processing.segments import SegmentTemperatures
from balancing.calibration.row_costs import RowCosts
from balancing.calibration.thresholds import DECISION_NAMES, SegmentThreshold, Thresholds
from features.segments import segment_keys
from serving.requests import request_rows
from serving.scorer import Scorer
from serving.verification import load_scorer, verify_golden_rows

COSTS = RowCosts(review_cost=5, loss_rate=1, friction_cost=1)


def changed(policy: Policy, **changes: Any) -> Policy:
    """The same policy with other content, sealed again."""
    content = {name: getattr(policy, name) for name in type(policy).model_fields}
    del content["policy_id"]
    return Policy.seal(**(content | changes))


def by_row(policy: Policy, columns: tuple[str, ...], **own: float) -> Policy:
    """Review by amount, decline by segment."""
    review, decline = policy.thresholds.review, policy.thresholds.decline
    segments = tuple(
        SegmentThreshold(
            segment=name, threshold=value, interval=decline.interval, weight=0.5, n_rows=9,
            n_positives=1, achieved=decline.achieved, reason="tests",
        )
        for name, value in own.items()
    )  # fmt: skip
    thresholds = Thresholds(
        review=review.model_copy(update={"row_costs": COSTS}),
        decline=decline.model_copy(update={"segments": segments}),
    )
    return changed(policy, thresholds=thresholds, segment_columns=columns)


def scorer_of(base: Scorer, policy: Policy) -> Scorer:
    return Scorer(base.bundle, policy, model_version="1", policy_version="2")


@pytest.fixture(scope="module", params=["derived columns", "plain columns"])
def base(request: pytest.FixtureRequest, new_home, shop_contract, tmp_path_factory) -> Scorer:
    """A table of one row is made where columns are derived, and none where they are not."""
    contract = shop_contract if request.param == "derived columns" else shop_contract | {
        "derived": {}
    }  # fmt: skip
    return load_scorer(new_home(tmp_path_factory.mktemp("home"), contract=contract), "shop")


@pytest.fixture(scope="module")
def rows_scorer(base: Scorer) -> Scorer:
    return scorer_of(base, by_row(base.policy, ("COUNTRY",), FR=0.35, XX=0.95))


def test_rows_and_tables_are_decided_alike(rows_scorer: Scorer, table) -> None:
    frame = table(400).with_columns(
        AMOUNT=pl.when(pl.int_range(pl.len()) % 9 == 0).then(None).otherwise("AMOUNT")
    )
    bundle = rows_scorer.bundle
    requests = request_rows(frame, bundle.contract, bundle.feature_set.input_types)
    whole = rows_scorer.score_frame(frame)
    words = [DECISION_NAMES[each] for each in whole.decision]

    assert set(words) == set(DECISION_NAMES)
    assert [row.decision for row in rows_scorer.score_rows(requests)] == words
    assert [rows_scorer.score_rows([row])[0].decision for row in requests] == words
    np.testing.assert_array_equal(rows_scorer.score_requests(requests).segment, whole.segment)
    np.testing.assert_array_equal(
        rows_scorer.score_requests(requests).amount_minor, whole.amount_minor
    )


def test_the_amount_and_the_segment_decide(rows_scorer: Scorer, table) -> None:
    frame = table(400)
    scored = rows_scorer.score_frame(frame, with_reasons=False)
    _, expected = rows_scorer.policy.decide(
        scored.logits,
        amount_minor=(frame["AMOUNT"] * 100).round(0).to_numpy(),
        segment=segment_keys(frame, ["COUNTRY"]),
    )
    unflagged = np.array([at not in scored.flags for at in range(400)])

    assert np.array_equal(scored.decision[unflagged], expected[unflagged])
    french = (frame["COUNTRY"] == "FR").to_numpy()
    between = (scored.risk_score >= 0.35) & (scored.risk_score < 0.8)
    assert (scored.decision[french & between] == 2).any()
    assert not (scored.decision[~french & between] == 2).any()


def test_a_worked_review_by_amount(rows_scorer: Scorer, shop_row) -> None:
    """(5 + 1) / (amount + 1): 0.059 for 100.00; a country never seen has the global decline."""
    (answer,) = rows_scorer.score_rows([shop_row(AMOUNT=100.0, COUNTRY="QQ")])

    assert answer.risk_score == pytest.approx(0.182426, abs=1e-6)
    assert answer.decision == "review"


def test_parts_of_a_table_keep_amounts_and_segments(
    rows_scorer: Scorer, table, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = table(200)
    whole = rows_scorer.score_frame(frame)
    monkeypatch.setattr("serving.scorer._ROWS_AT_ONCE", 64)
    parts = rows_scorer.score_frame(frame)

    for name in ("decision", "amount_minor", "segment"):
        assert np.array_equal(getattr(parts, name), getattr(whole, name)), name


def test_golden_rows_are_verified_by_amount_and_segment(rows_scorer: Scorer) -> None:
    golden = rows_scorer.policy.golden
    amount = (2000, None) * (len(golden.logits) // 2)
    segment = ("FR", None) * (len(golden.logits) // 2)
    score, decision = rows_scorer.policy.decide(
        np.array(golden.logits),
        amount_minor=np.array(amount, dtype=np.float64),
        segment=np.array(segment, dtype=object),
    )
    recorded = {
        "amount_minor": amount, "segment": segment,
        "risk_score": tuple(score.tolist()), "decision": tuple(decision.tolist()),
    }  # fmt: skip
    policy = changed(rows_scorer.policy, golden=golden.model_copy(update=recorded))

    verify_golden_rows(scorer_of(rows_scorer, policy))
    spoilt = recorded | {"amount_minor": (900_000,) * len(amount)}
    policy = changed(rows_scorer.policy, golden=golden.model_copy(update=spoilt))
    with pytest.raises(PolicyMismatch, match="golden rows otherwise"):
        verify_golden_rows(scorer_of(rows_scorer, policy))


def test_a_segmented_post_processing_is_served_and_explained(base: Scorer, table) -> None:
    tempered = SegmentTemperatures(
        gamma=0.3,
        class_counts=(190, 10),
        mean_logits=(0.5, -0.5),
        segment_counts={"DE": (100, 1), "FR": (50, 8)},
    )
    scorer = scorer_of(
        base, changed(base.policy, post_processing=tempered, segment_columns=("COUNTRY",))
    )
    frame = table(200)
    requests = request_rows(frame, scorer.bundle.contract, scorer.bundle.feature_set.input_types)
    whole = scorer.score_frame(frame)
    alone = [scorer.score_rows([row])[0] for row in requests]

    assert [row.risk_score for row in alone] == whole.risk_score.tolist()
    assert [row.reasons for row in alone] == [whole.reasons.get(at, ()) for at in range(200)]
    assert any(whole.reasons.values())


def test_what_the_contract_does_not_have_is_refused_when_a_policy_is_loaded(
    base: Scorer, new_home, shop_contract, tmp_path
) -> None:
    for columns, lacking in (((), "columns to segment by"), (("AGE_DAYS",), "column 'AGE_DAYS'")):
        policy = by_row(base.policy, columns, FR=0.9)
        with pytest.raises(PolicyMismatch, match=f"'shop' has no {lacking}"):
            scorer_of(base, policy)

    columns = {key: value for key, value in shop_contract["columns"].items() if key != "amount"}
    without = shop_contract | {"columns": columns | {"numeric": ["AMOUNT", "AGE_DAYS", "DISTANCE"]}}
    poor = load_scorer(new_home(tmp_path, contract=without), "shop")
    costly = poor.policy.thresholds.review.model_copy(update={"row_costs": COSTS})
    thresholds = poor.policy.thresholds.model_copy(update={"review": costly})
    with pytest.raises(PolicyMismatch, match="decides by amounts, and contract 'shop' has no"):
        scorer_of(poor, changed(poor.policy, thresholds=thresholds))
