"""Re-expresses a policy's thresholds on the scores of another model version.

Scores of two versions mean different things, the share of negatives above them means the same.
An anchored threshold lets as large a share of the negatives through as the old one did on the
rows that it was made on. Thresholds of segments are re-expressed through all rows' negatives too:
those of a small segment would say little.
"""

import numpy as np

from balancing.calibration.fitting.threshold_pair import ScoredRows, in_order
from balancing.calibration.fitting.thresholds import N_REPLICATES, tune_threshold
from balancing.calibration.policy import Policy
from balancing.calibration.segments import segment_codes
from balancing.calibration.thresholds import SegmentThreshold, Thresholds, TunedThreshold
from balancing.metrics.intervals import Interval
from infra.objectives import MaxFprObjective

_N_REPLICATES_OF_SEGMENTS = 100


def anchor_thresholds(rows: ScoredRows, anchor: Policy, *, seed: int) -> Thresholds:
    """Return the thresholds of a policy at the false-positive rates that they had there.

    Costs stay as they are: their thresholds are probabilities and hold on any calibrated score;
    only the threshold of rows without an amount is re-expressed. A threshold that the old policy
    does not have, the new one does not have either. A segment without new rows falls back to the
    global threshold.

    Args:
        rows: Calibration rows scored by the new version.
        anchor: The old policy.
        seed: Decides resamples.
    """
    old = anchor.thresholds
    review, decline = (
        _Anchor(rows, anchor, each, seed).tuned() for each in (old.review, old.decline)
    )
    return in_order(rows, review, decline)


class _Anchor:
    """One threshold of an old policy, and the rows to re-express it on."""

    def __init__(self, rows: ScoredRows, policy: Policy, old: TunedThreshold, seed: int) -> None:
        self._rows = rows
        self._policy = policy
        self._old = old
        self._seed = seed

    def tuned(self) -> TunedThreshold:
        tuned = self._old_objective_unmet() if self._old.threshold is None else self._at_old_rate()
        if self._old.row_costs is not None:
            costs = {"objective": self._old.objective, "row_costs": self._old.row_costs}
            return tuned.model_copy(update=costs)
        return tuned.model_copy(update={"segments": self._segments()})

    def _at_old_rate(self) -> TunedThreshold:
        assert self._old.threshold is not None
        rate = self._old.achieved.false_positive_rate
        if self._old.row_costs is not None or self._old.segments is not None:
            rate = self._rate_at(self._old.threshold)
        tuned = self._at(rate)
        reason = (
            f"Anchored at the false-positive rate {rate:.4g} of {self._old.threshold:.4g} in "
            f"policy {self._policy.policy_id[:12]}: {tuned.reason}"
        )
        return tuned.model_copy(update={"reason": reason})

    def _old_objective_unmet(self) -> TunedThreshold:
        reason = (
            f"Anchored at policy {self._policy.policy_id[:12]}, which has no such threshold. "
            "No row counts"
        )
        unknown = Interval(float("nan"), float("nan"), float("nan"))
        return self._old.model_copy(
            update={"interval": unknown, "feasible_share": 0.0, "saving": None, "reason": reason}
        )

    def _segments(self) -> tuple[SegmentThreshold, ...] | None:
        old = self._old.segments
        if old is None or self._rows.segment is None:
            return None
        codes = segment_codes(self._rows.segment, [each.segment for each in old])
        n_rows = np.bincount(codes[codes >= 0], minlength=len(old))
        found = tuple(
            self._segment(each, int(n), int(self._rows.label[codes == at].sum()))
            for at, (each, n) in enumerate(zip(old, n_rows, strict=True))
            if n
        )
        return found or None

    def _segment(self, old: SegmentThreshold, n_rows: int, n_positives: int) -> SegmentThreshold:
        counts = {"n_rows": n_rows, "n_positives": n_positives}
        if old.threshold is None:
            return old.model_copy(update=counts)
        rate = self._rate_at(old.threshold)
        tuned = self._at(rate, n_replicates=_N_REPLICATES_OF_SEGMENTS)
        changes = {
            "threshold": tuned.threshold,
            "interval": tuned.interval,
            "reason": f"Anchored at the false-positive rate {rate:.4g} of {old.threshold:.4g}",
        }
        return old.model_copy(update=counts | changes)

    def _rate_at(self, threshold: float) -> float:
        return float(self._policy.score_map.false_positive_rate_at(np.array([threshold]))[0])

    def _at(self, rate: float, *, n_replicates: int = N_REPLICATES) -> TunedThreshold:
        # No negative at all is the smallest rate that rows can tell from another.
        n_negatives = max(self._policy.calibration_data.class_counts[0], len(self._rows.label))
        return tune_threshold(
            self._rows.label,
            self._rows.risk_score,
            MaxFprObjective(max_fpr=float(np.clip(rate, 0.5 / n_negatives, 1.0))),
            days=self._rows.period.days,
            n_replicates=n_replicates,
            seed=self._seed,
        )
