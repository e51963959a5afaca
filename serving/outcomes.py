"""What became of decided rows, and which alerts were handed on: one SQLite file of its own.

Not in the decision log, whose records never change and which may be another program's to keep.
Every report that says something new is kept; of several on one row the last ``reported_at``
counts, and of two at the same moment the positive one, whichever came first, as in the online
state (:func:`features.online.past.report_code`).
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from sqlite3 import Connection

from features.contract import Contract
from features.durations import microseconds
from features.online.events import LabelReport
from features.online.state import LabelCounts, SkewGuard
from infra.database import connect, transaction
from serving.decisions.layout import logged_id
from serving.decisions.sealing import LogSecret
from serving.reported_labels import KeptReport, Outcome, ReportedLabel, TakenLabels

_SCHEMA = """
CREATE TABLE IF NOT EXISTS outcome (
    model TEXT NOT NULL,
    id TEXT NOT NULL,
    label INTEGER NOT NULL,
    reported_at INTEGER NOT NULL,
    PRIMARY KEY (model, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS report (   -- only ever added to
    model TEXT NOT NULL,
    id TEXT NOT NULL,
    reported_at INTEGER NOT NULL,
    label INTEGER NOT NULL,
    source TEXT NOT NULL,             -- empty where nobody is named
    received_at INTEGER,              -- null: written before reports were kept
    PRIMARY KEY (model, id, reported_at, label, source)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS delivery (
    webhook TEXT NOT NULL,
    decision_id TEXT NOT NULL,
    delivered_at INTEGER NOT NULL,
    PRIMARY KEY (webhook, decision_id)
) WITHOUT ROWID;
"""
_FORMAT = 1
_ADOPT = """
INSERT OR IGNORE INTO report SELECT model, id, reported_at, label, '', NULL FROM outcome
"""
_CONTRADICTED = """
SELECT 1 FROM report WHERE model = ? AND id = ? AND reported_at = ? AND label <> ?
"""
_KEEP = "INSERT OR IGNORE INTO report VALUES (?, ?, ?, ?, ?, ?)"
# The order of features.online.past.report_code.
_RECORD = """
INSERT INTO outcome VALUES (?, ?, ?, ?) ON CONFLICT (model, id) DO UPDATE SET
label = excluded.label, reported_at = excluded.reported_at
WHERE 2 * excluded.reported_at + excluded.label > 2 * outcome.reported_at + outcome.label
"""
# SQLite takes the bare columns from the row that holds the largest value.
_KNOWN_AT = """
SELECT id, label, reported_at, max(2 * reported_at + label) FROM report
WHERE model = ? AND reported_at <= ? AND id IN
"""
_HISTORY = "SELECT id, label, reported_at, nullif(source, ''), received_at FROM report"
_IDS_AT_ONCE = 500
_END_OF_TIME = 2**63 - 1


Feed = Callable[[Sequence[LabelReport]], LabelCounts | None]
"""Hands labels to the features that look back at them; None where none does."""


class OutcomeBook:
    """Outcomes and deliveries of one state folder; safe for several processes.

    Args:
        home: The state folder.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / "outcomes.db"

    def take(
        self,
        contract: Contract,
        secret: LogSecret,
        labels: Sequence[ReportedLabel],
        *,
        feed: Feed,
        now: int,
    ) -> TakenLabels:
        """Take labels of a contract's rows, for the online state and as outcomes.

        Ids that are personal are never written down. A label that is said again without a moment
        is as old as it was. Which rows were ever decided is the state's to say; without one, none
        counts as unknown.

        Args:
            contract: Of the model.
            secret: Of the decision log.
            labels: As they came in.
            feed: Told before anything is recorded: what it refuses is no outcome either.
            now: The present moment, in microseconds since 1970-01-01 UTC.

        Raises:
            ClockSkewRefused: If one lies too far in the future; nothing is recorded.
        """
        guard = SkewGuard(microseconds(contract.policy.max_clock_skew), lambda: now)
        guard.check_reports([label.as_report for label in labels])
        names = [logged_id(contract, secret, label.id) for label in labels]
        labels = self._settled(contract.name, names, labels)
        by_state = feed([label.as_report for label in labels])
        taken = self.record(
            contract.name,
            [
                Outcome(name, label.label, label.reported_at, label.source)
                for name, label in zip(names, labels, strict=True)
            ],
            now=now,
        )
        if by_state is None:
            return taken
        return TakenLabels.of(by_state, contradictory=taken.contradictory)

    def record(self, model: str, outcomes: Iterable[Outcome], *, now: int) -> TakenLabels:
        """Write outcomes down, all or none, received now; none counts as unknown."""
        accepted = contradictory = n_outcomes = 0
        with self._transaction() as connection:
            for each in outcomes:
                n_outcomes += 1
                key = (model, each.id, each.reported_at, each.label)
                contradictory += connection.execute(_CONTRADICTED, key).fetchone() is not None
                connection.execute(_KEEP, (*key, each.source or "", now))
                current = (model, each.id, each.label, each.reported_at)
                accepted += connection.execute(_RECORD, current).rowcount
        return TakenLabels(accepted, n_outcomes - accepted, 0, contradictory)

    def known(self, model: str) -> frozenset[str]:
        """Return the ids of a model's rows whose outcome is known."""
        return frozenset(self.outcomes(model))

    def outcomes(self, model: str) -> dict[str, Outcome]:
        """Return the known outcomes of a model's rows by their ids."""
        query = "SELECT id, label, reported_at FROM outcome WHERE model = ?"
        with self._transaction() as connection:
            rows = connection.execute(query, (model,)).fetchall()
        return {row[0]: Outcome(*row) for row in rows}

    def outcomes_at(
        self, model: str, ids: Iterable[str], as_of: int | None = None
    ) -> dict[str, Outcome]:
        """Return, by id, what was known of some rows at a moment.

        Args:
            model: The rows' contract by its name.
            ids: As the decision log names them.
            as_of: Microseconds since 1970-01-01 UTC; later reports are left out. Default: all
                count.
        """
        moment = _END_OF_TIME if as_of is None else as_of
        found: dict[str, Outcome] = {}
        with closing(self._connect()) as connection:
            wanted = list(dict.fromkeys(ids))
            for begin in range(0, len(wanted), _IDS_AT_ONCE):
                part = wanted[begin : begin + _IDS_AT_ONCE]
                query = f"{_KNOWN_AT} ({','.join('?' * len(part))}) GROUP BY id"
                for row in connection.execute(query, (model, moment, *part)):
                    found[row[0]] = Outcome(*row[:3])
        return found

    def history(self, model: str, row_id: str | None = None) -> list[KeptReport]:
        """Return every report on a model's rows, by id and then in the order in which they count.

        Args:
            model: The rows' contract by its name.
            row_id: Of this row only, as the decision log names it.
        """
        of_row = "" if row_id is None else " AND id = ?"
        parameters = (model,) if row_id is None else (model, row_id)
        query = f"{_HISTORY} WHERE model = ?{of_row} ORDER BY id, reported_at, label, source"
        with closing(self._connect()) as connection:
            return [KeptReport(*row) for row in connection.execute(query, parameters)]

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

    def _settled(
        self, model: str, names: Sequence[str], labels: Sequence[ReportedLabel]
    ) -> list[ReportedLabel]:
        """Return labels with the moments that count, those without one as old as before."""
        pairs = list(zip(names, labels, strict=True))
        undated = [name for name, label in pairs if not label.is_dated]
        known = self.outcomes_at(model, undated) if undated else {}
        return [
            replace(label, reported_at=before.reported_at)
            if not label.is_dated
            and (before := known.get(name)) is not None
            and before.label == label.label
            else label
            for name, label in pairs
        ]

    def _connect(self) -> Connection:
        connection = connect(self._path, _SCHEMA)
        try:
            _adopt_outcomes(connection)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with closing(self._connect()) as connection, transaction(connection):
            yield connection


def _adopt_outcomes(connection: Connection) -> None:
    """Make the outcomes of a file from before reports were kept the first of their history."""
    if connection.execute("PRAGMA user_version").fetchone()[0] >= _FORMAT:
        return
    with transaction(connection):
        connection.execute(_ADOPT)
        connection.execute(f"PRAGMA user_version = {_FORMAT}")
