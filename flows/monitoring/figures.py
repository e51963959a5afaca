"""The figures of a report by name, for whoever keeps them over time."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isfinite

from flows.monitoring.config import Limits
from flows.monitoring.report import MonitorReport


@dataclass(frozen=True, slots=True)
class Figure:
    """One number.

    Attributes:
        name: Of the figure, without a prefix.
        value: Finite.
        says: What it is, in one sentence.
        labels: What it is of, where there are several of the name.
    """

    name: str
    value: float
    says: str
    labels: dict[str, str] = field(default_factory=dict)


def figures_of(report: MonitorReport) -> list[Figure]:
    """Return every figure that is known."""
    return [figure for figure in _figures(report) if isfinite(figure.value)]


def _figures(report: MonitorReport) -> Iterator[Figure]:
    yield Figure("rows", report.rows, "Rows in the window.")
    for action in ("notify", "retrain"):
        count = sum(each.action == action for each in report.findings)
        yield Figure(f"findings_{action}", count, f"Findings that call to {action}.")
    for metric in Limits.model_fields:
        found = [each.value for each in report.findings if each.metric == metric]
        says = "Largest finding by metric; 0 without one."
        yield Figure("finding", max(found, default=0.0), says, {"metric": metric})
    yield from _drift(report)
    yield from _decisions(report)
    yield from _performance(report)
    if report.maturity is not None and report.maturity.expected_to_come is not None:
        says = "Positives of the window still to be reported; an estimate."
        yield Figure("positives_to_come_estimate", report.maturity.expected_to_come, says)


def _drift(report: MonitorReport) -> Iterator[Figure]:
    for each in report.columns:
        of = {"column": each.column}
        if each.stability_index is not None:
            says = "Population stability index of a feature."
            yield Figure("column_stability_index", each.stability_index, says, of)
        yield Figure("column_missing_share", each.missing, "Share of rows without a value.", of)
        if each.unseen is not None:
            says = "Share of rows with a category unknown from training."
            yield Figure("column_unseen_share", each.unseen, says, of)
    known = [each.stability_index for each in report.columns if each.stability_index is not None]
    if known:
        says = "Largest population stability index of any feature."
        yield Figure("largest_stability_index", max(known), says)
    if report.scores is not None:
        says = "Population stability index of the risk score."
        yield Figure("score_stability_index", report.scores.stability_index, says)


def _decisions(report: MonitorReport) -> Iterator[Figure]:
    for each in report.decisions:
        of = {"decision": each.decision}
        yield Figure("decision_share", each.share.value, "Share of rows by decision.", of)
    yield Figure("alerts_per_day", report.volume.per_day.value, "Rows stopped a day.")
    if report.volume.expected_per_day is not None:
        says = "Rows stopped a day that the policy was made for."
        yield Figure("expected_alerts_per_day", report.volume.expected_per_day, says)


def _performance(report: MonitorReport) -> Iterator[Figure]:
    found = report.monitored
    coverage = found.coverage
    if coverage.share_of_rows is not None:
        says = "Share of rows whose label is known."
        yield Figure("labelled_share", coverage.share_of_rows, says)
    if coverage.share_of_declines is not None:
        says = "Share of declined rows whose label is known."
        yield Figure("labelled_decline_share", coverage.share_of_declines, says)
    for metric in ("average_precision", "precision", "recall"):
        words = metric.replace("_", " ").capitalize()
        if found.judged is not None:
            value = getattr(found.judged, metric).value
            yield Figure(metric, value, f"{words} on matured labels.")
        if found.estimated is not None:
            says = f"{words} from scores alone, before labels; an estimate."
            yield Figure(f"{metric}_estimate", getattr(found.estimated, metric).value, says)
    if found.calibration is not None:
        slope, error = found.calibration.slope.value, found.calibration.error.value
        yield Figure("calibration_slope", slope, "Slope of the calibration line.")
        yield Figure("expected_calibration_error", error, "Mean gap of score and observed rate.")
