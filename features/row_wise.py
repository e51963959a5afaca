"""SQL text to a Polars expression that reads one row at a time and never fails on a value.

What Polars says of itself is not enough here: it calls ``a - AVG(a)`` separable by rows. So
the parsed tree is walked, and only what is known to work on one row is let through.
"""

import io
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

_ELEMENTWISE_NODES = {"Column", "Literal", "BinaryExpr", "Ternary", "Cast", "Function"}
_OTHER_ROWS = {
    "Agg": "an aggregate (AVG, SUM, MIN, ...)",
    "Over": "a window (OVER)",
    "Rolling": "a window (OVER)",
    "Len": "COUNT(*)",
    "Explode": "UNNEST",
    "Selector": "COLUMNS(...)",
    "SubPlan": "a subquery",
}
_OTHERS = "looks at other rows; a derived value depends on its own row only"
# True: every member works on one row. A set: those members do.
_ELEMENTWISE_FUNCTIONS: Mapping[str, bool | set[str]] = {
    "Abs": True,
    "Atan2": True,
    "Bitwise": {"CountOnes", "CountZeros"},
    "Boolean": {"IsNull", "IsNotNull", "IsNan", "IsNotNan", "IsFinite", "IsInfinite", "Not"},
    "Ceil": True,
    "Clip": True,
    "Coalesce": True,
    "Exp": True,
    "FillNull": True,
    "Floor": True,
    "ListExpr": {"Get"},
    "Log": True,
    "Log1p": True,
    "MaxHorizontal": True,
    "MinHorizontal": True,
    "Pow": True,
    "Round": True,
    "Sign": True,
    "Sql": {"Binary", "IsIn", "Round", "ToFloat"},
    "StringExpr": {
        "ConcatHorizontal", "Contains", "EndsWith", "Find", "Head", "LenBytes", "LenChars",
        "Lowercase", "Replace", "Reverse", "Slice", "Split", "StartsWith", "StripChars",
        "StripCharsEnd", "StripCharsStart", "Strptime", "Tail", "Titlecase", "Uppercase",
    },
    "TemporalExpr": True,
    "Trigonometry": True,
    "Truncate": True,
}  # fmt: skip
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`")
_CLOCK = re.compile(r"\b(?:NOW\s*\(|(?:CURRENT|LOCAL)_?(?:DATE|TIME|TIMESTAMP)\b)", re.IGNORECASE)


class NotRowWise(ValueError):
    """Raised when an expression cannot be evaluated on one row alone; says which part of it."""


def parse_row_wise(sql: str) -> pl.Expr:
    """Return the expression in ``sql``, which looks at its own row only.

    Conversions that a value does not fit (``CAST``, ``STRPTIME``) give null, as ``TRY_CAST``
    does: one odd row must not stop a table, or a request.

    Raises:
        NotRowWise: If the text is not an expression, looks at other rows or at the clock, or
            reads no column.

    Example:
        >>> rows = pl.DataFrame({"a": ["7", "x"]})
        >>> rows.select(parse_row_wise("CAST(a AS INT) + 1"))["a"].to_list()
        [8, None]
    """
    if _CLOCK.search(_QUOTED.sub("''", sql)):
        raise NotRowWise("the current time is not part of a row")
    try:
        expression = pl.sql_expr(sql)
    except pl.exceptions.PolarsError as error:
        raise NotRowWise(_explained(error)) from None
    tree = json.loads(expression.meta.serialize(format="json"))
    # What looks at other rows says more than what it is made of.
    problems = sorted(_problems(tree), key=lambda problem: _OTHERS not in problem)
    if problems:
        raise NotRowWise(problems[0])
    if not expression.meta.root_names():
        raise NotRowWise("it reads no column of the row")
    return pl.Expr.deserialize(io.StringIO(json.dumps(_lenient(tree))), format="json")


def plain_sql(sql: str) -> str:
    r"""Return ``sql`` with every run of white space outside quotes as one space.

    Example:
        >>> plain_sql("a  +\n b = 'x  y' ")
        "a + b = 'x  y'"
    """
    pieces, start = [], 0
    for quoted in _QUOTED.finditer(sql):
        pieces += [re.sub(r"\s+", " ", sql[start : quoted.start()]), quoted.group()]
        start = quoted.end()
    return "".join([*pieces, re.sub(r"\s+", " ", sql[start:])]).strip()


def _explained(error: Exception) -> str:
    first = str(error).splitlines()[0].rstrip(" .")
    if "was not found" in first or "subplan" in first:
        return f"a subquery {_OTHERS}"
    return first[0].lower() + first[1:]


def _problems(node: Any) -> Iterator[str]:
    """Yield what keeps a tree from being evaluated one row at a time."""
    kind = node if isinstance(node, str) else next(iter(node))
    if kind not in _ELEMENTWISE_NODES:
        told = f"{_OTHER_ROWS[kind]} {_OTHERS}" if kind in _OTHER_ROWS else None
        yield told or f"{kind.upper()} has no place in an expression over one row"
    if isinstance(node, str):
        return
    body = node[kind]
    if kind == "Function":
        yield from _function_problems(body)
    for child in _children(kind, body):
        yield from _problems(child)


def _function_problems(body: Mapping[str, Any]) -> Iterator[str]:
    function = body["function"]
    family = function if isinstance(function, str) else next(iter(function))
    member = None if isinstance(function, str) else function[family]
    name = member if isinstance(member, str) else next(iter(member), None) if member else None
    allowed = _ELEMENTWISE_FUNCTIONS.get(family, False)
    if family == "StructExpr":
        yield "a column whose name holds a dot is written in double quotes"
    elif not (allowed if isinstance(allowed, bool) else name in allowed):
        yield f"function {family} is not known to work on one row alone"
    elif name == "IsIn" and "Literal" not in body["input"][1]:
        yield f"IN or ANY over a column {_OTHERS}"
    elif name == "Contains":
        yield from _pattern_problems(body["input"][1])


def _pattern_problems(pattern: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a regular expression that is written out."""
    text = pattern.get("Literal", {}).get("Scalar", {}).get("String")
    if text is None:
        return
    try:
        pl.select(pl.lit("").str.contains(text))
    except pl.exceptions.PolarsError:
        yield f"{text!r} is not a valid regular expression"


def _children(kind: str, body: Any) -> list[Any]:
    if kind == "Function":
        return list(body["input"])
    if kind == "Cast":
        return [body["expr"]]
    names = {"BinaryExpr": ("left", "right"), "Ternary": ("predicate", "truthy", "falsy")}
    return [body[name] for name in names.get(kind, ())]


def _lenient(node: Any) -> Any:
    """Return the tree with every conversion giving null where a value does not fit."""
    if isinstance(node, list):
        return [_lenient(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "Literal" in node:
        return node
    changed = {key: _lenient(value) for key, value in node.items()}
    if changed.get("options") == "Strict":
        changed["options"] = "NonStrict"
    if changed.get("strict") is True:
        changed["strict"] = False
    return changed
