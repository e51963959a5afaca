"""Plots of an evaluation and of a training, as matplotlib figures that no display is needed for.

Colours are Okabe and Ito's, which people with any colour vision tell apart; classes differ in
line style or hatching too.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from balancing.curves import (
    PrecisionRecallCurve,
    ReliabilityCurve,
    RocCurve,
    ScoreHistogram,
    log_odds_of,
)
from balancing.evaluation import EvaluationReport
from balancing.metrics.costs import CostCurve
from balancing.metrics.intervals import Interval

NEGATIVE_COLOUR = "#0072B2"
POSITIVE_COLOUR = "#D55E00"
ACCENT_COLOUR = "#009E73"
QUIET_COLOUR = "#8A8A8A"
_INK = "#222222"
_SIZE_INCHES = (6.4, 4.6)
_DOTS_PER_INCH = 120
_SHOWN_PROBABILITIES = (0.00001, 0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)


def plot_evaluation(report: EvaluationReport) -> dict[str, Figure]:
    """Return the four figures of a report by file stem."""
    curves, metrics = report.curves, report.metrics
    return {
        "precision_recall": plot_precision_recall(
            curves.precision_recall,
            prevalence=report.prevalence,
            average_precision=metrics["average_precision"],
        ),
        "roc": plot_roc(curves.roc, roc_auc=metrics["roc_auc"]),
        "reliability": plot_reliability(curves.reliability, prevalence=report.prevalence),
        "score_histogram": plot_score_histogram(curves.histogram),
    }


def plot_precision_recall(
    curve: PrecisionRecallCurve, *, prevalence: float, average_precision: Interval
) -> Figure:
    """Return precision over recall, with the prevalence a random score would get."""
    figure, axes = _frame("Precision and recall", "Recall", "Precision")
    # Precision of the highest score reaches back to recall 0, as average precision counts it.
    axes.step(
        np.concatenate([[0.0], curve.recall]),
        np.concatenate([curve.precision[:1], curve.precision]),
        where="pre",
        color=POSITIVE_COLOUR,
        linewidth=2,
        label=f"average precision {_with_interval(average_precision)}",
    )
    axes.axhline(
        prevalence,
        color=QUIET_COLOUR,
        linestyle="--",
        linewidth=1.2,
        label=f"random score {prevalence:.2g}",
    )
    axes.set(xlim=(0, 1), ylim=(0, 1.03))
    add_legend(axes)
    return figure


def plot_roc(curve: RocCurve, *, roc_auc: Interval) -> Figure:
    """Return recall over the false-positive rate, the latter on a log axis."""
    figure, axes = _frame("Recall at a false-positive rate", "False-positive rate", "Recall")
    rates = curve.false_positive_rate
    lowest = max(float(rates[rates > 0].min(initial=1.0)) / 2, 1e-6)
    axes.step(
        np.maximum(rates, lowest),
        curve.recall,
        where="post",
        color=POSITIVE_COLOUR,
        linewidth=2,
        label=f"ROC-AUC {_with_interval(roc_auc)}",
    )
    grid = np.geomspace(lowest, 1, 200)
    axes.plot(grid, grid, color=QUIET_COLOUR, linestyle="--", linewidth=1.2, label="random score")
    axes.set_xscale("log")
    axes.set(xlim=(lowest, 1), ylim=(0, 1.03))
    add_legend(axes)
    return figure


def plot_reliability(curve: ReliabilityCurve, *, prevalence: float) -> Figure:
    """Return observed over predicted rate on log-odds axes, with 95 % Wilson intervals.

    A bin of one class only has no place on such an axis; an arrow at the edge marks it.
    """
    figure, axes = _frame("Reliability", "Predicted probability", "Observed rate")
    ends = _log_odds_limits(np.concatenate([curve.predicted, curve.low[curve.observed > 0]]))
    axes.plot(ends, ends, color=QUIET_COLOUR, linestyle="--", linewidth=1.2, label="calibrated")
    x, y = log_odds_of(curve.predicted), np.clip(log_odds_of(curve.observed), *ends)
    low, high = log_odds_of(curve.low), log_odds_of(curve.high)
    axes.vlines(
        x, np.maximum(low, ends[0]), np.minimum(high, ends[1]), color=NEGATIVE_COLOUR, linewidth=1.6
    )
    none, all_of_them = curve.observed == 0, curve.observed == 1
    some = ~(none | all_of_them)
    axes.plot(
        x[some], y[some], "o-", color=NEGATIVE_COLOUR, linewidth=1, label="observed, 95 % interval"
    )
    for marker, rows, label in (
        ("v", none, "no positive in the bin"),
        ("^", all_of_them, "only positives in the bin"),
    ):
        if rows.any():
            axes.plot(
                x[rows],
                np.full(rows.sum(), ends[0 if marker == "v" else 1]),
                marker,
                color=NEGATIVE_COLOUR,
                markerfacecolor="white",
                clip_on=False,
                zorder=5,
                label=label,
            )
    rate = log_odds_of(np.array([prevalence]))[0]
    axes.axvline(
        rate,
        color=ACCENT_COLOUR,
        linestyle=":",
        linewidth=1.4,
        label=f"prevalence {prevalence:.2g}",
    )
    _probability_axis(axes.xaxis, ends)
    _probability_axis(axes.yaxis, ends)
    axes.set(xlim=ends, ylim=ends)
    add_legend(axes)
    return figure


def plot_score_histogram(
    histogram: ScoreHistogram,
    *,
    review_threshold: float | None = None,
    decline_threshold: float | None = None,
) -> Figure:
    """Return rows per score and class, counts on a log axis, with the thresholds if given."""
    figure, axes = _frame("Scores by class", "Risk score", "Rows (log scale)")
    edges = histogram.edges
    axes.stairs(
        histogram.negatives,
        edges,
        fill=True,
        color=NEGATIVE_COLOUR,
        alpha=0.45,
        label=f"negatives ({histogram.negatives.sum():,.0f})",
    )
    axes.stairs(
        histogram.positives,
        edges,
        color=POSITIVE_COLOUR,
        linewidth=1.8,
        hatch="///",
        label=f"positives ({histogram.positives.sum():,.0f})",
    )
    for name, threshold, style in (
        ("review", review_threshold, "--"),
        ("decline", decline_threshold, "-"),
    ):
        if threshold is not None:
            axes.axvline(
                log_odds_of(np.array([threshold]))[0],
                color=_INK,
                linestyle=style,
                linewidth=1.3,
                label=f"{name} from {threshold:.3g}",
            )
    filled = np.flatnonzero(histogram.negatives + histogram.positives)
    ends = (float(edges[filled[0]]), float(edges[filled[-1] + 1]))
    axes.set_yscale("log")
    tallest = float(np.maximum(histogram.negatives, histogram.positives).max())
    axes.set_ylim(0.7, 4 * tallest)
    axes.set_xlim(ends)
    _probability_axis(axes.xaxis, ends)
    add_legend(axes)
    return figure


def plot_costs(curve: CostCurve, *, currency: str, threshold: float | None = None) -> Figure:
    """Return the cost of a period by threshold, its parts, and the chosen threshold if given."""
    figure, axes = _frame("Threshold against cost", "Decision threshold", f"Cost in {currency}")
    x = log_odds_of(curve.threshold)
    parts = (
        ("missed positives", curve.missed, POSITIVE_COLOUR, "--"),
        ("review", curve.review, NEGATIVE_COLOUR, "-."),
        ("friction", curve.friction, ACCENT_COLOUR, ":"),
    )
    for name, cost, colour, style in parts:
        if cost.any():
            axes.plot(x, cost, color=colour, linestyle=style, linewidth=1.5, label=name)
    axes.plot(x, curve.total, color=_INK, linewidth=2.2, label="total")
    if threshold is not None:
        place = log_odds_of(np.array([threshold]))[0]
        axes.axvline(place, color=QUIET_COLOUR, linewidth=1.2, label=f"chosen {threshold:.3g}")
    ends = _log_odds_limits(curve.threshold)
    axes.set_xlim(ends)
    # The far left, where every row is an alert, would squash the part one chooses in.
    top = 2.5 * max(curve.nothing, float(curve.total.min()))
    axes.set_ylim(0, min(top, 1.05 * float(curve.total.max())) or 1.0)
    _probability_axis(axes.xaxis, ends)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    add_legend(axes)
    return figure


def plot_training(
    epoch: Sequence[float],
    *,
    train_loss: Sequence[float],
    validation_average_precision: Sequence[float | None],
    best_epoch: float | None = None,
) -> Figure:
    """Return training loss and validation average precision by epoch, one above the other."""
    figure = Figure(figsize=_SIZE_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True)
    set_style(upper, "Training", "", "Training loss")
    set_style(lower, "", "Epoch", "Validation\naverage precision")
    marker = "o" if len(epoch) <= 40 else None
    style: dict[str, Any] = {"marker": marker, "markersize": 3.5, "linewidth": 1.8}
    upper.plot(epoch, train_loss, color=NEGATIVE_COLOUR, **style)
    judged = [float("nan") if value is None else value for value in validation_average_precision]
    lower.plot(epoch, judged, color=POSITIVE_COLOUR, **style)
    if best_epoch is not None:
        for axes in (upper, lower):
            axes.axvline(
                best_epoch, color=QUIET_COLOUR, linestyle="--", linewidth=1.2, label="kept"
            )
        add_legend(lower)
    return figure


def save(figure: Figure, path: Path | str) -> Path:
    """Write a figure as PNG or SVG, by the ending; equal figures give equal bytes.

    Raises:
        ValueError: If the ending is another one.
    """
    target = Path(path)
    kind = target.suffix.lower()
    if kind not in {".png", ".svg"}:
        raise ValueError(f"A plot is written as .png or .svg. Got {target.name!r}.")
    import matplotlib as mpl

    metadata = {"Software": None} if kind == ".png" else {"Date": None, "Creator": None}
    # Without a salt of its own matplotlib names SVG parts at random.
    with mpl.rc_context({"svg.hashsalt": "whitecrow", "svg.fonttype": "path"}):
        figure.savefig(target, format=kind[1:], metadata=metadata)
    return target


def _frame(title: str, x_label: str, y_label: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=_SIZE_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    set_style(axes, title, x_label, y_label)
    return figure, axes


def set_style(axes: Any, title: str, x_label: str, y_label: str) -> None:
    """Give axes their words and the look that all plots share."""
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=_INK)
    axes.set_xlabel(x_label, color=_INK)
    axes.set_ylabel(y_label, color=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#E3E3E3", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK, labelsize=9)


def add_legend(axes: Any) -> None:
    """Add the legend, where it hides least."""
    axes.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none", fontsize=9)


def _with_interval(interval: Interval) -> str:
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _log_odds_limits(probability: Any) -> tuple[float, float]:
    odds = log_odds_of(probability)
    return float(odds.min()) - 0.5, float(odds.max()) + 0.5


def _probability_axis(axis: Any, ends: tuple[float, float]) -> None:
    """Label an axis of log-odds with the probabilities they stand for."""
    places = log_odds_of(np.array(_SHOWN_PROBABILITIES))
    shown = [each for each in range(len(places)) if ends[0] <= places[each] <= ends[1]]
    axis.set_ticks([places[each] for each in shown])
    axis.set_ticklabels([f"{_SHOWN_PROBABILITIES[each]:f}".rstrip("0") for each in shown])
