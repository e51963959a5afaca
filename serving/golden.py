"""Golden rows: requests with the features and logits that the trained network gave them."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray


@dataclass(frozen=True)
class GoldenRows:
    """Rows as a client sends them, with what must come out of them.

    Attributes:
        requests: One JSON object a row, as text.
        numeric: float32, NaN where missing.
        categorical: int64 codes.
        logits: float32, from the trained network or its export.
        velocity: float64, what the training table says of their past: it is no part of a request.

    Shape:
        ``(n,)``, ``(n, n_numeric)``, ``(n, n_categorical)``, ``(n, 2)``, ``(n, n_velocity)``.
    """

    requests: tuple[str, ...]
    numeric: NDArray[np.float32]
    categorical: NDArray[np.int64]
    logits: NDArray[np.float32]
    velocity: NDArray[np.float64]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The requests, decoded."""
        return [msgspec.json.decode(text) for text in self.requests]

    @classmethod
    def build(
        cls,
        rows: list[dict[str, Any]],
        *,
        numeric: NDArray[np.float32],
        categorical: NDArray[np.int64],
        logits: NDArray[np.float32],
        velocity: NDArray[np.float64] | None = None,
    ) -> "GoldenRows":
        """Return golden rows of requests, see :func:`serving.requests.request_rows`."""
        requests = tuple(msgspec.json.encode(row).decode() for row in rows)
        none_declared = np.empty((len(rows), 0))
        past = none_declared if velocity is None else velocity
        return cls(requests, numeric, categorical, logits, past)

    def to_parquet(self) -> bytes:
        """Return the Parquet file's bytes."""
        table = pl.DataFrame(
            {
                "request": pl.Series(self.requests, dtype=pl.String),
                "numeric": _as_lists(self.numeric, pl.Float32()),
                "categorical": _as_lists(self.categorical, pl.Int64()),
                "logits": _as_lists(self.logits, pl.Float32()),
                "velocity": _as_lists(self.velocity, pl.Float64()),
            }
        )
        buffer = io.BytesIO()
        table.write_parquet(buffer, compression="zstd")
        return buffer.getvalue()

    @classmethod
    def from_parquet(cls, content: bytes) -> "GoldenRows":
        """Return the golden rows in a Parquet file's bytes."""
        table = pl.read_parquet(io.BytesIO(content))
        # Bundles from before there were features over time have no such column.
        past = table["velocity"] if "velocity" in table.columns else [()] * table.height
        return cls(
            requests=tuple(table["request"]),
            numeric=_as_matrix(table["numeric"], np.float32),
            categorical=_as_matrix(table["categorical"], np.int64),
            logits=_as_matrix(table["logits"], np.float32),
            velocity=_as_matrix(past, np.float64),
        )


def _as_lists(matrix: NDArray[Any], dtype: pl.DataType) -> pl.Series:
    return pl.Series([row.tolist() for row in matrix], dtype=pl.List(dtype))


def _as_matrix(column: Sequence[Any] | pl.Series, dtype: type[np.generic]) -> NDArray[Any]:
    return np.array([list(row) for row in column], dtype=dtype).reshape(len(column), -1)
