"""The impact preview as a page: what a policy would change, before it changes anything."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from balancing.calibration.thresholds import REVIEW
from flows.impact import Impact
from flows.impact_figures import NEW, OLD, Comparison, Figures
from flows.pages import render_page

_WIDTH, _HEIGHT, _MARGIN = 900, 240, 44
_FEWEST_DAYS = 5


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the comparison: a figure under both policies.

    Attributes:
        name: What is counted.
        old: As it reads for a person; an en dash where there is no figure.
        new: Likewise.
        change: New less old, with its sign.
        words: What it means.
    """

    name: str
    old: str
    new: str
    change: str
    words: str = ""


def render_impact(impact: Impact, *, currency: str | None, **values: Any) -> str:
    """Return the page.

    Args:
        impact: The preview.
        currency: Of the amounts; None where rows have none.
        **values: The policies, what they were made from, and who asked; see the template.
    """
    return render_page(
        "impact.html.j2",
        impact=impact,
        currency=currency,
        lines=comparison_lines(impact.total.old, impact.total.new, currency),
        segments=[segment_line(segment, currency) for segment in impact.segments],
        chart=_chart(impact),
        **values,
    )


def comparison_lines(old: Figures | None, new: Figures, currency: str | None) -> list[Line]:
    """Return the figures of both policies, in the order a person asks for them.

    Of exploration nothing is said where neither policy explores.
    """
    wanted: list[tuple[str, str, str, str]] = [
        ("alerts_per_day", "Alerts a day", "one", "rows reviewed or declined"),
        ("alerts", "Alerts", "count", "in the whole period"),
        ("declines", "Declined", "count", "of the alerts"),
        ("caught", "Positives caught", "count", "known positives among the alerts"),
        ("missed", "Positives missed", "count", "known positives that were approved"),
        ("caught_amount", f"Amount caught, {currency}", "money", "of the positives caught"),
        ("missed_amount", f"Amount missed, {currency}", "money", "of the positives missed"),
        ("precision", "Precision", "share", "positives among the alerts with a known label"),
        ("recall", "Recall", "share", "caught among all known positives"),
        ("false_positive_rate", "False-positive rate", "share", "alerts among known negatives"),
    ]
    if any(figures is not None and figures.explored for figures in (old, new)):
        wanted += [
            ("explored_per_day", "Explored a day", "one", "declined rows approved, expected"),
            ("explored", "Explored", "one", "in the whole period, expected"),
            (
                "explored_amount", f"Amount explored, {currency}", "money",
                "of the known positives among them, expected",
            ),
        ]  # fmt: skip
    return [
        _line(name, getattr(old, field) if old else None, getattr(new, field), kind, words)
        for field, name, kind, words in wanted
        if getattr(new, field) is not None
    ]


def segment_line(segment: Comparison, currency: str | None) -> dict[str, str]:
    """Return the figures of one segment as they read for a person, old policy first."""
    wanted = [("alerts_per_day", "one"), ("precision", "share"), ("recall", "share")]
    if segment.new.alerts_per_day is None:
        wanted[0] = ("alerts", "count")
    if currency is not None:
        wanted.append(("missed_amount", "money"))
    return {
        "column": segment.column or "",
        "value": "(missing)" if segment.value is None else segment.value,
        "rows": _written(segment.rows, "count"),
        "positives": _written(segment.positives, "count"),
    } | {field: _before_and_after(segment, field, kind) for field, kind in wanted}


def _before_and_after(segment: Comparison, field: str, kind: str) -> str:
    now = _written(getattr(segment.new, field), kind)
    if segment.old is None:
        return now
    before = _written(getattr(segment.old, field), kind)
    return now if before == now else f"{before} → {now}"


def _line(name: str, old: float | None, new: float | None, kind: str, words: str) -> Line:
    change = "–" if old is None or new is None else _written(new - old, kind, sign=True)
    return Line(name, _written(old, kind), _written(new, kind), change, words)


def _written(value: float | None, kind: str, *, sign: bool = False) -> str:
    if value is None:
        return "–"
    plus = "+" if sign else ""
    shape = {"count": f"{plus},d", "money": f"{plus},.2f", "one": f"{plus},.1f"}
    if kind == "share":
        text = f"{100 * value:{plus}.3g} " + ("points" if sign else "%")
    else:
        text = format(value, shape[kind])
    return text.replace("-", "−")


@dataclass(frozen=True, slots=True)
class _Chart:
    """Alerts over time, as points of two lines in a box.

    Attributes:
        unit: ``day`` or ``hour``.
        top: Highest count.
        since: First bucket.
        until: Last bucket.
        lines: SVG points by policy.
    """

    unit: str
    top: int
    since: str
    until: str
    lines: dict[str, str]
    width: int = _WIDTH
    height: int = _HEIGHT
    margin: int = _MARGIN


def _chart(impact: Impact) -> _Chart | None:
    if impact.days is None:
        return None
    unit = "day" if impact.days >= _FEWEST_DAYS else "hour"
    every = {"day": "1d", "hour": "1h"}[unit]
    policies = [which for which in (OLD, NEW) if f"{which}_decision" in impact.rows.columns]
    counts = (
        impact.rows.drop_nulls("event_time")
        .with_columns(at=pl.col("event_time").dt.truncate(every))
        .group_by("at")
        .agg((pl.col(f"{which}_decision") >= REVIEW).sum().alias(which) for which in policies)
        .sort("at")
        .upsample("at", every=every)
        .fill_null(0)
    )
    if counts.height < 2:
        return None
    top = max(1, *(max(counts[which].to_list()) for which in policies))
    shown = "%Y-%m-%d" if unit == "day" else "%Y-%m-%d %H:%M"
    return _Chart(
        unit=unit,
        top=top,
        since=counts["at"].dt.strftime(shown)[0],
        until=counts["at"].dt.strftime(shown)[-1],
        lines={which: _points(counts[which].to_list(), top) for which in policies},
    )


def _points(counts: list[int], top: int) -> str:
    step = (_WIDTH - 2 * _MARGIN) / (len(counts) - 1)
    tall = _HEIGHT - 2 * _MARGIN
    return " ".join(
        f"{_MARGIN + at * step:.1f},{_HEIGHT - _MARGIN - count / top * tall:.1f}"
        for at, count in enumerate(counts)
    )
