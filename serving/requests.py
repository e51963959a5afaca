"""Requests: JSON objects to rows typed by the contract, and back.

Messages never repeat a value of the request: it may be a card number.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import polars as pl

from features.contract import Contract
from serving.refusals import RequestRefused, shown
from serving.request_fields import LARGEST_FLOAT32, reader_of, request_fields, writer_of
from serving.request_json import Body, parse_row
from serving.row_decoding import RowDecoder

TypedRow = dict[str, Any]


def values_of(columns: Sequence[str]) -> Callable[[TypedRow], tuple[Any, ...]]:
    """Return what takes some columns' values out of a row, as a tuple also of one or none."""
    if len(columns) > 1:
        return itemgetter(*columns)
    return lambda row: tuple([row[name] for name in columns])


class RowReader:
    """Reads request rows into the types of :func:`features.ingestion.conforming.conform`."""

    def __init__(self, contract: Contract, input_types: Mapping[str, str]) -> None:
        self._contract = contract
        self.fields = request_fields(contract, input_types)
        self._required = frozenset(field.name for field in self.fields if field.required)
        self._readers = tuple((field.name, reader_of(field, contract)) for field in self.fields)
        self._known = frozenset((*contract.request_columns, *contract.columns.groups))
        self._refuses_unknown = contract.policy.unknown_fields == "refuse"
        self._quick = RowDecoder(self.fields, contract)
        self._schema = {name: _polars_type(contract, name) for name in contract.request_columns}

    def read(self, row: Mapping[str, Any]) -> TypedRow:
        """Return the row's values by column, typed; None where a value is missing.

        Raises:
            RequestRefused: At the first field, in the contract's order, that is at fault.
        """
        typed = self._quick.converted(row)
        return self.read_carefully(row) if typed is None else typed

    def read_body(self, body: Body) -> TypedRow:
        """Return what :meth:`read` makes of the JSON object in ``body``.

        Raises:
            RequestRefused: As :func:`serving.request_json.parse_row` and :meth:`read` do.
        """
        typed = self._quick.decoded(body)
        return self.read(parse_row(body)) if typed is None else typed

    def read_bodies(self, bodies: Sequence[Body]) -> list[TypedRow | RequestRefused]:
        """Return each body's row, or its refusal, as :meth:`read_body` would."""
        outcomes: list[Any] = list(self._quick.decoded_all(bodies))
        for at, outcome in enumerate(outcomes):
            if outcome is None:
                try:
                    outcomes[at] = self.read(parse_row(bodies[at]))
                except RequestRefused as refusal:
                    outcomes[at] = refusal
        return outcomes

    def read_carefully(self, row: Mapping[str, Any]) -> TypedRow:
        """Return the same as :meth:`read`, field by field: what a refusal is worded by.

        Raises:
            RequestRefused: At the first field, in the contract's order, that is at fault.
        """
        typed: TypedRow = {}
        for name, read in self._readers:
            if name in row:
                typed[name] = read(row[name])
            elif name in self._required:
                raise self._missing(name, row)
            else:
                typed[name] = None
        if self._refuses_unknown:
            self._check_unknown(row)
        return typed

    def frame(self, rows: Sequence[TypedRow]) -> pl.DataFrame:
        """Return typed rows as a conformed table."""
        columns = [
            pl.Series(name, [row[name] for row in rows], dtype=dtype)
            for name, dtype in self._schema.items()
        ]
        return pl.DataFrame(columns)

    def _missing(self, name: str, row: Mapping[str, Any]) -> RequestRefused:
        unknown = sorted(key for key in row if key not in self._known)
        close = difflib.get_close_matches(name, unknown, n=1)
        hint = f" The request has {shown(close[0])!r}: is it that?" if close else ""
        return RequestRefused("missing_field", f"{name} is required.{hint}", field=name)

    def _check_unknown(self, row: Mapping[str, Any]) -> None:
        for name in row:
            if name not in self._known:
                raise RequestRefused(
                    "unknown_field",
                    f"This model has no input {shown(name)!r}. Leave it out.",
                    field=shown(name),
                )


def request_rows(
    frame: pl.DataFrame, contract: Contract, input_types: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return the rows of a conformed table as a client would send them.

    Numbers that are whole are written without a fraction, times as the contract gives them, and
    categories in the type that they have in the table.
    """
    fields = [f for f in request_fields(contract, input_types) if f.name in frame.columns]
    rows = frame.select(field.name for field in fields).rows(named=True)
    for field in fields:
        write = writer_of(field, contract)
        for row in rows:
            row[field.name] = None if row[field.name] is None else write(row[field.name])
    return rows


def is_sendable(
    frame: pl.DataFrame, contract: Contract, input_types: Mapping[str, str]
) -> pl.Series:
    """Return which rows of a conformed table a client could send: keys and times are present.

    Shape:
        ``(n_rows,)`` Boolean.
    """
    fields = request_fields(contract, input_types)
    present = [pl.col(field.name).is_not_null() for field in fields if not field.nullable]
    finite = [
        (pl.col(field.name).abs() <= LARGEST_FLOAT32).fill_null(value=True)
        for field in fields
        if field.role == "number"
    ]
    return frame.select(pl.all_horizontal(*present, *finite)).to_series()


def _polars_type(contract: Contract, name: str) -> pl.DataType:
    if name == contract.event_time_column:
        return pl.Datetime("us", "UTC")
    return pl.Float64() if name in contract.numeric_columns else pl.String()
