"""A first contract for a table nobody here has seen, to be read and corrected by a person.

The draft is TOML with a comment on every line, because the guesses are only as good as their
reasons. A column that all but decides the label by itself is flagged as a likely leak and kept:
only a person knows whether it is known at the moment of the decision.
"""

import difflib
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from features.contract import parse_contract
from features.contract_blocks import EventTime
from features.drafting.column_roles import ColumnGuess, guess_roles, notable
from features.drafting.contract_text import LabelGuess, contract_toml
from features.drafting.event_time_guess import guess_event_time
from features.drafting.single_column_auc import BoolArray, single_column_auc
from features.ingestion.data_error import DataError
from features.ingestion.typed_text import infer_type
from features.labels import LabelError, label_text

LEAK_AUC = 0.99
"""A column that alone ranks the rows better than this is flagged."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A proposed contract.

    Attributes:
        toml: The contract, ready to be written to a file.
        notes: What a person should look at, one line each, the most important first.
    """

    toml: str
    notes: list[str]


def draft_contract(frame: pl.DataFrame, *, label: str, time: str | None = None, name: str) -> Draft:
    """Return a proposed contract that fits ``frame``.

    Args:
        frame: A table as read, label included.
        label: The column to predict; it must hold two values.
        time: The column that says when a row happened; default: the likeliest one, if any.
        name: Name of the contract; whatever a name may not hold becomes ``_``.

    Raises:
        DataError: If there is no such column, or ``time`` holds no moments.
        LabelError: If the label does not hold two values.
        ContractError: If no column can be a feature.
    """
    for column in (label, *((time,) if time else ())):
        _check_column(frame, column)
    outcome, is_positive = _read_label(frame[label])
    known = frame.filter(label_text(frame[label]).is_not_null())
    guesses = guess_roles(frame.drop(label), time=time)
    event_time = _event_time(frame, guesses)
    leaks = _find_leaks(known, guesses, is_positive)
    text = contract_toml(frame, outcome, guesses, event_time, leaks, name=_contract_name(name))
    parse_contract(tomllib.loads(text), source="draft").resolve(frame.columns)
    return Draft(text, [*_notes(frame, outcome, guesses, event_time, leaks)])


def _check_column(frame: pl.DataFrame, name: str) -> None:
    if name in frame.columns:
        return
    close = difflib.get_close_matches(name, frame.columns, n=2)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    raise DataError(f"The table has no column {name!r}.{hint}")


def _read_label(column: pl.Series) -> tuple[LabelGuess, BoolArray]:
    """Return the label's description and which of its known rows are positive."""
    values = label_text(column).drop_nulls()
    counts = values.value_counts(sort=True)
    if counts.height != 2:
        shown = ", ".join(f"{value!r}: {n}" for value, n in counts.head(5).rows())
        raise LabelError(
            f"Label {column.name!r} has {counts.height} values ({shown}); it must have two. "
            "Name another column, or merge its values before."
        )
    found = counts[column.name].to_list()
    rare = "1" if set(found) == {"0", "1"} else str(found[1])
    positive = True if column.dtype == pl.Boolean else int(rare) if rare.isdecimal() else rare
    is_positive = (values == rare).to_numpy()
    return LabelGuess(column.name, positive, float(is_positive.mean())), is_positive


def _event_time(frame: pl.DataFrame, guesses: Sequence[ColumnGuess]) -> EventTime | None:
    name = next((guess.name for guess in guesses if guess.role == "event_time"), None)
    if name is None:
        return None
    found = guess_event_time(frame[name])
    if found is None:
        raise DataError(
            f"Column {name!r} holds no moments that could be read. Name another --time, "
            "or leave it out and write columns.event_time by hand."
        )
    return found


def _find_leaks(
    known: pl.DataFrame, guesses: Sequence[ColumnGuess], is_positive: BoolArray
) -> dict[str, float]:
    """Return the ROC-AUC of every feature that alone all but decides the label."""
    leaks = {}
    for guess in guesses:
        if guess.role in ("amount", "numeric", "categorical"):
            column = known[guess.name]
            typed = infer_type(column) if column.dtype == pl.String else column
            auc = single_column_auc(typed, is_positive)
            if auc > LEAK_AUC:
                leaks[guess.name] = auc
    return leaks


def _notes(
    frame: pl.DataFrame,
    label: LabelGuess,
    guesses: Sequence[ColumnGuess],
    event_time: EventTime | None,
    leaks: dict[str, float],
) -> Iterator[str]:
    for name, auc in sorted(leaks.items(), key=lambda item: -item[1]):
        yield (
            f"{name}: LIKELY LEAK: alone it gives ROC-AUC {auc:.4f}. It stays a feature; "
            "drop it if it is known only after the decision."
        )
    yield f"{label.column}: positive is {label.positive!r}, {label.rate:.3%} of the rows."
    if frame[label.column].null_count():
        yield f"{label.column}: {frame[label.column].null_count()} rows have no label."
    yield from _time_notes(event_time)
    if any(guess.role == "amount" for guess in guesses):
        yield "amount: the currency EUR is a guess."
    if not any(guess.role == "id" for guess in guesses):
        yield "No id column was found: requests to the service must carry an Idempotency-Key."
    yield from notable(guesses)


def _time_notes(event_time: EventTime | None) -> Iterator[str]:
    if event_time is None:
        yield "No event time was found: rows are split at random. Name one with --time."
        return
    yield f"{event_time.column}: the event time. Set label.delay to how late labels are known."
    if event_time.unit is not None:
        yield f"{event_time.column}: counts {event_time.unit}; check unit and origin."
    if event_time.format is not None and {"%d", "%m"} <= set(re.findall("%.", event_time.format)):
        yield f"{event_time.column}: written as {event_time.format}; check day and month."


def _contract_name(name: str) -> str:
    clean = re.sub(r"[^a-z0-9_-]+", "_", name.lower()).strip("_-")
    return clean[:63] or "draft"
