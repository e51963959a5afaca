"""What a policy file asks for, fitted on rows whose scores are known to be right."""

import numpy as np
import polars as pl
import pytest

from balancing.calibration.fitting.post_processing import TrainingFigures
from balancing.calibration.fitting.prior_estimation import PriorNotEstimable
from flows.calibration_rows import CalibrationRows
from flows.policy_file import PolicyFile
from flows.policy_fitting import PolicyRequest, fit_requested_policy, segment_counts

OBJECTIVES = {
    "review": {"objective": "max_fpr", "max_fpr": 0.05},
    "decline": {"objective": "max_fpr", "max_fpr": 0.01},
}
TRAINING = TrainingFigures(class_counts=(9_800, 200), mean_logits=(2.0, -2.0))


def rows_of(n_rows: int, *, share: float, seed: int, labelled: bool = True) -> pl.DataFrame:
    """Rows of two classes, three apart, whose log-odds are right where a fiftieth is positive."""
    random = np.random.default_rng(seed)
    label = random.random(n_rows) < share
    place = random.normal(0, 1, n_rows) + 3 * label
    odds = 3 * place - 4.5 + np.log(0.02 / 0.98)
    return pl.DataFrame(
        {
            "row_id": np.arange(n_rows).astype(str),
            "label": pl.Series(label.astype(int) if labelled else [None] * n_rows, dtype=pl.Int8),
            "amount_minor": pl.Series([1000] * n_rows, dtype=pl.Int64),
            "event_time": pl.Series([None] * n_rows, dtype=pl.Datetime("us", "UTC")),
            "logit_negative": -odds / 2,
            "logit_positive": odds / 2,
        }
    )


def request(**wanted: object) -> PolicyRequest:
    rows = CalibrationRows(
        frame=rows_of(10_000, share=0.02, seed=0),
        fingerprint="f" * 64,
        origin="rows",
        are_kept=False,
        left_out={},
    )
    return PolicyRequest(
        model_sha256="0" * 64,
        minor_units_per_major=100,
        rows=rows,
        wanted=PolicyFile.model_validate(OBJECTIVES | wanted),
        training=TRAINING,
        actor="tests",
        reason="tests",
    )


def no_rows() -> pl.DataFrame:
    return rows_of(0, share=0.02, seed=1)


def test_nothing_is_done_to_logits_unless_it_is_asked_for() -> None:
    policy, estimate = fit_requested_policy(request(), no_rows())

    assert estimate is None
    assert policy.prior_shift is None
    logits = np.array([[-1.0, 1.0], [3.0, -3.0]])
    assert np.array_equal(policy.post_processing.apply(logits), logits)


def test_a_strength_that_is_given_is_taken() -> None:
    policy, _ = fit_requested_policy(
        request(post_processing={"kind": "logit_adjustment", "tau": 0.5}), no_rows()
    )

    assert policy.post_processing.model_dump() == {
        "kind": "logit_adjustment", "tau": 0.5, "class_counts": (9_800, 200),
    }  # fmt: skip


def test_a_known_base_rate_reads_scores_at_it() -> None:
    plain, _ = fit_requested_policy(request(), no_rows())
    rare, _ = fit_requested_policy(request(prior={"base_rate": 0.002}), no_rows())

    logits = np.array([[-1.0, 1.0]])
    odds = [score / (1 - score) for score in (plain.risk_score(logits), rare.risk_score(logits))]
    trained = rare.prior_shift.trained_prevalence
    assert odds[1] / odds[0] == pytest.approx((0.002 / 0.998) / (trained / (1 - trained)))


def test_a_base_rate_is_estimated_on_rows_without_labels() -> None:
    recent = rows_of(20_000, share=0.06, seed=2, labelled=False)

    policy, estimate = fit_requested_policy(request(prior={"estimate": True}), recent)

    assert estimate is not None
    assert estimate.prevalence.low < 0.06 < estimate.prevalence.high
    assert policy.prior_shift == estimate.shift


def test_rows_of_another_kind_have_no_base_rate() -> None:
    recent = rows_of(20_000, share=0.06, seed=2, labelled=False)
    shifted = recent.with_columns(pl.col("logit_positive") + 10)

    with pytest.raises(PriorNotEstimable, match="outside the range"):
        fit_requested_policy(request(prior={"estimate": True}), shifted)


def test_training_counts_are_summed_over_the_columns_that_segment() -> None:
    counts = pl.DataFrame(
        {
            "WAY": ["web", "web", "chip", None],
            "COUNTRY": ["DE", "FR", "DE", "DE"],
            "negatives": [10, 20, 30, 40],
            "positives": [1, 2, 3, 4],
        }
    )

    assert segment_counts(counts, ("WAY",)) == {"chip": (30, 3), "web": (30, 3)}
    assert segment_counts(counts, ("WAY", "COUNTRY")) == {
        "chip | DE": (30, 3), "web | DE": (10, 1), "web | FR": (20, 2),
    }  # fmt: skip
    assert segment_counts(counts, ()) == {}
