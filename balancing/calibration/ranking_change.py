"""What a post-processing that treats segments differently did to the ranking."""

from pydantic import BaseModel, ConfigDict

from balancing.metrics.intervals import Interval


class RankingChange(BaseModel):
    """Average precision on the calibration rows without and with the post-processing.

    Attributes:
        before: Of the network's own log-odds.
        after: Of the post-processed ones.
        difference: After less before on the same rows, with its paired 95 % interval.
        forced: Whether a certain loss was accepted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: float
    after: float
    difference: Interval
    forced: bool = False

    @property
    def is_certain_loss(self) -> bool:
        """Whether the whole interval of the difference lies below 0."""
        return self.difference.high < 0
