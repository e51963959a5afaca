"""One process's chain: drafts of many requests become one group, committed at once."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from serving.decisions.applied import AppliedMarks
from serving.decisions.chain import GENESIS, Group, encode_records, sealed_group
from serving.decisions.layout import RecordLayout
from serving.decisions.record import Draft, StoredRecord
from serving.decisions.sealing import LogSecret
from serving.decisions.store import (
    Answered,
    Claim,
    CommitInDoubt,
    DecisionStore,
    LogTransaction,
)
from serving.request_context import now_microseconds

_MOST_KEYS_KNOWN = 20_000
_FORGET_EVERY_SECONDS = 10.0
_MOST_FORGOTTEN = 2_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A draft and how its model's decisions are written down."""

    draft: Draft
    layout: RecordLayout
    marks: AppliedMarks | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a draft.

    Attributes:
        sequence: Its number in the log; None where its row had been decided before.
        earlier: The first decision under its key; None where this is the first.
    """

    sequence: int | None = None
    earlier: Answered | None = None


@dataclass(slots=True)
class _Commit:
    """A commit that is not known to have succeeded yet."""

    group: Group | None
    verdicts: list[Verdict]
    entries: list[tuple[Entry, int]]
    keys: dict[bytes, AESGCM]
    layouts: set[str]


class GroupWriter:
    """Writes one chain; for one thread.

    Args:
        store: Where to.
        secret: Seals what is personal.
        retention_seconds: How long the first answer to a key counts.
    """

    def __init__(
        self, store: DecisionStore, secret: LogSecret, *, retention_seconds: float
    ) -> None:
        self._store = store
        self._secret = secret
        self._retention = int(retention_seconds * 1_000_000)
        self._keys: dict[bytes, AESGCM] = {}
        self._n_destroyed = 0
        self._doubt: _Commit | None = None
        self._forget_at = 0.0
        self._begin_chain()

    @property
    def is_in_doubt(self) -> bool:
        """Whether nobody knows if the last commit succeeded."""
        return self._doubt is not None

    def commit(self, entries: Sequence[Entry], marks: Sequence[AppliedMarks]) -> list[Verdict]:
        """Write drafts down, durably, and return what became of each.

        Args:
            entries: In the order in which they are to be found.
            marks: Of every state, to be stored along.

        Raises:
            LogUnreachable: If nothing was written.
            CommitInDoubt: If nobody knows; :meth:`resolve` finds out.
        """
        assert self._doubt is None, "a doubtful commit is resolved first"
        now = now_microseconds()
        commit = _Commit(None, [], [], {}, set())
        try:
            with self._store.writing() as transaction:
                self._write(transaction, entries, commit, now)
                self._mark(transaction, commit, marks)
        except CommitInDoubt:
            self._doubt = commit
            raise
        self._succeeded(commit)
        return commit.verdicts

    def probe(self) -> None:
        """Write something of no meaning, to see whether a database is back.

        Raises:
            LogUnreachable: If it is not.
        """
        with self._store.writing() as transaction:
            transaction.touch(now_microseconds())

    def resolve(self) -> list[Verdict] | None:
        """Find out about the doubtful commit; return its verdicts, None where it failed.

        Raises:
            LogUnreachable: If that is still not known.
        """
        commit = self._doubt
        assert commit is not None, "nothing is in doubt"
        group = commit.group
        if group is not None and self._store.has_group(group.writer_id, group.number):
            self._doubt = None
            self._succeeded(commit)
            return commit.verdicts
        self._doubt = None
        if group is not None:
            # A server may still be at it: whatever comes of it stays out of this chain's way.
            self._begin_chain()
        return None

    def _begin_chain(self) -> None:
        self.writer_id = str(uuid.uuid4())
        self._number, self._sequence, self._digest = 0, 0, GENESIS
        self._segment = ""
        self._known_sets: set[str] = set()

    def _write(
        self, transaction: LogTransaction, entries: Sequence[Entry], commit: _Commit, now: int
    ) -> None:
        if time.monotonic() >= self._forget_at:
            transaction.forget_answered(now, _MOST_FORGOTTEN)
        first: dict[bytes, int] = {}
        for at, entry in enumerate(entries):
            if entry.draft.identity.key is not None:
                first.setdefault(entry.draft.identity.key, at)
        claims = [_claim(entries[at].draft) for at in first.values()]
        taken = transaction.claim(claims, now=now, until=now + self._retention)
        new = [
            entry
            for at, entry in enumerate(entries)
            if entry.draft.identity.key is None
            or (entry.draft.identity.key not in taken and first[entry.draft.identity.key] == at)
        ]
        by_decision = self._append(transaction, new, commit, now)
        decided = {record.key: record for record in by_decision.values()}
        for entry in entries:
            identity = entry.draft.identity
            record = by_decision.get(entry.draft.answer.decision_id)
            if record is not None:
                commit.verdicts.append(Verdict(sequence=record.sequence))
            elif identity.key in taken:
                commit.verdicts.append(Verdict(earlier=taken[identity.key]))
            else:
                earlier = decided[identity.key]
                commit.verdicts.append(Verdict(earlier=Answered(earlier.content, earlier)))

    def _append(
        self, transaction: LogTransaction, new: Sequence[Entry], commit: _Commit, now: int
    ) -> dict[str, StoredRecord]:
        """Add a group of the drafts that are the first of their kind."""
        if not new:
            return {}
        subjects = [entry.layout.subject_of(entry.draft.row) for entry in new]
        keys = self._keys_of(transaction, {each for each in subjects if each is not None}, commit)
        records = []
        for at, (entry, subject) in enumerate(zip(new, subjects, strict=True), start=1):
            key = None if subject is None else keys[subject]
            records.append(entry.layout.stored(entry.draft, self._sequence + at, subject, key))
            commit.entries.append((entry, self._sequence + at))
            self._describe(transaction, entry.layout, commit)
        # Never before the last one's, whatever the clock does: days go in the chain's order.
        today = datetime.fromtimestamp(now / 1_000_000, UTC).date().isoformat()
        segment = max(today, self._segment)
        draft = Group(
            self.writer_id,
            self._number + 1,
            self._sequence + 1,
            len(records),
            segment,
            now,
            encode_records(records),
            b"",
        )
        commit.group = sealed_group(draft, self._digest)
        ids = [uuid.UUID(record.decision_id).bytes for record in records]
        transaction.add_group(commit.group, ids)
        return {record.decision_id: record for record in records}

    def _keys_of(
        self, transaction: LogTransaction, subjects: set[bytes], commit: _Commit
    ) -> dict[bytes, AESGCM]:
        """Return the key of each subject, new where it has none."""
        if not subjects:
            return {}
        n_destroyed = transaction.n_destroyed()
        if n_destroyed != self._n_destroyed or len(self._keys) > _MOST_KEYS_KNOWN:
            # What is sealed with a destroyed key would be lost, and not as anybody asked for.
            self._keys.clear()
            self._n_destroyed = n_destroyed
        unknown = sorted(subjects - self._keys.keys())
        if not unknown:
            return self._keys
        stored = transaction.subject_keys(unknown)
        made = {
            subject: self._secret.new_key(subject)[1]
            for subject in unknown
            if subject not in stored
        }
        if made:
            stored |= transaction.add_subject_keys(made)
        secret = self._secret
        commit.keys = {subject: secret.unwrapped(subject, stored[subject]) for subject in unknown}
        return self._keys | commit.keys

    def _describe(self, transaction: LogTransaction, layout: RecordLayout, commit: _Commit) -> None:
        name = layout.feature_set_hash
        if name not in self._known_sets and name not in commit.layouts:
            transaction.add_feature_names(name, layout.names)
            commit.layouts.add(name)

    def _mark(
        self, transaction: LogTransaction, commit: _Commit, marks: Sequence[AppliedMarks]
    ) -> None:
        for state in {entry.marks.state for entry, _ in commit.entries if entry.marks is not None}:
            # From here on the state may lack some of this writer's decisions.
            if state not in self._known_sets and state not in commit.layouts:
                transaction.mark_applied(state, self.writer_id, 0)
                commit.layouts.add(state)
        for each in marks:
            for writer_id, sequence in each.settled().items():
                transaction.mark_applied(each.state, writer_id, sequence)

    def _succeeded(self, commit: _Commit) -> None:
        self._known_sets |= commit.layouts
        self._keys |= commit.keys
        if time.monotonic() >= self._forget_at:
            self._forget_at = time.monotonic() + _FORGET_EVERY_SECONDS
        if commit.group is None:
            return
        self._number, self._segment = commit.group.number, commit.group.segment
        self._sequence += commit.group.n_records
        self._digest = commit.group.digest
        waiting: dict[AppliedMarks, list[int]] = {}
        for entry, sequence in commit.entries:
            if entry.marks is not None:
                of_state = waiting.setdefault(entry.marks, [])
                if entry.draft.counts and not entry.draft.is_applied:
                    of_state.append(sequence)
        for marks, sequences in waiting.items():
            marks.begin(self.writer_id, sequences, self._sequence)


def _claim(draft: Draft) -> Claim:
    identity = draft.identity
    assert identity.key is not None, "asked for rows with a key only"
    decision_id = uuid.UUID(draft.answer.decision_id).bytes
    return Claim(identity.key, identity.content, decision_id)
