"""One process's chain: drafts of many requests become one group, committed at once."""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from serving.decisions.applied import AppliedMarks
from serving.decisions.chain import GENESIS, Group, sealed_group
from serving.decisions.group_bytes import Body, pack, unpack_some
from serving.decisions.layout import Pseudonyms, RecordLayout
from serving.decisions.record import Draft
from serving.decisions.sealing import LogSecret
from serving.decisions.store import (
    Answered,
    Claims,
    CommitInDoubt,
    DecisionStore,
    LogTransaction,
)
from serving.decisions.subject_keys import SubjectKeys
from serving.request_context import now_microseconds

_FORGET_EVERY_SECONDS = 10.0
_MOST_FORGOTTEN = 2_000
_ID_BYTES = 16


@dataclass(slots=True, eq=False)
class Entry:
    """A draft and how its model's decisions are written down."""

    draft: Draft
    layout: RecordLayout
    marks: AppliedMarks | None = None


class Verdict(msgspec.Struct, frozen=True):
    """What became of a draft.

    Attributes:
        sequence: Its number in the log; None where its row had been decided before.
        earlier: The first decision under its key; None where this is the first.
    """

    sequence: int | None = None
    earlier: Answered | None = None


@dataclass(slots=True)
class _Commit:
    """A commit that is not known to have succeeded yet.

    Attributes:
        group: What is written; None where nothing is new.
        verdicts: Of all entries.
        written: The entries that are in the group, in its order.
        keys: Of the subjects in it.
        described: Feature sets and states that the log knows from here on.
    """

    group: Group | None = None
    verdicts: list[Verdict] = field(default_factory=list)
    written: Sequence[Entry] = ()
    keys: dict[bytes, AESGCM] = field(default_factory=dict)
    described: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Run:
    """Drafts of one layout, one after the other."""

    layout: RecordLayout
    drafts: Sequence[Draft]
    pseudonyms: Sequence[Pseudonyms]
    subjects: Sequence[bytes | None]


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
        self._retention = int(retention_seconds * 1_000_000)
        self._keys = SubjectKeys(secret)
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
        commit = _Commit()
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
        keys = [entry.draft.identity.key for entry in entries]
        first: dict[bytes, int] = {}
        for at, key in enumerate(keys):
            if key is not None:
                first.setdefault(key, at)
        taken = self._taken(transaction, entries, first, now) if first else {}
        new = entries
        if taken or len(first) + keys.count(None) < len(keys):
            new = [
                entry
                for at, (entry, key) in enumerate(zip(entries, keys, strict=True))
                if key is None or (key not in taken and first[key] == at)
            ]
        if new:
            self._append(transaction, new, commit, now)
        if len(new) == len(entries):
            begin = self._sequence + 1
            commit.verdicts = [Verdict(at) for at in range(begin, begin + len(new))]
        else:
            commit.verdicts = self._verdicts(keys, taken, commit.group)

    def _taken(
        self,
        transaction: LogTransaction,
        entries: Sequence[Entry],
        first: Mapping[bytes, int],
        now: int,
    ) -> dict[bytes, Answered]:
        """Claim the keys of the first of each kind; return what was decided under them before."""
        drafts = [entries[at].draft for at in first.values()]
        contents = b"".join([draft.identity.content for draft in drafts])
        claims = Claims(b"".join(first), contents, _packed_ids(drafts))
        return transaction.claim(claims, now=now, until=now + self._retention)

    def _verdicts(
        self,
        keys: Sequence[bytes | None],
        taken: Mapping[bytes, Answered],
        group: Group | None,
    ) -> list[Verdict]:
        """Return what became of entries of which some were decided before, or come twice."""
        sequence = self._sequence
        verdicts = []
        written: dict[bytes, int] = {}
        for key in keys:
            if key is not None and key in taken:
                verdicts.append(Verdict(None, taken[key]))
            elif key is not None and key in written:
                verdicts.append(Verdict(None, _decided_with(group, written[key])))
            else:
                sequence += 1
                verdicts.append(Verdict(sequence))
                if key is not None:
                    written[key] = sequence
        return verdicts

    def _append(
        self, transaction: LogTransaction, new: Sequence[Entry], commit: _Commit, now: int
    ) -> None:
        """Add a group of the drafts that are the first of their kind."""
        runs = _runs(new)
        subjects = [each for run in runs for each in run.subjects if each is not None]
        commit.keys = keys = self._keys.of(transaction, subjects)
        places = {layout: at for at, layout in enumerate({run.layout: None for run in runs})}
        bodies: list[Body] = []
        for run in runs:
            bodies += run.layout.bodies(
                run.drafts,
                run.pseudonyms,
                run.subjects,
                keys,
                head_at=places[run.layout],
                first_sequence=self._sequence + 1 + len(bodies),
            )
        for layout in places:
            self._describe(transaction, layout, commit)
        # Never before the last one's, whatever the clock does: days go in the chain's order.
        today = datetime.fromtimestamp(now / 1_000_000, UTC).date().isoformat()
        draft = Group(
            self.writer_id,
            self._number + 1,
            self._sequence + 1,
            len(bodies),
            max(today, self._segment),
            now,
            pack([layout.head for layout in places], bodies),
            b"",
        )
        commit.group = sealed_group(draft, self._digest)
        commit.written = new
        transaction.add_group(commit.group, _packed_ids([entry.draft for entry in new]))

    def _describe(self, transaction: LogTransaction, layout: RecordLayout, commit: _Commit) -> None:
        name = layout.feature_set_hash
        if name not in self._known_sets and name not in commit.described:
            transaction.add_feature_names(name, layout.names)
            commit.described.add(name)

    def _mark(
        self, transaction: LogTransaction, commit: _Commit, marks: Sequence[AppliedMarks]
    ) -> None:
        for state in {entry.marks.state for entry in commit.written if entry.marks is not None}:
            # From here on the state may lack some of this writer's decisions.
            if state not in self._known_sets and state not in commit.described:
                transaction.mark_applied(state, self.writer_id, 0)
                commit.described.add(state)
        for each in marks:
            for writer_id, sequence in each.settled().items():
                transaction.mark_applied(each.state, writer_id, sequence)

    def _succeeded(self, commit: _Commit) -> None:
        self._known_sets |= commit.described
        self._keys.learn(commit.keys)
        if time.monotonic() >= self._forget_at:
            self._forget_at = time.monotonic() + _FORGET_EVERY_SECONDS
        if commit.group is None:
            return
        waiting: dict[AppliedMarks, list[int]] = {}
        for sequence, entry in enumerate(commit.written, start=self._sequence + 1):
            if entry.marks is not None:
                of_state = waiting.setdefault(entry.marks, [])
                if entry.draft.counts and not entry.draft.is_applied:
                    of_state.append(sequence)
        self._number, self._segment = commit.group.number, commit.group.segment
        self._sequence += commit.group.n_records
        self._digest = commit.group.digest
        for marks, sequences in waiting.items():
            marks.begin(self.writer_id, sequences, self._sequence)


def _runs(entries: Sequence[Entry]) -> list[_Run]:
    runs = []
    for layout, each in groupby(entries, key=attrgetter("layout")):
        drafts = [entry.draft for entry in each]
        pseudonyms = layout.pseudonyms(drafts)
        runs.append(_Run(layout, drafts, pseudonyms, layout.subjects(pseudonyms)))
    return runs


def _packed_ids(drafts: Sequence[Draft]) -> bytes:
    """Return 16 bytes of each decision's id."""
    texts = "".join([draft.answer.decision_id for draft in drafts])
    packed = bytes.fromhex(texts.replace("-", ""))
    assert len(packed) == _ID_BYTES * len(drafts), "a decision's id is a UUID"
    return packed


def _decided_with(group: Group | None, sequence: int) -> Answered:
    """Return what was decided of an equal row in the same group."""
    assert group is not None, "a decision lies in a group"
    (stored,) = unpack_some(group.records, [sequence - group.first_sequence])
    return Answered(stored.content, stored)
