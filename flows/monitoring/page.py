"""The page of a look: what went too far, then everything that was looked at."""

from collections.abc import Iterator
from typing import Any

import polars as pl
from matplotlib.figure import Figure

from balancing.curves import reliability_curve
from balancing.metrics.intervals import Interval
from balancing.plots import plot_reliability, save
from flows.monitoring.config import Limit, Limits
from flows.monitoring.gathering import Gathered
from flows.monitoring.performance import Performance
from flows.monitoring.pictures import (
    plot_alerts,
    plot_bins,
    plot_columns,
    plot_maturity,
    plot_performance,
    plot_score_drift,
)
from flows.monitoring.report import MonitorReport
from flows.pages import picture_uri, render_page
from infra.revision import code_revision
from infra.storage import write_atomically

_MOST_DRAWN = 3
_MOST_TOLD = 12


def write_page(report: MonitorReport, gathered: Gathered, limits: Limits) -> None:
    """Write the page, and its pictures beside it."""
    page = render_page(
        "monitor.html.j2",
        report=report,
        columns=sorted(report.columns, key=lambda each: -(each.stability_index or 0)),
        versions=[_line(each) for each in report.versions],
        segments=[
            _line(each, report.reference_segments.get(key)) for key, each in report.segments.items()
        ],
        pictures=_pictures(report, gathered, limits.column_drift),
        interval=_interval,
        share=_share,
        most_told=_MOST_TOLD,
        revision=code_revision(),
    )
    with write_atomically(report.page) as staging:
        staging.write_text(page, "utf-8")


def _line(found: Performance, before: Performance | None = None) -> dict[str, Any]:
    """Return the figures of a version or a segment; estimates apart."""
    return {"found": found, "before": before, "judged": found.judged}


def _interval(interval: Interval | None) -> str:
    """Return a figure with its ends; an en dash where there is none."""
    if interval is None or interval.value != interval.value:
        return "–"
    return f"{interval.value:.3g} [{interval.low:.3g}, {interval.high:.3g}]"


def _share(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.1%}"  # noqa: PLR0124 - NaN


def _pictures(
    report: MonitorReport, gathered: Gathered, limit: Limit
) -> dict[str, list[dict[str, str]]]:
    """Return the pictures by the section that they stand in."""
    folder = report.folder / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[dict[str, str]]] = {}
    for number, (section, caption, figure) in enumerate(_drawn(report, gathered, limit)):
        path = save(figure, folder / f"{number:02}.png")
        found.setdefault(section, []).append({"src": picture_uri(path), "caption": caption})
    return found


def _drawn(
    report: MonitorReport, gathered: Gathered, limit: Limit
) -> Iterator[tuple[str, str, Figure]]:
    columns = plot_columns(report.columns, limit)
    if columns is not None:
        yield "inputs", "Stability index; the lines are the limits.", columns
    named = {each.about for each in report.findings if each.metric == "column_drift"}
    numbers = [each for each in report.columns if each.column in named and each.edges]
    for each in sorted(numbers, key=lambda one: -(one.stability_index or 0))[:_MOST_DRAWN]:
        drawn = plot_bins(each.column, each.edges, each.reference_shares, each.shares)
        yield "inputs", f"{each.column} in bins of the reference.", drawn
    if report.scores is not None:
        caption = "Risk scores in bins of the reference."
        yield "scores", caption, plot_score_drift(report.scores)
    alerts = plot_alerts(gathered.window.frame, report.volume)
    if alerts is not None:
        yield "scores", "Alerts by day.", alerts
    performance = plot_performance(report.monitored, report.reference_performance)
    if performance is not None:
        caption = "Realised on matured labels; the dotted estimate rests on scores alone."
        yield "performance", caption, performance
    reliability = _reliability(gathered.window.frame, report)
    if reliability is not None:
        yield "performance", "Observed rates by score, on matured labels.", reliability
    if report.maturity is not None:
        caption = "Share of labels known by the age of the row."
        yield "labels", caption, plot_maturity(report.maturity)


def _reliability(window: pl.DataFrame, report: MonitorReport) -> Figure | None:
    if report.monitored.calibration is None:
        return None
    is_own = pl.col("model_version") == report.model_version
    rows = window.filter(is_own & pl.col("label").is_not_null())
    label = rows["label"].to_numpy()
    curve = reliability_curve(label, rows["risk_score"].to_numpy())
    return plot_reliability(curve, prevalence=float(label.mean()))
