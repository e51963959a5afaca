"""Tables from wherever people keep them, and what identifies them.

Formats: Parquet, CSV and TSV (also ``.gz``, ``.zst``), Arrow/Feather, JSON lines (also
``.gz``, ``.zst``), and a database query through a URI (see :mod:`features.ingestion.database`). The
name decides the format; a file whose bytes say otherwise is refused rather than guessed.
"""

import hashlib
import io
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from features.ingestion.csv_tables import read_csv
from features.ingestion.data_error import DataError, first_line
from features.ingestion.database import is_database_uri, parse_uri, read_query
from features.ingestion.json_lines import read_json_lines
from infra.storage import sha256_file

logger = logging.getLogger(__name__)

_PARQUET = (".parquet", ".pq")
_ARROW = (".arrow", ".feather", ".ipc")
_CSV = (".csv", ".tsv")
_JSON_LINES = (".jsonl", ".ndjson")
_COMPRESSED = (".gz", ".zst", ".zstd")
_KNOWN = (
    ".parquet, .csv, .tsv, .jsonl, .ndjson (each text format also .gz or .zst), .arrow, .feather"
)
_SIGNATURES = {
    b"PAR1": ("Parquet", _PARQUET),
    b"ARROW1": ("Arrow", _ARROW),
    b"\x1f\x8b": ("gzip", (".gz",)),
    b"\x28\xb5\x2f\xfd": ("Zstandard", (".zst", ".zstd")),
    b"PK\x03\x04": ("Excel or zip", ()),
    b"SQLite format 3": ("SQLite", ()),
}

Columns = Sequence[str] | Callable[[Sequence[str]], Sequence[str]]
"""Names of columns, or what chooses them from those that a table has."""


@dataclass(frozen=True, slots=True)
class DataFingerprint:
    """What identifies the table that something was made from.

    Attributes:
        name: The file's name without its folder, or the URI without its password.
        sha256: Of the file's bytes; for a query, of the rows in Arrow format.
        rows: Number of rows.
        columns: Number of columns.
    """

    name: str
    sha256: str
    rows: int
    columns: int


def read_table(path: str | Path, *, columns: Columns | None = None) -> pl.DataFrame:
    """Return the table at a path or URI, whole or only ``columns``, in file order.

    Args:
        path: A file, or the URI of a query.
        columns: Names, or a function that returns them for the names that the table has.

    Raises:
        DataError: If there is no such table, or it cannot be read, is empty or lacks a column.
    """
    try:
        lazy = scan_table(path)
        if callable(columns):
            columns = columns(lazy.collect_schema().names())
        frame = (lazy if columns is None else lazy.select(_present(lazy, columns, path))).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(str(path), error) from None
    if frame.is_empty():
        raise DataError(f"{_shown(path)} holds no rows ({frame.width} columns).")
    logger.info(
        "table read", extra={"source": _shown(path), "rows": frame.height, "columns": frame.width}
    )
    return frame


def scan_table(path: str | Path) -> pl.LazyFrame:
    """Return the table at a path or URI, not yet read where its format allows that.

    Parquet and Arrow files are read piece by piece when the query runs; every other format is
    read now, because its types are known only from all of its rows.

    Raises:
        DataError: If there is no such table or it cannot be read.
    """
    if is_database_uri(str(path)):
        return read_query(str(path)).lazy()
    file = _checked_file(Path(path))
    try:
        lazy = _reader(file)(file)
        lazy.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(str(path), error) from None
    return lazy


def fingerprint(path: str | Path, *, frame: pl.DataFrame | None = None) -> DataFingerprint:
    """Return what identifies a table; hand over ``frame`` where it has been read already.

    Raises:
        DataError: If the table cannot be read.
    """
    if is_database_uri(str(path)):
        rows = read_table(path) if frame is None else frame
        return DataFingerprint(parse_uri(str(path)).name, _sha256_rows(rows), *rows.shape)
    file = _checked_file(Path(path))
    n_rows, n_columns = _shape(file) if frame is None else frame.shape
    return DataFingerprint(file.name, sha256_file(file), n_rows, n_columns)


def _shape(file: Path) -> tuple[int, int]:
    lazy = scan_table(file)
    try:
        return int(lazy.select(pl.len()).collect().item()), len(lazy.collect_schema())
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(str(file), error) from None


def _sha256_rows(frame: pl.DataFrame) -> str:
    stream = io.BytesIO()
    frame.write_ipc(stream)
    return hashlib.sha256(stream.getbuffer()).hexdigest()


def _checked_file(path: Path) -> Path:
    if path.is_dir():
        raise DataError(f"{path} is a folder. Name one file in it.")
    try:
        with path.open("rb") as stream:
            head = stream.read(16)
    except FileNotFoundError:
        raise DataError(f"There is no file {path}.") from None
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror or error}.") from None
    suffix = path.suffix.lower()
    _check_known(path)
    if not head:
        raise DataError(f"{path} is empty: there is no table in it.")
    for signature, (name, suffixes) in _SIGNATURES.items():
        if head.startswith(signature) and suffix not in suffixes:
            raise DataError(
                f"{path} is named {suffix} but holds {name} data. "
                + (f"Rename it to end in {suffixes[0]}." if suffixes else "Export it as CSV.")
            )
    return path


def _format_suffix(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _check_known(path: Path) -> None:
    suffix = _format_suffix(path)
    compressed = path.suffix.lower() in _COMPRESSED
    if suffix not in _CSV + _JSON_LINES and (compressed or suffix not in _PARQUET + _ARROW):
        written = "".join(path.suffixes[-2:]) or "no ending"
        raise DataError(f"{path}: unknown format ({written}). Formats read: {_KNOWN}.")


def _reader(file: Path) -> Callable[[Path], pl.LazyFrame]:
    suffix = _format_suffix(file)
    if suffix in _PARQUET:
        return lambda path: pl.scan_parquet(path, glob=False)
    if suffix in _ARROW:
        return _scan_arrow
    return (lambda path: read_csv(path).lazy()) if suffix in _CSV else _scan_json_lines


def _scan_json_lines(file: Path) -> pl.LazyFrame:
    return read_json_lines(file).lazy()


def _scan_arrow(file: Path) -> pl.LazyFrame:
    """Scan the file format, or read the stream format: both are found under the same names."""
    with file.open("rb") as stream:
        is_file_format = stream.read(6) == b"ARROW1"
    return (
        pl.scan_ipc(file, glob=False)
        if is_file_format
        else pl.read_ipc_stream(file.read_bytes()).lazy()
    )


def _present(lazy: pl.LazyFrame, columns: Sequence[str], path: str | Path) -> list[str]:
    missing = [name for name in columns if name not in lazy.collect_schema()]
    if missing:
        raise DataError(f"{_shown(path)} has no column {', '.join(map(repr, missing[:5]))}.")
    return list(columns)


def _shown(path: str | Path) -> str:
    return parse_uri(str(path)).name if is_database_uri(str(path)) else str(path)


def _unreadable(path: str, error: Exception) -> DataError:
    return DataError(
        f"Cannot read {path}: {first_line(error)}. "
        "It may be cut off or damaged: copy or download it again."
    )
