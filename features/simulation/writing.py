"""Simulated rows into files, in the format that the file's name asks for."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import polars as pl

from features.simulation.parameters import SimulationError
from infra.storage import write_atomically

_CSV_TIME = "%Y-%m-%dT%H:%M:%SZ"


def write_rows(frame: pl.LazyFrame, path: Path) -> Path:
    """Write a frame, batch by batch where it comes so; the file appears whole or not at all.

    Raises:
        SimulationError: If the ending of the file's name is unknown.
    """
    sink = _SINKS.get(path.suffix.lower())
    if sink is None:
        raise SimulationError(
            f"Cannot write {path.name}: the name must end in {', '.join(_SINKS)}."
        )
    with write_atomically(path) as staging:
        sink(frame, staging)
    return path


_SINKS: Final[Mapping[str, Callable[[pl.LazyFrame, Path], object]]] = MappingProxyType(
    {
        ".parquet": lambda frame, path: frame.sink_parquet(path),
        ".csv": lambda frame, path: frame.sink_csv(path, datetime_format=_CSV_TIME),
        ".arrow": lambda frame, path: frame.sink_ipc(path),
        ".feather": lambda frame, path: frame.sink_ipc(path),
        ".jsonl": lambda frame, path: frame.sink_ndjson(path),
    }
)
