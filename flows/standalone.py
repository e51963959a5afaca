"""Featurization on its own: a file in, a feature table out."""

import shutil
from pathlib import Path

from features.contract import read_contract
from features.ingestion.tables import fingerprint
from flows.featurization import FEATURE_SET_FILE, TABLE_FILE, featurize, read_counts
from flows.moments import parse_moment
from flows.run_folder import RunFolder
from flows.validation import DATA, validate_sources
from flows.workspace import Workspace
from infra.settings import Settings


def featurize_file(
    settings: Settings, source: str, contract_reference: str, out: Path, *, as_of: str | None
) -> dict[str, int]:
    """Validate a table, write its feature table to ``out``, and return the counts by part.

    The feature set, which knows the columns' order and the categories' codes, is written beside
    it: ``features.parquet`` has ``features.feature_set.json``.

    Raises:
        InputError: If the source, the contract or the split does not allow it.
        DataValidationFailed: If a table rule is broken.
    """
    workspace, contract = Workspace.open(settings), read_contract(contract_reference)
    moment = parse_moment(as_of)
    run = RunFolder(workspace.new_run(f"featurize-{contract.name}"))
    validated = validate_sources(
        {DATA: source},
        contract,
        run,
        workspace,
        contract_reference=contract_reference,
        as_of=moment,
    )
    folder = featurize(
        run.passed_of(DATA),
        validated.contract,
        input_types=validated.input_types,
        fingerprints=[fingerprint(path).sha256 for path in (source, contract.label.source) if path],
        root=workspace.feature_tables,
        as_of=moment,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / FEATURE_SET_FILE, out.with_suffix(f".{FEATURE_SET_FILE}"))
    shutil.copyfile(folder / TABLE_FILE, out)
    return read_counts(folder)
