"""Fitting a whole policy."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from balancing.calibration.calibrator import sigmoid
from balancing.calibration.fitting.calibrators import CalibrationError
from balancing.calibration.fitting.policy import fit_score_map
from balancing.calibration.fitting.ranking_check import RankingLowered
from balancing.calibration.objectives import PolicyObjectives
from balancing.calibration.policy import Policy
from balancing.calibration.post_processing.class_dependent import ClassDependentTemperatures
from balancing.calibration.post_processing.segments import SegmentTemperatures
from balancing.metrics.calibration_quality import log_loss
from balancing.metrics.operating_point import false_positive_rate_at
from balancing.metrics.ranking import average_precision
from features.contract_blocks import PolicySettings

FPR = {"objective": "max_fpr", "max_fpr": 0.01}
PRECISION = {"objective": "min_precision", "min_precision": 0.8}


def test_tuning_and_applying_give_one_decision(policy: Policy, rows: Any) -> None:
    """What the threshold achieved while it was tuned is what the policy does to those rows."""
    decision = policy.apply(rows.logits).decision
    review, decline = policy.thresholds.review, policy.thresholds.decline

    assert (decision >= 1).sum() == review.achieved.n_alerts
    assert (decision == 2).sum() == decline.achieved.n_alerts
    assert false_positive_rate_at(rows.label, decision, threshold=1) <= 0.01


def test_the_score_is_calibrated_better_than_the_network(policy: Policy, rows: Any) -> None:
    fitted = log_loss(rows.label, policy.apply(rows.logits).risk_score)

    assert fitted < log_loss(rows.label, sigmoid(rows.log_odds))


def test_a_policy_knows_where_it_came_from(policy: Policy) -> None:
    assert policy.actor == "ada"
    assert policy.reason == "first calibration"
    assert policy.calibration_data.class_counts == (5940, 60)
    assert policy.calibration_data.fingerprint == "cd" * 32
    assert policy.costs is None


def test_the_same_rows_and_seed_give_the_same_policy(policy: Policy, rows: Any) -> None:
    assert rows.fit(FPR, PRECISION).policy_id == policy.policy_id


def test_a_decline_threshold_below_review_is_raised_to_it(rows: Any) -> None:
    thresholds = rows.fit(
        {"objective": "max_fpr", "max_fpr": 0.0005}, {"objective": "max_fpr", "max_fpr": 0.05}
    ).thresholds

    assert thresholds.decline.threshold == thresholds.review.threshold
    assert thresholds.decline.achieved == thresholds.review.achieved
    assert "to the review threshold" in thresholds.decline.reason


def test_without_a_feasible_decline_nothing_is_declined(rows: Any) -> None:
    """The highest score is a negative's, so no threshold has a precision of 1."""
    logits = np.concatenate([rows.logits, [[-40.0, 40.0]]])
    fitted = rows.fit(
        FPR,
        {"objective": "min_precision", "min_precision": 1.0},
        amount_minor=None,
        event_time=None,
    )
    assert fitted.thresholds.decline.threshold is not None

    spoilt = type(rows)(logits, np.append(rows.label, 0), None, None).fit(
        FPR, {"objective": "min_precision", "min_precision": 1.0}
    )
    assert spoilt.thresholds.decline.threshold is None
    assert "cannot be met: the highest precision" in spoilt.thresholds.decline.reason
    assert set(spoilt.apply(logits).decision) == {0, 1}
    assert Policy.from_json(spoilt.to_json()).thresholds.decline.threshold is None


def test_an_alert_budget_uses_the_length_of_the_period(rows: Any) -> None:
    fitted = rows.fit({"objective": "alert_budget", "alerts_per_day": 12}, PRECISION)

    assert fitted.thresholds.review.achieved.n_alerts == pytest.approx(120, abs=1)
    assert fitted.thresholds.review.achieved.alerts_per_day <= 12
    assert fitted.score_map.rows_per_day == pytest.approx(600, rel=0.01)


def test_costs_are_kept_with_the_policy(rows: Any) -> None:
    fitted = rows.fit({"objective": "cost", "review_cost": 3, "loss_rate": 0.9}, PRECISION)

    assert fitted.costs is not None
    assert fitted.costs.review_cost == 3
    assert fitted.costs.minor_units_per_major == 100
    assert fitted.thresholds.review.achieved.total_cost is not None


def test_without_event_times_alerts_a_day_are_unknown(rows: Any) -> None:
    fitted = rows.fit(FPR, PRECISION, event_time=None)

    assert fitted.apply(rows.logits[:2]).alerts_per_day is None
    with pytest.raises(CalibrationError, match="needs the length of the period"):
        rows.fit({"objective": "alert_budget", "alerts_per_day": 5}, PRECISION, event_time=None)


def test_stated_traffic_stands_in_for_event_times(rows: Any) -> None:
    budget = {"objective": "alert_budget", "alerts_per_day": 5, "rows_per_day": 300}
    fitted = rows.fit(budget, PRECISION, event_time=None)

    assert fitted.score_map.rows_per_day == pytest.approx(300)


