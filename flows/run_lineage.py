"""Writes down what a version was made from, as far as nothing else of its bundle says it.

Done before the bundle is sealed and kept with the version (``lineage.json``), so that its digest
stands in the manifest: years later nobody has to believe a run's folder.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from balancing.devices import device_words
from features.contract import Contract
from features.labels import LABEL
from features.served_table import description_of
from features.splits import PARTS
from flows.featurization import read_counts, read_features
from flows.provenance.recorded import Checked, LabelSnapshot, Part, RunLineage
from flows.request import TrainRequest
from flows.run_folder import RunFolder, read_json, write_json
from flows.validation import DATA, TEST
from infra.revision import environment, lock_sha256
from infra.storage import sha256_file, sha256_json


def write_lineage(request: TrainRequest, feature_folder: Path, run: RunFolder) -> RunLineage:
    """Write down what a run made its version from, and return it.

    Args:
        request: What was asked for.
        feature_folder: The feature table.
        run: The run, trained and evaluated.
    """
    table, feature_set = read_features(feature_folder)
    counts, contract = read_counts(feature_folder), feature_set.contract
    training, served = read_json(run.training), description_of(run.passed_of(DATA))
    as_of = request.as_of or (served and served.as_of) or _newest(run, contract)
    written = RunLineage(
        run=run.root.name,
        actor=request.actor,
        reason=request.reason,
        contract_reference=request.contract,
        contract_sha256=sha256_json(contract.model_dump(mode="json")),
        contract_data_sha256=contract.data_hash(),
        as_of=request.as_of,
        since=request.since,
        parts=tuple(_part(table, part) for part in PARTS),
        gap_rows=counts["gap_rows"],
        labels=_snapshot(table, contract, counts, as_of),
        validation=_checked(read_json(run.validation), run),
        validation_sha256=sha256_file(run.validation),
        served_from=served,
        device=request.device,
        hardware=device_words(),
        lock_sha256=lock_sha256(),
        environment=environment(),
        search=read_json(run.search_record) if run.search_record.is_file() else None,
        notes=tuple(training["notes"]),
    )
    write_json(run.lineage, written.model_dump(mode="json"))
    return written


def label_digest(table: pl.DataFrame) -> str:
    """Return the SHA-256 over id, event time and label of each row of a feature table.

    A line for each row: its id, a tab, its event time in microseconds since 1970 or nothing, a tab,
    its label.
    """
    digest = hashlib.sha256()
    moment = pl.col("event_time").dt.epoch("us").cast(pl.String).fill_null("")
    row_id = pl.col("row_id").fill_null("")
    lines = pl.concat_str(row_id, moment, pl.col(LABEL).cast(pl.String), separator="\t")
    for rows in table.select("row_id", "event_time", LABEL).iter_slices(1_000_000):
        text = rows.select(lines).to_series().str.join("\n").item()
        digest.update(f"{text}\n".encode())
    return digest.hexdigest()


def _part(table: pl.DataFrame, part: str) -> Part:
    rows = table.filter(pl.col("part") == part)
    first, last = rows["event_time"].min(), rows["event_time"].max()
    return Part(
        part=part,
        rows=rows.height,
        positives=int(rows[LABEL].sum()),
        first=first if isinstance(first, datetime) else None,
        last=last if isinstance(last, datetime) else None,
    )


def _snapshot(
    table: pl.DataFrame, contract: Contract, counts: Mapping[str, int], as_of: datetime | None
) -> LabelSnapshot:
    label = contract.label
    return LabelSnapshot(
        as_of=as_of,
        column=label.column,
        source=label.source,
        delay=str(contract.model_dump(mode="json")["label"]["delay"]),
        known=table.height,
        positives=int(table[LABEL].sum()),
        immature=counts["immature_rows"],
        unlabelled=counts["unlabelled_rows"],
        sha256=label_digest(table),
    )


def _newest(run: RunFolder, contract: Contract) -> datetime | None:
    """Return the newest event time of a run's rows, which stands for the moment of knowledge."""
    column = contract.event_time_column
    if column is None:
        return None
    files = [run.passed_of(role) for role in (DATA, TEST) if run.passed_of(role).is_file()]
    found = [pl.scan_parquet(file).select(pl.col(column).max()).collect().item() for file in files]
    return max((one for one in found if isinstance(one, datetime)), default=None)


def _checked(outcomes: Mapping[str, Mapping[str, Any]], run: RunFolder) -> tuple[Checked, ...]:
    found = []
    for role, outcome in outcomes.items():
        quarantine = run.quarantine_of(role)
        found.append(
            Checked(
                role=role,
                read=outcome["read"],
                passed=outcome["passed"],
                corrected=outcome["corrected"],
                quarantined=outcome["quarantined"],
                rules={each["name"]: each["count"] for each in outcome["row_failures"]},
                accepted=tuple(
                    each["name"] for each in outcome["table_results"] if each["accepted"]
                ),
                quarantine_sha256=sha256_file(quarantine)
                if outcome["quarantined"] and quarantine.is_file()
                else None,
            )
        )
    return tuple(found)
