"""The evaluation report: what is in it, that it agrees with the metrics, and its JSON."""

import json

import numpy as np
import pytest

from balancing.evaluation import EvaluationReport, evaluate
from balancing.metrics.alerts import precision_at_k, value_detection_rate
from balancing.metrics.calibration_quality import brier_score, log_loss
from balancing.metrics.operating_point import recall_at_fpr
from balancing.metrics.ranking import average_precision, roc_auc


@pytest.fixture(scope="module")
def rows() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    score = 1 / (1 + np.exp(-rng.normal(-4, 2.5, 4000)))
    return {
        "label": (rng.random(4000) < score).astype(int),
        "risk_score": score,
        "amount_minor": rng.integers(100, 90_000, 4000),
        "event_time": np.datetime64("2018-01-01", "us")
        + (np.arange(4000) * 60).astype("timedelta64[s]"),
    }


@pytest.fixture(scope="module")
def report(rows: dict[str, np.ndarray]) -> EvaluationReport:
    return evaluate(**rows, n_replicates=200, seed=1)


def test_every_promised_metric_is_there_inside_its_interval(report: EvaluationReport) -> None:
    promised = {
        "average_precision",
        "roc_auc",
        "recall_at_fpr_0.001",
        "recall_at_fpr_0.01",
        "recall_at_fpr_0.05",
        "precision_at_n_positives",
        "precision_at_100",
        "precision_at_500",
        "value_detection_rate",
        "value_detection_rate_at_100",
        "value_detection_rate_at_500",
        "brier_score",
        "log_loss",
        "expected_calibration_error",
        "brier_skill",
        "log_loss_skill",
    }

    assert set(report.metrics) == promised
    for name, interval in report.metrics.items():
        assert interval.low <= interval.value <= interval.high, name


def test_values_are_those_of_the_metrics(
    report: EvaluationReport, rows: dict[str, np.ndarray]
) -> None:
    label, score = rows["label"], rows["risk_score"]
    n_positives = int(label.sum())
    expected = {
        "average_precision": average_precision(label, score),
        "roc_auc": roc_auc(label, score),
        "recall_at_fpr_0.01": recall_at_fpr(label, score, max_fpr=0.01),
        "precision_at_100": precision_at_k(label, score, k=100),
        "precision_at_n_positives": precision_at_k(label, score, k=n_positives),
        "value_detection_rate": value_detection_rate(
            label, score, rows["amount_minor"], k=n_positives
        ),
        "brier_score": brier_score(label, score),
        "log_loss": log_loss(label, score),
    }

    for name, value in expected.items():
        assert report.metrics[name].value == pytest.approx(value), name
        assert report.values()[name] == report.metrics[name].value


def test_references_are_what_the_prevalence_gets(
    report: EvaluationReport, rows: dict[str, np.ndarray]
) -> None:
    constant = np.full(4000, rows["label"].mean())

    assert report.references["log_loss"] == pytest.approx(log_loss(rows["label"], constant))
    assert report.references["brier_score"] == pytest.approx(brier_score(rows["label"], constant))
    assert report.references["average_precision"] == pytest.approx(
        average_precision(rows["label"], constant)
    )


def test_a_report_survives_json(report: EvaluationReport) -> None:
    plain = report.to_json()
    text = json.dumps(plain, allow_nan=False)

    assert EvaluationReport.from_json(json.loads(text)).to_json() == plain


def test_the_period_is_known_with_event_times_only(
    report: EvaluationReport, rows: dict[str, np.ndarray]
) -> None:
    bare = evaluate(rows["label"], rows["risk_score"], n_replicates=5)

    assert report.period_days == pytest.approx(4000 / 1440)
    assert bare.period_days is None
    assert not [name for name in bare.metrics if name.startswith("value")]


def test_alert_counts_above_the_rows_are_left_out() -> None:
    report = evaluate([0, 1, 0], [0.1, 0.9, 0.2], ks=(2, 100), n_replicates=5)

    assert "precision_at_2" in report.metrics
    assert "precision_at_100" not in report.metrics


def test_the_seed_decides_the_report(rows: dict[str, np.ndarray]) -> None:
    label, score = rows["label"][:500], rows["risk_score"][:500]
    first, again = (evaluate(label, score, n_replicates=50, seed=3) for _ in range(2))

    assert first.to_json() == again.to_json()


def test_a_constant_score_is_reported_as_worthless() -> None:
    report = evaluate(np.arange(200) < 10, np.full(200, 0.05), n_replicates=50)

    assert report.metrics["roc_auc"].value == 0.5
    assert report.metrics["log_loss_skill"].value == pytest.approx(0)


@pytest.mark.parametrize(
    ("label", "score", "message"),
    [
        ([0, 0], [0.1, 0.2], "at least one positive"),
        ([1, 1], [0.1, 0.2], "at least one negative"),
        ([0, 1], [0.1, 1.2], "pass calibrated probabilities, not logits"),
    ],
)
def test_unusable_rows_are_refused(label: list[int], score: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(label, score)
