"""What was logged beside what a replay gives, and how far the two may be apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from serving.answer_shapes import Answer, Reason
from serving.scored import ScoredRow

POLICY_TOLERANCE = 1e-12
"""Of scores that a policy gives to logged logits on another platform: numpy's exponential function
may round its last bit otherwise."""
INFERENCE_TOLERANCE = 1e-6
"""Of logits and scores that a network gives on another platform; relative where logits exceed 1."""


class Verdict(StrEnum):
    """What a comparison says, from the best to the worst."""

    EXACT = "exact"
    CLOSE = "close"
    """Not to the bit, and within what another platform may differ by."""
    INCOMPLETE = "incomplete"
    """What could be compared agrees; something was missing for the rest."""
    DIFFERS = "differs"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One level of a replay.

    Attributes:
        largest_difference: Of all numbers that were compared.
        differences: What differs by more than it may, in words.
        missing: What was missing, in words.
    """

    largest_difference: float = 0.0
    differences: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """What the comparison says."""
        if self.differences:
            return Verdict.DIFFERS
        if self.missing:
            return Verdict.INCOMPLETE
        return Verdict.CLOSE if self.largest_difference else Verdict.EXACT


def compare_features(
    names: Sequence[str], logged: NDArray[np.generic], computed: NDArray[np.generic]
) -> tuple[str, ...]:
    """Return which features of one row differ at all."""
    same = (logged == computed) | ((logged != logged) & (computed != computed))  # noqa: PLR0124
    return tuple(names[at] for at in np.flatnonzero(~same).tolist())


def compare_decision(
    answer: Answer, replayed: ScoredRow, *, tolerance: float, flags: bool, missing: tuple[str, ...]
) -> Comparison:
    """Compare what follows from the logged logits.

    Args:
        answer: As it was sent.
        replayed: As it is decided again.
        tolerance: How far scores may be apart.
        flags: Whether flags are compared.
        missing: What was missing; then the decision and its flags are not judged.
    """
    at_score = answer.at_this_score
    pairs = {
        "risk_score": (answer.risk_score, replayed.risk_score),
        "false_positive_rate": (at_score.false_positive_rate, replayed.false_positive_rate),
        "alerts_per_day": (at_score.alerts_per_day, replayed.alerts_per_day),
    }
    differences, largest = [], 0.0
    for name, (logged, found) in pairs.items():
        distance = _distance(logged, found)
        # Written so that NaN differs.
        if not distance <= tolerance:
            differences.append(f"{name}: {logged} logged, {found} replayed")
        largest = max(largest, distance)
    if not missing:
        differences += _said(answer, replayed, flags=flags)
    return Comparison(largest, tuple(differences), missing)


def compare_inference(
    answer: Answer,
    logits: tuple[float, ...],
    replayed: ScoredRow,
    *,
    tolerance: float,
    missing: tuple[str, ...],
) -> Comparison:
    """Compare what the network gives for the logged features, with decision and reasons.

    Args:
        answer: As it was sent.
        logits: As they were logged.
        replayed: As it is decided again.
        tolerance: How far logits, scores and effects may be apart.
        missing: What was missing; then the decision and its reasons are not judged.
    """
    differences, told = [], (answer.risk_score, replayed.risk_score)
    apart = [
        abs(found - logged) / max(1.0, abs(logged))
        for logged, found in zip(logits, replayed.logits, strict=True)
    ]
    distances = [*apart, _distance(*told)]
    if not all(distance <= tolerance for distance in apart):
        differences.append(f"logits: {logits} logged, {replayed.logits} replayed")
    if not distances[-1] <= tolerance:
        differences.append(f"risk_score: {told[0]} logged, {told[1]} replayed")
    if not missing:
        if answer.decision != replayed.decision:
            differences.append(f"decision: {answer.decision} logged, {replayed.decision} replayed")
        distance = _reasons_distance(answer.reasons, replayed.reasons)
        if distance is None or not distance <= tolerance:
            logged, found = (
                [each.column for each in of] for of in (answer.reasons, replayed.reasons)
            )
            differences.append(f"reasons: {logged} logged, {found} replayed")
        distances.append(distance or 0.0)
    return Comparison(max(distances), tuple(differences), missing)


def _said(answer: Answer, replayed: ScoredRow, *, flags: bool) -> list[str]:
    differences = []
    if answer.decision != replayed.decision:
        differences.append(f"decision: {answer.decision} logged, {replayed.decision} replayed")
    if flags and answer.flags != replayed.flags:
        differences.append(f"flags: {list(answer.flags)} logged, {list(replayed.flags)} replayed")
    return differences


def _distance(logged: float | None, found: float | None) -> float:
    if logged is None or found is None:
        return 0.0 if logged is found else float("inf")
    return abs(logged - found) / max(1.0, abs(logged))


def _reasons_distance(logged: tuple[Reason, ...], found: tuple[Reason, ...]) -> float | None:
    """Return how far effects are apart; None where other columns or texts are named."""
    if logged == found:
        return 0.0
    # Effects that are nearly equal may change places.
    pairs = list(zip(sorted(logged, key=_named), sorted(found, key=_named), strict=False))
    if len(logged) != len(found) or any(_named(one) != _named(other) for one, other in pairs):
        return None
    apart = [abs(one.effect - other.effect) for one, other in zip(logged, found, strict=True)]
    return max([*apart, *(abs(one.effect - other.effect) for one, other in pairs)])


def _columns(reasons: tuple[Reason, ...]) -> str:
    return ", ".join(f"{each.column} {each.effect:.3g}" for each in reasons) or "none"


def _named(reason: Reason) -> tuple[str, str]:
    return reason.column, reason.text
