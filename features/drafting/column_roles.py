"""What the columns of an unknown table most likely are.

Guesses from types, counts and names, each with the reason a person needs to judge it. Nothing
is left out silently: a column that is not to be a feature is dropped with its reason.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from features.contract import RESERVED_NAMES
from features.drafting.column_names import (
    AMOUNT_WORDS,
    CODE_WORDS,
    ID_WORDS,
    PERSONAL_WORDS,
    PROTECTED_WORDS,
    name_parts,
)
from features.drafting.event_time_guess import guess_event_time, likeliest_event_time
from features.ingestion.timestamps import to_utc
from features.ingestion.typed_text import infer_type

Role = Literal["id", "event_time", "amount", "entities", "numeric", "categorical", "drop", "groups"]

_MAX_CATEGORIES = 1_000
_MAX_CODES = 50


@dataclass(frozen=True, slots=True)
class ColumnGuess:
    """What one column most likely is.

    Attributes:
        name: The column.
        role: Where it stands under ``[columns]``.
        reason: What was seen, in a few words; becomes the comment in the draft.
        is_notable: Whether a person should look at the guess.
        is_personal: Whether it may hold personal data.
    """

    name: str
    role: Role
    reason: str
    is_notable: bool = False
    is_personal: bool = False


def guess_roles(frame: pl.DataFrame, *, time: str | None) -> list[ColumnGuess]:
    """Return a guess for every column, in order.

    Args:
        frame: The table without its label.
        time: The column that says when a row happened; default: the likeliest one.
    """
    moment = time if time is not None else likeliest_event_time(frame)
    guesses = [_guess(frame[name], is_moment=name == moment) for name in frame.columns]
    guesses = _without_clocks(frame, _without_copies(frame, guesses))
    return _one_amount(_one_id(guesses))


def _guess(column: pl.Series, *, is_moment: bool) -> ColumnGuess:
    if is_moment:
        return ColumnGuess(column.name, "event_time", _missing(column))
    reason = _reason_to_drop(column)
    if reason is not None:
        return ColumnGuess(column.name, "drop", reason, is_notable=True)
    parts = name_parts(column.name)
    return _guess_identity(column, parts) or _guess_feature(column, parts)


def _reason_to_drop(column: pl.Series) -> str | None:
    if column.name in RESERVED_NAMES:
        return "the name is reserved: rename it to use it"
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object, pl.Duration, pl.Time):
        return f"holds {column.dtype}, which is no feature"
    if column.n_unique() == 1:
        return f"constant: always {_shown(column[0])}"
    if column.dtype.is_temporal():
        return "another moment; may be known only later (label.reported_at?)"
    return None


def _guess_identity(column: pl.Series, parts: set[str]) -> ColumnGuess | None:
    """Return the guess for a column that says who or which, or None for any other."""
    if parts & PERSONAL_WORDS:
        reason = "may be personal data"
        return ColumnGuess(column.name, "drop", reason, is_notable=True, is_personal=True)
    if _looks_like_id(column, parts):
        return ColumnGuess(column.name, "id", "unique in every row")
    if parts & PROTECTED_WORDS:
        reason = "who somebody is: for measuring fairness, not a feature"
        return ColumnGuess(column.name, "groups", reason, is_notable=True)
    return None


def _guess_feature(column: pl.Series, parts: set[str]) -> ColumnGuess:
    n_unique = column.n_unique()
    name, seen = column.name, f"{n_unique} values{_missing(column, ', ')}"
    if column.dtype in (pl.String, pl.Categorical, pl.Enum):
        return _guess_text(column, parts, n_unique)
    if parts & ID_WORDS and n_unique > _MAX_CODES and column.dtype.is_integer():
        return ColumnGuess(name, "entities", seen)
    if parts & CODE_WORDS and n_unique <= _MAX_CODES and column.dtype.is_integer():
        return ColumnGuess(name, "categorical", f"a code by its name; {seen}")
    amount = bool(parts & AMOUNT_WORDS) and _at_least_zero(column) and not column.null_count()
    return ColumnGuess(name, "amount" if amount else "numeric", _range(column))


def _guess_text(column: pl.Series, parts: set[str], n_unique: int) -> ColumnGuess:
    name, seen = column.name, f"{n_unique} values{_missing(column, ', ')}"
    text = column.cast(pl.String)
    typed = infer_type(text)
    if typed.dtype.is_numeric():
        return ColumnGuess(name, "numeric", f"numbers written as text; {_range(typed)}")
    if parts & ID_WORDS and n_unique > _MAX_CODES:
        return ColumnGuess(name, "entities", seen)
    if n_unique > min(_MAX_CATEGORIES, max(_MAX_CODES, len(column) // 20)):
        return ColumnGuess(name, "drop", f"{_kind_of_text(text)}: {seen}", is_notable=True)
    return ColumnGuess(name, "categorical", seen)


def _kind_of_text(text: pl.Series) -> str:
    numbers = text.cast(pl.Float64, strict=False)
    if numbers.is_not_null().mean() or 0:
        words = text.filter(numbers.is_null() & text.is_not_null())
        return f"numbers mixed with text such as {_shown(words.first())}"
    if guess_event_time(text) is not None:
        return "a moment as text; may be known only later"
    return "text of high cardinality"


def _looks_like_id(column: pl.Series, parts: set[str]) -> bool:
    if not (column.dtype.is_integer() or column.dtype == pl.String) or column.null_count():
        return False
    if column.n_unique() < len(column):
        return False
    if parts & ID_WORDS or column.dtype == pl.String:
        return True
    low, high = column.min(), column.max()
    # Numbered one by one, with a few gaps.
    return isinstance(low, int) and isinstance(high, int) and high - low < 2 * len(column)


def _one_id(guesses: Sequence[ColumnGuess]) -> list[ColumnGuess]:
    """Keep one identifier, the best named, and drop the others."""
    found = [guess for guess in guesses if guess.role == "id"]
    best = next((guess for guess in found if name_parts(guess.name) & ID_WORDS), None)
    kept = best or (found[0] if found else None)
    return [
        replace(guess, role="drop", is_notable=True)
        if guess.role == "id" and guess is not kept
        else guess
        for guess in guesses
    ]


def _one_amount(guesses: Sequence[ColumnGuess]) -> list[ColumnGuess]:
    """Keep the amount where one column alone may be it; which of several is for a person."""
    if sum(guess.role == "amount" for guess in guesses) < 2:
        return list(guesses)
    reason = "may be the amount, as others may"
    return [
        replace(guess, role="numeric", reason=f"{guess.reason}; {reason}")
        if guess.role == "amount"
        else guess
        for guess in guesses
    ]


def _without_clocks(frame: pl.DataFrame, guesses: Sequence[ColumnGuess]) -> list[ColumnGuess]:
    """Drop numbers that only grow with the event time: later rows would always be unheard of."""
    moment = next((guess.name for guess in guesses if guess.role == "event_time"), None)
    declared = guess_event_time(frame[moment]) if moment is not None else None
    if moment is None or declared is None:
        return list(guesses)
    order = to_utc(frame[moment], declared).arg_sort()
    reason = "grows with the event time"
    return [
        ColumnGuess(guess.name, "drop", reason, is_notable=True)
        if guess.role == "numeric" and _is_clock(frame[guess.name].gather(order))
        else guess
        for guess in guesses
    ]


def _is_clock(column: pl.Series) -> bool:
    # Few values in order may as well be a switch that was thrown once.
    return column.n_unique() > _MAX_CODES and column.is_sorted()


def _without_copies(frame: pl.DataFrame, guesses: Sequence[ColumnGuess]) -> list[ColumnGuess]:
    """Drop columns that repeat an earlier feature row by row."""
    seen: dict[tuple[str, int], list[str]] = {}
    result = []
    for guess in guesses:
        copied = _copied(frame, guess, seen) if guess.role in ("numeric", "categorical") else None
        reason = f"the same as {_shown(copied)}"
        drop = ColumnGuess(guess.name, "drop", reason, is_notable=True)
        result.append(guess if copied is None else drop)
    return result


def _copied(
    frame: pl.DataFrame, guess: ColumnGuess, seen: dict[tuple[str, int], list[str]]
) -> str | None:
    column = frame[guess.name]
    key = (str(column.dtype), hash(column.hash(seed=0).cast(pl.UInt64).bitwise_xor()))
    earlier = next((name for name in seen.get(key, []) if frame[name].equals(column)), None)
    seen.setdefault(key, []).append(guess.name)
    return earlier


def _at_least_zero(column: pl.Series) -> bool:
    least = column.min()
    return isinstance(least, int | float) and least >= 0


def _missing(column: pl.Series, before: str = "") -> str:
    share = column.null_count() / max(1, len(column))
    shown = "less than 0.1%" if share < 0.001 else f"{share:.1%}"
    return f"{before}{shown} missing" if share else ""


def _range(column: pl.Series) -> str:
    if column.dtype == pl.Boolean:
        return f"true or false{_missing(column, ', ')}"
    finite = column.cast(pl.Float64).drop_nulls().drop_nans()
    low, high = (float(bound or 0) for bound in (finite.min(), finite.max()))  # type: ignore[arg-type]
    return f"{low:.6g} to {high:.6g}{_missing(column, ', ')}"


def _shown(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= 20 else text[:19] + "…")


def notable(guesses: Sequence[ColumnGuess]) -> Iterator[str]:
    """Yield one line for every guess that a person should look at."""
    for guess in guesses:
        if guess.is_notable:
            verb = "measured, not used" if guess.role == "groups" else "dropped"
            yield f"{guess.name}: {verb}: {guess.reason}."
