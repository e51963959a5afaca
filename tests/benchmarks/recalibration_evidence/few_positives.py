"""How thresholds chosen from few positives hold on later rows: free ones against rule families.

Samples of the calibration rows are drawn at their own prevalence; each tunes a threshold, freely
or within a family of one parameter, and all are judged on the test rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from balancing.calibration.fitting.threshold_family import (
    STRENGTHS,
    ThresholdRule,
    tune_within_family,
)
from balancing.calibration.fitting.thresholds import tune_threshold
from balancing.calibration.post_processing.class_dependent import ClassDependentTemperatures
from balancing.calibration.post_processing.logit_adjustment import LogitAdjustment
from infra.objectives import (
    CostObjective,
    MaxFprObjective,
    MinPrecisionObjective,
    MinRecallObjective,
    Objective,
)
from recalibration_evidence.networks import Part, TrainedNetwork
from recalibration_evidence.tables import markdown

POSITIVES = (10, 25, 50, 100)
N_DRAWS = 200
FIXED_GAMMA = 0.2
"""What third parties use wherever they do not tune; see Ye et al. in the package's README."""

OBJECTIVES: Mapping[str, Mapping[str, Objective]] = {
    "creditcard": {
        "FPR 0.1 %": MaxFprObjective(max_fpr=0.001),
        "recall 80 %": MinRecallObjective(min_recall=0.8),
        "precision 80 %": MinPrecisionObjective(min_precision=0.8),
        "cost": CostObjective(review_cost=5.0),
    },
    "credit_default": {
        "FPR 2 %": MaxFprObjective(max_fpr=0.02),
        "recall 50 %": MinRecallObjective(min_recall=0.5),
        "precision 60 %": MinPrecisionObjective(min_precision=0.6),
        "cost": CostObjective(review_cost=5000.0, loss_rate=0.3),
    },
    "card_stream": {
        "FPR 0.1 %": MaxFprObjective(max_fpr=0.001),
        "recall 20 %": MinRecallObjective(min_recall=0.2),
        "precision 80 %": MinPrecisionObjective(min_precision=0.8),
        "cost": CostObjective(review_cost=5.0),
    },
}


@dataclass(frozen=True)
class Held:
    """How one way of choosing held on later rows, over all samples.

    Attributes:
        error: Root mean square of (figure on test / target - 1); for cost: mean share by which
            the cost exceeds that of the best threshold of the test rows themselves.
        shortfall: Share of the samples whose threshold breaks the target on test by more than a
            tenth of it; for cost: exceeds the least one by more than a tenth.
        without: Share of the samples in which no threshold met the target. Then a free choice
            alerts on nothing, and a family's nearest member stands in.
    """

    name: str
    objective: str
    n_positives: int
    way: str
    error: float
    shortfall: float
    without: float


@dataclass(frozen=True)
class _Judge:
    """Test rows sorted once, so that thousands of thresholds are judged by look-up."""

    odds: np.ndarray
    positives: np.ndarray
    lost: np.ndarray
    n_positives: int
    n_negatives: int

    @classmethod
    def of(cls, part: Part, scale: int) -> "_Judge":
        order = np.argsort(-part.log_odds, kind="stable")
        label = part.label[order]
        amount = part.column("amount_minor")
        value = np.zeros(len(label)) if amount is None else np.nan_to_num(amount[order] * 1.0)
        return cls(
            odds=-part.log_odds[order],
            positives=np.append(0, label.cumsum()),
            lost=np.append(0.0, (value * label).cumsum()) / scale,
            n_positives=int(label.sum()),
            n_negatives=int((1 - label).sum()),
        )

    def error(self, objective: Objective, threshold: float) -> float:
        """Return figure / target - 1, positive where the target is broken."""
        n_alerts = int(np.searchsorted(self.odds, -threshold, side="right"))
        caught = int(self.positives[n_alerts])
        match objective:
            case MaxFprObjective(max_fpr=target):
                return (n_alerts - caught) / self.n_negatives / target - 1
            case MinRecallObjective(min_recall=target):
                return 1 - caught / self.n_positives / target
            case MinPrecisionObjective(min_precision=target):
                return 1 - (caught / n_alerts if n_alerts else 0.0) / target
            case CostObjective():
                costs = self._costs(objective)
                return float(costs[n_alerts] / costs.min() - 1)
        raise TypeError(objective)

    def _costs(self, objective: CostObjective) -> np.ndarray:
        n_alerts = np.arange(len(self.positives))
        missed = self.lost[-1] - self.lost
        return np.asarray(objective.loss_rate * missed + objective.review_cost * n_alerts)


