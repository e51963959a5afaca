"""What became of decided rows, and which alerts were handed on: one SQLite file of its own.

Not in the decision log, whose records never change and which may be another program's to keep.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection

from features.contract import Contract
from features.online.events import LabelReport
from features.online.state import LabelCounts
from infra.database import connect
from serving.decisions.layout import logged_id
from serving.decisions.sealing import LogSecret

_SCHEMA = """
CREATE TABLE IF NOT EXISTS outcome (
    model TEXT NOT NULL,
    id TEXT NOT NULL,
    label INTEGER NOT NULL,
    reported_at INTEGER NOT NULL,
    PRIMARY KEY (model, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS delivery (
    webhook TEXT NOT NULL,
    decision_id TEXT NOT NULL,
    delivered_at INTEGER NOT NULL,
    PRIMARY KEY (webhook, decision_id)
) WITHOUT ROWID;
"""
# Of several reports the last one counts, as in the online state.
_RECORD = """
INSERT INTO outcome VALUES (?, ?, ?, ?) ON CONFLICT (model, id) DO UPDATE SET
label = excluded.label, reported_at = excluded.reported_at
WHERE excluded.reported_at > outcome.reported_at
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one row.

    Attributes:
        id: Of the row as the decision log names it: a pseudonym where ids are personal.
        label: 1 for the positive class, 0 for the other.
        reported_at: Microseconds since 1970-01-01 UTC.
    """

    id: str
    label: int
    reported_at: int


class OutcomeBook:
    """Outcomes and deliveries of one state folder; safe for several processes.

    Args:
        home: The state folder.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / "outcomes.db"

    def record(self, model: str, outcomes: Iterable[Outcome]) -> int:
        """Write outcomes down, all or none, and return how many changed something."""
        with self._transaction() as connection:
            return sum(
                connection.execute(_RECORD, (model, each.id, each.label, each.reported_at)).rowcount
                for each in outcomes
            )

    def record_labels(
        self, contract: Contract, secret: LogSecret, reports: Iterable[LabelReport]
    ) -> LabelCounts:
        """Write labels down as outcomes of a contract's rows; ids that are personal never are.

        Which ids were ever decided is the log's to know: none counts as unknown here.
        """
        outcomes = [
            Outcome(logged_id(contract, secret, each.id), each.label, each.reported_at)
            for each in reports
        ]
        accepted = self.record(contract.name, outcomes)
        return LabelCounts(accepted=accepted, duplicates=len(outcomes) - accepted, unknown=0)

    def known(self, model: str) -> frozenset[str]:
        """Return the ids of a model's rows whose outcome is known."""
        return frozenset(self.outcomes(model))

    def outcomes(self, model: str) -> dict[str, Outcome]:
        """Return the known outcomes of a model's rows by their ids."""
        query = "SELECT id, label, reported_at FROM outcome WHERE model = ?"
        with self._transaction() as connection:
            rows = connection.execute(query, (model,)).fetchall()
        return {row[0]: Outcome(*row) for row in rows}

    def delivered(self, webhook: str) -> frozenset[str]:
        """Return the ids of the decisions that a webhook has taken."""
        query = "SELECT decision_id FROM delivery WHERE webhook = ?"
        with self._transaction() as connection:
            rows = connection.execute(query, (webhook,)).fetchall()
        return frozenset(row[0] for row in rows)

    def mark_delivered(self, webhook: str, decision_ids: Sequence[str], now: int) -> None:
        """Write down that a webhook has taken decisions, at ``now`` (microseconds)."""
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO delivery VALUES (?, ?, ?)",
                [(webhook, decision_id, now) for decision_id in decision_ids],
            )

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with closing(connect(self._path, _SCHEMA)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
