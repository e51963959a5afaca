"""The simulated year as one page, with its pictures."""

from typing import Any

from balancing.plots import save
from flows.pages import picture_uri, render_page
from flows.year.comparison import RETRAINED, MonthFigures
from flows.year.outcome import YearOutcome, interval_in_words
from flows.year.pictures import plot_findings, plot_months, plot_versions
from infra.storage import write_atomically

_TONES = {
    "trained": "good", "promoted": "good", "refused": "bad", "rolled_back": "warn",
    "waits": "warn", "stopped": "warn", "new_fraud": "bad", "monitored": "",
}  # fmt: skip


def write_page(outcome: YearOutcome) -> None:
    """Write ``year.html``, and its pictures beside it."""
    text = render_page(
        "year.html.j2",
        plan=outcome.plan,
        happenings=[
            {
                "at": each.at,
                "kind": each.kind.replace("_", " "),
                "tone": _TONES[each.kind],
                "says": each.says,
                "version": each.version,
                "pages": each.pages,
                "more": each.facts.get("first", []),
            }
            for each in outcome.timeline.happenings
        ],
        chapters=outcome.chapters,
        pictures=_pictures(outcome),
        lines=[_line(each) for each in outcome.months],
        gains=[
            {
                "what": each.what,
                "against": each.against,
                "average_precision": interval_in_words(each.average_precision),
                "recall": interval_in_words(each.recall),
            }
            for each in outcome.gains
        ],
        coverage=outcome.coverage,
        seconds=outcome.seconds,
        processor_seconds=outcome.processor_seconds,
    )
    with write_atomically(outcome.page) as staging:
        staging.write_text(text, "utf-8")


def _line(month: MonthFigures) -> dict[str, Any]:
    return {
        "month": month.month,
        "way": month.way,
        "is_own": month.way == RETRAINED,
        "rows": month.rows,
        "positives": month.positives,
        "average_precision": interval_in_words(month.average_precision),
        "recall": interval_in_words(month.recall, 2),
        "precision": interval_in_words(month.precision, 2),
        "alerts_per_day": interval_in_words(month.alerts_per_day, 1),
        "new_fraud_recall": interval_in_words(month.new_fraud_recall, 2),
    }


def _pictures(outcome: YearOutcome) -> list[dict[str, str]]:
    folder = outcome.folder / "plots"
    folder.mkdir(exist_ok=True)
    months, timeline, plan = outcome.months, outcome.timeline, outcome.plan
    drawn = {
        "recall": ("Recall", "Share of the frauds caught", lambda each: each.recall),
        "new_fraud": (
            "Recall of the new fraud", "Share of it caught", lambda each: each.new_fraud_recall,
        ),
        "average_precision": (
            "Average precision", "Average precision", lambda each: each.average_precision,
        ),
        "alerts": ("Alerts", "Alerts a day", lambda each: each.alerts_per_day),
    }  # fmt: skip
    figures = {
        name: plot_months(months, timeline, plan, title=title, axis=axis, figured=figured)
        for name, (title, axis, figured) in drawn.items()
    }
    captions = {
        "recall": "Of all frauds of a month, by what was decided when they happened.",
        "new_fraud": "Of the kind of fraud that appeared during the year alone.",
        "average_precision": "How well scores rank, whatever the thresholds.",
        "alerts": "Rows reviewed or declined.",
        "versions": "Which version answered; a challenger that did not is a mark beside the line.",
        "findings": "Each look covers the two months before it.",
    }
    figures["versions"] = plot_versions(timeline, plan)
    figures["findings"] = plot_findings(timeline, plan)
    return [
        {"src": picture_uri(save(drawn_figure, folder / f"{name}.png")), "caption": captions[name]}
        for name, drawn_figure in figures.items()
    ]
