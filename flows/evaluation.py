"""Evaluation: the test rows, read once, scored by the functions that will serve."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from numpy.typing import NDArray

from balancing import plots
from balancing.calibration.policy import Policy
from balancing.calibration.row_costs import RowCosts
from balancing.calibration.thresholds import DECISION_NAMES, DecisionArray
from balancing.evaluation import EvaluationReport, evaluate
from balancing.inference import OnnxModel
from balancing.memorisation_plot import plot_memorisation
from balancing.metrics.costs import cost_curve
from features.contract import Contract
from features.segments import segment_keys
from flows.featurization import read_features
from flows.fitting import as_arrays, rows_of
from flows.group_evaluation import JudgedRows, evaluate_groups
from flows.recalibration import minor_units_of, read_policy, values_or_none
from flows.run_folder import RunFolder, read_json, write_json
from infra.ledger import Ledger

ASSUMED_COSTS = {"review_cost": 5.0, "loss_rate": 1.0, "friction_cost": 0.0}
"""What the cost plot assumes where a contract states no costs, in major currency units."""

logger = logging.getLogger(__name__)


def evaluate_run(
    feature_folder: Path, run: RunFolder, *, ledger: Ledger, actor: str, seed: int = 0
) -> EvaluationReport:
    """Score the test part, write metrics and plots, and record that the test rows were read."""
    table, feature_set = read_features(feature_folder)
    test = rows_of(table, "test")
    ledger.append(
        "test_rows.read",
        feature_set.contract.name,
        actor=actor,
        reason="evaluation of a trained network",
        details={"feature_table": feature_folder.name, "rows": len(test), "run": run.root.name},
    )
    rows, arrays = table[test], as_arrays(table[test], feature_set)
    logits = OnnxModel(run.onnx, threads=2).logits(arrays.numeric, arrays.categorical)
    policy = read_policy(run)
    amount = values_or_none(rows, "amount_minor")
    segment = segment_keys(rows, policy.segment_columns)
    decided = policy.apply(
        logits, amount_minor=rows["amount_minor"].cast(pl.Float64).to_numpy(), segment=segment
    )
    report = evaluate(
        arrays.label,
        decided.risk_score,
        amount_minor=amount,
        event_time=values_or_none(rows, "event_time"),
        seed=seed,
    )
    impact = impact_of(arrays.label, decided.decision, period_days=report.period_days)
    judged = JudgedRows(rows, arrays.label, decided, seed)
    parts = evaluate_groups(judged, feature_set.contract, run).model_dump(mode="json")
    write_json(run.evaluation, {"report": report.to_json(), "impact": impact, "parts": parts})
    costs = _cost_figure(policy, feature_set.contract, arrays.label, decided.risk_score, amount)
    _draw(run, report, costs)
    return report


def impact_of(
    label: NDArray[np.int8], decision: DecisionArray, *, period_days: float | None
) -> list[dict[str, Any]]:
    """Return, for each decision, how many rows and positives it met, and rows a day."""
    found = []
    for value, word in enumerate(DECISION_NAMES):
        chosen = decision == value
        n_rows, n_positives = int(chosen.sum()), int(label[chosen].sum())
        found.append(
            {
                "decision": word,
                "rows": n_rows,
                "positives": n_positives,
                "rows_per_day": n_rows / period_days if period_days else None,
            }
        )
    return found


def _draw(run: RunFolder, report: EvaluationReport, costs: Figure | None) -> None:
    thresholds = read_policy(run).thresholds
    figures = plots.plot_evaluation(report)
    figures["score_histogram"] = plots.plot_score_histogram(
        report.curves.histogram,
        review_threshold=thresholds.review.threshold,
        decline_threshold=thresholds.decline.threshold,
    )
    if costs is not None:
        figures["costs"] = costs
    training = read_json(run.training)
    if training["history"]:
        figures["training"] = _training_figure(training)
    if seen := training["memorisation"]:
        figures["memorisation"] = plot_memorisation([one["epochs"] for one in seen], seen)
    run.plots.mkdir(exist_ok=True)
    for name, figure in figures.items():
        plots.save(figure, run.plots / f"{name}.png")


def _cost_figure(
    policy: Policy,
    contract: Contract,
    label: NDArray[np.int8],
    risk_score: NDArray[np.float64],
    amount_minor: NDArray[Any] | None,
) -> Figure | None:
    """Return cost over threshold, at the policy's costs or assumed ones, if rows have amounts."""
    if amount_minor is None or contract.columns.amount is None:
        return None
    costs = policy.costs or RowCosts(
        **ASSUMED_COSTS, minor_units_per_major=minor_units_of(contract)
    )
    curve = cost_curve(label, risk_score, np.nan_to_num(amount_minor), **costs.model_dump())
    return plots.plot_costs(
        curve,
        currency=contract.columns.amount.currency,
        threshold=policy.thresholds.review.threshold,
    )


def _training_figure(training: dict[str, Any]) -> Figure:
    history = training["history"]
    return plots.plot_training(
        [record["epoch"] for record in history],
        train_loss=[record["train_loss"] for record in history],
        validation_average_precision=[record["validation_average_precision"] for record in history],
        best_epoch=training["how"]["epochs"],
    )
