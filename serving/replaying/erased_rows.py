"""What can still be replayed of rows whose subject's key was destroyed.

Features that tell nothing personal, logits and answer stay readable. Which row rules were broken
is taken from the flags.
"""

from collections.abc import Sequence

import numpy as np

from features.feature_set import FeatureArrays
from features.money import as_minor_units
from features.segments import segment_keys_of_requests
from serving.decisions.personal_features import personal_features
from serving.prepared_rows import PreparedRows
from serving.replaying.logged import LoggedDecision
from serving.row_rules import FLAG as BROKEN_ROW_RULE
from serving.scorer import Scorer


class ErasedRows:
    """Prepares rows of one model without what is personal of them.

    Args:
        scorer: The model and its policy.

    Attributes:
        undecidable: Why their logits alone do not decide them, in words; empty where they do.
        sealed_features: Features that went with the key: without them no network can be asked.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._contract = contract = scorer.bundle.contract
        personal = {*contract.columns.pii, *contract.columns.entities}
        told = personal_features(contract)
        names = (*scorer.bundle.feature_set.numeric, *scorer.bundle.feature_set.categorical)
        self.sealed_features = tuple(name for name in names if name in told)
        policy = scorer.policy
        self._amount = contract.columns.amount if policy.needs_amounts else None
        self._segments = policy.segment_columns if policy.needs_segments else ()
        missing = []
        if self._amount is not None and self._amount.column in personal:
            missing.append(
                f"{self._amount.column}, by which policy {scorer.policy_version} decides"
            )
        missing += [
            f"segment {name}, which is computed from the whole row"
            for name in self._segments
            if name in personal or name in contract.derived
        ]
        self.undecidable = tuple(missing)

    def prepared(self, decisions: Sequence[LoggedDecision], arrays: FeatureArrays) -> PreparedRows:
        """Return rows ready for the policy, where they are decidable.

        Args:
            decisions: Whose keys were destroyed.
            arrays: Their logged features.
        """
        rows = [dict(each.row) for each in decisions]
        minor = None
        if self._amount is not None:
            amounts = np.array([row[self._amount.column] for row in rows], dtype=np.float64)
            minor = as_minor_units(amounts, self._amount.currency)
        flags = [each.answer.flags for each in decisions]
        broken = {flag for of_row in flags for flag in of_row if flag.startswith(BROKEN_ROW_RULE)}
        return PreparedRows(
            arrays,
            {flag: np.array([flag in of_row for of_row in flags]) for flag in sorted(broken)},
            minor,
            segment_keys_of_requests(rows, self._segments),
        )
