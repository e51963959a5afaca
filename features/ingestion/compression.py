"""Whole files as plain bytes, whether compressed or not."""

import gzip
import zlib
from pathlib import Path

import polars as pl

from features.ingestion.data_error import DataError, first_line


def plain_bytes(path: Path) -> bytes:
    """Return a file's bytes, decompressed when its name ends in ``.gz``, ``.zst`` or ``.zstd``.

    Raises:
        DataError: If the file is not of the compression that its name says, or is cut off.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".gz":
            return gzip.decompress(path.read_bytes())
        if suffix in (".zst", ".zstd"):
            return _decompress_zstandard(path)
        return path.read_bytes()
    except (OSError, EOFError, zlib.error, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"Cannot decompress {path}: {first_line(error)}. "
            "The file is damaged or cut off: copy or download it again."
        ) from None


def _decompress_zstandard(path: Path) -> bytes:
    # Python 3.11 has no Zstandard of its own; Polars brings one, behind its line reader.
    lines = pl.read_lines(path.read_bytes()).to_series()
    return b"\n".join(line.encode() for line in lines)
