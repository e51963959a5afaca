"""The fields of a request: their order, what each may hold, and how it is read."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from features.contract import Contract
from serving.event_times import EventTimeReader, UnreadableTime
from serving.refusals import RequestRefused

Reader = Callable[[Any], Any]
Role = Literal["id", "event_time", "entity", "number", "category"]

LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
_KINDS = {str: "text", bool: "a boolean", dict: "an object", list: "an array"}


@dataclass(frozen=True, slots=True)
class RequestField:
    """One field that a request may carry.

    Attributes:
        kind: Type of the column in the table: number, integer, text, timestamp or boolean.
        required: Whether every request must have the field.
        nullable: Whether null stands for a missing value; elsewhere null is refused.
    """

    name: str
    role: Role
    kind: str
    required: bool

    @property
    def nullable(self) -> bool:
        """Whether null stands for a missing value; elsewhere null is refused."""
        return self.role in ("number", "category") or not self.required


def request_fields(contract: Contract, input_types: Mapping[str, str]) -> tuple[RequestField, ...]:
    """Return the fields in the contract's order.

    Args:
        contract: A resolved contract.
        input_types: Type of each column in the training table.
    """
    # A decision without its moment would be a guess: the event time is never optional.
    required = {*contract.required_columns, contract.event_time_column}
    fields = []
    for name in contract.request_columns:
        role = _role(contract, name)
        default = "number" if role == "number" else "text"
        kind = input_types.get(name, default)
        fields.append(RequestField(name, role, kind, required=name in required))
    return tuple(fields)


def reader_of(field: RequestField, contract: Contract) -> Reader:
    """Return the function that types one field's JSON value, or refuses it."""
    event_time = contract.columns.event_time
    if field.role == "event_time" and event_time is not None:
        return _time_reader(field.name, EventTimeReader(event_time))
    if field.role in ("id", "entity"):
        return _key_reader(field.name, required=field.required)
    if field.role == "category":
        return _category_reader(field.name, field.kind)
    return _boolean_reader(field.name) if field.kind == "boolean" else _number_reader(field.name)


def writer_of(field: RequestField, contract: Contract) -> Callable[[Any], Any]:
    """Return the function that turns one conformed value back into what a client sends."""
    event_time = contract.columns.event_time
    if field.role == "event_time" and event_time is not None:
        return EventTimeReader(event_time).write
    if field.kind == "boolean":
        return lambda value: value in (1.0, "true")
    if field.role == "number":
        return _plain_number
    if field.role == "category" and field.kind in ("integer", "number"):
        return lambda text: _plain_number(float(text))
    return int if field.kind == "integer" else str


def kind_of(value: Any) -> str:
    """Return what a JSON value is, in words."""
    return "null" if value is None else _KINDS.get(type(value), "a number")


def _role(contract: Contract, name: str) -> Role:
    columns = contract.columns
    if name == columns.id:
        return "id"
    if name == contract.event_time_column:
        return "event_time"
    if name in columns.categorical:
        return "category"
    return "entity" if name in columns.entities else "number"


def _number_reader(name: str) -> Reader:
    def read(value: Any) -> float | None:
        kind = type(value)
        if kind is float or kind is int:
            if not -LARGEST_FLOAT32 <= value <= LARGEST_FLOAT32:
                raise RequestRefused(
                    "out_of_range",
                    f"{name} is beyond what a 32-bit float holds (3.4e38).",
                    field=name,
                )
            return float(value)
        if value is None:
            return None
        raise _wrong_type(name, "a number", value)

    return read


def _boolean_reader(name: str) -> Reader:
    def read(value: Any) -> float | None:
        if value is None or isinstance(value, bool):
            return None if value is None else float(value)
        raise _wrong_type(name, "true, false or null", value)

    return read


def _category_reader(name: str, kind: str) -> Reader:
    # A category has one way to be written: the table's. "2" for 2 is as wrong as 2 for "2".
    expected = {"integer": int, "boolean": bool, "number": float}.get(kind, str)
    wanted = {int: "a whole number", bool: "a boolean", float: "a number", str: "text"}[expected]

    def read(value: Any) -> str | None:
        if value is None:
            return None
        _check_whole(name, value)
        if expected is float and type(value) is int:
            value = float(value)
        if type(value) is not expected:
            raise _wrong_type(name, wanted, value)
        return _category_text(value)

    return read


def _category_text(value: Any) -> str:
    """Return a category as a conformed table writes it: 2 and 2.0 are one."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) < 2**63
        # Polars and Python write exponents differently (1e-5 and 1e-05).
        return str(int(value)) if whole else str(pl.Series([value]).cast(pl.String).item())
    return str(value)


def _key_reader(name: str, *, required: bool) -> Reader:
    def read(value: Any) -> str | None:
        if type(value) is str or type(value) is int:
            _check_whole(name, value)
            return str(value)
        if value is None and not required:
            return None
        if value is None:
            raise RequestRefused("missing_field", f"{name} must not be null.", field=name)
        raise _wrong_type(name, "text or a whole number", value)

    return read


def _time_reader(name: str, reader: EventTimeReader) -> Reader:
    accepted, moment = reader.accepted, reader.read

    def read(value: Any) -> Any:
        if value is None:
            raise RequestRefused("missing_field", f"{name} must not be null.", field=name)
        if type(value) not in accepted:
            raise _wrong_type(name, reader.wanted, value)
        try:
            return moment(value)
        except UnreadableTime as error:
            raise RequestRefused("invalid_timestamp", f"{name}: {error}", field=name) from None

    return read


def _check_whole(name: str, value: Any) -> None:
    if type(value) is int and not -(2**63) <= value < 2**63:
        raise RequestRefused("out_of_range", f"{name} is beyond 64 bits.", field=name)


def _wrong_type(name: str, wanted: str, value: Any) -> RequestRefused:
    return RequestRefused(
        "wrong_type", f"{name} must be {wanted}, not {kind_of(value)}.", field=name
    )


def _plain_number(value: float) -> float | int | None:
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) < 2**53 else value
