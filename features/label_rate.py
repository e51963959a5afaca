"""Label rates: the share of positives among an entity's earlier events, as it was known then.

A row at ``t`` looks at events in ``[t - delay - window, t - delay)`` and takes in a label only if
it was known strictly before ``t``. Where the contract says that an absent label is negative, an
event counts as negative once the delay has passed, and as positive from its report on.
"""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.contract import Contract
from features.durations import microseconds
from features.labels import LABEL, known_after, reported_labels
from features.windows import IntArray, Timeline


@dataclass(frozen=True, slots=True)
class LabelEvents:
    """What is known of events' labels, and from when on. Made by :meth:`of`.

    Attributes:
        labels: 1, 0, or -1 where there is none, Int8.
        known_after: Microseconds from the event until its label is known; at least ``delay``.
        delay: The label delay, in microseconds.
        absent_is_negative: Whether an event without a report counts as negative after the delay.

    Shape:
        ``(n,)`` each
    """

    labels: NDArray[np.int8]
    known_after: IntArray
    delay: int
    absent_is_negative: bool

    @classmethod
    def of(cls, frame: pl.DataFrame, contract: Contract) -> "LabelEvents":
        """Return the labels of conformed rows.

        Args:
            frame: With ``label`` (and ``label_reported_at``) as ``attach_labels`` writes them,
                or else with the label's own columns; without both, no label is known.
            contract: Resolved; with an event time.

        Raises:
            LabelError: If the label's own columns hold something else.
        """
        frame = with_labels(frame, contract)
        return cls(
            frame[LABEL].cast(pl.Int8).fill_null(-1).to_numpy(),
            known_after(frame, contract).to_numpy(),
            microseconds(contract.label.delay),
            contract.label.absent_means == "negative",
        )

    def at(self, rows: IntArray) -> "LabelEvents":
        """Return the labels of some rows, in their order."""
        return replace(self, labels=self.labels[rows], known_after=self.known_after[rows])

    def counts(self, timeline: Timeline, window: int) -> tuple[IntArray, IntArray]:
        """Return how many labels each row's window holds that were known, and how many positive.

        Args:
            timeline: The events, in the order of the labels.
            window: In microseconds.

        Shape:
            ``(n,)`` and ``(n,)``
        """
        positive = self._holding(timeline, window, self.labels == 1, self.known_after)
        if self.absent_is_negative:
            everyone = np.ones(self.labels.size, dtype=bool)
            after_delay = np.full(self.labels.size, self.delay)
            return self._holding(timeline, window, everyone, after_delay), positive
        return self._holding(timeline, window, self.labels >= 0, self.known_after), positive

    def _holding(
        self, timeline: Timeline, window: int, chosen: NDArray[np.bool_], after: IntArray
    ) -> IntArray:
        """Count the chosen events; one known only after it left the window never counts."""
        until = self.delay + window
        at = np.flatnonzero(chosen & (after < until))
        places = timeline.keys[at]
        return timeline.holding(places + after[at], places + until)


def with_labels(frame: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Return ``frame`` with ``label``: its own, or that of the label's columns, or none.

    Raises:
        LabelError: If the label's own columns hold something else than two classes.
    """
    if LABEL in frame.columns:
        return frame
    if contract.label.source is None and contract.label.column not in frame.columns:
        return frame.with_columns(pl.lit(None, dtype=pl.Int8).alias(LABEL))
    return reported_labels(frame, contract)
