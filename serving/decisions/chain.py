"""How a change of the log shows: one digest for each group commit, over the one before it."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from infra.errors import Refusal
from serving.decisions.group_bytes import unpack
from serving.decisions.record import StoredRecord

GENESIS = bytes(32)


class LogBroken(Refusal):
    """Raised when a chain does not verify; names the first group that fails."""


class Group(msgspec.Struct, frozen=True):
    """What one writer committed at once.

    Attributes:
        writer_id: Of the process that wrote it.
        number: Among its writer's groups, from 1.
        first_sequence: Sequence of its first record.
        n_records: Records in it.
        segment: Day (UTC) of the commit, ``YYYY-MM-DD``; retention retires whole segments.
        committed_at: Microseconds since 1970-01-01 UTC.
        records: The records' bytes (:mod:`serving.decisions.group_bytes`), as they are stored.
        digest: SHA-256 over all of this and the digest of the group before it.
    """

    writer_id: str
    number: int
    first_sequence: int
    n_records: int
    segment: str
    committed_at: int
    records: bytes
    digest: bytes

    def expected_digest(self, previous: bytes) -> bytes:
        """Return the digest that this content must have after the group before it."""
        head = (
            self.writer_id, self.number, self.first_sequence, self.n_records, self.segment,
            self.committed_at,
        )  # fmt: skip
        return hashlib.sha256(previous + msgspec.msgpack.encode(head) + self.records).digest()

    def decoded(self) -> list[StoredRecord]:
        """Return the records, in the order of their sequence."""
        return unpack(self.records)


class ChainHead(msgspec.Struct, frozen=True):
    """Where a writer's chain stands.

    Attributes:
        number: Of the last group.
        n_records: Decisions written so far; also the sequence of the last one.
        digest: Of the last group.
    """

    writer_id: str
    number: int
    n_records: int
    digest: bytes


class Closed(msgspec.Struct, frozen=True):
    """What stays of a writer's groups in a segment that was retired.

    Attributes:
        number: Of the last group there.
        last_sequence: Of the last record there.
        digest: Of the last group there; the next group's digest goes on from it.
    """

    writer_id: str
    segment: str
    number: int
    last_sequence: int
    digest: bytes


def sealed_group(draft: Group, previous: bytes) -> Group:
    """Return a group with its digest."""
    return msgspec.structs.replace(draft, digest=draft.expected_digest(previous))


def verify_groups(groups: Iterable[Group], closed: Sequence[Closed] = ()) -> Mapping[str, int]:
    """Return how many records of each writer form an unbroken chain.

    Args:
        groups: Of any writers; those of one writer in the order of their numbers.
        closed: What is left of retired segments.

    Raises:
        LogBroken: At the first group whose place, link, content or count is not as written.
    """
    place = {end.writer_id: end for end in sorted(closed, key=lambda end: end.number)}
    last = {name: (end.number, end.last_sequence, end.digest) for name, end in place.items()}
    verified: dict[str, int] = {}
    for group in groups:
        number, sequence, digest = last.get(group.writer_id, (0, 0, GENESIS))
        follows = (group.number, group.first_sequence) == (number + 1, sequence + 1)
        if not follows or group.digest != group.expected_digest(digest):
            raise LogBroken(
                f"The decision log is broken at group {group.number} of writer "
                f"{group.writer_id}: it was changed after it was written, or one before it is "
                "missing. Compare it with a backup."
            )
        sequence += group.n_records
        last[group.writer_id] = (group.number, sequence, group.digest)
        verified[group.writer_id] = verified.get(group.writer_id, 0) + group.n_records
    return verified
