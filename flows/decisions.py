"""Decisions out of the log: as tables for evaluation, and into an archive when their time is up."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, count
from pathlib import Path
from typing import Any

from infra.errors import InputError
from infra.ledger import open_ledger
from infra.settings import Settings
from infra.storage import sha256_file
from serving.decisions.chain import Group, verify_groups
from serving.decisions.export import GROUPS_SUFFIX, decisions_of, write_decisions, write_groups
from serving.decisions.opening import open_store
from serving.decisions.record import DecisionRecord
from serving.decisions.store import DecisionStore

RETIRED = "decisions.retired"
"""Of the ledger."""


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """Where a writer's chain stood at the end of a day that left the log.

    Attributes:
        number: Of its last group there.
        last_sequence: Of its last decision there.
        digest: Of that group, in hexadecimal.
    """

    writer_id: str
    number: int
    last_sequence: int
    digest: str


@dataclass(frozen=True, slots=True)
class RetiredSegment:
    """A day that left the log.

    Attributes:
        segment: ``YYYY-MM-DD``.
        n_decisions: What it held.
        file: Its decisions, as a table.
        sha256: Of that file.
        groups_file: The same as it was stored, to be verified.
        groups_sha256: Of that file.
        ends: Of the chains; what stays in the log must go on from them.
    """

    segment: str
    n_decisions: int
    file: str
    sha256: str
    groups_file: str
    groups_sha256: str
    ends: tuple[ChainEnd, ...]


def export_decisions(
    settings: Settings,
    out: Path,
    *,
    begin: datetime | None = None,
    end: datetime | None = None,
    model: str | None = None,
) -> int:
    """Write decisions to a Parquet file and return how many.

    Args:
        settings: Name the log.
        out: The file.
        begin: Received from then on.
        end: Received before.
        model: Of this model only.

    Raises:
        LogUnreachable: If the log does not answer.
        LogMismatch: If it is none.
    """
    store = open_store(settings)
    try:
        # A commit is never before what it commits; the day of the clock may be one off.
        first = None if begin is None else (begin - timedelta(days=1)).date().isoformat()
        groups = store.groups(first_segment=first)
        found = decisions_of(groups, store.feature_names())
        return write_decisions(_wanted(found, begin, end, model), out)
    finally:
        store.close()


def retire_decisions(
    settings: Settings,
    older_than: timedelta,
    out: Path,
    *,
    actor: str,
    reason: str,
    now: datetime | None = None,
) -> list[RetiredSegment]:
    """Move whole days of the log into files and return which.

    A day is written to files, checked against its chain, entered in the ledger, and only then
    dropped.

    Args:
        settings: Name the log and the ledger.
        older_than: Days that ended longer ago than this.
        out: Folder of the files.
        actor: Who does it.
        reason: Why.
        now: The present moment; default: the clock's.

    Raises:
        InputError: If repeated rows could still ask for what is to go.
        LogBroken: If what is to go does not verify.
        LogUnreachable: If the log does not answer.
    """
    if older_than < timedelta(days=settings.idempotency_days):
        raise InputError(
            f"--older-than must be at least the {settings.idempotency_days:g} days for which a "
            f"repeated row gets its first answer. Got {older_than}. Keep more, or set "
            "WHITECROW_IDEMPOTENCY_DAYS."
        )
    moment = now or datetime.now(UTC)
    last = (moment - older_than - timedelta(days=1)).date().isoformat()
    store, ledger = open_store(settings), open_ledger(settings)
    try:
        retired = []
        for segment in [each.name for each in store.segments() if each.name <= last]:
            done = _archive(store, segment, out)
            ledger.append(RETIRED, segment, actor=actor, reason=reason, details=asdict(done))
            store.retire(segment)
            retired.append(done)
        return retired
    finally:
        store.close()


def _archive(store: DecisionStore, segment: str, out: Path) -> RetiredSegment:
    """Write a day to files; its chains go on from the days before."""
    name = _free_name(out, segment)
    file, groups_file = out / f"{name}.parquet", out / f"{name}{GROUPS_SUFFIX}.parquet"
    groups = list(store.groups(first_segment=segment, last_segment=segment))
    verify_groups(groups, store.closed())
    write_groups(groups, groups_file)
    n_decisions = write_decisions(decisions_of(groups, store.feature_names()), file)
    return RetiredSegment(
        segment=segment,
        n_decisions=n_decisions,
        file=file.name,
        sha256=sha256_file(file),
        groups_file=groups_file.name,
        groups_sha256=sha256_file(groups_file),
        ends=tuple(_end(group) for group in {each.writer_id: each for each in groups}.values()),
    )


def _free_name(out: Path, segment: str) -> str:
    """Return a name that no file has: a run that was killed may have dropped what is there."""
    names = chain([segment], (f"{segment}-{number}" for number in count(2)))
    return next(each for each in names if not (out / f"{each}{GROUPS_SUFFIX}.parquet").exists())


def _end(group: Group) -> ChainEnd:
    last = group.first_sequence + group.n_records - 1
    return ChainEnd(group.writer_id, group.number, last, group.digest.hex())


def _wanted(
    records: Iterator[DecisionRecord],
    begin: datetime | None,
    end: datetime | None,
    model: str | None,
) -> Iterator[DecisionRecord]:
    low = float("-inf") if begin is None else begin.timestamp() * 1e6
    high = float("inf") if end is None else end.timestamp() * 1e6
    for record in records:
        of_model = model is None or record.stored.model == model
        if of_model and low <= record.stored.received_at < high:
            yield record


def to_json(retired: list[RetiredSegment]) -> dict[str, Any]:
    """Return what was retired as one JSON object."""
    return {"retired": [asdict(each) for each in retired]}
