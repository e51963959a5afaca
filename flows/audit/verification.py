"""``whitecrow audit verify``: the checks of ``infra.verifier`` over what the settings name.

Nothing is written, and a service may write meanwhile: each database is read as it is at one moment.
"""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from infra.database import is_server
from infra.errors import InputError
from infra.settings import Settings
from infra.signing import is_signed_by, trusted_keys
from infra.verifier.checks import Evidence, verify_all
from infra.verifier.findings import Findings
from infra.verifier.signatures import Trust
from infra.verifier.source import Source
from infra.verifier.state_folder import Unreadable, sqlite_rows
from serving.decisions.group_bytes import places_of

_ATTEMPTS = 3


class EvidenceUnreadable(InputError):
    """Raised when what is to be verified cannot be read."""


def verify(
    settings: Settings, *, anchors: Sequence[Path] = (), archive: Path | None = None
) -> Findings:
    """Return what of a state was checked and what does not hold.

    Args:
        settings: Name ledger, decision log, state folder and trusted keys.
        anchors: Files that ``whitecrow audit anchor`` wrote, kept elsewhere.
        archive: Folder of ``whitecrow decisions retire``.

    Raises:
        EvidenceUnreadable: If something cannot be read.
        KeyUnusable: If a trusted public key is none.
    """
    kept = {path.name: _read(path) for path in anchors}
    for attempt in range(1, _ATTEMPTS + 1):
        evidence = evidence_of(settings, kept, archive)
        trusted = trusted_keys(settings.keys, settings.verify_key)
        try:
            before = _n_entries(evidence)
            findings = verify_all(evidence, Trust(trusted.by_id, is_signed_by), decode=places_of)
            # A day that leaves the log, or a promotion, between two readings looks like damage.
            if findings.holds or attempt == _ATTEMPTS or _n_entries(evidence) == before:
                return findings
        except (Unreadable, sqlite3.Error) as error:
            raise EvidenceUnreadable(
                f"Cannot verify: {error} Restore it from a backup, or name another place."
            ) from None
    raise AssertionError("the last attempt returns")


def evidence_of(
    settings: Settings, anchors: dict[str, bytes] | None = None, archive: Path | None = None
) -> Evidence:
    """Return what the settings name, to be read."""
    return Evidence(
        home=settings.root,
        state=partial(sqlite_rows, settings.database),
        ledger=partial(_rows_of, settings.ledger_uri, settings.database),
        log=partial(_rows_of, settings.log_uri, settings.root / "decisions.db"),
        anchors=anchors or {},
        archive=archive,
        idempotency_days=settings.idempotency_days,
        now=time.time_ns() // 1_000,
    )


def _n_entries(evidence: Evidence) -> int:
    with evidence.ledger() as ledger:
        return next((row[0] for row in ledger.rows("SELECT count(*) FROM ledger")), 0)


def _rows_of(uri: str | None, path: Path) -> AbstractContextManager[Source]:
    if is_server(uri):
        return _server_rows(uri)
    return sqlite_rows(path if uri is None else Path(uri))


@contextmanager
def _server_rows(uri: str) -> Iterator[Source]:
    try:
        import psycopg
    except ImportError:
        raise EvidenceUnreadable(
            "Reading PostgreSQL needs the extra: pip install 'whitecrow[postgres]'."
        ) from None
    try:
        with psycopg.connect(
            uri, connect_timeout=5, application_name="whitecrow audit"
        ) as connection:
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            yield _ServerRows(connection)
    except psycopg.Error as error:
        first = " ".join(str(error).split()).rstrip(".")
        raise Unreadable(f"The server does not answer: {first}.") from None


class _ServerRows:
    """A PostgreSQL database as it was when it was first asked."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._n_cursors = 0

    def rows(self, statement: str, *values: Any) -> Iterator[Sequence[Any]]:
        """Yield the rows of a statement (:meth:`Source.rows`)."""
        table = statement.split(" FROM ", 1)[1].split(maxsplit=1)[0]
        found = self._connection.execute("SELECT to_regclass(%s)", (table,)).fetchone()
        if found[0] is None:
            return
        self._n_cursors += 1
        # Kept on the server: what is read may be larger than the memory here.
        with self._connection.cursor(name=f"rows_{self._n_cursors}") as cursor:
            cursor.itersize = 2_000
            cursor.execute(statement.replace("?", "%s").encode(), values)
            yield from cursor


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EvidenceUnreadable(f"--anchor {path}: {error.strerror}. Name another file.") from None
