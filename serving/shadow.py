"""Challengers in the shadow: they score what their champion answers, and answer nothing.

Rows wait in a bounded queue for one thread. What does not fit is dropped and counted: a
challenger that is slow, or a log that is away, never reaches a request.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from balancing.calibration.thresholds import DECISION_NAMES
from features.velocity import velocity_plan
from serving.metrics.tally import ServiceTally
from serving.requests import TypedRow
from serving.scored import UnscorableRow
from serving.scorer import Scorer

logger = logging.getLogger(__name__)

MOST_WAITING = 20_000
"""Rows; about 20 MB."""
# Scored together: a row alone costs many times as much, and takes the interpreter from requests.
_ROWS_AT_ONCE = 256
_GATHER_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class ShadowRow:
    """A row that a champion has decided.

    Attributes:
        decision_id: Of the champion's answer.
        row: As the champion's contract types it.
        velocity: The features over time that the champion saw, ``(n_velocity,)``; None where it
            has none.
    """

    decision_id: str
    row: TypedRow
    velocity: NDArray[np.floating] | None = None


@dataclass(frozen=True, slots=True)
class ShadowDecision:
    """What a challenger would have decided.

    Attributes:
        decision_id: Of the champion's answer to the same row.
        logits: float32 as float, one a class.
        scored_at: In microseconds since 1970-01-01 UTC.
    """

    decision_id: str
    model: str
    model_version: str
    policy_version: str
    logits: tuple[float, ...]
    risk_score: float
    decision: str
    scored_at: int


class ShadowLog(Protocol):
    """Where shadow decisions are kept."""

    def record(self, decisions: Sequence[ShadowDecision]) -> None:
        """Keep decisions, each once.

        Raises:
            StateUnavailable: If they cannot be written.
        """
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


@dataclass(frozen=True, slots=True)
class Shadow:
    """A challenger as its champion sees it: something that rows are offered to."""

    scorer: Scorer
    scoring: "ShadowScoring"

    def offer(self, rows: Sequence[ShadowRow]) -> None:
        """Have rows scored some time later, or not at all; never waits, never fails."""
        self.scoring.offer(self.scorer, rows)


class ShadowScoring:
    """Scores rows for challengers on a thread of its own.

    Args:
        log: Where the results go.
        tally: Counts what was scored, dropped and failed.
        most_waiting: Rows that may wait.
    """

    def __init__(
        self, log: ShadowLog, tally: ServiceTally, *, most_waiting: int = MOST_WAITING
    ) -> None:
        self._log = log
        self._tally = tally
        self._most_waiting = most_waiting
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Scorer, ShadowRow]] = deque()
        self._there_is_work = threading.Event()
        self._is_closing = False
        self._has_failed = False
        tally.queues["shadow"] = self._waiting.__len__
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def offer(self, scorer: Scorer, rows: Sequence[ShadowRow]) -> None:
        """Have a challenger score rows, unless too many wait already."""
        with self._lock:
            fits = len(self._waiting) + len(rows) <= self._most_waiting and not self._is_closing
            if fits:
                self._waiting.extend((scorer, row) for row in rows)
            else:
                self._tally.shadow_rows[scorer.name, "dropped"] += len(rows)
        if fits and not self._there_is_work.is_set():
            self._there_is_work.set()

    def close(self) -> None:
        """Score what waits, end the thread and close the log."""
        with self._lock:
            self._is_closing = True
        self._there_is_work.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_closing:
            self._there_is_work.wait()
            if not self._is_closing:
                time.sleep(_GATHER_SECONDS)
            self._there_is_work.clear()
            self._score_waiting()
        self._score_waiting()
        # Here: connections belong to the thread that opened them.
        self._log.close()

    def _score_waiting(self) -> None:
        while part := self._next_part():
            self._score(*part)
            if self._has_failed and self._is_closing:
                return

    def _next_part(self) -> tuple[Scorer, list[ShadowRow]] | None:
        """Return rows for one challenger, in the order of their decisions."""
        with self._lock:
            if not self._waiting:
                return None
            scorer = self._waiting[0][0]
            rows: list[ShadowRow] = []
            while self._waiting and len(rows) < _ROWS_AT_ONCE and self._waiting[0][0] is scorer:
                rows.append(self._waiting.popleft()[1])
            return scorer, rows

    def _score(self, scorer: Scorer, rows: list[ShadowRow]) -> None:
        try:
            decisions = _decided(scorer, rows)
            self._log.record(decisions)
        except Exception as error:
            self._tally.shadow_rows[scorer.name, "failed"] += len(rows)
            if not self._has_failed:
                logger.exception(
                    "shadow scoring failed; answers are not affected",
                    extra={
                        "model": scorer.name,
                        "version": scorer.model_version,
                        "why": str(error),
                    },
                )
            self._has_failed = True
            return
        if self._has_failed:
            logger.info("shadow scoring works again", extra={"model": scorer.name})
        self._has_failed = False
        self._tally.shadow_rows[scorer.name, "scored"] += len(decisions)
        self._tally.shadow_rows[scorer.name, "failed"] += len(rows) - len(decisions)


def why_not_shadowed(champion: Scorer, challenger: Scorer) -> str | None:
    """Return why a challenger cannot score the rows of its champion; None if it can.

    It sees rows as the champion's contract types them, and has no online state of its own.
    """
    known = {field.name: (field.role, field.kind) for field in champion.fields}
    for field in challenger.fields:
        if field.name not in known:
            return f"the champion's requests have no {field.name}"
        if known[field.name] != (field.role, field.kind):
            return f"it reads {field.name} as another type than the champion"
    plan = velocity_plan(challenger.bundle.contract)
    if plan and plan.state_key != velocity_plan(champion.bundle.contract).state_key:
        return "its features over time are not the champion's: it would need a state of its own"
    return None


def _decided(scorer: Scorer, rows: list[ShadowRow]) -> list[ShadowDecision]:
    """Return the decisions of the rows that can be scored."""
    velocity = None
    if scorer.bundle.contract.velocity_features:
        velocity = np.array([row.velocity for row in rows], dtype=np.float64)
    try:
        batch = scorer.decide_typed([row.row for row in rows], velocity)
    except UnscorableRow:
        if len(rows) == 1:
            return []
        return [decision for row in rows for decision in _decided(scorer, [row])]
    now = time.time_ns() // 1_000
    return [
        ShadowDecision(
            decision_id=row.decision_id,
            model=scorer.name,
            model_version=scorer.model_version,
            policy_version=scorer.policy_version,
            logits=tuple(batch.logits[at].tolist()),
            risk_score=float(batch.risk_score[at]),
            decision=DECISION_NAMES[batch.decision[at]],
            scored_at=now,
        )
        for at, row in enumerate(rows)
    ]
