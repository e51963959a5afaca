"""What thresholds by amount and by segment are worth on test rows.

By amount: the cost of the test period under the best single threshold and under one by each row's
amount, both from calibration rows. By segment: how far each segment's false-positive rate lies
from the target on test, with one threshold for all, with thresholds from each segment's own rows,
and with these shrunk; on all calibration rows and on a twentieth of them, where segments are small.
"""

from dataclasses import dataclass

import numpy as np

from balancing.calibration.fitting.calibrators import fit_calibrator
from balancing.calibration.fitting.segment_thresholds import tune_segments
from balancing.calibration.fitting.thresholds import tune_threshold
from balancing.calibration.row_costs import RowCosts
from balancing.calibration.segments import segment_codes
from balancing.metrics.intervals import Interval, percentile_interval
from features.segments import segment_keys
from infra.objectives import CostObjective, MaxFprObjective
from recalibration_evidence.networks import Part, TrainedNetwork
from recalibration_evidence.tables import markdown

COSTS = CostObjective(review_cost=5, friction_cost=1)
MAX_FPR = MaxFprObjective(max_fpr=0.01)
SEGMENTS = {
    "credit_default": ("EDUCATION",),
}
_SHARES, _N_DRAWS, _N_REPLICATES = (1.0, 0.05), 20, 1000


@dataclass(frozen=True)
class ByAmount:
    """Costs of the test period in units of the currency."""

    name: str
    nothing: float
    single: float
    by_amount: float
    saved: Interval


@dataclass(frozen=True)
class BySegment:
    """Mean distance of a segment's false-positive rate from the target, in points of a percent."""

    name: str
    columns: str
    n_rows: float
    n_segments: int
    distance: dict[str, float]
    rate: dict[str, float]
    weight: float


def by_amount(network: TrainedNetwork, *, seed: int = 0) -> list[ByAmount]:
    """Return the costs on test; nothing where rows have no amounts."""
    amount = network.calibration.column("amount_minor")
    if amount is None or network.contract.domain != "transactions":
        return []
    before, after = _scores(network, network.calibration, seed=seed)
    tuned = tune_threshold(
        network.calibration.label,
        before,
        COSTS,
        amount_minor=amount,
        minor_units_per_major=network.minor_units,
        n_replicates=20,
        seed=seed,
    )
    costs = RowCosts.of(COSTS, network.minor_units)
    spent = network.test.column("amount_minor")
    assert spent is not None
    savings = costs.savings(spent, network.test.label == 1)
    single = np.where(after >= tuned.lowest_score, savings, 0.0)
    by_row = np.where(after >= costs.thresholds(spent), savings, 0.0)
    loss = float((spent[network.test.label == 1]).sum() / network.minor_units * COSTS.loss_rate)
    gain = by_row - single
    rng = np.random.default_rng(seed)
    moved = gain[gain != 0]
    drawn = rng.poisson(1.0, (_N_REPLICATES, len(moved))) @ moved
    return [
        ByAmount(
            name=network.name,
            nothing=loss,
            single=loss - float(single.sum()),
            by_amount=loss - float(by_row.sum()),
            saved=percentile_interval(float(gain.sum()), drawn),
        )
    ]


def by_segment(network: TrainedNetwork, *, seed: int = 0) -> list[BySegment]:
    """Return how near to the target segments come; nothing for tables without categories."""
    if network.name not in SEGMENTS:
        return []
    return [_by_segment(network, share, seed=seed) for share in _SHARES]


def _by_segment(network: TrainedNetwork, share: float, *, seed: int) -> BySegment:
    columns = SEGMENTS[network.name]
    rng = np.random.default_rng(seed)
    n_rows, drawn = len(network.calibration.label), []
    for _ in range(1 if share == 1 else _N_DRAWS):
        index = np.sort(rng.choice(n_rows, round(share * n_rows), replace=False))
        drawn.append(_distances(network, network.calibration.take(index), columns, seed=seed))
    distance, rate, weights, n_segments = zip(*drawn, strict=True)
    return BySegment(
        name=network.name,
        columns=", ".join(columns),
        n_rows=round(share * n_rows),
        n_segments=max(n_segments),
        distance={way: float(np.mean([each[way] for each in distance])) for way in distance[0]},
        rate={way: float(np.mean([each[way] for each in rate])) for way in rate[0]},
        weight=float(np.mean(weights)),
    )