def measure(network: TrainedNetwork, *, n_draws: int = N_DRAWS, seed: int = 0) -> list[Held]:
    """Return how each way held for each objective and number of positives."""
    scale = network.minor_units
    judge = _Judge.of(network.test, scale)
    families = _families(network)
    rng = np.random.default_rng(seed)
    found = []
    for n_positives in POSITIVES:
        samples = [_sample(network.calibration, n_positives, rng) for _ in range(n_draws)]
        for name, objective in OBJECTIVES[network.name].items():
            for way in ("free", *families, "fixed gamma"):
                cuts = [_cut(way, sample, objective, families, scale) for sample in samples]
                errors = np.array([judge.error(objective, cut.log_odds) for cut in cuts])
                found.append(
                    Held(
                        name=network.name,
                        objective=name,
                        n_positives=n_positives,
                        way=way,
                        error=_error(objective, errors),
                        shortfall=float(np.mean(errors > 0.1)),
                        without=float(np.mean([not cut.meets_target for cut in cuts])),
                    )
                )
    return found


def _error(objective: Objective, errors: np.ndarray) -> float:
    if isinstance(objective, CostObjective):
        return float(errors.mean())
    return float(np.sqrt((errors**2).mean()))


def _sample(part: Part, n_positives: int, rng: np.random.Generator) -> Part:
    label = part.label
    positive, negative = np.flatnonzero(label == 1), np.flatnonzero(label == 0)
    n_negatives = round(n_positives * len(negative) / len(positive))
    chosen = [
        rng.choice(positive, n_positives, replace=False),
        rng.choice(negative, min(n_negatives, len(negative)), replace=False),
    ]
    return part.take(np.sort(np.concatenate(chosen)))


def _families(network: TrainedNetwork) -> dict[str, dict[float, ThresholdRule]]:
    counts = tuple(network.training["class_counts"])
    means = tuple(network.training["mean_logits"])
    return {
        "class-dependent": {
            gamma: ClassDependentTemperatures(gamma=gamma, class_counts=counts, mean_logits=means)
            for gamma in STRENGTHS
        },
        "logit adjustment": {
            tau: LogitAdjustment(tau=tau, class_counts=counts) for tau in STRENGTHS
        },
    }


@dataclass(frozen=True)
class _Cut:
    """A threshold on log-odds, and whether it met the target on its sample."""

    log_odds: float
    meets_target: bool = True


def _cut(
    way: str,
    sample: Part,
    objective: Objective,
    families: Mapping[str, Mapping[float, ThresholdRule]],
    scale: int,
) -> _Cut:
    if way == "fixed gamma":
        return _Cut(families["class-dependent"][FIXED_GAMMA].threshold)
    amount = sample.column("amount_minor")
    if way == "free":
        tuned = tune_threshold(
            sample.label,
            sample.log_odds,
            objective,
            amount_minor=amount,
            minor_units_per_major=scale,
            n_replicates=1,
        )
        return _Cut(tuned.lowest_score, tuned.threshold is not None)
    chosen = tune_within_family(
        sample.label,
        sample.log_odds,
        objective,
        families[way],
        amount_minor=amount,
        minor_units_per_major=scale,
    )
    if chosen is not None:
        return _Cut(chosen.log_odds)
    nearest = min if isinstance(objective, MinRecallObjective) else max
    return _Cut(nearest(rule.threshold for rule in families[way].values()), meets_target=False)


def table(rows: list[Held]) -> str:
    """Return error and shortfall of each way, a row per objective, a column per number."""
    header = ["data set", "objective", "chosen", *(f"{n} positives" for n in POSITIVES)]
    keys = list(dict.fromkeys((row.name, row.objective, row.way) for row in rows))
    found = {(row.name, row.objective, row.way, row.n_positives): row for row in rows}
    return markdown(
        header,
        [[*key, *(_cell(found[(*key, n)]) for n in POSITIVES)] for key in keys],
    )


def summary(rows: list[Held]) -> str:
    """Return the errors of the free choice and of class-dependent temperatures, side by side."""
    header = ["data set", "objective", *(f"{n} positives" for n in POSITIVES)]
    keys = list(dict.fromkeys((row.name, row.objective) for row in rows))
    found = {(row.name, row.objective, row.n_positives, row.way): row.error for row in rows}
    return markdown(
        header,
        [
            [
                *key,
                *(
                    f"{found[(*key, n, 'free')]:.0%} / {found[(*key, n, 'class-dependent')]:.0%}"
                    for n in POSITIVES
                ),
            ]
            for key in keys
        ],
    )


def _cell(row: Held) -> str:
    none = f", none {row.without:.0%}" if row.without else ""
    return f"{row.error:.0%}, {row.shortfall:.0%}{none}"
