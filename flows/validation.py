"""Validation of the files that people name: outcome, quarantine, profile and page."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from features.contract import Contract
from features.feature_table import input_types_of
from features.ingestion.data_error import DataError
from features.ingestion.tables import fingerprint, read_table, scan_table
from features.served_content import verified_description
from features.served_table import common_description
from features.validation.outcome import ValidationOutcome
from features.validation.profile import DataProfile
from features.validation.requeue import requeue
from features.validation.validate import validate
from flows.run_folder import RunFolder, write_json
from flows.validation_report import write_validation_report
from flows.workspace import Workspace
from infra.ledger import open_ledger
from infra.storage import sha256_file
from serving.model_store import ModelStore

logger = logging.getLogger(__name__)

DATA, TEST = "data", "test"
ROWS_QUARANTINED = "rows.quarantined"
"""Of the ledger: rows that are not learnt from, because they broke rules of the contract."""

_ACCEPT_DRIFT = "If the table is right and the world has changed, add --accept-drift."

# Of fewer rows a column may have one value by chance.
_ROWS_THAT_VARY = 1000


@dataclass(frozen=True, slots=True)
class Validated:
    """Tables that passed validation.

    Attributes:
        contract: Resolved against the table.
        input_types: What a request must hold for each column.
        outcomes: What was found, by role: ``data``, and ``test`` where there is such a file.
    """

    contract: Contract
    input_types: dict[str, str]
    outcomes: dict[str, ValidationOutcome]


def validate_sources(
    sources: Mapping[str, str],
    contract: Contract,
    run: RunFolder,
    workspace: Workspace,
    *,
    contract_reference: str,
    profile: DataProfile | None = None,
    accepts_drift: bool = False,
    as_of: datetime | None = None,
    actor: str | None = None,
) -> Validated:
    """Validate each source, and write rows, quarantine, outcome, profile and page.

    Args:
        sources: Path or URI by role.
        contract: As written; its patterns are expanded here.
        run: Where results go.
        workspace: Where corrections of earlier quarantines are.
        contract_reference: The contract as the command line names it.
        profile: Of the last released version, to hold the data against.
        accepts_drift: Whether data that lie too far from it go on all the same.
        as_of: The moment that freshness counts from; default: now, or that of served rows.
        actor: Who asked; default: the settings'. Rows in quarantine are told to the ledger.

    Raises:
        DataError: If a source cannot be read.
        ContractError: If the contract does not fit it.
        DataValidationFailed: If a table rule is broken; all files are written by then.
        ServedTableMismatch: If rows that were served do not fit the contract, or were changed.
    """
    described = {role: verified_description(source, contract) for role, source in sources.items()}
    served = common_description({sources[role]: each for role, each in described.items()})
    if served is not None:
        as_of = as_of or served.as_of
    # Text formats are read when they are scanned: once, for the rules and for the types.
    tables = {role: scan_table(source) for role, source in sources.items()}
    outcomes = {
        role: validate(
            tables[role],
            contract,
            source_sha256=fingerprint(source).sha256,
            quarantine_path=run.quarantine_of(role),
            passed_path=run.passed_of(role),
            profile=profile,
            accepts_drift=accepts_drift,
            corrections_path=workspace.corrections(contract.name),
            as_of=as_of,
            served=described[role],
        )
        for role, source in sources.items()
    }
    write_json(run.validation, {role: outcome.to_json() for role, outcome in outcomes.items()})
    write_validation_report(
        run.validation_page,
        {sources[role]: outcome for role, outcome in outcomes.items()},
        title=contract.name,
        contract=contract_reference,
        profile=profile,
    )
    for outcome in outcomes.values():
        _note_quarantine(workspace, run, outcome, actor=actor)
    if (found := outcomes[DATA].profile) is not None:
        write_json(run.profile, found.to_json())
        _warn_of_constants(found)
    for role, outcome in outcomes.items():
        if outcome.read == 0:
            raise DataError(f"{sources[role]} holds no rows: there is nothing to learn from.")
        outcome.raise_if_stopped(report=run.validation_page, drift_hint=_ACCEPT_DRIFT)
    schema = tables[DATA].collect_schema()
    if served is not None:
        resolved = served.resolve(contract, schema.names())
        return Validated(resolved, served.input_types, outcomes)
    resolved = contract.resolve(schema.names())
    return Validated(resolved, input_types_of(schema, resolved), outcomes)


def requeue_rows(
    source: str,
    contract: Contract,
    run: RunFolder,
    workspace: Workspace,
    *,
    contract_reference: str,
) -> ValidationOutcome:
    """Validate corrected rows of a quarantine file and keep those that pass for the next run.

    Where the rows that passed lie beside the quarantine file, an id among them counts as taken.

    Raises:
        DataError: If the file is no quarantine file.
    """
    passed_before = Path(source).with_name(run.passed_of(DATA).name)
    outcome = requeue(
        read_table(source),
        contract,
        quarantine_path=run.quarantine_of(DATA),
        passed_path=run.passed_of(DATA),
        corrections_path=workspace.corrections(contract.name),
        earlier_passed=passed_before if passed_before.is_file() else None,
    )
    write_json(run.validation, {DATA: outcome.to_json()})
    write_validation_report(
        run.validation_page, {source: outcome}, title=contract.name, contract=contract_reference
    )
    _note_quarantine(workspace, run, outcome)
    return outcome


def _note_quarantine(
    workspace: Workspace, run: RunFolder, outcome: ValidationOutcome, *, actor: str | None = None
) -> None:
    """Write to the ledger which rows are not learnt from, and by which rules, if there are any."""
    if not outcome.quarantined or outcome.quarantine_path is None:
        return
    open_ledger(workspace.settings).append(
        ROWS_QUARANTINED,
        outcome.contract,
        actor=actor or workspace.settings.actor,
        reason="row rules of the contract",
        details={
            "source_sha256": outcome.source_sha256,
            "rows": outcome.read,
            "quarantined": outcome.quarantined,
            "rules": {failure.name: failure.count for failure in outcome.row_failures},
            "quarantine_sha256": sha256_file(outcome.quarantine_path),
            "run": run.root.name,
        },
    )


def _warn_of_constants(profile: DataProfile) -> None:
    constant = profile.constant_columns
    if constant and profile.n_rows >= _ROWS_THAT_VARY:
        which = "columns" if constant[1:] else "column"
        logger.warning(
            "no more than one value in all %s rows, from which nothing can be learnt: mend the "
            "table, or name the %s under [columns] drop in the contract: %s",
            f"{profile.n_rows:,}", which, ", ".join(constant),
        )  # fmt: skip


def counts_in_words(outcome: ValidationOutcome) -> str:
    """Return in one line how many rows were read, passed, corrected and quarantined."""
    parts = [f"{outcome.read:,} rows read", f"{outcome.passed:,} passed"]
    if outcome.corrected:
        parts[-1] += f" ({outcome.corrected:,} of them corrected)"
    parts.append(f"{outcome.quarantined:,} in quarantine")
    if outcome.already_taken:
        parts.append(f"{outcome.already_taken:,} had been taken back before")
    return ", ".join(parts)


def released_profile(workspace: Workspace, name: str) -> DataProfile | None:
    """Return the profile of the rows that the live version was trained on, if there is one."""
    store = ModelStore.open(workspace.settings)
    live = store.live.get(name)
    if live is None:
        return None
    profile = store.bundle(name, live.model_version).manifest.profile
    return None if profile is None else DataProfile.from_json(profile)