def _distances(
    network: TrainedNetwork, calibration: Part, columns: tuple[str, ...], *, seed: int
) -> tuple[dict[str, float], dict[str, float], float, int]:
    label = calibration.label
    before, after = _scores(network, calibration, seed=seed)
    known, new = (segment_keys(part.frame, columns) for part in (calibration, network.test))
    assert known is not None
    assert new is not None
    overall = tune_threshold(label, before, MAX_FPR, n_replicates=1).lowest_score
    names = sorted({name for name in known if name is not None})
    own = {name: _own(label, before, known == name, overall) for name in names}
    tuned = tune_segments(label, before, known, MAX_FPR, threshold=overall, n_replicates=1)
    found = {each.segment: each for each in tuned.thresholds or ()}
    shrunk = {name: found[name].threshold if name in found else overall for name in names}
    code = segment_codes(new, names)
    ways = {"all": dict.fromkeys(names, overall), "own": own, "shrunk": shrunk}
    alerts = {
        way: after >= np.array([*by_name.values(), overall], dtype=np.float64)[code]
        for way, by_name in ways.items()
    }
    negative = network.test.label == 0
    return (
        {way: _mean_distance(is_alert, negative, code) for way, is_alert in alerts.items()},
        {way: float(is_alert[negative].mean()) for way, is_alert in alerts.items()},
        float(np.mean([each.weight for each in found.values()])) if found else 0.0,
        len(names),
    )


def _own(label: np.ndarray, score: np.ndarray, rows: np.ndarray, overall: float) -> float:
    """Return the threshold from a segment's rows alone; the global one where it has one class."""
    if len(np.unique(label[rows])) < 2:
        return overall
    return tune_threshold(label[rows], score[rows], MAX_FPR, n_replicates=1).lowest_score


def _mean_distance(is_alert: np.ndarray, negative: np.ndarray, code: np.ndarray) -> float:
    """Return the mean over segments, weighted by their test negatives, in points of a percent."""
    rates = [
        (is_alert[negative & (code == each)].mean(), (negative & (code == each)).sum())
        for each in np.unique(code[negative & (code >= 0)])
    ]
    rate, weight = np.array(rates).T
    return float(100 * np.average(np.abs(rate - MAX_FPR.max_fpr), weights=weight))


def _scores(
    network: TrainedNetwork, calibration: Part, *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    calibrator = fit_calibrator(calibration.log_odds, calibration.label, seed=seed).calibrator
    return calibrator.apply(calibration.log_odds), calibrator.apply(network.test.log_odds)


def amount_table(measured: list[ByAmount]) -> str:
    """Return the costs as a table."""
    header = [
        "data set", "no alerts", "best single threshold", "by amount", "by amount saves",
    ]  # fmt: skip
    return markdown(
        header,
        [
            [
                each.name,
                f"{each.nothing:,.0f}",
                f"{each.single:,.0f}",
                f"{each.by_amount:,.0f}",
                f"{each.saved.value:,.0f} [{each.saved.low:,.0f}, {each.saved.high:,.0f}]",
            ]
            for each in measured
        ],
    )


def segment_table(measured: list[BySegment]) -> str:
    """Return the distances as a table."""
    header = [
        "data set", "by", "calibration rows", "segments", "one for all", "own rows", "shrunk",
        "mean weight of own rows", "rate over all, one / own / shrunk",
    ]  # fmt: skip
    return markdown(
        header,
        [
            [
                each.name,
                each.columns,
                f"{each.n_rows:,}",
                str(each.n_segments),
                *(f"{each.distance[way]:.2f}" for way in ("all", "own", "shrunk")),
                f"{each.weight:.2f}",
                " / ".join(f"{100 * each.rate[way]:.2f} %" for way in ("all", "own", "shrunk")),
            ]
            for each in measured
        ],
    )
