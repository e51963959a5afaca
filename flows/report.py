"""The model report: one self-contained page that says how a model does and how it came to be."""

from pathlib import Path
from typing import Any

from balancing.part_figures import PartsReport
from flows.featurization import read_counts, read_features
from flows.fitted_model import how_in_words
from flows.headline_metrics import HEADLINE_METRICS
from flows.pages import picture_uri, render_page
from flows.recalibration import read_policy
from flows.request import TrainRequest
from flows.run_folder import RunFolder, read_json
from infra.revision import code_revision
from infra.storage import write_atomically

_PLOTS = {
    "precision_recall": "How many alerts are right, against how many positives are found.",
    "roc": "Positives found at each share of legitimate rows stopped.",
    "reliability": "Whether a score of 0.2 means that two in ten are positive.",
    "score_histogram": "Where the two classes lie, and where the thresholds cut.",
    "costs": (
        "What a review threshold would have cost over the test period, at the policy's costs or, "
        "where it states none, at 5 a review and the whole amount of each positive missed. Where "
        "amounts are far above the cost of a review, as with loans, reviewing all is cheapest."
    ),
    "training": "How training went.",
    "memorisation": (
        "Whether the network learns its positives by heart. Solid above dashed: rows it has not "
        "seen cost more than those it learns from. Far-apart means and a wide gap: it puts them "
        "elsewhere. Where folds chose the length, this is the last of them."
    ),
}
_METRIC_WORDS = {
    "average_precision": "Precision averaged over recall; a random score gets the prevalence.",
    "roc_auc": "Chance that a positive scores above a negative.",
    "recall_at_fpr_0.001": "Positives found when 0.1 % of the negatives are stopped.",
    "recall_at_fpr_0.01": "Positives found when 1 % of the negatives are stopped.",
    "recall_at_fpr_0.05": "Positives found when 5 % of the negatives are stopped.",
    "precision_at_100": "Positives among the 100 highest scores.",
    "precision_at_500": "Positives among the 500 highest scores.",
    "precision_at_n_positives": "Positives among as many top scores as there are positives.",
    "value_detection_rate": "Positives' amount found among as many top scores as positives.",
    "value_detection_rate_at_100": "Positives' amount found among the 100 highest scores.",
    "value_detection_rate_at_500": "Positives' amount found among the 500 highest scores.",
    "brier_score": "Mean squared error of the score; lower is better.",
    "brier_skill": "Share of a constant score's squared error that is gone.",
    "log_loss": "Mean surprise at the outcome; lower is better.",
    "log_loss_skill": "Share of a constant score's surprise that is gone.",
    "expected_calibration_error": "Mean gap between score and observed rate; lower is better.",
}


def write_report(request: TrainRequest, feature_folder: Path, run: RunFolder) -> None:
    """Write the page of a run whose evaluation is done."""
    evaluation, training = read_json(run.evaluation), read_json(run.training)
    _, feature_set = read_features(feature_folder)
    page = render_page(
        "report.html.j2",
        name=request.model_name,
        request=request,
        contract=feature_set.contract,
        features=(*feature_set.numeric, *feature_set.categorical),
        parts=_parts(read_counts(feature_folder)),
        validation=read_json(run.validation),
        metrics=_metric_rows(evaluation["report"]),
        report=evaluation["report"],
        impact=evaluation["impact"],
        groups=PartsReport.model_validate(evaluation["parts"]).groups,
        policy=read_policy(run),
        training=training,
        network=_network(training["config"]["strategy"]),
        how=how_in_words(training["how"]),
        search=read_json(run.search_record) if run.search_record.is_file() else None,
        parity=read_json(run.parity),
        plots=_plots(run),
        revision=code_revision(),
    )
    with write_atomically(run.report) as staging:
        staging.write_text(page, "utf-8")


def _network(strategy: dict[str, Any]) -> str | None:
    """Return the kind of the network, None where there is none."""
    found = strategy.get("extractor", strategy).get("network")
    return None if found is None else str(found["kind"])


def _metric_rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the metrics in the order of their explanations, then any other."""
    metrics = report["metrics"]
    return [
        {
            "name": name,
            "words": _METRIC_WORDS.get(name, ""),
            "reference": report["references"].get(name),
            "is_headline": name in HEADLINE_METRICS,
            **metrics[name],
        }
        for name in (*_METRIC_WORDS, *sorted(metrics.keys() - _METRIC_WORDS.keys()))
        if name in metrics
    ]


def _parts(counts: dict[str, int]) -> list[dict[str, Any]]:
    return [
        {"part": part, "rows": counts[f"{part}_rows"], "positives": counts[f"{part}_positives"]}
        for part in ("train", "validation", "calibration", "test")
    ]


def _plots(run: RunFolder) -> list[dict[str, str]]:
    found = []
    for name, caption in _PLOTS.items():
        path = run.plots / f"{name}.png"
        if path.is_file():
            found.append({"src": picture_uri(path), "caption": caption})
    return found
