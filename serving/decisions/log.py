"""The decision log as a process uses it: written by many requests at once, read by their ids."""

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Sequence

from serving.decisions.applied import AppliedMarks
from serving.decisions.commit_thread import CommitThread
from serving.decisions.group_writer import Entry, GroupWriter, Verdict
from serving.decisions.record import DecisionRecord, FeatureNames
from serving.decisions.sealing import LogSecret
from serving.decisions.store import Answered, DecisionStore, LogMismatch, LogUnreachable
from serving.decisions.submission import Submission, resolve_all
from serving.request_context import now_microseconds

PAUSE_SECONDS = 0.5
"""How long a database that failed is left alone before it is tried again."""
RETENTION_SECONDS = 7 * 86_400.0
"""How long the first answer to a key counts."""


class DecisionLog:
    """One log of one process; safe for several threads and an event loop.

    Args:
        open_store: Opens the database; called again while it is away.
        secret: Seals what is personal.
        retention_seconds: How long the first answer to a key counts.
        pause_seconds: How long to leave a database alone that failed.

    Raises:
        LogMismatch: If what is there is no decision log, or another secret's.
    """

    def __init__(
        self,
        open_store: Callable[[], DecisionStore],
        secret: LogSecret,
        *,
        retention_seconds: float = RETENTION_SECONDS,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self.secret = secret
        self._open_store = open_store
        self._retention_seconds = retention_seconds
        self._store: DecisionStore | None = None
        self._lock = threading.Lock()
        self._marks: dict[str, AppliedMarks] = {}
        self._names: dict[str, FeatureNames] = {}
        self._commits = CommitThread(
            self._open_writer, lambda: list(self._marks.values()), pause_seconds=pause_seconds
        )

    @property
    def is_reachable(self) -> bool:
        """Whether the database answered when it was last asked to write."""
        return self._commits.away is None

    @property
    def n_waiting(self) -> int:
        """Decisions that wait for a commit."""
        return self._commits.n_waiting

    @property
    def n_kept(self) -> int:
        """Decisions that were answered, and wait in memory for the log to come back."""
        return self._commits.n_kept

    @property
    def n_committed(self) -> int:
        """Decisions that were written down, or found to have been before."""
        return self._commits.n_committed

    @property
    def reads_are_local(self) -> bool:
        """Whether :meth:`find_answered` is quick enough for an event loop."""
        return self._store is not None and self._store.reads_are_local

    @property
    def store(self) -> DecisionStore:
        """The database.

        Raises:
            LogUnreachable: If it could not be opened yet.
        """
        if self._store is None:
            raise self._commits.away or LogUnreachable("The decision log is not open yet.")
        return self._store

    def describe(self) -> dict[str, object]:
        """Return what ``/v1/model`` says of the log."""
        return {
            "location": None if self._store is None else self._store.location,
            "reachable": self.is_reachable,
            "decisions_waiting": self.n_waiting + self.n_kept,
        }

    def marks(self, state: str) -> AppliedMarks:
        """Return what is known to be applied to a state; the same object for the same state."""
        with self._lock:
            # A new dictionary: the thread that commits may be looking at the old one.
            if state not in self._marks:
                self._marks = {**self._marks, state: AppliedMarks(state)}
            return self._marks[state]

    def find_answered(self, keys: Sequence[bytes]) -> dict[bytes, Answered]:
        """Return what was decided under keys; nothing also while the log does not answer."""
        if self._store is None or not keys:
            return {}
        try:
            return self._store.find_answered(keys, now_microseconds())
        except (LogUnreachable, LogMismatch):
            return {}

    def find_kept(self, key: bytes) -> Entry | None:
        """Return what was decided under a key and waits for the log to come back."""
        return self._commits.find_kept(key)

    def find_decision(self, decision_id: str) -> DecisionRecord | None:
        """Return a decision; None where there is none of that id.

        Raises:
            LogUnreachable: If the log does not answer.
        """
        try:
            wanted = uuid.UUID(decision_id).bytes
        except ValueError:
            return None
        found = self.store.find_decision(wanted)
        if found is None:
            return None
        writer_id, stored = found
        if stored.feature_set_hash not in self._names:
            self._names = self.store.feature_names()
        return DecisionRecord(writer_id, stored, self._names.get(stored.feature_set_hash))

    def append(
        self,
        entries: Sequence[Entry],
        deadline: float,
        *,
        late: Callable[[list[Verdict]], None] | None = None,
    ) -> list[Verdict]:
        """Write decisions down and return what became of each; blocks.

        Args:
            entries: Of one request.
            deadline: Moment of ``time.monotonic()`` to give up at.
            late: Called from another thread if they are written after that.

        Raises:
            LogUnavailable: If they were not written in time.
        """
        submission = Submission(entries, late=late)
        done = threading.Event()
        submission.wake = done.set
        self._commits.submit(submission)
        if not done.wait(max(0.0, deadline - time.monotonic())):
            self._commits.give_up(submission)
        return submission.outcome()

    async def append_soon(self, entries: Sequence[Entry], deadline: float) -> list[Verdict]:
        """Write decisions down, as :meth:`append` does, without blocking the event loop."""
        loop = asyncio.get_running_loop()
        submission = Submission(entries)
        submission.future = future = loop.create_future()
        self._commits.submit(submission)
        timer = loop.call_later(max(0.0, deadline - time.monotonic()), resolve_all, [future])
        try:
            await future
        finally:
            timer.cancel()
        if not submission.is_done:
            self._commits.give_up(submission)
        return submission.outcome()

    def keep(self, entries: Sequence[Entry]) -> bool:
        """Keep decisions in memory until the log is back; say whether there is room for them."""
        return self._commits.keep(entries)

    def close(self) -> None:
        """Write what waits, as far as the database answers, and let go of it."""
        if self._commits.close() and self._store is not None:
            self._store.close()

    def _open_writer(self) -> GroupWriter:
        self._store = self._open_store()
        return GroupWriter(self._store, self.secret, retention_seconds=self._retention_seconds)
