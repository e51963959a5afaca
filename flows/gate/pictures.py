"""Pictures of a verdict: both versions in one, as in the model's report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from balancing.curves import log_odds_of, precision_recall_curve, reliability_curve
from balancing.metrics.cells import FloatArray
from balancing.metrics.intervals import Interval
from balancing.plots import (
    NEGATIVE_COLOUR,
    POSITIVE_COLOUR,
    QUIET_COLOUR,
    add_legend,
    save,
    set_style,
)
from flows.bakeoff.pictures import plot_intervals
from flows.gate.evidence import LabelledEvidence
from flows.gate.rows import scores_of
from flows.gate.verdict import Judgement
from flows.pages import picture_uri

_MOST_SEGMENTS = 12
_WORDS = ("champion", "challenger")
_COLOURS = (QUIET_COLOUR, POSITIVE_COLOUR)
_STYLES = ("--", "-")

IntArray = NDArray[np.int64]


def draw_verdict(judgement: Judgement, folder: Path) -> list[dict[str, str]]:
    """Write the pictures that the evidence allows into a folder; return each with its caption.

    Args:
        judgement: What was found.
        folder: Made where there is none.
    """
    labelled = judgement.evidence.labelled
    if labelled is None:
        return []
    label, old, new = scores_of(judgement.judged.labelled)
    gains = _gains(labelled)
    pictures = {
        "gains": (
            plot_intervals(gains, axis="challenger less champion; right of 0 is better"),
            "What the challenger gains, with its interval; segments with Bonferroni's.",
        ),
        "precision_recall": (
            plot_precision_recall_of_both(label, (old, new)),
            "How many alerts are right, against how many positives are found.",
        ),
        "reliability": (
            plot_reliability_of_both(label, (old, new)),
            "Whether a score of 0.2 means that two in ten are positive.",
        ),
    }
    folder.mkdir(parents=True, exist_ok=True)
    return [
        {"src": picture_uri(save(figure, folder / f"{name}.png")), "caption": caption}
        for name, (figure, caption) in pictures.items()
    ]


def plot_precision_recall_of_both(label: IntArray, scores: Sequence[FloatArray]) -> Figure:
    """Return precision over recall, the champion's and the challenger's."""
    figure, axes = _frame("Precision and recall", "Recall", "Precision")
    for score, word, colour, style in zip(scores, _WORDS, _COLOURS, _STYLES, strict=True):
        curve = precision_recall_curve(label, score)
        # Precision of the highest score reaches back to recall 0, as average precision counts it.
        axes.step(
            np.concatenate([[0.0], curve.recall]),
            np.concatenate([curve.precision[:1], curve.precision]),
            where="pre", color=colour, linestyle=style, linewidth=2, label=word,
        )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1.03))
    add_legend(axes)
    return figure


def plot_reliability_of_both(label: IntArray, scores: Sequence[FloatArray]) -> Figure:
    """Return observed over predicted log-odds, the champion's and the challenger's."""
    figure, axes = _frame(
        "Reliability", "Log-odds of the predicted probability", "Log-odds of the observed rate"
    )
    ends: list[float] = []
    for score, word, colour, style in zip(scores, _WORDS, _COLOURS, _STYLES, strict=True):
        curve = reliability_curve(label, score)
        some = (curve.observed > 0) & (curve.observed < 1)
        x, y = (log_odds_of(each[some]) for each in (curve.predicted, curve.observed))
        low, high = (log_odds_of(each[some]) for each in (curve.low, curve.high))
        axes.vlines(x, low, high, color=colour, linewidth=1, alpha=0.6)
        axes.plot(x, y, "o", linestyle=style, color=colour, linewidth=1.4, label=word)
        ends += [*x, *y]
    if ends:
        line = [min(ends), max(ends)]
        axes.plot(line, line, color=NEGATIVE_COLOUR, linestyle=":", linewidth=1, label="calibrated")
    add_legend(axes)
    return figure


def _gains(found: LabelledEvidence) -> dict[str, Interval]:
    compared = (found.average_precision, found.objective, found.caught)
    gains = {each.what.partition(" (")[0]: each.gain for each in compared if each is not None}
    for segment in found.segments[:_MOST_SEGMENTS]:
        gains[f"caught in {segment.words}"] = segment.gain
    return gains


def _frame(title: str, x_label: str, y_label: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(6.4, 4.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    set_style(axes, title, x_label, y_label)
    return figure, axes
