"""The policy: everything between a model's logits and a decision, as one immutable object.

``Policy.apply`` is the only way from logits to decisions, so tuning, batch scoring and the
service cannot differ. Its JSON names itself by the SHA-256 of its content and the model it was
made for by the SHA-256 of the ONNX file.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from balancing.calibration.calibrator import Calibrator
from balancing.calibration.post_processing.kinds import PostProcessing
from balancing.calibration.prior_shift import PriorShift
from balancing.calibration.ranking_change import RankingChange
from balancing.calibration.row_costs import RowCosts
from balancing.calibration.score_map import ScoreMap
from balancing.calibration.temperatures import log_odds
from balancing.calibration.thresholds import DecisionArray, Thresholds
from balancing.metrics.cells import FloatArray
from infra.errors import InputError
from infra.exploration import Exploration
from infra.storage import canonical_json, sha256_json

# Platforms may round exp differently in the last place; decisions must still agree exactly.
_GOLDEN_TOLERANCE = 1e-9
# 2: one of several post-processings, thresholds by amount and by segment.
_FORMAT = 2


class PolicyMismatch(InputError):
    """Raised when a policy is damaged, was made for another model, or decides otherwise here."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GoldenDecisions(_Part):
    """Logits with the scores and decisions they must give, checked wherever a policy is loaded.

    ``amount_minor`` and ``segment`` are there where the policy decides by them.
    """

    logits: tuple[tuple[float, float], ...]
    amount_minor: tuple[int | None, ...] | None = None
    segment: tuple[str | None, ...] | None = None
    risk_score: tuple[float, ...]
    decision: tuple[int, ...]


class CalibrationData(_Part):
    """The rows a policy was fitted on."""

    fingerprint: str
    n_rows: int = Field(gt=0)
    class_counts: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Decisions:
    """What a policy says about rows.

    Attributes:
        risk_score: Calibrated probability of the positive class, float64.
        decision: 0 approve, 1 review, 2 decline; int8.
        false_positive_rate: Share of negatives at or above the score, float64.
        alerts_per_day: Alerts a day were the threshold at the score, float64; ``None`` where
            the traffic is unknown.

    Shape:
        ``(n_rows,)`` each.
    """

    risk_score: FloatArray
    decision: DecisionArray
    false_positive_rate: FloatArray
    alerts_per_day: FloatArray | None


