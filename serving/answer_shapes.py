"""The answer to a row and its parts: what the service writes and its Python client reads.

Without any of the service's packages. A client reads over fields that it does not know, so that
it may be older than its service.
"""

import msgspec


class Reason(msgspec.Struct, frozen=True):
    """Why a row was not approved.

    Attributes:
        column: Of the contract.
        text: For a person.
        effect: How far the risk score falls with a benign value in the column.
    """

    column: str
    text: str
    effect: float


class AtThisScore(msgspec.Struct, frozen=True):
    """What deciding at this score means: share of negatives stopped, and alerts a day."""

    false_positive_rate: float
    alerts_per_day: float | None


class ModelName(msgspec.Struct, frozen=True):
    """Which model and policy decided."""

    name: str
    version: str
    policy_version: str


class Answer(msgspec.Struct, frozen=True):
    """The answer to a row.

    Attributes:
        decision_id: A UUID of version 7; ``decision(decision_id)`` shows what was recorded.
        id: The contract's id as text; None where the contract has none.
        risk_score: Calibrated probability of the positive class, in [0, 1].
        decision: ``approve``, ``review`` or ``decline``.
        reasons: Up to four, of a row that is not approved.
        flags: What was unusual about the row.
        at_this_score: What deciding at this score means.
        model: Which model and policy decided.
        degraded: Whether something was missing when the row was decided.
    """

    decision_id: str
    id: str | None
    risk_score: float
    decision: str
    reasons: tuple[Reason, ...]
    flags: tuple[str, ...]
    at_this_score: AtThisScore
    model: ModelName
    degraded: bool = False
