"""CSV as people really have it, read into typed columns.

Gzip and Zstandard, a byte-order mark, UTF-16 with a mark, line ends of any kind, a numbering
above the header, blank lines, quoted numbers, ``NA``, ``1e+05`` among integers.
"""

import codecs
import logging
from pathlib import Path

import polars as pl

from features.ingestion.compression import plain_bytes
from features.ingestion.csv_dialect import CsvDialect, examine, is_blank, records
from features.ingestion.data_error import DataError
from features.ingestion.typed_text import infer_types

logger = logging.getLogger(__name__)


def read_csv(path: Path) -> pl.DataFrame:
    """Return the table in a CSV file.

    Raises:
        DataError: If the file is empty, not text, or not a table; the line is named.
    """
    text = utf8_text(plain_bytes(path), path)
    dialect = examine(text, path)
    if dialect.n_header_rows > 1 or dialect.blank_records:
        logger.info(
            "CSV file read with allowances",
            extra={
                "file": path.name,
                "header_rows": dialect.n_header_rows,
                "blank_lines": len(dialect.blank_records),
            },
        )
    return infer_types(_read_strings(text, dialect))


def utf8_text(content: bytes, path: Path) -> bytes:
    """Return ``content`` as UTF-8 without a byte-order mark and with line feeds between lines.

    Raises:
        DataError: If there is nothing in it, or it is not UTF-8; names the first bad line.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        content = content.decode("utf-16", "replace").encode()
    content = content.removeprefix(codecs.BOM_UTF8)
    if b"\n" not in content:
        content = content.replace(b"\r", b"\n")
    if not content.strip():
        raise DataError(f"{path} is empty: there is no table in it.")
    _check_utf8(content, path)
    return content


def _check_utf8(content: bytes, path: Path) -> None:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path} line {line} is not UTF-8 (byte 0x{content[error.start]:02x}). "
            "Save it as UTF-8, for example: iconv -f WINDOWS-1252 -t UTF-8."
        ) from None


def _read_strings(text: bytes, dialect: CsvDialect) -> pl.DataFrame:
    try:
        frame = _read_with_polars(text, dialect)
    except pl.exceptions.PolarsError:
        return _read_with_csv(text, dialect)
    keep = pl.int_range(pl.len()).is_in(dialect.blank_records).not_()
    rows = frame.filter(keep) if dialect.blank_records else frame
    # Polars may see other records where a quote stands inside a field; the count decides.
    return rows if rows.height == dialect.n_rows else _read_with_csv(text, dialect)


def _read_with_polars(text: bytes, dialect: CsvDialect) -> pl.DataFrame:
    return pl.read_csv(
        text,
        has_header=False,
        skip_rows=dialect.n_header_rows,
        separator=dialect.separator,
        schema=dict.fromkeys(dialect.names, pl.String),
    )


def _read_with_csv(text: bytes, dialect: CsvDialect) -> pl.DataFrame:
    """Read record by record: slow, for the rare files on which the two readers disagree."""
    rows = [fields for _, fields in records(text, dialect.separator)][dialect.n_header_rows :]
    full = [fields or [""] for fields in rows if not is_blank(fields, len(dialect.names))]
    schema = dict.fromkeys(dialect.names, pl.String)
    return pl.DataFrame(full, schema=schema, orient="row")
