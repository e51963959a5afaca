"""The page of a bake-off: one table, two pictures, and what the figures can and cannot say."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from balancing.metrics.intervals import Interval
from balancing.plots import save
from flows.bakeoff.pictures import plot_dots, plot_intervals
from flows.bakeoff.plan import BakeOffPlan
from flows.bakeoff.standing import Standing
from flows.pages import picture_uri, render_page
from infra.revision import code_revision
from infra.storage import write_atomically

SHOWN_METRICS = {
    "average_precision": "Average precision",
    "roc_auc": "ROC-AUC",
    "recall_at_fpr_0.001": "Recall at FPR 0.1 %",
    "recall_at_fpr_0.01": "Recall at FPR 1 %",
    "precision_at_100": "Precision at 100",
    "brier_score": "Brier",
    "expected_calibration_error": "ECE",
}
_MEBIBYTE = 2**20


def write_page(
    path: Path,
    plan: BakeOffPlan,
    standings: Sequence[Standing],
    against: Mapping[str, Mapping[str, Interval | None]],
) -> None:
    """Write the page."""
    ran = [each for each in standings if each.runs]
    page = render_page(
        "bakeoff.html.j2",
        name=Path(plan.contract).stem,
        plan=plan,
        metrics=SHOWN_METRICS,
        rows=[_row(each, against[each.member.name]) for each in ran],
        unfinished=[each for each in standings if not each.runs],
        n_test=len(ran[0].runs[0].label) if ran else 0,
        n_positives=int(ran[0].runs[0].label.sum()) if ran else 0,
        same_rows=len({run.label.tobytes() for each in ran for run in each.runs}) <= 1,
        tree=next((e.member.name for e in ran if "tree" not in against[e.member.name]), None),
        pictures=_pictures(ran, against, path.parent / "plots"),
        revision=code_revision(),
    )
    with write_atomically(path) as staging:
        staging.write_text(page, "utf-8")


def _row(standing: Standing, gains: Mapping[str, Interval | None]) -> dict[str, Any]:
    results = [run.result for run in standing.runs]
    return {
        "member": standing.member,
        "means": {name: standing.mean(name) for name in SHOWN_METRICS},
        "deviation": standing.deviation("average_precision"),
        "validation": standing.validation,
        "gains": gains,
        "fit_seconds": float(np.mean([each.fit_seconds for each in results])),
        "final_seconds": float(np.mean([each.final_seconds for each in results])),
        "peak_mebibytes": max(each.peak_bytes or 0 for each in results) / _MEBIBYTE,
        "trials": [run.trial for run in standing.runs],
        "n_finished": min(run.n_finished for run in standing.runs),
    }


def _pictures(
    ran: Sequence[Standing], against: Mapping[str, Mapping[str, Interval | None]], folder: Path
) -> list[dict[str, str]]:
    if not ran:
        return []
    reached = {e.member.name: [run.metrics["average_precision"] for run in e.runs] for e in ran}
    drawn = {
        "Average precision on test rows; a dot a repetition, a bar at their mean.": plot_dots(
            reached, axis="average precision on test rows"
        )
    }
    for whom, words in (("erm", "plain training"), ("tree", "the best tree")):
        gains = {e.member.name: against[e.member.name].get(whom) for e in ran}
        known = {name: gain for name, gain in gains.items() if gain is not None}
        if known:
            caption = f"Average precision over that of {words}, paired, with 95 % intervals."
            drawn[caption] = plot_intervals(known, axis=f"gain over {words}")
    folder.mkdir(exist_ok=True)
    return [
        {"src": picture_uri(save(figure, folder / f"{number}.png")), "caption": caption}
        for number, (caption, figure) in enumerate(drawn.items())
    ]
