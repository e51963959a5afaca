"""Pictures of a passport as SVG, which print at any size."""

import base64
import importlib.util
import io
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from balancing.metrics.intervals import Interval
from balancing.part_figures import FOUR_FIFTHS, Grouped
from flows.passport.document import Look, Passport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Picture = dict[str, str]
"""``src`` and ``caption``."""

_CAPTIONS = {
    "precision_recall": "How many alerts are right, against how many positives are found.",
    "roc": "Positives found at each share of negatives stopped.",
    "reliability": "Whether a score of 0.2 means that two in ten are positive.",
    "score_histogram": "Where the two classes lie on the test rows, and where the thresholds cut.",
}
_PERIOD_METRICS = {
    "average_precision": "average precision", "recall": "recall", "precision": "precision",
}  # fmt: skip


def draw(passport: Passport) -> dict[str, list[Picture]] | None:
    """Return the pictures by section; None where matplotlib is not installed (extra ``train``)."""
    if importlib.util.find_spec("matplotlib") is None:
        return None
    return {
        "performance": list(_performance(passport)),
        "periods": list(_periods(passport)),
        "fairness": list(_fairness(passport)),
    }


def _performance(passport: Passport) -> Iterator[Picture]:
    performance, lineage = passport.performance, passport.lineage
    if performance is None:
        return
    from balancing import plots
    from balancing.evaluation import EvaluationReport

    report = EvaluationReport.from_json(
        {
            "n_rows": performance.rows,
            "n_positives": performance.positives,
            "metrics": lineage.metrics,
            "references": performance.references,
            "curves": performance.curves,
        }
    )
    figures = plots.plot_evaluation(report)
    if lineage.policies:
        thresholds = lineage.policies[0].policy.thresholds
        figures["score_histogram"] = plots.plot_score_histogram(
            report.curves.histogram,
            review_threshold=thresholds.review.threshold,
            decline_threshold=thresholds.decline.threshold,
        )
    for name, figure in figures.items():
        yield _picture(figure, _CAPTIONS[name])


def _periods(passport: Passport) -> Iterator[Picture]:
    parts = passport.performance.parts if passport.performance else None
    if parts is not None and parts.periods is not None and len(parts.periods.groups) > 1:
        yield _picture(
            _over_time(_of_periods(parts.periods), parts.periods.column),
            "Figures over the test period, with 95 % intervals.",
        )
    judged = [look for look in passport.stability if look.recall is not None]
    if len(judged) > 1:
        yield _picture(
            _over_time(_of_looks(judged), "end of the window"),
            "What monitoring found since, on matured labels, with 95 % intervals.",
        )


def _fairness(passport: Passport) -> Iterator[Picture]:
    parts = passport.performance.parts if passport.performance else None
    for column in parts.groups if parts else ():
        ratios = {
            str(group.value or "(missing)"): group.ratios["approved"]
            for group in column.groups
            if "approved" in group.ratios
        }
        if len(ratios) > 1:
            yield _picture(
                _ratios(ratios),
                f"{column.column}: share approved, over that of the group approved most often. "
                "The dashed line is four fifths.",
            )


_Series = dict[str, list[tuple[str, Interval]]]


def _of_periods(periods: Grouped) -> _Series:
    return {
        words: [
            (str(group.value), figure)
            for group in periods.groups
            if (figure := getattr(group, name)) is not None
        ]
        for name, words in _PERIOD_METRICS.items()
    }


def _of_looks(looks: list[Look]) -> _Series:
    return {
        words: [
            (_day(look.until), Interval(*ends))
            for look in looks
            if (ends := getattr(look, name)) is not None
        ]
        for name, words in _PERIOD_METRICS.items()
    }


def _over_time(series: _Series, axis: str) -> "Figure":
    from balancing.plots import ACCENT_COLOUR, NEGATIVE_COLOUR, POSITIVE_COLOUR, add_legend

    figure, axes = _frame((6.4, 3.4))
    ticks = list(dict.fromkeys(sorted(at for points in series.values() for at, _ in points)))
    colours, markers = (POSITIVE_COLOUR, NEGATIVE_COLOUR, ACCENT_COLOUR), "o^s"
    for number, (words, points) in enumerate(series.items()):
        # Beside each other, so that intervals do not hide one another.
        places = [ticks.index(at) + 0.12 * (number - 1) for at, _ in points]
        values = [one.value for _, one in points]
        style: Any = {"color": colours[number], "linewidth": 1.2}
        axes.vlines(places, [o.low for _, o in points], [o.high for _, o in points], **style)
        axes.plot(places, values, f"{markers[number]}-", label=words, markersize=4.5, **style)
    axes.set_xticks(range(len(ticks)), ticks, rotation=30 if len(ticks) > 6 else 0, fontsize=8)
    axes.set_xlabel(axis)
    axes.set_ylim(0, 1)
    add_legend(axes)
    return figure


def _ratios(ratios: dict[str, Interval]) -> "Figure":
    from balancing.plots import NEGATIVE_COLOUR, POSITIVE_COLOUR, QUIET_COLOUR

    figure, axes = _frame((6.4, 1.1 + 0.3 * len(ratios)))
    for place, one in enumerate(ratios.values()):
        colour = POSITIVE_COLOUR if one.value < FOUR_FIFTHS else NEGATIVE_COLOUR
        axes.plot([one.low, one.high], [place, place], color=colour, linewidth=2)
        axes.plot([one.value], [place], "o", color=colour)
    axes.axvline(FOUR_FIFTHS, color=QUIET_COLOUR, linestyle="--", linewidth=1.2)
    axes.axvline(1, color=QUIET_COLOUR, linewidth=1)
    axes.set_yticks(range(len(ratios)), list(ratios), fontsize=9)
    axes.set_ylim(len(ratios) - 0.4, -0.6)
    axes.set_xlabel("ratio of the shares approved")
    return figure


def _frame(size: tuple[float, float]) -> tuple["Figure", Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from balancing.plots import set_style

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    set_style(axes, "", "", "")
    return figure, axes


def _picture(figure: "Figure", caption: str) -> Picture:
    import matplotlib as mpl

    # Without a salt of its own matplotlib names parts at random; without dates pages are equal.
    stream = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "whitecrow", "svg.fonttype": "path"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    encoded = base64.b64encode(stream.getvalue()).decode()
    return {"src": f"data:image/svg+xml;base64,{encoded}", "caption": caption}


def _day(moment: datetime | None) -> str:
    return "–" if moment is None else f"{moment:%Y-%m-%d}"