class Policy(_Part):
    """From logits to decisions, with everything an auditor asks about how that came to be.

    Attributes:
        policy_id: SHA-256 of everything else here.
        model_sha256: The ONNX file whose logits this is for.
        segment_columns: Columns of the contract whose values, joined, are a row's segment.
        post_processing: What is done to the logits before calibration.
        calibrator: From log-odds to a probability.
        prior_shift: Base rate correction after calibration, if any.
        thresholds: Review and decline.
        costs: What decisions cost, where an objective says so.
        exploration: Which of the rows that it declines a service approves all the same; none by
            default. :meth:`decide` knows nothing of it.
        score_map: Where a score stands.
        golden: Decisions to check at load.
        calibration_data: What it was fitted on.
        ranking_change: Average precision there without and with the post-processing, where that
            treats segments differently.
        created_at: When.
        actor: By whom.
        reason: Why.
    """

    format: Literal[2] = 2
    policy_id: str
    model_sha256: str
    segment_columns: tuple[str, ...] = ()
    post_processing: PostProcessing
    calibrator: Calibrator
    prior_shift: PriorShift | None = None
    thresholds: Thresholds
    costs: RowCosts | None = None
    exploration: Exploration | None = None
    score_map: ScoreMap
    golden: GoldenDecisions
    calibration_data: CalibrationData
    ranking_change: RankingChange | None = None
    created_at: AwareDatetime
    actor: str
    reason: str

    @classmethod
    def seal(cls, *, created_at: datetime, **content: Any) -> "Policy":
        """Return the policy of this content, named by its hash.

        Raises:
            ValidationError: If the content is no policy.
        """
        unnamed = cls(policy_id="", created_at=created_at, **content)
        return unnamed.model_copy(update={"policy_id": unnamed.content_hash()})

    @classmethod
    def from_json(cls, text: str | bytes, *, source: str = "policy") -> "Policy":
        """Read a policy and check that its content has not changed since it was sealed.

        Args:
            text: JSON as ``to_json`` wrote it.
            source: What to call it in an error, such as the file's name.

        Raises:
            PolicyMismatch: If it is no policy, or its id is not the hash of its content.
        """
        try:
            policy = cls.model_validate_json(text)
        except ValidationError as error:
            raise PolicyMismatch(_unreadable(error, source)) from error
        found = policy.content_hash()
        if policy.policy_id != found:
            raise PolicyMismatch(
                f"{source} was changed after it was made: its id is {policy.policy_id[:12]}, its "
                f"content hashes to {found[:12]}. Restore the file or run recalibrate again."
            )
        return policy

    def to_json(self) -> str:
        """Return canonical JSON: equal policies give equal bytes."""
        return canonical_json(self.model_dump(mode="json", exclude_none=True))

    @property
    def needs_amounts(self) -> bool:
        """Whether rows are decided by their amounts."""
        return self.thresholds.needs_amounts

    @property
    def needs_segments(self) -> bool:
        """Whether rows are scored or decided by their segments."""
        return self.thresholds.needs_segments or self.post_processing.is_segmented

    def apply(
        self,
        logits: ArrayLike,
        *,
        amount_minor: ArrayLike | None = None,
        segment: ArrayLike | None = None,
    ) -> Decisions:
        """Return scores and decisions; each row's answer is independent of the other rows.

        Args:
            logits: The model's output.
            amount_minor: Amount per row in minor currency units, NaN where it is missing; needed
                where costs decide (:attr:`needs_amounts`).
            segment: Each row's segment, a text or ``None``; needed where thresholds or the
                post-processing go by it (:attr:`needs_segments`).

        Shape:
            ``(n_rows, 2)`` -> ``(n_rows,)`` each.

        Raises:
            ValueError: If the logits have another shape or hold NaN, or what the policy decides
                by is absent.
        """
        score, decision = self.decide(logits, amount_minor=amount_minor, segment=segment)
        return Decisions(
            risk_score=score,
            decision=decision,
            false_positive_rate=self.score_map.false_positive_rate_at(score),
            alerts_per_day=self.score_map.alerts_per_day_at(score),
        )

    def decide(
        self,
        logits: ArrayLike,
        *,
        amount_minor: ArrayLike | None = None,
        segment: ArrayLike | None = None,
    ) -> tuple[FloatArray, DecisionArray]:
        """Return scores and decisions alone, as :meth:`apply` does, without where they stand.

        Shape:
            ``(n_rows, 2)`` -> ``(n_rows,)`` float64 and ``(n_rows,)`` int8.
        """
        score = self.risk_score(logits, segment)
        decision = self.thresholds.decide(score, amount_minor=amount_minor, segment=segment)
        return score, decision

    def risk_score(self, logits: ArrayLike, segment: ArrayLike | None = None) -> FloatArray:
        """Return the calibrated probability, ``(n_rows, 2)`` -> ``(n_rows,)`` float64."""
        return score_logits(
            logits, self.post_processing, self.calibrator, self.prior_shift, segment=segment
        )

    def verify(self, model_sha256: str) -> None:
        """Refuse a model this policy was not made for.

        Raises:
            PolicyMismatch: If the hashes differ.
        """
        if model_sha256 != self.model_sha256:
            raise PolicyMismatch(
                f"Policy {self.policy_id[:12]} was made for model {self.model_sha256[:12]}, not "
                f"for {model_sha256[:12]}. Run recalibrate for this model."
            )

    def check_golden(self) -> None:
        """Decide the golden rows again and compare.

        Raises:
            PolicyMismatch: If a score or decision differs from the recorded one.
        """
        logits = np.array(self.golden.logits).reshape(-1, 2)
        segment = None if self.golden.segment is None else np.array(self.golden.segment, object)
        amount = self.golden.amount_minor
        found = self.apply(
            logits,
            amount_minor=None if amount is None else np.array(amount, dtype=np.float64),
            segment=segment,
        )
        expected = np.array(self.golden.risk_score)
        far = ~np.isclose(found.risk_score, expected, rtol=0, atol=_GOLDEN_TOLERANCE)
        differs = far | (found.decision != np.array(self.golden.decision, dtype=np.int8))
        if differs.any():
            raise PolicyMismatch(
                f"Policy {self.policy_id[:12]} decides {int(differs.sum())} of {len(expected)} "
                "golden rows otherwise here than when it was made. Recalibrate with this release."
            )

    def content_hash(self) -> str:
        """Return the SHA-256 of everything but the id."""
        # Fields without a value are left out, so that a later optional field renames no policy.
        return sha256_json(self.model_dump(mode="json", exclude={"policy_id"}, exclude_none=True))


def _unreadable(error: ValidationError, source: str) -> str:
    problems = error.errors()
    if any(problem["loc"] == ("format",) for problem in problems):
        return (
            f"{source} is a policy of another format than this release reads (format {_FORMAT}). "
            "Run recalibrate again, or deploy the release that wrote it."
        )
    where = ".".join(str(part) for part in problems[0]["loc"]) or "the text"
    return f"{source} is no readable policy: {where}: {problems[0]['msg']}. Run recalibrate again."


def score_logits(
    logits: ArrayLike,
    post_processing: PostProcessing,
    calibrator: Calibrator,
    prior_shift: PriorShift | None = None,
    *,
    segment: ArrayLike | None = None,
) -> FloatArray:
    """Return risk scores from logits: post-processing, calibrator, prior shift, in this order.

    Shape:
        ``(n_rows, 2)`` -> ``(n_rows,)``, float64 in [0, 1].
    """
    probability = calibrator.apply(log_odds(post_processing.apply(logits, segment)))
    return probability if prior_shift is None else prior_shift.apply(probability)
