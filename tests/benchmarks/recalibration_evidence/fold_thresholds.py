"""How a threshold from out-of-fold logits carries over to the network fitted on all rows.

With few positives the calibration logits come from fold networks, the released one from all rows.
Here every later fold plays the released network, the folds before it calibrate, and its own
held-out rows play the test part: no test row is read. Ways of choosing compare by how far the
false-positive rate lands from its target.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from balancing.strategies.registry import build_strategy
from features.folds import make_folds
from flows.featurization import read_features
from flows.fitting import as_arrays, rows_of
from recalibration_evidence.networks import CONFIGS, feature_folder
from recalibration_evidence.operating_points import MAX_FPR
from recalibration_evidence.tables import markdown


@dataclass(frozen=True)
class _Fold:
    """A fold network's log-odds on all rows that are no test rows, and its own held-out rows."""

    log_odds: np.ndarray
    held_out: np.ndarray


@dataclass(frozen=True)
class _Folds:
    """Fold networks in order of time."""

    label: np.ndarray
    folds: list[_Fold]

    def negatives(self, network: int, rows_of_fold: int) -> np.ndarray:
        """Log-odds of a network on the negatives that a fold held out."""
        rows = self.folds[rows_of_fold].held_out
        return self.folds[network].log_odds[rows[self.label[rows] == 0]]


def _pooled(folds: _Folds, released: int) -> np.ndarray:
    return np.concatenate([folds.negatives(each, each) for each in range(released)])


def _latest(folds: _Folds, released: int) -> np.ndarray:
    return folds.negatives(released - 1, released - 1)


def _aligned(folds: _Folds, released: int, earlier: int) -> np.ndarray:
    """Stretch an earlier network's log-odds so that median and 99 % agree on the same rows."""
    own, new = folds.negatives(earlier, earlier), folds.negatives(released, earlier)
    (own_low, own_high), (new_low, new_high) = (np.quantile(x, [0.5, 0.99]) for x in (own, new))
    slope = (new_high - new_low) / (own_high - own_low)
    return np.asarray(new_low + slope * (own - own_low))


def _pooled_aligned(folds: _Folds, released: int) -> np.ndarray:
    return np.concatenate([_aligned(folds, released, each) for each in range(released)])


def _latest_aligned(folds: _Folds, released: int) -> np.ndarray:
    return _aligned(folds, released, released - 1)


def _seen(folds: _Folds, released: int) -> np.ndarray:
    """The released network on the held-out rows before it, all of which it was fitted on."""
    return np.concatenate([folds.negatives(released, each) for each in range(released)])


WAYS: dict[str, Callable[[_Folds, int], np.ndarray]] = {
    "all folds, as they are (what is done)": _pooled,
    "latest fold only": _latest,
    "all folds, aligned to the released network": _pooled_aligned,
    "latest fold, aligned": _latest_aligned,
    "the released network on rows it has seen": _seen,
}


def measure(data_root: Path, home: Path, *, n_epochs: float, seeds: tuple[int, ...]) -> str:
    """Return the false-positive rates of each way, as a table."""
    runs = [_fit_folds(data_root, home, n_epochs=n_epochs, seed=seed) for seed in seeds]
    rows = []
    for name, way in WAYS.items():
        rates = [
            _rate(way(folds, released), folds.negatives(released, released))
            for folds in runs
            for released in range(1, len(folds.folds))
        ]
        off = float(np.sqrt(np.mean(np.log(np.array(rates) / MAX_FPR) ** 2)))
        shown = ", ".join(f"{100 * rate:.3f}" for rate in rates)
        rows.append([name, shown, f"{np.exp(off):.2f}"])
    return markdown(["threshold from", "false-positive rates, %", "off by a factor of"], rows)


def _rate(known: np.ndarray, new: np.ndarray) -> float:
    threshold = -np.sort(-known)[int(MAX_FPR * len(known)) - 1]
    return max(float(np.mean(new >= threshold)), 1 / len(new))


def _fit_folds(data_root: Path, home: Path, *, n_epochs: float, seed: int) -> _Folds:
    config = CONFIGS["default"]
    table, feature_set = read_features(feature_folder("creditcard", data_root, home))
    usable = rows_of(table, "train", "validation", "calibration")
    rows, contract = as_arrays(table, feature_set).take(usable), feature_set.contract
    folds = make_folds(
        table[usable],
        contract.split,
        label_delay=contract.label.delay,
        n_folds=config.n_folds,
        seed=config.seed,
    )
    strategy = build_strategy(config.strategy)
    fitted = []
    for number, fold in enumerate(folds):
        network = strategy.fit(
            rows.take(fold.fit_index),
            cardinalities=feature_set.cardinalities,
            n_epochs=n_epochs,
            seed=seed + number,
            device="cpu",
        )
        log_odds = 2 * network.logits(rows)[:, 1].astype(np.float64)
        fitted.append(_Fold(log_odds, fold.holdout_index))
    return _Folds(rows.label.astype(np.int64), fitted)
