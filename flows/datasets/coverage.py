"""What a table of decided rows covers: of how many rows, and declines, the labels are known."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from balancing.metrics.proportions import share_of

OTHER_FEATURES = "other_features"
DEGRADED = "degraded"
UNREADABLE = "unreadable"
DECLINED = "declined"
IMMATURE = "immature"
UNLABELLED = "unlabelled"
REPEATED = "repeated"

LEFT_OUT_IN_WORDS = {
    OTHER_FEATURES: "served with other features over time",
    DEGRADED: "decided without features over time",
    UNREADABLE: "with features or a time that nobody can read any more",
    DECLINED: "declined, so that no label can come by itself",
    IMMATURE: "without a label yet",
    UNLABELLED: "without a label though its time is over",
    REPEATED: "repeating an id",
}


@dataclass
class Coverage:
    """Counts of the decisions of a model in a window of event time.

    Attributes:
        decided: All of them.
        declined: Of these, those that were declined.
        explored: Of these, those that were let through though the policy declined them.
        erased: Of the rows that are in, those whose personal columns nobody can read any more.
        kept: Rows that are in.
        kept_positives: Of these, the positive ones.
        kept_declined: Of these, the declined ones.
        kept_explored: Of these, the explored ones.
        left_out: The other decisions, by the reason.
    """

    decided: int = 0
    declined: int = 0
    explored: int = 0
    erased: int = 0
    kept: int = 0
    kept_positives: int = 0
    kept_declined: int = 0
    kept_explored: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """Return counts and shares; a share of nothing is None."""
        return {
            "decided": self.decided,
            "declined": self.declined,
            "explored": self.explored,
            "rows": self.kept,
            "positives": self.kept_positives,
            "declined_rows": self.kept_declined,
            "explored_rows": self.kept_explored,
            "erased_rows": self.erased,
            "share_of_decided": share_of(self.kept, self.decided),
            "share_of_declined": share_of(self.kept_declined, self.declined),
            **{f"left_out_{why}": self.left_out[why] for why in LEFT_OUT_IN_WORDS},
        }
