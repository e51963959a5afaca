"""What is live: one record per name and alias, replaced by compare-and-swap only."""

from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from infra.database import connect, transaction
from infra.errors import Refusal

CHAMPION = "champion"
CHALLENGER = "challenger"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS live (
    name TEXT NOT NULL,
    alias TEXT NOT NULL,
    model_version TEXT NOT NULL,
    policy_version TEXT NOT NULL,
    ledger_sequence INTEGER NOT NULL,
    changed_at TEXT NOT NULL,
    PRIMARY KEY (name, alias)
)
"""


class LiveRecordChanged(Refusal):
    """Raised when what is live is no longer what the caller believed."""


@dataclass(frozen=True, slots=True)
class LiveRecord:
    """A model version, the policy that decides with it, and the ledger entry that says why."""

    model_version: str
    policy_version: str
    ledger_sequence: int


class LiveRecords:
    """The live records of one state folder; safe for several processes.

    The ``champion`` answers; a ``challenger`` stands beside it and answers nothing.
    """

    def __init__(self, database: Path) -> None:
        self._database = database

    def get(self, name: str, *, alias: str = CHAMPION) -> LiveRecord | None:
        """Return the record, or None where nothing of that name is live."""
        return self.all(alias=alias).get(name)

    def all(self, *, alias: str = CHAMPION) -> dict[str, LiveRecord]:
        """Return the records of every name, in order of name."""
        return self.by_alias()[alias]

    def by_alias(self) -> dict[str, dict[str, LiveRecord]]:
        """Return the records of every alias and name as of one moment, in order of name."""
        records: dict[str, dict[str, LiveRecord]] = {CHAMPION: {}, CHALLENGER: {}}
        if not self._database.exists():
            return records
        query = (
            "SELECT alias, name, model_version, policy_version, ledger_sequence FROM live "
            "ORDER BY name"
        )
        with closing(connect(self._database, _SCHEMA)) as connection:
            rows = connection.execute(query).fetchall()
        for alias, name, *rest in rows:
            records.setdefault(alias, {})[name] = LiveRecord(*rest)
        return records

    def compare_and_swap(
        self,
        name: str,
        expected: LiveRecord | None,
        new: LiveRecord | None,
        *,
        alias: str = CHAMPION,
    ) -> None:
        """Make ``new`` live if ``expected`` is; None stands for no record on either side.

        Raises:
            LiveRecordChanged: If another record is live by now; nothing is changed then.
        """
        with closing(connect(self._database, _SCHEMA)) as connection, transaction(connection):
            row = connection.execute(
                "SELECT model_version, policy_version, ledger_sequence FROM live "
                "WHERE name = ? AND alias = ?",
                (name, alias),
            ).fetchone()
            current = LiveRecord(*row) if row else None
            if current != expected:
                raise LiveRecordChanged(
                    f"{name}@{alias} is {_shown(current)} by now, not {_shown(expected)}: "
                    "somebody else changed it. Look at it and try again."
                )
            connection.execute("DELETE FROM live WHERE name = ? AND alias = ?", (name, alias))
            if new is not None:
                values = (name, alias, new.model_version, new.policy_version, new.ledger_sequence)
                connection.execute(
                    "INSERT INTO live VALUES (?, ?, ?, ?, ?, ?)",
                    (*values, datetime.now(UTC).isoformat(timespec="microseconds")),
                )


def _shown(record: LiveRecord | None) -> str:
    if record is None:
        return "unset"
    return f"version {record.model_version} with policy {record.policy_version}"
