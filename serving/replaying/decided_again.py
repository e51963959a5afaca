"""From a score to the answer, as the service does it: hard rules, exploration, what was away.

Whether a row came too late is taken from the log: it depends on what its process had seen.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from balancing.calibration.thresholds import DECISION_NAMES
from serving.decisions.record import Identity
from serving.decisions.sealing import LogSecret
from serving.exploration import Explorer
from serving.hard_rules import HardRules
from serving.kept_rules import KeptRules, RulesLost
from serving.replaying.logged import LoggedDecision
from serving.request_context import RequestContext
from serving.row_request import RowRequest
from serving.rule_file import FLAG as HARD_RULE
from serving.scored import ScoredRow
from serving.scorer import Scorer

_APPROVE, _REVIEW, _ = DECISION_NAMES
_TOO_LATE = "too_late:"


class AnswerMaker:
    """Makes answers of one model's scores again.

    Args:
        scorer: The model and its policy.
        rules: What hard rules said.
        secret: Of the log: draws what is explored.
    """

    def __init__(self, scorer: Scorer, rules: KeptRules, secret: LogSecret) -> None:
        self._contract = scorer.bundle.contract
        self._rules = rules
        exploration = scorer.policy.exploration
        self._most = None if exploration is None else exploration.max_amount
        self._explorer = None if exploration is None else Explorer(exploration, scorer, secret)
        self._read: dict[bytes, HardRules | str] = {}

    def missing(self, decision: LoggedDecision) -> tuple[str, ...]:
        """Return what is not there to make a decision's answer again, in words."""
        named = [flag for flag in decision.answer.flags if flag.startswith(HARD_RULE)]
        if named:
            return self._rules_missing(decision, ", ".join(named))
        is_explored = self._explorer is not None and not decision.stored.is_degraded
        if is_explored and self._most is not None and self._is_amount_sealed(decision):
            return (f"the amount, which bounds what is explored: {decision.why_sealed}",)
        return ()

    def made(
        self, scored: ScoredRow, decision: LoggedDecision, *, at_least_review: bool
    ) -> ScoredRow:
        """Return a row as it was answered, where nothing is :meth:`missing`.

        Args:
            scored: What the model and its policy say.
            decision: As it is logged.
            at_least_review: Whether the online state was away when it was decided.
        """
        stored, flags = decision.stored, decision.answer.flags
        is_ruled = any(flag.startswith(HARD_RULE) for flag in flags)
        if is_ruled:
            scored = self._ruled(scored, decision, at_least_review=at_least_review)
        late = tuple(flag for flag in flags if flag.startswith(_TOO_LATE))
        if late:
            scored = replace(scored, flags=(*scored.flags, *late))
        if self._explorer is not None and not is_ruled and not stored.is_degraded:
            # A rule binds no declined row that it leaves no flag on, unless a row rule is broken.
            identity = Identity(stored.key, stored.content)
            request = RowRequest(dict(decision.row), _NOBODY, identity)
            scored = self._explorer.explored(request, scored)
        if stored.is_degraded and not at_least_review and scored.decision == _APPROVE:
            # Decided while the log was away: somebody had to look at it.
            scored = replace(scored, decision=_REVIEW)
        return scored

    def _ruled(
        self, scored: ScoredRow, decision: LoggedDecision, *, at_least_review: bool
    ) -> ScoredRow:
        rules = self._rules_of(decision.stored.rules)
        assert isinstance(rules, HardRules), "nothing is missing"
        amount = self._amount(decision)
        row = self._rules.row(decision.stored.entities, self._contract, amount)
        (ruled,) = rules.apply(
            [row],
            [scored],
            at_least_review=at_least_review,
            now=decision.stored.received_at / 1e6,
        )
        assert isinstance(ruled, ScoredRow), "rules refuse no row"
        return ruled

    def _rules_missing(self, decision: LoggedDecision, named: str) -> tuple[str, ...]:
        digest = decision.stored.rules
        if digest is None:
            return (f"what {named} said: the release that decided did not keep hard rules",)
        rules = self._rules_of(digest)
        if isinstance(rules, str):
            return (f"what {named} said: {rules}",)
        if self._is_amount_sealed(decision):
            return (f"the amount that {named} may be about: {decision.why_sealed}",)
        return ()

    def _rules_of(self, digest: bytes | None) -> HardRules | str:
        assert digest is not None, "the log names the rules"
        if digest not in self._read:
            try:
                self._read[digest] = self._rules.read(digest, self._contract)
            except RulesLost as error:
                self._read[digest] = str(error).rstrip(".")
        return self._read[digest]

    def _is_amount_sealed(self, decision: LoggedDecision) -> bool:
        return bool(decision.why_sealed) and self._contract.amount_column in (
            decision.stored.head.personal
        )

    def _amount(self, decision: LoggedDecision) -> Any:
        name = self._contract.amount_column
        return None if name is None else decision.row.get(name)


_NOBODY = RequestContext(received_at=0, trace=None)


def state_was_away(decision: LoggedDecision, n_velocity: int) -> bool:
    """Return whether a decision seems to be made without its features over time."""
    if not decision.stored.is_degraded or not n_velocity:
        return False
    numeric = np.frombuffer(decision.numeric, dtype="<f4")
    return bool(np.isnan(numeric[-n_velocity:]).all())
