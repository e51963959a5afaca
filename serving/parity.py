"""The gates before a release: what was trained is what will be served.

Features from request rows equal those from the table, the served graph's logits equal the trained
network's, rows sent one by one get the decisions that they got together, and features over time
that were replayed through an online state equal those of the table.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from balancing.calibration.policy import Policy
from balancing.calibration.thresholds import DECISION_NAMES
from infra.errors import Refusal
from serving.bundle import ModelBundle
from serving.prepared_rows import VelocityMatrix, velocity_of
from serving.request_json import parse_row
from serving.requests import is_sendable, request_rows
from serving.scored import ScoredBatch, ScoredRow
from serving.scorer import Scorer
from serving.velocity_parity import VelocityParity
from serving.verification import LOGIT_TOLERANCE, logit_difference

_MOST_REPLAYED = 500


class ParityBroken(Refusal):
    """Raised when a model may not be released because serving would differ from training."""


@dataclass(frozen=True, slots=True)
class ParityRecord:
    """What the gates found.

    Attributes:
        n_rows: Rows whose features and logits were compared.
        n_replayed: Rows that were also sent one by one.
        n_different_features: Features of request rows that differ from the table's at all.
        first_different_feature: Name of one of them.
        largest_logit_difference: Between the trained network and the served graph, relative
            where logits exceed 1.
        logit_tolerance: The most that it may be.
        n_different_decisions: Replayed rows with another decision or risk score than together.
        velocity: What a replay of features over time found; None where there are none.
    """

    n_rows: int
    n_replayed: int
    n_different_features: int
    first_different_feature: str | None
    largest_logit_difference: float
    logit_tolerance: float
    n_different_decisions: int
    velocity: VelocityParity | None = None

    @property
    def passed(self) -> bool:
        """Whether all gates let the model through."""
        return not self.problems()

    def problems(self) -> list[str]:
        """Return what stands against a release, in words."""
        found = []
        if self.n_different_features:
            found.append(
                f"{self.n_different_features} feature values of {self.n_rows} request rows differ "
                f"from the table's, the first in {self.first_different_feature}"
            )
        # Written so that NaN fails.
        if not self.largest_logit_difference <= self.logit_tolerance:
            found.append(
                f"logits differ by {self.largest_logit_difference:.2g}, "
                f"at most {self.logit_tolerance:g} is allowed"
            )
        if self.n_different_decisions:
            found.append(
                f"{self.n_different_decisions} of {self.n_replayed} rows are decided otherwise "
                "alone than together"
            )
        return found + (self.velocity.problems() if self.velocity else [])

    def require(self) -> None:
        """Raise unless all gates are passed.

        Raises:
            ParityBroken: Naming each gate that is not.
        """
        if not self.passed:
            raise ParityBroken(
                f"Not released: {'; '.join(self.problems())}. Train again with this release."
            )

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values, with the verdict."""
        return asdict(self) | {"passed": self.passed}


def check_parity(
    bundle: ModelBundle,
    policy: Policy,
    rows: pl.DataFrame,
    *,
    trained_logits: NDArray[np.float32],
    velocity: VelocityParity | None = None,
    most_replayed: int = _MOST_REPLAYED,
) -> ParityRecord:
    """Compare the serving path with training on some rows.

    Args:
        bundle: The bundle to release.
        policy: The policy to release it with.
        rows: A conformed table with its features over time; some thousand rows with both classes
            tell enough. Rows that no client could send (without a key, say) are left out.
        trained_logits: The trained network's own logits on these rows.
        velocity: What the replay of features over time found (:mod:`serving.velocity_parity`).
        most_replayed: Rows to send one by one, evenly taken.

    Shape:
        ``n`` rows, ``(n, 2)`` logits.
    """
    scorer = Scorer(bundle, policy, model_version="candidate", policy_version="candidate")
    sendable = is_sendable(rows, bundle.contract, bundle.feature_set.input_types)
    rows, trained_logits = rows.filter(sendable), trained_logits[sendable.to_numpy()]
    together = scorer.score_frame(rows)
    requests = _as_requests(scorer, rows)
    over_time = velocity_of(rows, bundle.contract)
    names = _different_features(scorer, together, requests, over_time)
    step = max(1, -(-len(requests) // most_replayed))
    replayed = range(0, len(requests), step)
    return ParityRecord(
        n_rows=rows.height,
        n_replayed=len(replayed),
        n_different_features=len(names),
        first_different_feature=names[0] if names else None,
        largest_logit_difference=logit_difference(together.logits, trained_logits),
        logit_tolerance=LOGIT_TOLERANCE,
        n_different_decisions=sum(
            not _same(scorer.score_rows([requests[at]], over_time[[at]])[0], together, at)
            for at in replayed
        ),
        velocity=velocity,
    )


def _as_requests(scorer: Scorer, rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as they arrive: written to JSON and parsed again."""
    sent = request_rows(rows, scorer.bundle.contract, scorer.bundle.feature_set.input_types)
    return [parse_row(msgspec.json.encode(row)) for row in sent]


def _different_features(
    scorer: Scorer,
    together: ScoredBatch,
    requests: Sequence[dict[str, Any]],
    over_time: VelocityMatrix,
) -> list[str]:
    """Return the name of each feature value that differs, one entry a value."""
    arrays = scorer.score_requests(requests, over_time).arrays
    same_number = (arrays.numeric == together.arrays.numeric) | (
        np.isnan(arrays.numeric) & np.isnan(together.arrays.numeric)
    )
    feature_set = scorer.bundle.feature_set
    same_category = arrays.categorical == together.arrays.categorical
    return [feature_set.numeric[at] for at in np.nonzero(~same_number)[1]] + [
        feature_set.categorical[at] for at in np.nonzero(~same_category)[1]
    ]


def _same(alone: object, together: ScoredBatch, at: int) -> bool:
    return (
        isinstance(alone, ScoredRow)
        and alone.decision == DECISION_NAMES[together.decision[at]]
        and alone.risk_score == float(together.risk_score[at])
        and alone.reasons == together.reasons.get(at, ())
        and alone.flags == together.flags.get(at, ())
    )
