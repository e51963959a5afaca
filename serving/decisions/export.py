"""Decisions as tables: Parquet for whoever evaluates them, and bytes that still verify."""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from infra.storage import canonical_json, write_atomically
from serving.answers import encode
from serving.decisions.chain import Group
from serving.decisions.record import DecisionRecord, FeatureNames, features_by_name

GROUPS_SUFFIX = "-groups"

_ROWS_AT_ONCE = 20_000
_MOMENT = pl.Datetime("us", "UTC")
_SCHEMA: dict[str, Any] = {
    "decision_id": pl.String, "writer_id": pl.String, "sequence": pl.Int64,
    "received_at": _MOMENT, "event_time": _MOMENT, "key_id": pl.String, "id": pl.String,
    "model": pl.String, "model_version": pl.String, "policy_version": pl.String,
    "feature_set_hash": pl.String, "risk_score": pl.Float64, "decision": pl.String,
    "flags": pl.List(pl.String), "reasons": pl.String, "degraded": pl.Boolean,
    "logits": pl.List(pl.Float32), "row": pl.String, "entities": pl.String,
    "features": pl.String, "latency_us": pl.String, "subject": pl.Binary, "sealed": pl.Binary,
}  # fmt: skip
_GROUP_SCHEMA: dict[str, Any] = {
    "writer_id": pl.String, "number": pl.Int64, "first_sequence": pl.Int64, "n_records": pl.Int64,
    "segment": pl.String, "committed_at": pl.Int64, "records": pl.Binary, "digest": pl.Binary,
}  # fmt: skip


def write_decisions(records: Iterable[DecisionRecord], file: Path) -> int:
    """Write decisions to a Parquet file, whole or not at all, and return how many.

    ``reasons``, ``row``, ``entities``, ``features`` and ``latency_us`` are JSON texts: models have
    different columns. Nothing is personal in the clear; ``sealed`` opens with the subject's key.
    """
    n_written = 0
    file.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as parts,
        write_atomically(file) as staging,
    ):
        pl.DataFrame(schema=_SCHEMA).write_parquet(Path(parts) / "0.parquet")
        for number, part in enumerate(_parts(records), start=1):
            frame = pl.DataFrame(part, schema=_SCHEMA, orient="row")
            frame.write_parquet(Path(parts) / f"{number}.parquet")
            n_written += frame.height
        pl.scan_parquet(Path(parts) / "*.parquet").sink_parquet(staging)
    return n_written


def write_groups(groups: Iterable[Group], file: Path) -> int:
    """Write groups as they are stored, so that their digests can be checked later."""
    frame = pl.DataFrame(
        [
            (g.writer_id, g.number, g.first_sequence, g.n_records, g.segment, g.committed_at,
             g.records, g.digest)
            for g in groups
        ],
        schema=_GROUP_SCHEMA,
        orient="row",
    )  # fmt: skip
    with write_atomically(file) as staging:
        frame.write_parquet(staging)
    return frame.height


def read_groups(file: Path) -> list[Group]:
    """Return the groups that :func:`write_groups` wrote."""
    return [Group(*row) for row in pl.read_parquet(file).iter_rows()]


def decisions_of(
    groups: Iterable[Group], names: dict[str, FeatureNames]
) -> Iterator[DecisionRecord]:
    """Yield the decisions of groups, in order."""
    for group in groups:
        for stored in group.decoded():
            yield DecisionRecord(group.writer_id, stored, names.get(stored.feature_set_hash))


def _parts(records: Iterable[DecisionRecord]) -> Iterator[list[tuple[Any, ...]]]:
    part: list[tuple[Any, ...]] = []
    for record in records:
        part.append(_row(record))
        if len(part) == _ROWS_AT_ONCE:
            yield part
            part = []
    if part:
        yield part


def _row(record: DecisionRecord) -> tuple[Any, ...]:
    stored, answer = record.stored, record.answer
    features = None if record.features is None else features_by_name(stored, record.features)
    entities = {name: value.hex() for name, value in stored.entities.items()}
    return (
        stored.decision_id,
        record.writer_id,
        stored.sequence,
        stored.received_at,
        stored.event_time,
        stored.key_id,
        stored.transaction_id,
        stored.model,
        stored.model_version,
        stored.policy_version,
        stored.feature_set_hash,
        answer.risk_score,
        answer.decision,
        list(answer.flags),
        encode(answer.reasons).decode(),
        stored.is_degraded,
        list(stored.logits),
        encode(stored.row).decode(),
        canonical_json(entities),
        None if features is None else encode(features).decode(),
        canonical_json(stored.stages),
        stored.subject,
        stored.sealed,
    )
