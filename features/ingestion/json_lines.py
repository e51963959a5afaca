"""JSON lines: one object a line, plain or compressed."""

import json
from pathlib import Path
from typing import Any

import polars as pl

from features.ingestion.compression import plain_bytes
from features.ingestion.csv_tables import utf8_text
from features.ingestion.data_error import DataError, first_line


def read_json_lines(path: Path) -> pl.DataFrame:
    """Return the table in a JSON-lines file, typed by all of its lines.

    Raises:
        DataError: If a line is not one JSON object; the line is named.
    """
    text = utf8_text(plain_bytes(path), path)
    try:
        return pl.read_ndjson(text, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        # The standard library names the line, and reads the NaN that Python itself writes.
        rows = [_object(line, i, path) for i, line in enumerate(text.split(b"\n"), start=1)]
        return _frame([row for row in rows if row is not None], path, error)


def _object(line: bytes, number: int, path: Path) -> dict[str, Any] | None:
    if not line.strip():
        return None
    try:
        value = json.loads(line)
    except ValueError as error:
        raise DataError(
            f"{path} line {number} is not valid JSON: {first_line(error)}. "
            "JSON lines hold one whole object a line."
        ) from None
    if not isinstance(value, dict):
        raise DataError(f"{path} line {number} is not a JSON object but {type(value).__name__}.")
    return value


def _frame(rows: list[dict[str, Any]], path: Path, cause: Exception) -> pl.DataFrame:
    try:
        return pl.DataFrame(rows, infer_schema_length=None)
    except (pl.exceptions.PolarsError, TypeError):
        raise DataError(
            f"Cannot read {path} as a table: {first_line(cause)}. "
            "Every key needs values of one kind, not lists or objects."
        ) from None
