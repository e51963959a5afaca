"""Derived columns of one row without a table: the second evaluator of :mod:`features.derived`.

A table of one row costs milliseconds, most of a request. So expressions whose value here is the
same to the last bit are compiled to Python: arithmetic on numbers, comparisons, logic, choices and
parts of a time. A contract with any other expression keeps its tables; a property test holds the
two evaluators equal.
"""

import json
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np

from features.contract import Contract
from features.derived import ordered_expressions, source_type

Row = Mapping[str, Any]
Value = Callable[[Row], Any]
Kind = Literal["number", "part", "truth", "text", "clock", "null"]
"""``part`` is a small integer of a time: compared, never calculated with, as it may overflow."""

_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "Plus": operator.add,
    "Minus": operator.sub,
    "Multiply": operator.mul,
    "Mul": operator.mul,
}
_DIVISIONS = {"Div", "TrueDivide"}
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "Eq": operator.eq,
    "NotEq": operator.ne,
    "Lt": operator.lt,
    "LtEq": operator.le,
    "Gt": operator.gt,
    "GtEq": operator.ge,
}
_PARTS: dict[str, Callable[[datetime], int]] = {
    "Hour": lambda moment: moment.hour,
    "Minute": lambda moment: moment.minute,
    "Day": lambda moment: moment.day,
    "Month": lambda moment: moment.month,
    "WeekDay": lambda moment: moment.isoweekday(),
}
_MOST_PART = 100  # within 8 bits, as parts of a time are


class _NotCompiled(Exception):
    """Raised for an expression that only a table evaluates."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    kind: Kind
    value: Value


class DerivedRow:
    """Adds derived columns to typed rows of a request.

    Args:
        columns: Each column's evaluator, after those that it reads.
    """

    def __init__(self, columns: tuple[tuple[str, Value], ...]) -> None:
        self._columns = columns

    def extend(self, row: Row) -> dict[str, Any]:
        """Return the row with every derived column, a float or None where missing."""
        extended = dict(row)
        for name, value in self._columns:
            extended[name] = value(extended)
        return extended


def compile_derived(contract: Contract) -> DerivedRow | None:
    """Return the row's evaluator of a contract; None where only a table will do."""
    known: dict[str, _Compiled] = {}
    columns = []
    try:
        for name, expression in ordered_expressions(contract):
            tree = json.loads(expression.meta.serialize(format="json"))
            columns.append((name, _as_number(_compiled(tree, contract, known))))
            known[name] = _Compiled("number", operator.itemgetter(name))
    except _NotCompiled:
        return None
    return DerivedRow(tuple(columns))


def _as_number(compiled: _Compiled) -> Value:
    value = compiled.value
    if compiled.kind not in ("number", "part", "truth"):
        raise _NotCompiled

    def number(row: Row) -> float | None:
        found = value(row)
        if found is None:
            return None
        found = float(found)
        return found if math.isfinite(found) else None

    return number


def _compiled(node: Any, contract: Contract, known: Mapping[str, _Compiled]) -> _Compiled:
    if not isinstance(node, dict):
        raise _NotCompiled
    ((kind, body),) = node.items()

    def of(child: Any) -> _Compiled:
        return _compiled(child, contract, known)

    if kind == "Column":
        return known.get(body) or _column(body, contract)
    if kind == "Literal":
        return _literal(body)
    if kind == "BinaryExpr":
        return _binary(body["op"], of(body["left"]), of(body["right"]))
    if kind == "Ternary":
        return _choice(*(of(body[part]) for part in ("predicate", "truthy", "falsy")))
    if kind == "Cast" and body["dtype"] == {"Literal": "Boolean"}:
        return _truth(of(body["expr"]))
    if kind == "Function":
        return _function(body["function"], [of(child) for child in body["input"]])
    raise _NotCompiled


def _column(name: str, contract: Contract) -> _Compiled:
    kind = source_type(contract, name)
    if kind == "clock":
        zone_name = contract.columns.event_time.time_zone if contract.columns.event_time else "UTC"
        zone = ZoneInfo(zone_name)

        def moment(row: Row) -> datetime | None:
            at: datetime | None = row[name]
            return None if at is None else at.astimezone(zone)

        return _Compiled("clock", moment)
    return _Compiled("number" if kind == "number" else "text", operator.itemgetter(name))


def _literal(body: Any) -> _Compiled:
    match body:
        case {"Dyn": {"Int": number} | {"Float": number}}:
            return _constant("number", float(number), exact=number)
        case {"Scalar": {"Null": _}}:
            return _constant("null", None)
        case {"Scalar": {"String": text}}:
            return _constant("text", text)
        case {"Scalar": {"Boolean": truth}}:
            return _constant("truth", truth)
        case {"Scalar": {"Decimal": [units, _, scale]}}:
            return _constant("number", units / 10**scale)
    raise _NotCompiled


