"""Exploration: a few of the rows that a policy declines are approved, so that it can be judged.

Which ones is drawn from the row's content under the decision log's secret. So every worker, and
every start, draws alike; a row that is sent again is drawn as before; and nobody without the secret
can tell which row will be let through. Two policies at the same rate let the same rows through.
"""

from collections.abc import Iterable
from dataclasses import replace

from balancing.calibration.thresholds import DECISION_NAMES, DECLINE
from infra.exploration import Exploration
from serving.decisions.sealing import LogSecret
from serving.row_request import RowRequest
from serving.row_rules import FLAG as BROKEN_ROW_RULE
from serving.scored import ScoredRow
from serving.scorer import Scorer

FLAG = f"explored:{DECISION_NAMES[DECLINE]}"
"""Of an approved row: what it would have been."""

_APPROVED, _DECLINED = DECISION_NAMES[0], DECISION_NAMES[DECLINE]


def is_explored(flags: Iterable[str]) -> bool:
    """Return whether a row with these flags was let through though its policy declined it."""
    return FLAG in flags


class Explorer:
    """Lets rows of one model through.

    Args:
        exploration: Which rows.
        scorer: The model, its policy and its hard rules.
        secret: Of the log that the decisions are written to.
    """

    def __init__(self, exploration: Exploration, scorer: Scorer, secret: LogSecret) -> None:
        self._exploration = exploration
        self._scorer = scorer
        self._secret = secret
        self._amount = scorer.bundle.contract.amount_column

    def explored(self, request: RowRequest, scored: ScoredRow) -> ScoredRow:
        """Return a row as it is answered: approved and flagged if it is let through.

        What people decide (hard rules), and what a row rule of the contract stops, stays declined.

        Args:
            request: The row with its identity.
            scored: What the policy and the rules say of it, with all it takes to say so.
        """
        if scored.decision != _DECLINED or not self._may_pass(request, scored):
            return scored
        # Reasons say why a row was stopped, and this one is not.
        return replace(scored, decision=_APPROVED, flags=(*scored.flags, FLAG), reasons=())

    def _may_pass(self, request: RowRequest, scored: ScoredRow) -> bool:
        if not self._is_drawn(request) or not self._is_small(request):
            return False
        if any(flag.startswith(BROKEN_ROW_RULE) for flag in scored.flags):
            return False
        rules = self._scorer.rules
        return rules is None or not rules.binds(request.row)

    def _is_drawn(self, request: RowRequest) -> bool:
        identity = request.identity
        assert identity is not None, "where rows are explored, they are written down"
        # Of the content, not of the key: a client may choose the header that makes the key.
        about = f"exploration of {self._scorer.name}"
        return self._secret.draw(about, identity.content) < self._exploration.rate

    def _is_small(self, request: RowRequest) -> bool:
        most = self._exploration.max_amount
        if most is None:
            return True
        amount = None if self._amount is None else request.row.get(self._amount)
        return amount is not None and amount <= most


def explorer_of(scorer: Scorer, secret: LogSecret) -> Explorer | None:
    """Return what lets rows of a model through; None where its policy does not explore."""
    exploration = scorer.policy.exploration
    return None if exploration is None else Explorer(exploration, scorer, secret)
