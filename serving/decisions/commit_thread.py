"""The thread that commits: what waits while one commit is under way goes into the next together.

A database that fails is left alone for a moment and then tried again by this thread, never by a
request: until it is back, requests hear at once that it is away.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from serving.decisions.applied import AppliedMarks
from serving.decisions.group_writer import Entry, GroupWriter, Verdict
from serving.decisions.store import CommitInDoubt, LogUnreachable
from serving.decisions.submission import LogUnavailable, Submission, resolve_all

logger = logging.getLogger(__name__)

MOST_WAITING = 10_000
"""Decisions that wait for a commit; beyond it requests are refused at once."""
MOST_KEPT = 10_000
"""Decisions kept in memory while the log is away, where the settings allow it; about 30 MB."""

_MOST_AT_ONCE = 512
_IDLE_SECONDS = 5.0
_CLOSE_SECONDS = 10.0


class CommitThread:
    """Commits for all requests of a process.

    Args:
        open_writer: Opens the database; called again while it is away.
        marks: Returns what is to be stored along.
        pause_seconds: How long to leave a database alone that failed.

    Attributes:
        n_waiting: Decisions that wait for a commit.
        n_committed: Decisions that were written down, or found to have been before.
    """

    def __init__(
        self,
        open_writer: Callable[[], GroupWriter],
        marks: Callable[[], list[AppliedMarks]],
        *,
        pause_seconds: float,
    ) -> None:
        self._open_writer = open_writer
        self._marks = marks
        self._pause = pause_seconds
        self._writer: GroupWriter | None = None
        self._wake = threading.Condition()
        self._waiting: deque[Submission] = deque()
        self._doubtful: list[Submission] = []
        self._kept: deque[Entry] = deque()
        self._kept_by_key: dict[bytes, Entry] = {}
        self._away: LogUnreachable | None = None
        self._away_until = 0.0
        self._is_closing = False
        self.n_waiting = 0
        self.n_committed = 0
        with suppress(LogUnreachable):
            self._opened()
        self._thread = threading.Thread(target=self._run, name="decision log", daemon=True)
        self._thread.start()

    @property
    def away(self) -> LogUnreachable | None:
        """Why the database does not answer; None while it does."""
        return self._away

    @property
    def n_kept(self) -> int:
        """Decisions that were answered, and wait in memory for the database to come back."""
        return len(self._kept)

    def find_kept(self, key: bytes) -> Entry | None:
        """Return what was decided under a key and waits for the database to come back."""
        return self._kept_by_key.get(key)

    def submit(self, submission: Submission) -> None:
        """Take decisions; their request hears of the commit.

        Raises:
            LogUnavailable: At once, if they cannot be written now.
        """
        with self._wake:
            if self._is_closing:
                raise LogUnavailable("The decision log is closed.")
            if self._away is not None:
                raise LogUnavailable(str(self._away))
            if self.n_waiting + len(submission.entries) > MOST_WAITING:
                raise LogUnavailable("Too many decisions wait for the log.")
            self._waiting.append(submission)
            self.n_waiting += len(submission.entries)
            if len(self._waiting) == 1:
                self._wake.notify()

    def give_up(self, submission: Submission) -> None:
        """Wait no more; if an outcome is there by now, it counts.

        Raises:
            LogUnavailable: If there is none; in doubt if a commit is under way.
        """
        with self._wake:
            if submission in self._waiting:
                self._waiting.remove(submission)
                self.n_waiting -= len(submission.entries)
                raise LogUnavailable("The decision log did not answer in time.")
        if submission.give_up():
            raise LogUnavailable("The decision log did not answer in time.", is_in_doubt=True)

    def keep(self, entries: Sequence[Entry]) -> bool:
        """Keep decisions in memory until the log is back; say whether there is room for them."""
        with self._wake:
            if len(self._kept) + len(entries) > MOST_KEPT or self._is_closing:
                return False
            for entry in entries:
                self._kept.append(entry)
                if entry.draft.identity.key is not None:
                    self._kept_by_key[entry.draft.identity.key] = entry
            self._wake.notify()
        return True

    def close(self) -> bool:
        """Write what waits, as far as the database answers; say whether the thread has ended."""
        with self._wake:
            self._is_closing = True
            self._wake.notify()
        self._thread.join(_CLOSE_SECONDS)
        if self._kept:
            logger.error(
                "decisions given up: the decision log did not come back",
                extra={"n_decisions": len(self._kept)},
            )
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._wake:
                if not self._waiting and not self._is_closing:
                    self._wake.wait(self._nap())
                is_last = self._is_closing and not self._waiting
                is_pausing = self._away is not None and time.monotonic() < self._away_until
                if is_pausing and not self._is_closing:
                    continue
                taken = self._take()
            self._commit(taken)
            while is_last and self._kept and self._away is None:
                self._commit([])
            if is_last:
                return

    def _nap(self) -> float:
        if self._away is not None:
            return max(0.01, self._away_until - time.monotonic())
        return 0.0 if self._kept else _IDLE_SECONDS

    def _take(self) -> list[Submission]:
        taken: list[Submission] = []
        n = 0
        while self._waiting and n < _MOST_AT_ONCE:
            submission = self._waiting.popleft()
            n += len(submission.entries)
            taken.append(submission)
        self.n_waiting -= n
        return taken

    def _commit(self, taken: list[Submission]) -> None:
        """Commit what was kept, then what waits; nothing that it raises may end the thread."""
        kept: list[Entry] = []
        try:
            writer = self._opened()
            self._resolve(writer)
            if self._away is not None:
                writer.probe()
            kept = list(self._kept)[:_MOST_AT_ONCE]
            entries = [*kept, *(entry for each in taken for entry in each.entries)]
            marks = self._marks()
            verdicts = writer.commit(entries, marks) if entries or marks else []
        except CommitInDoubt as error:
            self._leave_alone(error)
            self._doubtful = taken
            self._fail(taken, LogUnavailable(str(error), is_in_doubt=True))
        except LogUnreachable as error:
            self._leave_alone(error)
            self._fail(taken, LogUnavailable(str(error)))
        except Exception as error:
            logger.exception("decisions could not be written")
            self._leave_alone(LogUnreachable(f"The decision log failed: {error}."))
            self._fail(taken, LogUnavailable(str(error)))
        else:
            if self._away is not None:
                self._away = None
                logger.info("decision log is back", extra={"n_kept": len(self._kept)})
            self._hand_out(taken, verdicts, n_kept=len(kept))

    def _opened(self) -> GroupWriter:
        if self._writer is None:
            try:
                self._writer = self._open_writer()
            except LogUnreachable as error:
                self._leave_alone(error)
                raise
        return self._writer

    def _resolve(self, writer: GroupWriter) -> None:
        """Find out about a commit that nobody knows of; its requests were refused meanwhile."""
        if not writer.is_in_doubt:
            return
        verdicts = writer.resolve()
        doubtful, self._doubtful = self._doubtful, []
        if verdicts is not None:
            n_asked = sum(len(submission.entries) for submission in doubtful)
            self._hand_out(doubtful, verdicts, n_kept=len(verdicts) - n_asked)

    def _hand_out(
        self, submissions: Sequence[Submission], verdicts: Sequence[Verdict], *, n_kept: int
    ) -> None:
        self.n_committed += len(verdicts)
        if n_kept:
            self._forget_kept(verdicts[:n_kept])
        at = n_kept
        for submission in submissions:
            n = len(submission.entries)
            submission.finish(list(verdicts[at : at + n]))
            at += n
        _rouse(submissions)

    def _forget_kept(self, verdicts: Sequence[Verdict]) -> None:
        with self._wake:
            for _ in verdicts:
                entry = self._kept.popleft()
                self._kept_by_key.pop(entry.draft.identity.key or b"", None)
        n_lost = sum(verdict.earlier is not None for verdict in verdicts)
        if n_lost:
            logger.error(
                "decisions were answered twice while the log was away: another process was first",
                extra={"n_decisions": n_lost},
            )

    def _fail(self, submissions: Sequence[Submission], error: LogUnavailable) -> None:
        # Those that came while the commit failed need not wait for the next one to fail.
        with self._wake:
            late = list(self._waiting)
            self._waiting.clear()
            self.n_waiting = 0
        for submission in submissions:
            submission.fail(error)
        for submission in late:
            submission.fail(LogUnavailable(str(error)))
        _rouse([*submissions, *late])

    def _leave_alone(self, error: LogUnreachable) -> None:
        if self._away is None:
            logger.error("decision log is away", extra={"why": str(error)})
        self._away = error
        self._away_until = time.monotonic() + self._pause


def _rouse(submissions: Sequence[Submission]) -> None:
    """Wake who waits: threads one by one, an event loop once for all its requests."""
    loops: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for submission in submissions:
        if submission.wake is not None:
            submission.wake()
        if submission.future is not None:
            loops.setdefault(submission.future.get_loop(), []).append(submission.future)
    for loop, futures in loops.items():
        with suppress(RuntimeError):  # the loop was closed
            loop.call_soon_threadsafe(resolve_all, futures)