def _truth(compiled: _Compiled) -> _Compiled:
    if compiled.kind != "truth":
        raise _NotCompiled
    return compiled


def _constant(kind: Kind, value: Any, *, exact: Any = None) -> _Compiled:
    if exact is not None and value != exact:
        raise _NotCompiled
    return _Compiled(kind, lambda _: value)


def _binary(op: str, left: _Compiled, right: _Compiled) -> _Compiled:
    kinds = {left.kind, right.kind}
    if op in ("And", "Or", "LogicalAnd", "LogicalOr") and kinds == {"truth"}:
        return _logic(left.value, right.value, decisive=op.endswith("Or"))
    if op in _COMPARISONS and _are_comparable(left, right):
        compare = _COMPARISONS[op]
        act = compare if kinds == {"text"} else _ordered(compare)
        return _Compiled("truth", _both(left.value, right.value, act))
    if kinds == {"number"} and op in _ARITHMETIC:
        return _Compiled("number", _both(left.value, right.value, _ARITHMETIC[op]))
    if kinds == {"number"} and op in _DIVISIONS:
        return _Compiled("number", _both(left.value, right.value, _quotient))
    raise _NotCompiled


def _are_comparable(left: _Compiled, right: _Compiled) -> bool:
    kinds = {left.kind, right.kind}
    if kinds in ({"number"}, {"text"}, {"part"}):
        return True
    if kinds != {"number", "part"}:
        return False
    # A small whole number against a part of a time; another one may change its type.
    number = left if left.kind == "number" else right
    try:
        value = number.value({})
    except KeyError:
        return False
    return isinstance(value, float) and value.is_integer() and abs(value) <= _MOST_PART


def _both(left: Value, right: Value, act: Callable[[Any, Any], Any]) -> Value:
    def value(row: Row) -> Any:
        one, other = left(row), right(row)
        return None if one is None or other is None else act(one, other)

    return value


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[float, float], bool]:
    """Compare as Polars does: what is not a number equals itself, and is above all others."""

    def compared(one: float, other: float) -> bool:
        if math.isnan(one) or math.isnan(other):
            return compare(math.isnan(one), math.isnan(other))
        return compare(one, other)

    return compared


def _quotient(one: float, other: float) -> float:
    try:
        return one / other
    except ZeroDivisionError:
        with np.errstate(all="ignore"):
            return float(np.float64(one) / np.float64(other))


def _logic(left: Value, right: Value, *, decisive: bool) -> _Compiled:
    """Return AND or OR of three values: what decides alone decides over a missing one."""

    def value(row: Row) -> bool | None:
        one: bool | None = left(row)
        other: bool | None = right(row)
        if one is decisive or other is decisive:
            return decisive
        return None if one is None or other is None else not decisive

    return _Compiled("truth", value)


def _choice(predicate: _Compiled, truthy: _Compiled, falsy: _Compiled) -> _Compiled:
    kinds = {truthy.kind, falsy.kind} - {"null"}
    if predicate.kind != "truth" or len(kinds) != 1:
        raise _NotCompiled
    (kind,) = kinds
    when, then, otherwise = predicate.value, truthy.value, falsy.value
    return _Compiled(kind, lambda row: then(row) if when(row) else otherwise(row))


def _function(function: Any, inputs: list[_Compiled]) -> _Compiled:
    first, kinds = inputs[0].value, {each.kind for each in inputs}
    match function:
        case {"Sql": {"Binary": str(op)}}:
            return _binary(op, *inputs)
        case {"TemporalExpr": str(part)} if part in _PARTS and kinds == {"clock"}:
            return _Compiled("part", _unless_missing(first, _PARTS[part]))
        case {"Boolean": str(test)} if test in _TESTS and (test != "Not" or kinds == {"truth"}):
            return _Compiled("truth", _TESTS[test](first))
        case "Abs" if kinds == {"number"}:
            return _Compiled("number", _unless_missing(first, abs))
        case "Coalesce" if kinds == {"number"}:
            return _Compiled("number", _first_known([each.value for each in inputs]))
    raise _NotCompiled


def _unless_missing(value: Value, act: Callable[[Any], Any]) -> Value:
    def found(row: Row) -> Any:
        given = value(row)
        return None if given is None else act(given)

    return found


def _first_known(values: list[Value]) -> Value:
    def found(row: Row) -> Any:
        return next((given for value in values if (given := value(row)) is not None), None)

    return found


_TESTS: dict[str, Callable[[Value], Value]] = {
    "Not": lambda value: _unless_missing(value, operator.not_),
    "IsNull": lambda value: lambda row: value(row) is None,
    "IsNotNull": lambda value: lambda row: value(row) is not None,
}
