"""The picture of memorisation: by class, training beside validation, over the epochs."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from balancing.memorisation import CLASS_NAMES
from balancing.plots import NEGATIVE_COLOUR, POSITIVE_COLOUR, add_legend, set_style

_COLOURS = dict(zip(CLASS_NAMES, (NEGATIVE_COLOUR, POSITIVE_COLOUR), strict=True))


def plot_memorisation(
    epoch: Sequence[float], observations: Sequence[Mapping[str, float | None]]
) -> Figure:
    """Return loss by class, feature deviation and generalisation gap, one above the other.

    Args:
        epoch: Epochs trained before each observation.
        observations: What ``memorisation.memorisation_of`` saw; ``None`` where there is no number.
    """
    figure = Figure(figsize=(6.4, 7.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    losses, deviations, gaps = figure.subplots(3, 1, sharex=True)
    set_style(losses, "Memorisation by class", "", "Mean loss (log scale)")
    set_style(deviations, "", "", "Distance of means,\nin spreads of training rows")
    set_style(gaps, "", "Epoch", "Generalisation gap,\nin units of a feature")
    for name, colour in _COLOURS.items():
        marker = {"negative": "o", "positive": "s"}[name]
        style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 3.5}
        for role, line in (("train", "--"), ("validation", "-")):
            values = _column(observations, f"{role}_loss_{name}")
            losses.plot(epoch, values, linestyle=line, label=f"{name}, {role}", **style)
        values = _column(observations, f"feature_deviation_{name}")
        deviations.plot(epoch, values, label=name, **style)
        gaps.plot(epoch, _column(observations, f"generalisation_gap_{name}"), label=name, **style)
    losses.set_yscale("log")
    for axes in (deviations, gaps):
        axes.set_ylim(bottom=0)
    for axes in (losses, deviations, gaps):
        add_legend(axes)
    return figure


def _column(observations: Sequence[Mapping[str, float | None]], name: str) -> list[float]:
    values = [observation[name] for observation in observations]
    return [float("nan") if value is None else value for value in values]
