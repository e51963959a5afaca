"""The columns of a contract's rows, out of stored decisions: what is personal goes by pseudonyms.

Except where a feature of the row is made of it: a network could not be trained on what stands for
its input. Such a column is opened with its subject's key, and is null where that was destroyed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from features.contract import Contract
from features.derived import derived_sources
from features.ingestion.timestamps import MOMENT
from features.velocity import velocity_plan
from serving.decisions.opened import personal_of
from serving.decisions.personal_features import personal_features
from serving.decisions.record import Personal, StoredRecord, whole_row
from serving.decisions.sealing import LogSecret, Unreadable
from serving.decisions.store import DecisionStore


@dataclass(frozen=True, slots=True)
class OpenedRow:
    """A stored decision with what could be read of it.

    Attributes:
        stored: As the log holds it.
        row: Values by column, without what nobody may or can read.
        personal: What was opened; None where nothing was.
        is_erased: Whether something is sealed whose key was destroyed or is another log's.
    """

    stored: StoredRecord
    row: Mapping[str, Any]
    personal: Personal | None
    is_erased: bool


class RowColumns:
    """Makes the columns of one contract's rows.

    Args:
        contract: Resolved.
        secret: Of the decision log.

    Attributes:
        hidden: Columns that hold pseudonyms.
    """

    def __init__(self, contract: Contract, secret: LogSecret) -> None:
        columns = contract.columns
        told = {*contract.numeric_columns, *contract.categorical_features}
        told |= {*derived_sources(contract), *filter(None, [contract.event_time_column])}
        personal = {*columns.pii, *columns.entities}
        self._contract = contract
        self._secret = secret
        self._schema = {name: _type(contract, name) for name in contract.request_columns}
        self.hidden = tuple(n for n in self._schema if n in personal and n not in told)
        served = personal_features(contract) & set(velocity_plan(contract).names)
        self.needs_sealed_features = bool(served)
        """Whether a served feature tells something personal: without the key it is not there."""
        self._in_clear = frozenset(self._schema) - frozenset(self.hidden)

    def opened(self, store: DecisionStore, records: Sequence[StoredRecord]) -> list[OpenedRow]:
        """Return decisions with what can be read of them; one look-up for all keys.

        Raises:
            LogUnreachable: If the log does not answer.
        """
        subjects = [each.subject for each in records if each.subject is not None]
        keys = store.subject_keys(subjects)
        return [self._opened(each, keys.get(each.subject or b"")) for each in records]

    def series(self, rows: Sequence[OpenedRow]) -> list[pl.Series]:
        """Return the columns that a request carries, typed as a conformed table is."""
        return [
            pl.Series(name, [self._value(name, each) for each in rows], dtype=dtype)
            for name, dtype in self._schema.items()
        ]

    def names_of(self, stored: StoredRecord) -> tuple[str, ...]:
        """Return what reports may call a row, as the book of outcomes does."""
        own = (self._id(stored), stored.transaction_id, stored.decision_id)
        return tuple(dict.fromkeys(name for name in own if name is not None))

    def _opened(self, stored: StoredRecord, wrapped: bytes | None) -> OpenedRow:
        is_erased = stored.sealed is not None and wrapped is None
        personal = None
        # What one version sealed another may have logged in the clear.
        is_wanted = self.needs_sealed_features or not self._in_clear.isdisjoint(
            stored.head.personal
        )
        if is_wanted and not is_erased:
            try:
                personal = personal_of(stored, wrapped, self._secret)
            except Unreadable:
                is_erased = True
        return OpenedRow(stored, whole_row(stored, personal), personal, is_erased)

    def _value(self, name: str, opened: OpenedRow) -> Any:
        if name not in self.hidden:
            return opened.row.get(name)
        if name == self._contract.columns.id:
            return self._id(opened.stored)
        pseudonym = opened.stored.entities.get(name)
        return self._pseudonym(name, opened.row) if pseudonym is None else pseudonym.hex()

    def _id(self, stored: StoredRecord) -> str | None:
        """Return the row's id as the file has it."""
        column = self._contract.columns.id
        if column is None:
            return None
        # A version may have called the column personal that another did not.
        in_clear = column in stored.head.columns and column in self.hidden
        return self._pseudonym(column, stored.row) if in_clear else stored.transaction_id

    def _pseudonym(self, name: str, row: Mapping[str, Any]) -> str | None:
        value = row.get(name)
        return None if value is None else self._secret.pseudonym(name, value).hex()


def _type(contract: Contract, name: str) -> pl.DataType:
    if name == contract.event_time_column:
        return MOMENT
    return pl.Float64() if name in contract.numeric_columns else pl.String()
