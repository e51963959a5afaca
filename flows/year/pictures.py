"""Pictures of the simulated year: a line for each way, and what happened when."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import DateFormatter, MonthLocator
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from balancing.metrics.intervals import Interval
from balancing.plots import (
    ACCENT_COLOUR,
    NEGATIVE_COLOUR,
    POSITIVE_COLOUR,
    QUIET_COLOUR,
    add_legend,
    set_style,
)
from flows.year.comparison import ALL_KNOWING, FROZEN, RETRAINED, WAYS, MonthFigures
from flows.year.plan import YearPlan
from flows.year.timeline import Kind, Timeline

_LOOKS = {
    RETRAINED: (POSITIVE_COLOUR, "-", "o"),
    FROZEN: (QUIET_COLOUR, "--", "s"),
    ALL_KNOWING: (NEGATIVE_COLOUR, ":", "^"),
}
# The new fraud is wide: a promotion of the same day stands in the middle of it.
_MARKS: dict[Kind, tuple[str, str, str, float]] = {
    "new_fraud": ("new fraud", "#E69F00", "-", 6.0),
    "promoted": ("promoted", ACCENT_COLOUR, "-", 1.2),
    "refused": ("refused", "#CC79A7", "--", 2.4),
    "rolled_back": ("rolled back", "#222222", ":", 1.2),
}
_CHALLENGERS: dict[Kind, tuple[str, str, str]] = {
    "promoted": ("promoted by the gate", "o", ACCENT_COLOUR),
    "refused": ("refused by the gate", "X", "#CC79A7"),
    "waits": ("left to a person", "D", QUIET_COLOUR),
    "rolled_back": ("rolled back to", "v", "#222222"),
}
_APART_DAYS = 4
_MARGIN_DAYS = 5
_EPOCH = datetime(1970, 1, 1).toordinal()  # noqa: DTZ001 - matplotlib counts days from here

Figured = Callable[[MonthFigures], Interval | None]


def plot_months(
    months: Sequence[MonthFigures],
    timeline: Timeline,
    plan: YearPlan,
    *,
    title: str,
    axis: str,
    figured: Figured,
) -> Figure:
    """Return one figure by month with 95 % intervals, a line for each way, and what happened.

    Args:
        months: Of every way.
        timeline: Promotions, refusals and rollbacks are marked.
        plan: When months begin.
        title: Above it.
        axis: What is drawn.
        figured: Takes it from a month; None where there is none.
    """
    figure, axes = _frame(title, axis)
    for place, way in enumerate(WAYS):
        colour, style, marker = _LOOKS[way]
        drawn = [
            (_middle(plan, each.month), found)
            for each in months
            if each.way == way and (found := figured(each)) is not None
        ]
        if not drawn:
            continue
        shift = (place - 1) * _APART_DAYS
        x = [_place(moment) + shift for moment, _ in drawn]
        y = [found.value for _, found in drawn]
        ends = [
            [max(found.value - found.low, 0.0) for _, found in drawn],
            [max(found.high - found.value, 0.0) for _, found in drawn],
        ]
        axes.errorbar(
            x, y, yerr=ends, color=colour, linestyle=style, marker=marker, markersize=5,
            linewidth=1.6, elinewidth=1, capsize=2, label=way,
        )  # fmt: skip
    _mark(axes, timeline)
    _calendar(axes, plan)
    axes.set_ylim(bottom=0)
    add_legend(axes)
    return figure


def plot_versions(timeline: Timeline, plan: YearPlan) -> Figure:
    """Return which version answered when, and which challengers did not come to that."""
    figure, axes = _frame("Versions", "Version that answers")
    live = timeline.live()
    begins = [_place(since) for since, _ in live] + [_place(plan.begin(13))]
    versions = [int(version) for _, version in live]
    axes.step(
        begins, [*versions, versions[-1]], where="post", color=POSITIVE_COLOUR, linewidth=2,
        label="answers",
    )  # fmt: skip
    for kind, (words, marker, colour) in _CHALLENGERS.items():
        found = [each for each in timeline.of(kind) if each.version is not None]
        if found:
            axes.plot(
                [_place(each.at) for each in found],
                [int(each.version or 0) for each in found],
                linestyle="none", marker=marker, color=colour, markersize=8, label=words,
            )  # fmt: skip
    _calendar(axes, plan)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    add_legend(axes)
    return figure


def plot_findings(timeline: Timeline, plan: YearPlan) -> Figure:
    """Return how much each look of the monitoring found, by what its findings were of."""
    figure, axes = _frame("What monitoring found", "Findings")
    looks = timeline.of("monitored")
    metrics = sorted({name for look in looks for name in look.facts["findings"]})
    places = [_place(look.at) for look in looks]
    bottom = [0] * len(looks)
    colours = (NEGATIVE_COLOUR, POSITIVE_COLOUR, ACCENT_COLOUR, "#E69F00", "#CC79A7", "#56B4E9")
    hatches = ("", "//", "..", "xx", "\\\\", "++")
    for at, name in enumerate(metrics):
        counts = [look.facts["findings"].get(name, 0) for look in looks]
        axes.bar(
            places, counts, width=14, bottom=bottom, color=colours[at % len(colours)],
            hatch=hatches[(at // len(colours) + at) % len(hatches)], edgecolor="white",
            label=name.replace("_", " "),
        )  # fmt: skip
        bottom = [low + count for low, count in zip(bottom, counts, strict=True)]
    _mark(axes, timeline)
    _calendar(axes, plan)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    add_legend(axes)
    return figure


def _place(moment: datetime) -> int:
    """Return where a day lies on an axis."""
    return moment.toordinal() - _EPOCH


def _middle(plan: YearPlan, month: int) -> datetime:
    begin, end = plan.begin(month), plan.begin(month + 1)
    return begin + (end - begin) / 2


def _mark(axes: Any, timeline: Timeline) -> None:
    """Draw a line where something was decided."""
    told = set()
    wide_first = sorted(timeline.of(*_MARKS), key=lambda each: -_MARKS[each.kind][3])
    for happening in wide_first:
        words, colour, style, width = _MARKS[happening.kind]
        label = None if words in told else words
        told.add(words)
        place = _place(happening.at)
        axes.axvline(place, color=colour, linestyle=style, linewidth=width, alpha=0.8, label=label)


def _calendar(axes: Any, plan: YearPlan) -> None:
    axes.set_xlim(
        _place(plan.begin(plan.first_month)) - _MARGIN_DAYS,
        _place(plan.begin(13)) + _MARGIN_DAYS,
    )
    axes.xaxis.set_major_locator(MonthLocator())
    axes.xaxis.set_major_formatter(DateFormatter("%b"))


def _frame(title: str, axis: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(7.2, 4.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    set_style(axes, title, "", axis)
    return figure, axes
