"""Pictures of a look at a model."""

from collections.abc import Sequence
from math import isnan
from typing import Any

import numpy as np
import polars as pl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from balancing.calibration.thresholds import APPROVE
from balancing.metrics.drift import Drift
from balancing.metrics.intervals import Interval
from balancing.plots import (
    ACCENT_COLOUR,
    NEGATIVE_COLOUR,
    POSITIVE_COLOUR,
    QUIET_COLOUR,
    add_legend,
    set_style,
)
from flows.monitoring.config import Limit
from flows.monitoring.decision_drift import AlertVolume
from flows.monitoring.input_drift import ColumnDrift
from flows.monitoring.label_maturity import Maturity
from flows.monitoring.performance import Performance

MOST_COLUMNS = 15

_WIDTH_INCHES, _HEIGHT_INCHES, _LINE_INCHES = 6.4, 3.6, 0.3
_SHOWN = ("average_precision", "precision", "recall")


def plot_columns(columns: Sequence[ColumnDrift], limit: Limit) -> Figure | None:
    """Return the stability index of the features that moved furthest; None without any."""
    known = [(each.stability_index, each.column) for each in columns if each.stability_index]
    top = sorted(known, reverse=True)[:MOST_COLUMNS]
    if not top:
        return None
    figure, axes = _frame("Features that moved furthest", "Stability index", "", len(top))
    names = [name if len(name) <= 40 else f"{name[:39]}…" for _, name in top]
    axes.barh(range(len(top)), [index for index, _ in top], color=NEGATIVE_COLOUR, height=0.6)
    axes.set_yticks(range(len(top)), names, fontsize=8)
    axes.invert_yaxis()
    for word, style in (("notify", "--"), ("retrain", "-")):
        at = getattr(limit, word)
        if at is not None:
            axes.axvline(at, color=POSITIVE_COLOUR, linestyle=style, linewidth=1.2, label=word)
    if limit.notify or limit.retrain:
        add_legend(axes)
    return figure


def plot_bins(
    title: str, edges: Sequence[float], reference: Sequence[float], window: Sequence[float]
) -> Figure:
    """Return the share of rows by bin, of the reference and of the window."""
    figure, axes = _frame(title, "Bin, by its lower edge", "Share of rows")
    places = np.arange(len(window))
    axes.bar(places - 0.2, reference, 0.4, color=QUIET_COLOUR, label="reference")
    axes.bar(places + 0.2, window, 0.4, color=NEGATIVE_COLOUR, hatch="//", label="window")
    words = ["lowest", *(f"{edge:.3g}" for edge in edges)]
    axes.set_xticks(places, words, fontsize=8, rotation=45, ha="right")
    add_legend(axes)
    return figure


def plot_score_drift(drift: Drift) -> Figure:
    """Return where risk scores lie, in bins of even mass of the reference."""
    return plot_bins(
        "Risk scores", drift.edges.tolist(), drift.reference.tolist(), drift.current.tolist()
    )


def plot_alerts(window: pl.DataFrame, volume: AlertVolume) -> Figure | None:
    """Return alerts by day beside what is expected; None for less than two days."""
    days = (
        window.drop_nulls("happened_at")
        .group_by(day=pl.col("happened_at").dt.truncate("1d"))
        .agg(alerts=(pl.col("decision") != APPROVE).sum())
        .sort("day")
    )
    if days.height < 2:
        return None
    figure, axes = _frame("Alerts by day", "", "Rows reviewed or declined")
    days = days.upsample("day", every="1d").with_columns(pl.col("alerts").fill_null(0))
    axes.plot(days["day"].to_list(), days["alerts"].to_list(), color=NEGATIVE_COLOUR, linewidth=1.8)
    if volume.expected_per_day is not None:
        axes.axhline(
            volume.expected_per_day, color=POSITIVE_COLOUR, linestyle="--", label="expected"
        )
        add_legend(axes)
    axes.set_ylim(bottom=0)
    figure.autofmt_xdate(rotation=30)
    return figure


def plot_performance(now: Performance, before: Performance) -> Figure | None:
    """Return realised and estimated figures with their intervals; None where none is known."""
    sources = [
        ("reference, realised", before.realised, QUIET_COLOUR, "s"),
        ("realised", now.realised, NEGATIVE_COLOUR, "o"),
        ("realised, re-weighted", now.reweighted, ACCENT_COLOUR, "D"),
        ("estimate", now.estimated, POSITIVE_COLOUR, "^"),
    ]
    drawn = [each for each in sources if each[1] is not None]
    if now.realised is None and now.estimated is None:
        return None
    figure, axes = _frame("Performance", "", "")
    for place, (label, source, colour, marker) in enumerate(drawn):
        figures: list[Interval] = [getattr(source, metric) for metric in _SHOWN]
        known = [at for at, each in enumerate(figures) if not isnan(each.value)]
        x = np.array(known) + 0.14 * (place - (len(drawn) - 1) / 2)
        values = np.array([figures[at].value for at in known])
        ends = np.array([[figures[at].low, figures[at].high] for at in known]).reshape(-1, 2)
        style: dict[str, Any] = {"linestyle": ":" if label == "estimate" else "-"}
        axes.vlines(x, ends[:, 0], ends[:, 1], color=colour, linewidth=1.6, **style)
        axes.plot(x, values, marker, color=colour, label=label)
    axes.set_xticks(range(len(_SHOWN)), [name.replace("_", " ") for name in _SHOWN])
    axes.set_ylim(0, 1.03)
    add_legend(axes)
    return figure


def plot_maturity(maturity: Maturity) -> Figure:
    """Return how fast labels become known, and how fast positives are reported."""
    figure, axes = _frame("Labels by age", "Days after the event", "Share known")
    axes.step(
        range(len(maturity.known_share)),
        maturity.known_share,
        where="post",
        color=NEGATIVE_COLOUR,
        linewidth=1.8,
        label="rows with a label",
    )
    if maturity.reports is not None:
        axes.step(
            range(len(maturity.reports.share)),
            maturity.reports.share,
            where="post",
            color=POSITIVE_COLOUR,
            linestyle="--",
            linewidth=1.8,
            label="positives reported",
        )
    axes.set_ylim(0, 1.03)
    add_legend(axes)
    return figure


def _frame(title: str, x: str, y: str, n_lines: int | None = None) -> tuple[Figure, Any]:
    height = _HEIGHT_INCHES if n_lines is None else 1.2 + _LINE_INCHES * n_lines
    figure = Figure(figsize=(_WIDTH_INCHES, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    set_style(axes, title, x, y)
    return figure, axes
