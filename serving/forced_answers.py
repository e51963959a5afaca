"""Test identities: ids that force their answer, so that integrators can rehearse every case.

``test:approve``, ``test:review`` and ``test:decline`` force a decision, ``test:slow`` an answer
that takes half the deadline, ``test:error:STATUS`` an error. More may follow a colon to tell
requests apart: ``test:decline:checkout-7``. Where the contract has no id, the first entity counts
instead.

Such a row is read and scored as any other; it leaves no trace in state, log or alerts, and its
answer carries the flag ``test_identity``. A service knows test identities only if it is told to.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from balancing.calibration.thresholds import DECISION_NAMES
from features.contract import Contract
from features.velocity import velocity_plan
from serving.answers import Answer, answer, encode
from serving.refusals import RequestRefused
from serving.request_json import parse_row
from serving.scorer import Scorer

FLAG = "test_identity"
_PREFIX = "test:"
_SLOW = "slow"
_ERROR = "error"
_RETRY_AFTER = ((b"retry-after", b"1"),)
_ERRORS: dict[str, tuple[str, bool]] = {
    "400": ("malformed_json", False),
    "401": ("unknown_key", False),
    "403": ("missing_scope", False),
    "404": ("unknown_model", False),
    "408": ("body_too_slow", True),
    "409": ("id_reused", False),
    "413": ("body_too_large", False),
    "415": ("unsupported_media_type", False),
    "422": ("missing_field", False),
    "429": ("rate_limited", True),
    "500": ("internal_error", True),
    "503": ("deadline_exceeded", True),
}


@dataclass(frozen=True, slots=True)
class Forced:
    """What a test identity gets, and how many seconds it waits for that."""

    outcome: Answer | RequestRefused
    seconds: float = 0.0

    async def result(self) -> Answer:
        """Return the answer when its time has come.

        Raises:
            RequestRefused: If it is an error.
        """
        await asyncio.sleep(self.seconds)
        if isinstance(self.outcome, RequestRefused):
            raise self.outcome
        return self.outcome


class ForcedAnswers:
    """Answers test identities.

    Args:
        slow_seconds: How long ``test:slow`` takes.
    """

    def __init__(self, *, slow_seconds: float) -> None:
        self._slow_seconds = slow_seconds

    def find(self, scorer: Scorer, row: Mapping[str, Any]) -> Forced | None:
        """Return what a row of a request gets; None where it has no test identity."""
        identity = _identity(scorer.bundle.contract, row)
        if identity is None:
            return None
        what, _, more = identity.removeprefix(_PREFIX).partition(":")
        if what == _ERROR:
            return Forced(_error(more.partition(":")[0]))
        if what == _SLOW:
            return Forced(_decided(scorer, row, DECISION_NAMES[0]), self._slow_seconds)
        if what in DECISION_NAMES:
            return Forced(_decided(scorer, row, what))
        return Forced(_unknown())

    def find_all(self, scorer: Scorer, bodies: Sequence[msgspec.Raw]) -> dict[int, Forced]:
        """Return what rows of a batch get, by their places, where they have a test identity."""
        found = {}
        for at, body in enumerate(bodies):
            with contextlib.suppress(RequestRefused):
                forced = self.find(scorer, parse_row(body))
                if forced is not None:
                    found[at] = forced
        return found


async def with_forced(body: bytes, forced: Mapping[int, Forced]) -> bytes:
    """Return a batch's JSON with what its test identities get in their places.

    Args:
        body: JSON of the other rows' results.
        forced: By place among all rows.
    """
    await asyncio.sleep(max(each.seconds for each in forced.values()))
    others = msgspec.json.decode(body, type=dict[str, list[msgspec.Raw]])["results"]
    rest = iter(others)
    results: list[Any] = []
    for at in range(len(forced) + len(others)):
        outcome: Any = next(rest) if at not in forced else forced[at].outcome
        results.append(outcome.to_json() if isinstance(outcome, RequestRefused) else outcome)
    return encode({"results": results})


def _identity(contract: Contract, row: Mapping[str, Any]) -> str | None:
    columns = contract.columns
    column = columns.id or next(iter(columns.entities), None)
    value = row.get(column) if column else None
    return value if isinstance(value, str) and value.startswith(_PREFIX) else None


def _decided(scorer: Scorer, row: Mapping[str, Any], decision: str) -> Answer | RequestRefused:
    (typed,) = scorer.read_rows([row])
    if isinstance(typed, RequestRefused):
        return typed
    # Nobody has done anything before under a test identity.
    plan = velocity_plan(scorer.bundle.contract)
    velocity = np.full((1, len(plan.features)), np.nan) if plan else None
    (scored,) = scorer.score_typed([typed], velocity)
    if isinstance(scored, RequestRefused):
        return scored
    reasons = () if decision == DECISION_NAMES[0] else scored.reasons
    forced = replace(scored, decision=decision, flags=(*scored.flags, FLAG), reasons=reasons)
    return answer(forced, scorer)


def _error(status: str) -> RequestRefused:
    if status not in _ERRORS:
        return _unknown()
    code, is_retried = _ERRORS[status]
    return RequestRefused(
        code,
        "A test identity asked for this error.",
        status=int(status),
        retry=is_retried,
        headers=_RETRY_AFTER if status in ("429", "503") else (),
    )


def _unknown() -> RequestRefused:
    known = ", ".join((*(_PREFIX + each for each in (*DECISION_NAMES, _SLOW)), "test:error:STATUS"))
    return RequestRefused(
        "unknown_test_identity",
        f"Test identities are {known} with STATUS one of {', '.join(_ERRORS)}.",
    )
