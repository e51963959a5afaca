"""The verdict as a page: what was found, what was wanted, and what follows."""

from dataclasses import dataclass
from pathlib import Path

from balancing.metrics.intervals import Interval
from flows.gate.checks import Check
from flows.gate.evidence import Evidence, LabelledEvidence
from flows.gate.objective import Compared
from flows.gate.pictures import draw_verdict
from flows.gate.verdict import KEEP, PROMOTE, Judgement
from flows.impact_page import comparison_lines, segment_line
from flows.pages import figure, render_page

_TONES = {PROMOTE: "good", KEEP: "bad"}
_HEADINGS = {
    PROMOTE: "Promote the challenger",
    KEEP: "Keep the champion",
    "person": "A person has to decide",
}
_MARKS = {True: ("good", "passed"), False: ("bad", "failed"), None: ("warn", "cannot be told")}


@dataclass(frozen=True, slots=True)
class _Row:
    """A figure of both versions as it reads for a person."""

    what: str
    champion: str
    challenger: str
    gain: str


def render_verdict(judgement: Judgement, pictures: Path) -> str:
    """Return the page.

    Args:
        judgement: What was found, and what follows.
        pictures: Folder that its pictures are written into.
    """
    evidence, champion = judgement.evidence, judgement.champion.scorer
    amount = champion.bundle.contract.columns.amount
    labelled = evidence.labelled
    decided = labelled.decided if labelled else evidence.alerts
    has_amounts = decided is not None and decided.total.new.caught_amount is not None
    currency = amount.currency if amount is not None and has_amounts else None
    return render_page(
        "gate.html.j2",
        judgement=judgement,
        told=judgement.to_json(),
        heading=_HEADINGS[judgement.outcome],
        tone=_TONES.get(judgement.outcome, "warn"),
        checks=[_check_line(check) for check in judgement.checks],
        figures=_figures(evidence),
        lines=comparison_lines(decided.total.old, decided.total.new, currency) if decided else [],
        segments=_segment_lines(labelled, currency),
        currency=currency,
        days=None if decided is None else decided.days,
        flips=() if decided is None else decided.flips,
        decided=decided,
        pictures=draw_verdict(judgement, pictures),
        next_command=judgement.next_command,
    )


def _check_line(check: Check) -> dict[str, str]:
    tone, mark = _MARKS[check.passed]
    return {"name": check.name, "tone": tone, "mark": mark, "says": check.says}


def _figures(evidence: Evidence) -> list[_Row]:
    found = evidence.labelled
    rows = []
    if found is not None:
        compared = (found.average_precision, found.objective, found.caught)
        rows += [_compared(each) for each in compared if each is not None]
        old, new = found.champion_calibration, found.challenger_calibration
        for what, field in (
            ("calibration slope (1 is calibrated)", "slope"),
            ("calibration intercept (0 is calibrated)", "intercept"),
            ("expected calibration error", "expected_error"),
            ("Brier score", "brier"),
        ):
            of_old, of_new = (_interval(getattr(each, field)) for each in (old, new))
            rows.append(_Row(what, of_old, of_new, "–"))
    latency = evidence.latency
    rows.append(
        _Row(
            "median time of a single row, µs",
            f"{latency.champion:.0f}",
            f"{latency.challenger:.0f}",
            f"× {latency.ratio:.2f}",
        )
    )
    return rows


def _compared(compared: Compared) -> _Row:
    return _Row(
        compared.what,
        _interval(compared.champion),
        _interval(compared.challenger),
        _interval(compared.gain),
    )


def _interval(interval: Interval) -> str:
    return f"{figure(interval.value)} [{figure(interval.low)}, {figure(interval.high)}]"


def _segment_lines(found: LabelledEvidence | None, currency: str | None) -> list[dict[str, str]]:
    """Return what both do in each segment, with the certain part of what is lost."""
    if found is None:
        return []
    gains = {(one.column, one.value): one.gain for one in found.segments}
    return [
        segment_line(segment, currency)
        | {
            "gain": _interval(gains[key])
            if (key := (segment.column or "", segment.value)) in gains
            else "too few positives"
        }
        for segment in found.decided.segments
    ]
