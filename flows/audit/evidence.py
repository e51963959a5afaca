"""A copy of what proves: laid out as a state folder, for the verifier on another machine."""

import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from flows.audit.verification import evidence_of
from infra.errors import InputError
from infra.settings import Settings
from infra.storage import immutable_folder
from infra.verifier.source import OpenSource

# What is personal stays sealed in it, and the keys that open it are not copied.
_STATE = {
    "live": ("name", "alias", "model_version", "policy_version", "ledger_sequence"),
    "api_keys": (
        "key_id", "name", "scopes", "secret_sha256", "requests_per_second", "rows_per_second",
        "created_at", "created_by", "expires_at", "revoked_at",
    ),
}  # fmt: skip
_LEDGER = {
    "ledger": (
        "sequence", "at", "event", "subject", "actor", "reason", "details", "previous_hash", "hash",
    ),
}  # fmt: skip
_LOG = {
    "log_writer": ("writer_id",),
    "log_group": (
        "writer_id", "number", "first_sequence", "n_records", "segment", "committed_at", "records",
        "digest",
    ),
    "log_decision": ("decision_id", "writer_id", "number", "place"),
    "log_answered": ("key", "content", "decision_id", "until"),
    "log_closed": ("writer_id", "segment", "number", "last_sequence", "digest"),
    "log_subject_key": ("subject",),
}  # fmt: skip
_FOLDERS = ("models", "policies", "calibration", "gates")
_ROWS_AT_ONCE = 1_000


class EvidenceExists(InputError):
    """Raised for a folder that is there already."""


def write_evidence(settings: Settings, out: Path) -> int:
    """Copy what the settings name into a new folder and return how many files it has.

    Raises:
        EvidenceExists: If the folder is there already.
        EvidenceUnreadable: If something cannot be read.
    """
    if out.exists():
        raise EvidenceExists(f"{out} exists already. Name another folder: --out FOLDER.")
    named = evidence_of(settings)
    with immutable_folder(out) as staging:
        # Live records, then ledger, then log: as a verification reads them.
        _copy(named.state, staging / "whitecrow.db", _STATE)
        _copy(named.ledger, staging / "whitecrow.db", _LEDGER)
        _copy(named.log, staging / "decisions.db", _LOG)
        for name in _FOLDERS:
            if (settings.root / name).is_dir():
                shutil.copytree(settings.root / name, staging / name)
        for path in settings.keys.glob("*.pub"):
            (staging / "keys").mkdir(exist_ok=True)
            shutil.copyfile(path, staging / "keys" / path.name)
    return sum(path.is_file() for path in out.rglob("*"))


def _copy(opened: OpenSource, path: Path, tables: Mapping[str, tuple[str, ...]]) -> None:
    with opened() as source, closing(sqlite3.connect(path)) as target, target:
        for table, columns in tables.items():
            names = ", ".join(columns)
            # No type: a value stays what it is, also a changed one.
            target.execute(f"CREATE TABLE {table} ({names})")
            if table in {"log_group", "ledger"}:
                key = "sequence" if table == "ledger" else "writer_id, number"
                target.execute(f"CREATE INDEX {table}_key ON {table} ({key})")
            marks = ",".join("?" * len(columns))
            for part in _parts(source.rows(f"SELECT {names} FROM {table}")):  # noqa: S608 - ours
                target.executemany(f"INSERT INTO {table} VALUES ({marks})", part)  # noqa: S608


def _parts(rows: Iterator[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    while part := list(islice(rows, _ROWS_AT_ONCE)):
        yield part
