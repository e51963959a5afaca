"""Plots: drawn for ordinary and degenerate rows, and the same bytes every time."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from balancing.evaluation import EvaluationReport, evaluate
from balancing.metrics.costs import cost_curve
from balancing.plots import (
    plot_costs,
    plot_evaluation,
    plot_score_histogram,
    plot_training,
    save,
)


def report_on(label: np.ndarray, score: np.ndarray) -> EvaluationReport:
    return evaluate(label, score, n_replicates=20)


@pytest.fixture(scope="module")
def report() -> EvaluationReport:
    rng = np.random.default_rng(0)
    score = 1 / (1 + np.exp(-rng.normal(-4, 2.5, 2000)))
    return report_on((rng.random(2000) < score).astype(int), score)


def test_a_report_has_four_plots_with_labelled_axes(report: EvaluationReport) -> None:
    figures = plot_evaluation(report)

    assert set(figures) == {"precision_recall", "roc", "reliability", "score_histogram"}
    for figure in figures.values():
        (axes,) = figure.axes
        assert axes.get_title(loc="left")
        assert axes.get_xlabel()
        assert axes.get_ylabel()
        assert axes.get_legend()


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_equal_figures_give_equal_bytes(
    report: EvaluationReport, tmp_path: Path, kind: str
) -> None:
    first, again = (
        save(plot_evaluation(report)["reliability"], tmp_path / f"{name}.{kind}").read_bytes()
        for name in ("first", "again")
    )

    assert first == again
    assert len(first) > 5000
    assert b"date" not in first.lower() or kind == "png"


@pytest.mark.parametrize(
    ("label", "score"),
    [
        ([0, 1], [0.5, 0.5]),
        ([0, 0, 1], [0.0, 0.0, 1.0]),
        ([1, 0, 0], [0.0, 0.3, 1.0]),
        ([0] * 50 + [1], [0.001] * 51),
    ],
)
def test_degenerate_scores_are_drawn(label: list[int], score: list[float], tmp_path: Path) -> None:
    for name, figure in plot_evaluation(report_on(np.array(label), np.array(score))).items():
        save(figure, tmp_path / f"{name}.png")
    curve = cost_curve(label, score, [100] * len(label), review_cost=1, friction_cost=1)
    save(plot_costs(curve, currency="EUR"), tmp_path / "costs.png")


def test_thresholds_are_named_on_the_histogram(report: EvaluationReport) -> None:
    figure = plot_score_histogram(
        report.curves.histogram, review_threshold=0.1, decline_threshold=0.8
    )
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]

    assert texts[-2:] == ["review from 0.1", "decline from 0.8"]


def test_costs_leave_out_parts_that_are_nothing() -> None:
    curve = cost_curve([1, 1, 0], [0.1, 0.9, 0.5], [100, 900, 100], review_cost=1)
    figure = plot_costs(curve, currency="EUR", threshold=0.7)
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]

    assert texts == ["missed positives", "review", "total", "chosen 0.7"]
    assert figure.axes[0].get_ylabel() == "Cost in EUR"


@pytest.mark.parametrize("judged", [[0.5, None, 0.7], [None, None, None]])
def test_training_is_drawn_with_epochs_that_were_not_judged(
    judged: list[float | None], tmp_path: Path
) -> None:
    figure = plot_training(
        [1, 2, 3], train_loss=[0.3, 0.2, 0.1], validation_average_precision=judged, best_epoch=3
    )

    assert len(figure.axes) == 2
    assert save(figure, tmp_path / "training.png").stat().st_size > 3000


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"written as .png or .svg. Got 'plot.pdf'"):
        save(Figure(), tmp_path / "plot.pdf")


def test_plotting_never_loads_pyplot() -> None:
    """pyplot keeps figures alive and may look for a display."""
    script = "import sys, balancing.plots; sys.exit('matplotlib.pyplot' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
