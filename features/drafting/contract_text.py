"""A drafted contract as TOML text, with a comment on every line that is a guess."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from features.contract_blocks import EventTime
from features.drafting.column_roles import ColumnGuess, Role
from features.ingestion.typed_text import infer_type

_LISTED: tuple[Role, ...] = ("entities", "numeric", "categorical", "drop", "groups")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_NOT_COLUMNS = ("table", "columns")  # keys of [expectations] that mean something else
_LOAN_WORDS = re.compile(r"loan|credit|default|income|borrow|mortgage|grade", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LabelGuess:
    """What is predicted.

    Attributes:
        column: The label.
        positive: Its rarer value, or 1.
        rate: Share of positives among the rows with a label.
    """

    column: str
    positive: str | int | bool
    rate: float


def contract_toml(
    frame: pl.DataFrame,
    label: LabelGuess,
    guesses: Sequence[ColumnGuess],
    event_time: EventTime | None,
    leaks: dict[str, float],
    *,
    name: str,
) -> str:
    """Return the contract that the guesses amount to, with the reason for each beside it.

    Args:
        frame: The table that the guesses are about.
        label: What is predicted.
        guesses: One a column, without the label's.
        event_time: How the event time is written, if there is one.
        leaks: ROC-AUC of the columns that alone all but decide the label.
        name: Name of the contract.
    """
    domain = (
        "loans" if any(_LOAN_WORDS.search(column) for column in frame.columns) else ("transactions")
    )
    lines = [
        f"# Drafted from {frame.height:,} rows and {frame.width} columns. Read every line: these",
        "# are guesses from types, counts and names.",
        "",
        f"name = {_value(name)}",
        f"domain = {_value(domain)}",
        "",
        *_columns_block(guesses, event_time, leaks),
        *_label_block(label, event_time),
        *_expectations_block(frame, guesses, label),
        *_split_block(event_time),
    ]
    return "\n".join(lines) + "\n"


def _columns_block(
    guesses: Sequence[ColumnGuess], event_time: EventTime | None, leaks: dict[str, float]
) -> Iterator[str]:
    yield "[columns]"
    for guess in guesses:
        if guess.role == "id":
            yield f"id = {_value(guess.name)}{_comment(guess.reason)}"
        elif guess.role == "amount":
            reason = f"{guess.reason}; the currency is a guess{_leak(guess, leaks)}"
            table = f'{{column = {_value(guess.name)}, currency = "EUR"}}'
            yield f"amount = {table}{_comment(reason)}"
    if event_time is not None:
        yield _event_time_line(event_time)
    for role in _LISTED:
        yield from _list_lines(role, [guess for guess in guesses if guess.role == role], leaks)
    personal = [guess.name for guess in guesses if guess.is_personal]
    if personal:
        yield f"pii = [{', '.join(map(_value, personal))}]{_comment('never stored in clear')}"
    yield ""


def _event_time_line(event_time: EventTime) -> str:
    pairs = {"column": event_time.column, "format": event_time.format, "unit": event_time.unit}
    if event_time.origin is not None:
        pairs["origin"] = "1970-01-01T00:00:00Z"
    table = ", ".join(f"{key} = {_value(value)}" for key, value in pairs.items() if value)
    reason = "read as UTC where no offset is written; else add time_zone"
    return f"event_time = {{{table}}}{_comment(reason)}"


def _list_lines(
    role: Role, guesses: Sequence[ColumnGuess], leaks: dict[str, float]
) -> Iterator[str]:
    if not guesses:
        return
    yield f"{role} = ["
    for guess in guesses:
        yield f"    {_value(guess.name)},{_comment(guess.reason + _leak(guess, leaks))}"
    yield "]"


def _leak(guess: ColumnGuess, leaks: dict[str, float]) -> str:
    auc = leaks.get(guess.name)
    if auc is None:
        return ""
    return f"; LIKELY LEAK: alone it gives ROC-AUC {auc:.4f}. Drop it if it is known only later"


def _label_block(label: LabelGuess, event_time: EventTime | None) -> Iterator[str]:
    yield "[label]"
    yield f"column = {_value(label.column)}"
    yield f"positive = {_value(label.positive)}{_comment(f'{label.rate:.3%} of the rows')}"
    if event_time is not None:
        yield f'delay = "0s"{_comment("how long after the event the label is known, like 7d")}'
    yield ""


def _expectations_block(
    frame: pl.DataFrame, guesses: Sequence[ColumnGuess], label: LabelGuess
) -> Iterator[str]:
    yield "[expectations]"
    for guess in guesses:
        rules = [*_rules(frame[guess.name], guess.role)]
        if rules and guess.name not in _NOT_COLUMNS:
            yield f"{_key(guess.name)} = {{{', '.join(rules)}}}"
    low, high = label.rate / 5, min(1.0, label.rate * 5)
    yield from ("", "[expectations.table]")
    yield f"rows = {{min = {max(1, frame.height // 10)}}}"
    yield f"label_rate = {{min = {low:.2g}, max = {high:.2g}}}{_comment('a fifth to five times')}"
    yield ""


def _rules(column: pl.Series, role: Role) -> Iterator[str]:
    """Yield the rules that every row of the table keeps and later rows should."""
    if role in ("drop", "groups"):
        return
    typed = infer_type(column) if column.dtype == pl.String else column
    if role in ("amount", "numeric") and typed.dtype.is_numeric() and _never_negative(typed):
        yield "min = 0"
    if not typed.null_count():
        yield "null = false"
    if role == "id":
        yield "unique = true"


def _never_negative(column: pl.Series) -> bool:
    least = column.cast(pl.Float64).fill_nan(None).min()
    return isinstance(least, float) and least >= 0


def _split_block(event_time: EventTime | None) -> Iterator[str]:
    yield "[split]"
    if event_time is not None:
        yield f'by = "time"{_comment("train on the past, test on the future")}'
    else:
        yield f'by = "random"{_comment("no event time: stratified by the label")}'
        yield "seed = 0"
    yield f"fractions = [0.6, 0.1, 0.1, 0.2]{_comment('train, validation, calibration, test')}"


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _value(name)


def _value(value: str | int | bool) -> str:
    """Return a TOML value; JSON's strings, booleans and integers are TOML's, but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _comment(reason: str) -> str:
    # A comment may hold no control character; a column name may.
    clean = "".join(sign if sign.isprintable() else " " for sign in reason)
    return f"  # {clean}" if clean else ""