def test_gamma_is_the_identity_for_thresholds_on_a_fitted_scale(rows: Any) -> None:
    """A free slope and intercept absorb what gamma moves: the same rows are stopped."""
    plain, bent = (
        rows.fit(
            FPR,
            PRECISION,
            post_processing=ClassDependentTemperatures(
                gamma=gamma, class_counts=(60_000, 100), mean_logits=(4.0, -4.0)
            ),
        )
        for gamma in (0.0, 0.2)
    )

    assert (plain.apply(rows.logits).decision == bent.apply(rows.logits).decision).all()


def test_a_contracts_policy_settings_are_understood(rows: Any) -> None:
    """The two floors declare the same fields and meet as a mapping."""
    settings = PolicySettings.model_validate({"review": FPR, "decline": PRECISION})
    fitted = rows.fit(None, None, settings=settings.model_dump())

    assert fitted.thresholds.review.objective.model_dump() == FPR
    assert PolicyObjectives.model_validate(PolicySettings().model_dump()) == PolicyObjectives()


def test_thresholds_by_segment_need_segments(rows: Any) -> None:
    with pytest.raises(CalibrationError, match="wanted by country, and the calibration rows"):
        rows.fit(
            None, None, settings={"review": FPR, "decline": PRECISION, "segments": ["country"]}
        )


def test_a_misspelt_objective_is_refused(rows: Any) -> None:
    with pytest.raises(ValidationError, match="max_frp"):
        rows.fit({"objective": "max_fpr", "max_fpr": 0.1, "max_frp": 0.1}, PRECISION)


def test_too_few_positives_are_refused(make_rows: Any) -> None:
    with pytest.raises(CalibrationError, match="need at least 10 positives"):
        make_rows(500, 4).fit(FPR, PRECISION)


@pytest.mark.parametrize("n_positives", [10, 15, 25])
def test_few_positives_are_enough_for_a_policy(make_rows: Any, n_positives: int) -> None:
    make_rows(3000, n_positives).fit(FPR, PRECISION).check_golden()


def test_the_score_map_reads_back_rates_on_the_calibration_rows(policy: Policy, rows: Any) -> None:
    decisions = policy.apply(rows.logits)
    at = np.argsort(-decisions.risk_score)[[0, 5, 50, 500, 5000]]

    for place in at:
        score = decisions.risk_score[place]
        expected = false_positive_rate_at(rows.label, decisions.risk_score, threshold=score)
        assert decisions.false_positive_rate[place] == pytest.approx(expected, abs=0.02 * expected)
    assert decisions.alerts_per_day is not None
    assert decisions.alerts_per_day.max() == pytest.approx(600, rel=0.01)


def test_a_score_map_of_one_score_has_one_point() -> None:
    assert len(fit_score_map(np.array([0, 1]), np.array([0.5, 0.5]), days=1).risk_score) == 1


def segmented(gamma: float) -> SegmentTemperatures:
    return SegmentTemperatures(
        gamma=gamma,
        class_counts=(60_000, 600),
        mean_logits=(4.0, -4.0),
        segment_counts={"web": (2000, 500), "shop": (58_000, 100)},
    )


def segments_of(rows: Any) -> np.ndarray:
    return np.resize(np.array(["web", "shop", None], dtype=object), len(rows.label))


def test_a_policy_by_segment_scores_alike_row_by_row_and_says_what_it_did_to_the_ranking(
    rows: Any,
) -> None:
    segment = segments_of(rows)
    fitted = rows.fit(FPR, PRECISION, post_processing=segmented(0.05), segment=segment, force=True)
    again = Policy.from_json(fitted.to_json())
    together = again.apply(rows.logits, segment=segment)
    alone = [again.risk_score(rows.logits[at : at + 1], segment[at : at + 1]) for at in range(99)]

    again.check_golden()
    assert np.concatenate(alone).tobytes() == together.risk_score[:99].tobytes()
    assert (together.decision >= 1).sum() == fitted.thresholds.review.achieved.n_alerts
    assert fitted.ranking_change is not None
    after = average_precision(rows.label, together.risk_score)
    assert after == pytest.approx(fitted.ranking_change.after, abs=1e-12)
    with pytest.raises(ValueError, match="needs each row's segment"):
        again.apply(rows.logits)


def test_a_policy_that_ranks_worse_beyond_doubt_is_refused_unless_forced(rows: Any) -> None:
    """One segment has its odds stretched much further than the other."""
    worse = {"post_processing": segmented(0.6), "segment": segments_of(rows)}

    with pytest.raises(RankingLowered, match="lowers average precision on the calibration rows"):
        rows.fit(FPR, PRECISION, **worse)
    forced = rows.fit(FPR, PRECISION, force=True, **worse)

    assert forced.ranking_change is not None
    assert forced.ranking_change.forced


def test_a_policy_for_all_rows_alike_has_no_ranking_to_speak_of(policy: Policy) -> None:
    assert policy.ranking_change is None
