"""Pictures of a bake-off: a line for each member."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from balancing.metrics.intervals import Interval
from balancing.plots import ACCENT_COLOUR, NEGATIVE_COLOUR, POSITIVE_COLOUR, QUIET_COLOUR

_WIDTH_INCHES, _LINE_INCHES, _REST_INCHES = 6.4, 0.28, 1.2


def plot_dots(values: Mapping[str, Sequence[float]], *, axis: str) -> Figure:
    """Return a dot for each value and a bar at each mean, one line a name, the first on top."""
    figure, axes = _lines(list(values), axis)
    for place, found in enumerate(values.values()):
        axes.plot(found, [place] * len(found), "o", color=NEGATIVE_COLOUR, alpha=0.6)
        mean = sum(found) / len(found)
        axes.plot([mean], [place], "|", color=POSITIVE_COLOUR, markersize=14, markeredgewidth=2)
    return figure


def plot_intervals(intervals: Mapping[str, Interval], *, axis: str) -> Figure:
    """Return each interval as a line with its value, one line a name, and a rule at zero."""
    figure, axes = _lines(list(intervals), axis)
    axes.axvline(0, color=QUIET_COLOUR, linewidth=1)
    for place, gain in enumerate(intervals.values()):
        axes.plot([gain.low, gain.high], [place, place], color=ACCENT_COLOUR, linewidth=2)
        axes.plot([gain.value], [place], "o", color=ACCENT_COLOUR)
    return figure


def _lines(names: list[str], axis: str) -> tuple[Figure, Any]:
    height = _REST_INCHES + _LINE_INCHES * len(names)
    figure = Figure(figsize=(_WIDTH_INCHES, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(axis)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, axis="x", color="#E3E3E3", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes
