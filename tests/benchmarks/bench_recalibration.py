"""What recalibration is worth on real rows: every figure of the README's section on policies.

Run as ``nice -n 15 python tests/benchmarks/bench_recalibration.py``. It trains two networks per
data set (the default one and one with a single head), which takes about half an hour once; their
logits are kept under ``--home``, so that a second run takes minutes. Calibrators, strengths and
thresholds come from calibration rows, every figure from test rows.
"""

import argparse
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from recalibration_evidence import (
    base_rates,
    before_after,
    few_positives,
    fold_thresholds,
    operating_points,
    row_thresholds,
    score_quality,
)
from recalibration_evidence.networks import FILES, TrainedNetwork, trained_network

from balancing.calibration.fitting.post_processing import KINDS
from infra.settings import Settings

SETS = ["creditcard", "credit_default", "card_stream_alone"]
"""Those of the README's tables; ``card_stream`` itself takes half an hour more."""

Load = Callable[[str, str], TrainedNetwork]
Row = TypeVar("Row")

GAMMAS = (0.05, 0.2)
"""Strengths of the segment form that are shown whatever the calibration rows choose."""


def main() -> None:
    """Print every table."""
    settings = Settings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=settings.root)
    parser.add_argument("--data", type=Path, default=settings.data_root)
    parser.add_argument("--sets", nargs="+", choices=list(FILES), default=SETS)
    parser.add_argument("--draws", type=int, default=few_positives.N_DRAWS)
    parser.add_argument(
        "--folds", action="store_true", help="only how thresholds carry over from folds"
    )
    given = parser.parse_args()
    logging.disable(logging.WARNING)

    def load(name: str, kind: str = "default") -> TrainedNetwork:
        return trained_network(name, kind, data_root=given.data, home=given.home)

    if given.folds:
        epochs = load("creditcard").training["how"]["epochs"]
        print(fold_thresholds.measure(given.data, given.home, n_epochs=epochs, seeds=(0, 100)))
        return
    networks = [load(name) for name in given.sets]
    print(data_table(networks))
    show("Scores", score_quality.table, [score_quality.measure(each) for each in networks])
    show(
        "Thresholds", operating_points.table, [operating_points.measure(each) for each in networks]
    )
    show("By amount", row_thresholds.amount_table, [row_thresholds.by_amount(n) for n in networks])
    show(
        "By segment", row_thresholds.segment_table, [row_thresholds.by_segment(n) for n in networks]
    )
    show("Post-processing", before_after.table, [post_processed(load, name) for name in given.sets])
    show("Base rates", base_rates.table, [base_rates.measure(each) for each in networks])
    held = [few_positives.measure(each, n_draws=given.draws) for each in networks]
    show("Few positives", few_positives.table, held)
    show("Few positives, free / class-dependent", few_positives.summary, held)


def post_processed(load: Load, name: str) -> list[before_after.BeforeAfter]:
    """Measure every kind; tau-normalisation on the network of a single head."""
    measured = []
    has_segments = load(name, "default").name in before_after.SEGMENT_COLUMNS
    for kind in KINDS:
        if kind == "segment_class_dependent" and not has_segments:
            continue
        network = load(name, "single head" if kind == "tau_normalisation" else "default")
        measured.append(before_after.measure(network, kind))  # type: ignore[arg-type]
        if kind == "segment_class_dependent":
            measured += [before_after.measure(network, kind, strength=each) for each in GAMMAS]
    return measured


def data_table(networks: list[TrainedNetwork]) -> str:
    """Return what the figures rest on."""
    lines = [
        f"{each.name}: calibration {len(each.calibration.label):,} rows "
        f"({each.calibration.label.sum():,} positive, {each.training['how']['by']}), "
        f"test {len(each.test.label):,} ({each.test.label.sum():,})"
        for each in networks
    ]
    return "\n".join(lines)


def show(title: str, table: Callable[[list[Row]], str], measured: list[list[Row]]) -> None:
    """Print a heading and the table of all data sets."""
    print(f"\n### {title}\n\n{table([row for rows in measured for row in rows])}", flush=True)


if __name__ == "__main__":
    main()
