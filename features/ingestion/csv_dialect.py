"""What a CSV file's text says about itself: separator, header, blank and ragged lines.

Every record is counted once with the standard library's reader, because Polars fills short
lines with nulls and reads a quote inside a field differently; nothing is dropped unseen.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from features.ingestion.data_error import DataError, first_line

_SEPARATORS = (",", ";", "\t", "|")
_FIELD_BYTES = 1 << 24
_HEAD_BYTES = 1 << 20
_BLANK_NAME = re.compile(r"\s*|Unnamed: \d+", re.ASCII)
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class CsvDialect:
    """How one file is written.

    Attributes:
        separator: The sign between fields.
        names: Column names, one a field, unique and not blank.
        n_header_rows: Records before the first row: 1, or 2 where a numbering stands above.
        n_rows: Records below the header, blank ones left out.
        blank_records: Positions, among the records below the header, of blank lines.
    """

    separator: str
    names: tuple[str, ...]
    n_header_rows: int
    n_rows: int
    blank_records: tuple[int, ...]


def examine(text: bytes, path: Path) -> CsvDialect:
    """Return the dialect of UTF-8 ``text``; ``path`` names the file in messages.

    Raises:
        DataError: If there is no header, a name occurs twice, a line has another number of
            fields than the header (the line is named), or no row follows.
    """
    csv.field_size_limit(_FIELD_BYTES)
    separator = _separator(text)
    names, n_header_rows = _header(text, separator, path)
    n_rows, blank = _count_records(text, separator, n_header_rows, len(names), path)
    if n_rows == 0:
        raise DataError(f"{path} has a header ({len(names)} columns) but no rows.")
    return CsvDialect(separator, names, n_header_rows, n_rows, blank)


def records(text: bytes, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield ``(line number, fields)`` for every record; the first line is 1."""
    lines = io.TextIOWrapper(io.BytesIO(text), encoding="utf-8", newline="")
    reader = csv.reader(lines, delimiter=separator)
    for fields in reader:
        yield reader.line_num, fields


def is_blank(fields: Sequence[str], n_columns: int) -> bool:
    """Return whether a record is an empty line; in a one-column file that is a missing value."""
    return n_columns > 1 and (not fields or (len(fields) == 1 and not fields[0].strip()))


def _separator(text: bytes) -> str:
    header = re.sub(r'"[^"]*"', "", text[:_HEAD_BYTES].decode("utf-8", "replace").split("\n", 1)[0])
    return max(_SEPARATORS, key=header.count)


def _header(text: bytes, separator: str, path: Path) -> tuple[tuple[str, ...], int]:
    first, second = _first_two(text, separator, path)
    if _is_numbering_above(first, second):
        return _checked_names(second, path), 2
    named = [name.strip() or f"unnamed_{i}" for i, name in enumerate(first, start=1)]
    return _checked_names(named, path), 1


def _first_two(text: bytes, separator: str, path: Path) -> tuple[list[str], list[str]]:
    try:
        head = [fields for _, fields in zip(range(2), _records(text, separator), strict=False)]
    except csv.Error as error:
        raise DataError(f"{path} line 1: {first_line(error)}.") from None
    if not head or not any(name.strip() for name in head[0]):
        raise DataError(f"{path} has no header: the first line must name the columns.")
    return head[0], head[1] if len(head) > 1 else []


def _records(text: bytes, separator: str) -> Iterator[list[str]]:
    return (fields for _, fields in records(text, separator))


def _is_numbering_above(first: Sequence[str], second: Sequence[str]) -> bool:
    """Return whether the first line only numbers the columns and the second one names them.

    UCI's exports begin ``,X1,…,Y``: a blank name above a line of names. Both are asked for,
    so that a first row of text is never taken for names.
    """
    has_blank = any(_BLANK_NAME.fullmatch(name) for name in first)
    cells = [cell.strip() for cell in second]
    are_names = all(cells) and not any(_NUMBER.fullmatch(cell) for cell in cells)
    return has_blank and len(first) == len(cells) == len(set(cells)) and are_names


def _checked_names(names: Sequence[str], path: Path) -> tuple[str, ...]:
    clean = tuple(name.strip() for name in names)
    twice = sorted({name for name in clean if clean.count(name) > 1})
    if twice:
        raise DataError(
            f"{path} names {len(twice)} column(s) twice: {', '.join(map(repr, twice[:5]))}. "
            "Rename or remove the second one."
        )
    return clean


def _count_records(
    text: bytes, separator: str, n_header_rows: int, n_columns: int, path: Path
) -> tuple[int, tuple[int, ...]]:
    blank: list[int] = []
    position = -n_header_rows - 1
    line = 0
    try:
        for position, (line, fields) in enumerate(records(text, separator), start=-n_header_rows):
            if len(fields) != n_columns and position >= 0:
                if not is_blank(fields, n_columns) and not (n_columns == 1 and not fields):
                    raise DataError(_ragged(path, line, len(fields), n_columns))
                if n_columns > 1:
                    blank.append(position)
    except csv.Error as error:
        raise DataError(f"{path} line {line + 1}: {first_line(error)}.") from None
    return position + 1 - len(blank), tuple(blank)


def _ragged(path: Path, line: int, n_fields: int, n_columns: int) -> str:
    return (
        f"{path} line {line} has {n_fields} fields, the header has {n_columns}. "
        "Quote fields that hold the separator, or correct the line."
    )
