"""How answered rows become the past of later ones: applied to the state, or kept for it."""

import logging
from collections.abc import Callable, Sequence

from features.online.events import Event
from features.online.state import Applied, StateUnreachable
from serving.decisions.applied import AppliedMarks
from serving.decisions.group_writer import Verdict
from serving.request_trace import finish_stage
from serving.state_link import StateLink

logger = logging.getLogger(__name__)


class EventFeed:
    """Hands the events of one model to its state.

    Args:
        link: The way to the state.
        refuses: Whether rows are refused while the state is away, and nothing is written down.

    Attributes:
        marks: What of the decision log the state holds; None where nothing is written down.
    """

    def __init__(self, link: StateLink, *, refuses: bool) -> None:
        self._link = link
        self._refuses = refuses
        self.marks: AppliedMarks | None = None

    def apply(self, events: Sequence[Event], sequences: Sequence[int]) -> None:
        """Apply events; where the state is away, they are kept for it.

        Args:
            events: Of answers that count.
            sequences: Of those that were written down now.

        Raises:
            StateUnreachable: If the state is away, the policy refuses then, and nothing is written
                down: the log would replay what it holds.
        """
        if not events:
            return
        try:
            applied = self._link.ask(lambda state: state.apply(events))
        except StateUnreachable:
            if self._refuses and self.marks is None:
                raise
            self.keep(events, sequences)
        else:
            if Applied.CONFLICT in applied:
                # Only if another process took the id in between, past the log: by a backfill.
                n_events = list(applied).count(Applied.CONFLICT)
                logger.warning("ids were taken in between", extra={"n_events": n_events})
            if self.marks is not None:
                self.marks.done(sequences)
        finally:
            finish_stage("state")

    def keep(self, events: Sequence[Event], sequences: Sequence[int]) -> None:
        """Keep events until the state is back."""
        self._link.keep(events)
        # In this order: what is kept here has to be among what is waited for there.
        if self.marks is not None:
            self.marks.keep(sequences)

    def when_late(
        self, events: Sequence[Event], counts: Sequence[bool]
    ) -> Callable[[list[Verdict]], None]:
        """Return what lets rows count that are written down after their request was refused.

        Args:
            events: Of the rows.
            counts: Whether each of them becomes part of its entities' past.
        """

        def keep(verdicts: list[Verdict]) -> None:
            found = [
                (event, verdict.sequence)
                for event, does, verdict in zip(events, counts, verdicts, strict=True)
                if does and verdict.sequence is not None
            ]
            self.keep([event for event, _ in found], [sequence for _, sequence in found])

        return keep

    def state_answered(self) -> None:
        """Say that the state was asked and answered: what was kept for it is applied."""
        if self.marks is not None and not self._link.n_kept and not self._link.has_lost_some:
            self.marks.kept_are_applied()

    def close(self) -> None:
        """Apply what still waits for the state, and let go of it."""
        self._link.close()
        self.state_answered()
        if self.marks is not None:
            self.marks.settle()
