"""The decision log's chains, held against the ledger's anchors and retired days."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from infra.verifier.canonical import packed_array
from infra.verifier.findings import Findings
from infra.verifier.source import Source
from infra.verifier.told import Point, Told

GENESIS_DIGEST = bytes(32)
_GROUPS = (
    "SELECT number, first_sequence, n_records, segment, committed_at, records, digest "
    "FROM log_group WHERE writer_id = ? ORDER BY number"
)
_CLOSED = "SELECT writer_id, segment, number, last_sequence, digest FROM log_closed"


@dataclass(frozen=True)
class FoundGroup:
    """A group as it lies in the database."""

    writer_id: str
    number: int
    first_sequence: int
    n_records: int
    segment: str
    committed_at: int
    records: bytes

    @property
    def where(self) -> str:
        """Its name for people."""
        return f"group {self.number} of writer {self.writer_id}"


@dataclass(frozen=True)
class _End:
    """Where a chain stands."""

    number: int = 0
    last_sequence: int = 0
    digest: bytes = GENESIS_DIGEST


def check_chains(
    log: Source, told: Told, findings: Findings, each: Callable[[FoundGroup], None]
) -> None:
    """Check the chain of every writer.

    Args:
        log: The decision log.
        told: By the ledger.
        findings: What does not hold goes there.
        each: Called with every group, in order.
    """
    closed = _closed_ends(log, told, findings)
    listed = {row[0] for row in log.rows("SELECT writer_id FROM log_writer")}
    writers = {row[0] for row in log.rows("SELECT DISTINCT writer_id FROM log_group")}
    for writer_id in sorted(listed ^ (writers | closed.keys()), key=str):
        what = "it wrote nothing" if writer_id in listed else "it is missing in the list of writers"
        findings.broken("index", f"writer {writer_id}", what)
    for writer_id in sorted(writers | closed.keys() | told.points.keys(), key=str):
        points = told.points.get(writer_id, [])
        begin = closed.get(writer_id, _End())
        _check_chain(log, writer_id, begin=begin, points=points, findings=findings, each=each)
    findings.count("writers", len(writers | closed.keys()))


def _check_chain(
    log: Source,
    writer_id: str,
    *,
    begin: _End,
    points: list[Point],
    findings: Findings,
    each: Callable[[FoundGroup], None],
) -> None:
    end, n_groups, n_decisions = begin, 0, 0
    expected = {point.number: point for point in points}
    _hold(expected, writer_id, begin, findings)
    for row in log.rows(_GROUPS, writer_id):
        try:
            group, digest = _found_group(writer_id, row), bytes(row[6])
            own = _digest(end.digest, group)
        except (TypeError, ValueError, AttributeError, OverflowError):
            findings.broken("group", f"group {row[0]} of writer {writer_id}", _CHANGED)
            continue
        if (group.number, group.first_sequence) != (end.number + 1, end.last_sequence + 1):
            what = f"it does not follow group {end.number}: one is missing, added or moved"
            findings.broken("group", group.where, what)
        elif own != digest:
            findings.broken("group", group.where, _CHANGED)
        end = _End(group.number, group.first_sequence + group.n_records - 1, digest)
        _hold(expected, writer_id, end, findings)
        n_groups += 1
        n_decisions += group.n_records
        each(group)
    last = points[-1] if points else None
    if last is not None and end.number < last.number:
        what = f"its end is missing: {last.source} names group {last.number}"
        findings.broken("group", f"behind group {end.number} of writer {writer_id}", what)
    findings.count("groups", n_groups)
    findings.count("decisions", n_decisions)


_CHANGED = "it was changed after it was written, or one before it is missing"


def _found_group(writer_id: str, row: Sequence[Any]) -> FoundGroup:
    number, first_sequence, n_records, segment, committed_at, records, _ = row
    return FoundGroup(
        writer_id, number, first_sequence, n_records, segment, committed_at, bytes(records)
    )


def _digest(previous: bytes, group: FoundGroup) -> bytes:
    head = (
        group.writer_id, group.number, group.first_sequence, group.n_records, group.segment,
        group.committed_at,
    )  # fmt: skip
    return hashlib.sha256(previous + packed_array(head) + group.records).digest()


def _hold(expected: dict[int, Point], writer_id: str, end: _End, findings: Findings) -> None:
    point = expected.get(end.number)
    if point is not None and (point.digest, point.last_sequence) != (
        end.digest.hex(), end.last_sequence,
    ):  # fmt: skip
        where = f"group {end.number} of writer {writer_id}"
        findings.broken("group", where, f"it is not the one that {point.source} names")


def _closed_ends(log: Source, told: Told, findings: Findings) -> dict[str, _End]:
    """Return where the rest of each chain begins, held against the ledger's retired days."""
    ends: dict[str, _End] = {}
    in_ledger = {
        (end["writer_id"], segment): end
        for segment, parts in told.retired.items()
        for details in parts
        for end in details.get("ends", [])
    }
    seen = set()
    for writer_id, segment, number, last_sequence, digest in log.rows(_CLOSED):
        where = f"what is left of {segment} of writer {writer_id}"
        seen.add((writer_id, segment))
        try:
            end = _End(number + 0, last_sequence + 0, bytes(digest))
        except (TypeError, ValueError):
            findings.broken("retired", where, "it was changed after it was written")
            continue
        problem = _closed_problem(end, segment, in_ledger.get((writer_id, segment)), told)
        if problem is not None:
            findings.broken("retired", where, problem)
        if end.number > ends.get(writer_id, _End()).number:
            ends[writer_id] = end
    for (writer_id, segment), end in in_ledger.items():
        if (writer_id, segment) not in seen and not _is_there(log, writer_id, end["number"]):
            where = f"what is left of {segment} of writer {writer_id}"
            findings.broken("retired", where, "it is missing, and the groups are, too")
    findings.count("retired days", len(told.retired))
    return ends


def _closed_problem(
    end: _End, segment: str, told_end: dict[str, Any] | None, told: Told
) -> str | None:
    if segment not in told.retired:
        return "groups were dropped of which the ledger does not tell"
    if not all("ends" in details for details in told.retired[segment]):
        return None  # of a release that did not write them down
    if told_end is None or end.number > told_end["number"]:
        return "groups were dropped of which the ledger does not tell"
    if end.number == told_end["number"] and (end.last_sequence, end.digest.hex()) != (
        told_end["last_sequence"], told_end["digest"],
    ):  # fmt: skip
        return "it was changed after it was written"
    return None


def _is_there(log: Source, writer_id: str, number: int) -> bool:
    statement = "SELECT 1 FROM log_group WHERE writer_id = ? AND number = ?"
    return any(True for _ in log.rows(statement, writer_id, number))
