"""Backfill: the online state of a contract's features over time, built from a table."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from features.contract import Contract, read_contract
from features.ingestion.tables import DataFingerprint, fingerprint, read_table
from features.online.backfill import BackfillProgress, OnProgress, backfill
from features.online.history import History, history_columns
from features.online.opening import is_server, open_state
from features.online.proof import Proof, prove
from features.velocity import velocity_plan
from flows.run_folder import RunFolder, write_json
from flows.workspace import Workspace
from infra.errors import InputError
from infra.settings import Settings
from infra.storage import sha256_json

# A service that is at work on the state meanwhile gets its turn. A file has one writer at a time;
# who waits for it looks every 25 ms at first. A server answers nobody during a transaction.
_PAUSE_OF_FILES = 0.03
_ROWS_AT_ONCE_ON_SERVERS = 500
# Nobody waits for an answer here.
_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class BackfillOutcome:
    """A state that was built, and how it compares with its table.

    Attributes:
        location: File or server of the state, without credentials.
        source: The table.
        history: Its rows, as far as the state is about them.
        loaded: What became of them.
        seconds: How long loading took.
        proof: How sampled entities compare with the table.
        record: File that holds all this.
    """

    location: str
    source: DataFingerprint
    history: History
    loaded: BackfillProgress
    seconds: float
    proof: Proof
    record: Path

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as one JSON object."""
        history, loaded = self.history, self.loaded
        return {
            "contract": history.contract.name,
            "state": self.location,
            "state_key": velocity_plan(history.contract).state_key,
            "source": {"name": self.source.name, "sha256": self.source.sha256},
            "as_of": history.as_of.isoformat(),
            "newest_event_time": history.newest.isoformat(),
            "rows": history.counts.to_json(),
            "applied": loaded.applied,
            "duplicates": loaded.duplicates,
            "conflicts": loaded.conflicts,
            "too_late": loaded.too_late,
            "labels": loaded.labels,
            "resumed_at": loaded.resumed_at,
            "seconds": round(self.seconds, 3),
            "proof": self.proof.to_json(),
            "record": str(self.record),
        }


def backfill_table(
    settings: Settings,
    source: str,
    contract_reference: str,
    *,
    as_of: datetime | None = None,
    state_uri: str | None = None,
    on_progress: OnProgress | None = None,
) -> BackfillOutcome:
    """Build the online state from a table, and compare sampled entities with it.

    Args:
        settings: Where states are, unless ``state_uri`` says so.
        source: Path or URI of the table.
        contract_reference: Path of a contract, or the name of a shipped one.
        as_of: Build the state as it was at a moment; default: the newest event time.
        state_uri: A ``redis://`` URI or a file.
        on_progress: Is told how many rows are done.

    Raises:
        InputError: If the contract has no features over time, the moment lies in the future, or
            the table does not fit.
        BackfillRefused: If the state has moved on too far.
        StateUnreachable: If it does not answer; the same command goes on where it stopped.
    """
    contract = read_contract(contract_reference)
    _check_request(contract, as_of)
    workspace = Workspace.open(settings)
    location = state_uri or settings.state_uri
    # Opened before the table is read: nobody waits to hear that a server is down.
    state = open_state(contract, location, folder=settings.state_folder, patience=_PATIENCE_SECONDS)
    try:
        table = read_table(source, columns=partial(history_columns, contract=contract))
        printed = fingerprint(source, frame=table)
        history = History.of(table, contract, name=printed.sha256[:12], as_of=as_of)
        begun = time.monotonic()
        identity = _identity(printed, contract, as_of)
        loaded = backfill(
            state, history, source=identity, on_progress=on_progress, **_pace(location)
        )
        seconds = time.monotonic() - begun
        proof = prove(state, history)
    finally:
        state.close()
    record = RunFolder(workspace.new_run(f"backfill-{contract.name}")).backfill
    outcome = BackfillOutcome(state.location, printed, history, loaded, seconds, proof, record)
    write_json(record, outcome.to_json())
    return outcome


def _check_request(contract: Contract, as_of: datetime | None) -> None:
    if not velocity_plan(contract):
        raise InputError(
            f"Contract {contract.name!r} declares no features over time: there is no online state "
            "to build. Add [[velocity]] or [[label_rate]] blocks."
        )
    if as_of is not None and as_of > datetime.now(UTC):
        raise InputError(f"--as-of must not lie in the future. Got {as_of:%Y-%m-%d %H:%M} UTC.")


def _pace(location: str | None) -> Mapping[str, Any]:
    if location is not None and is_server(location):
        return {"rows_at_once": _ROWS_AT_ONCE_ON_SERVERS}
    return {"pause": _PAUSE_OF_FILES}


def _identity(table: DataFingerprint, contract: Contract, as_of: datetime | None) -> str:
    """Return what tells this backfill from others: the same goes on where it stopped."""
    labels = contract.label.source
    return sha256_json(
        {
            "table": table.sha256,
            "labels": None if labels is None else fingerprint(labels).sha256,
            "as_of": None if as_of is None else as_of.isoformat(),
        }
    )


def summary(outcome: BackfillOutcome) -> str:
    """Return in one line what was loaded."""
    rows, loaded = outcome.history.counts, outcome.loaded
    left_out = [
        f"{count:,} {what}"
        for count, what in (
            (loaded.duplicates, "there before"),
            (loaded.conflicts, "with an id that the state knows with other content"),
            (loaded.too_late, "come too late"),
            (rows.repeated, "repeating an id"),
            (rows.without_event_time, "without event time"),
            (rows.later, "after that moment"),
            (rows.too_old, "older than any feature looks back"),
        )
        if count
    ]
    resumed = f", resumed at row {loaded.resumed_at:,}" if loaded.resumed_at else ""
    return (
        f"{outcome.location} as of {outcome.history.as_of:%Y-%m-%d %H:%M} UTC: "
        f"{loaded.applied:,} events and {loaded.labels:,} labels loaded in "
        f"{outcome.seconds:.1f} s{resumed}"
        + (f"; rows not loaded: {', '.join(left_out)}" if left_out else "")
    )


def verdict(proof: Proof) -> str:
    """Return in one line what the proof says."""
    if not proof.n_values:
        return "Not proven: the state has moved on, no feature can be compared with the table."
    compared = f"{proof.n_values:,} values of {proof.n_rows:,} rows, {proof.n_features} features"
    if proof.holds:
        return f"Proven: {compared}, all equal to the table's."
    return (
        f"Not proven: {proof.n_different:,} of {compared} differ from the table's, by up to "
        f"{proof.largest_difference:.2g}, the first in {proof.first_different_feature}. "
        "The state holds events that the table lacks, for example rows that were served before: "
        "add them to the table, or remove the state (the file or keys named above) and backfill "
        "again before the service is asked."
    )
