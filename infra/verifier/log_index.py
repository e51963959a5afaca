"""The decision log's index tables, held against the groups that they can be made again from.

Both sides of a table are added up under a key of this run, so that order does not matter and
nobody can choose rows whose sums agree. Only where two sums differ, the rows are looked at one by
one, to name what was changed.
"""

import hashlib
import os
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from infra.verifier.findings import Findings
from infra.verifier.group_content import Place
from infra.verifier.log_chain import FoundGroup
from infra.verifier.source import Decode, Source
from infra.verifier.told import Told

_PLACES = "SELECT decision_id, writer_id, number, place FROM log_decision"
_CLAIMS = "SELECT key, content, decision_id, until FROM log_answered WHERE until > ?"
_MICROSECONDS = 1_000_000
_DAY = 86_400
_MODULUS = 1 << 128


class LogIndex:
    """What the groups say of the index tables.

    Args:
        log: The decision log.
        decode: Returns the decisions of a group's bytes.
        now: The moment of the reading, in microseconds.
        idempotency_days: For how long a repeated row gets the first answer.
        findings: What does not hold goes there.
    """

    def __init__(
        self,
        log: Source,
        decode: Decode,
        *,
        now: int,
        idempotency_days: float,
        findings: Findings,
    ) -> None:
        self._log = log
        self._decode = decode
        self._now = now
        self._kept = int(idempotency_days * _DAY * _MICROSECONDS)
        self._findings = findings
        self._salt = os.urandom(16)
        self._places = self._claims = 0
        self._subjects: set[bytes] = set()

    def take(self, group: FoundGroup) -> None:
        """Add what a group says."""
        places = self._decoded(group)
        if places is None:
            return
        begin = f"{group.writer_id}\0{group.number}\0".encode()
        until = group.committed_at + self._kept
        for at, place in enumerate(places):
            decision_id = _packed_id(place.decision_id)
            self._places += self._hash(b"p" + decision_id + begin + b"%d" % at)
            if place.key is not None and until > self._now:
                claim = place.key + place.content + decision_id + b"%d" % until
                self._claims += self._hash(b"c" + claim)
            if place.subject is not None:
                self._subjects.add(place.subject)

    def check(self, told: Told) -> None:
        """Compare, once every group was taken."""
        found = sum(
            self._hash(b"p" + _bytes_of(decision_id) + f"{writer_id}\0{number}\0{place}".encode())
            for decision_id, writer_id, number, place in self._log.rows(_PLACES)
        )
        if (found - self._places) % _MODULUS:
            self._look_at_places()
        found = sum(
            self._hash(b"c" + b"".join(map(_bytes_of, row[:3])) + str(row[3]).encode())
            for row in self._log.rows(_CLAIMS, self._now)
        )
        if (found - self._claims) % _MODULUS:
            self._look_at_claims()
        self._check_subjects(told)

    def _decoded(self, group: FoundGroup) -> list[Place] | None:
        try:
            places = self._decode(group.records)
        except ValueError:
            self._findings.broken("group", group.where, "its records cannot be read")
            return None
        sequences = range(group.first_sequence, group.first_sequence + group.n_records)
        if [place.sequence for place in places] != list(sequences):
            self._findings.broken("group", group.where, "its records are not those it counts")
            return None
        return places

    def _readable(self, group: FoundGroup) -> list[Place]:
        try:
            return self._decode(group.records)
        except ValueError:
            return []

    def _hash(self, content: bytes) -> int:
        digest = hashlib.blake2b(content, digest_size=16, key=self._salt).digest()
        return int.from_bytes(digest, "big")

    def _groups(self) -> Iterator[FoundGroup]:
        statement = (
            "SELECT writer_id, number, first_sequence, n_records, segment, committed_at, records "
            "FROM log_group ORDER BY writer_id, number"
        )
        for row in self._log.rows(statement):
            yield _found(row)

    def _look_at_places(self) -> None:
        """Name the decisions that are not found where they are, and rows that find nothing."""
        rows = {_bytes_of(row[0]): tuple(row[1:]) for row in self._log.rows(_PLACES)}
        for group in self._groups():
            for at, place in enumerate(self._readable(group)):
                found = rows.pop(_packed_id(place.decision_id), None)
                if found != (group.writer_id, group.number, at):
                    what = "it is not found under its id" if found is None else "it is misplaced"
                    self._findings.broken("index", f"decision {place.decision_id}", what)
        for decision_id in rows:
            self._findings.broken(
                "index", f"decision {_shown(decision_id)}", "no group holds what its id names"
            )

    def _look_at_claims(self) -> None:
        """Name the repeated rows that would not get their first answer."""
        claims = {
            _bytes_of(row[0]): (_bytes_of(row[1]), _bytes_of(row[2]), row[3])
            for row in self._log.rows(_CLAIMS, self._now)
        }
        missing: dict[str, list[tuple[int, str]]] = defaultdict(list)
        kept_by: dict[str, int] = {}
        for group in self._groups():
            for place in self._readable(group):
                claim = claims.get(place.key) if place.key is not None else None
                if place.key is None:
                    continue
                if claim is None or claim[1] != _packed_id(place.decision_id):
                    missing[group.writer_id].append((group.committed_at, place.decision_id))
                    continue
                del claims[place.key]
                until = claim[2] if isinstance(claim[2], int) else -1
                kept = kept_by.setdefault(group.writer_id, until - group.committed_at)
                if claim[0] != place.content or until - group.committed_at != kept:
                    self._findings.broken(
                        "index", f"decision {place.decision_id}",
                        "what its repetition is known by was changed",
                    )  # fmt: skip
        for key, claim in claims.items():
            self._findings.broken(
                "index", f"key {key.hex()}",
                f"it names decision {_shown(claim[1])}, which was not made under it",
            )  # fmt: skip
        for writer_id, decisions in missing.items():
            self._name_missing(decisions, kept_by.get(writer_id))

    def _name_missing(self, decisions: list[tuple[int, str]], kept: int | None) -> None:
        for committed_at, decision_id in decisions:
            if kept is not None and committed_at + kept > self._now:
                self._findings.broken(
                    "index", f"decision {decision_id}", "its repetition is not known any more"
                )
            elif kept is None and committed_at + self._kept > self._now:
                # Nothing of its writer is left to tell how long keys counted then.
                self._findings.note(
                    "Of some writers no keys of repeated rows are left: they counted for a shorter "
                    "time then, or were removed. A repetition is then decided anew, which the log "
                    "shows."
                )

    def _check_subjects(self, told: Told) -> None:
        stored = {
            _bytes_of(row[0]) for row in self._log.rows("SELECT subject FROM log_subject_key")
        }
        gone = sorted(each.hex() for each in self._subjects - stored)
        lost = [each for each in gone if each not in told.erased]
        for subject in lost:
            what = "its key is gone, and the ledger tells of no erasure"
            self._findings.broken("index", f"subject {subject}", what)
        self._findings.count("data subjects", len(self._subjects))
        if len(gone) > len(lost):
            self._findings.note(f"{len(gone) - len(lost):,} data subjects were erased.")


def _found(row: Sequence[Any]) -> FoundGroup:
    writer_id, number, first_sequence, n_records, segment, committed_at, records = row
    return FoundGroup(
        writer_id, number, first_sequence, n_records, segment, committed_at, _bytes_of(records)
    )


def _packed_id(decision_id: str) -> bytes:
    return bytes.fromhex(decision_id.replace("-", ""))


def _bytes_of(value: Any) -> bytes:
    """Return bytes as they are; of what should be bytes and is not, something else."""
    return bytes(value) if isinstance(value, bytes | memoryview) else b"?" + repr(value).encode()


def _shown(packed: bytes) -> str:
    return str(uuid.UUID(bytes=packed)) if len(packed) == 16 else packed.hex()
