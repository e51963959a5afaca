"""What retraining was worth: the model that answered beside the one that was never retrained."""

from dataclasses import dataclass

import polars as pl

from balancing.calibration.thresholds import APPROVE, DECISION_NAMES
from balancing.metrics.intervals import Interval, paired_difference
from balancing.metrics.loss_intervals import mean_interval
from balancing.metrics.ranking import average_precision_of
from balancing.metrics.realised_performance import N_REPLICATES, realised_performance
from infra.settings import Settings
from serving.model_references import ResolvedModel
from serving.model_store import ModelStore
from serving.verification import load_resolved

LIVE, FROZEN = "live", "never retrained"


@dataclass(frozen=True)
class Figures:
    """Some rows as both models decide them.

    Attributes:
        rows: Their number.
        positives: Among them.
        average_precision: By model.
        recall: Share of the positives reviewed or declined, by model.
        alerts: Share of the rows reviewed or declined, by model.
        average_precision_gain: Live less never retrained, paired.
        recall_gain: Likewise.
    """

    rows: int
    positives: int
    average_precision: dict[str, Interval]
    recall: dict[str, Interval]
    alerts: dict[str, float]
    average_precision_gain: Interval
    recall_gain: Interval


def decided_by_both(
    settings: Settings, decided: pl.DataFrame, frozen: ResolvedModel
) -> pl.DataFrame:
    """Return ``score:MODEL`` and ``alert:MODEL`` of rows that the service has decided.

    Shape:
        One line a row, in order, with ``label``.
    """
    scorer = load_resolved(ModelStore.open(settings), frozen)
    contract = scorer.bundle.contract
    said = scorer.score_frame(decided.select(contract.request_columns), with_reasons=False)
    return pl.DataFrame(
        {
            "label": (decided[contract.label.column] == contract.label.positive).cast(pl.Int8),
            f"score:{LIVE}": decided["risk_score"],
            f"score:{FROZEN}": said.risk_score,
            f"alert:{LIVE}": decided["decision"] != DECISION_NAMES[APPROVE],
            f"alert:{FROZEN}": said.decision != APPROVE,
        }
    )


def figures_of(rows: pl.DataFrame) -> Figures:
    """Return the figures of rows of :func:`decided_by_both`, with 95 % intervals."""
    label = rows["label"].to_numpy()
    scores = {model: rows[f"score:{model}"].to_numpy() for model in (LIVE, FROZEN)}
    alerts = {model: rows[f"alert:{model}"].to_numpy() for model in (LIVE, FROZEN)}
    found = {model: realised_performance(label, scores[model], alerts[model]) for model in scores}
    caught = {model: alerts[model][label == 1].astype(float) for model in alerts}
    return Figures(
        rows=len(label),
        positives=int(label.sum()),
        average_precision={model: each.average_precision for model, each in found.items()},
        recall={model: each.recall for model, each in found.items()},
        alerts={model: float(each.mean()) for model, each in alerts.items()},
        average_precision_gain=paired_difference(
            label, scores[LIVE], scores[FROZEN], average_precision_of, n_replicates=N_REPLICATES
        ),
        recall_gain=mean_interval(caught[LIVE] - caught[FROZEN]),
    )
