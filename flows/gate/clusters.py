"""Which rows belong together: those of one card or customer are no independent evidence.

Frauds come in bursts. An interval that draws rows one by one takes the tenth fraud on a stolen card
for as much news as the first, and is too narrow; so the gate draws entities with all their rows.
"""

import polars as pl

from features.contract import Contract
from features.labels import LABEL

CLUSTER = "cluster"
"""Number of the entity that a row belongs to."""

MIN_CLUSTERS = 30
"""Entities with a positive, below which drawing them says little: then rows are drawn."""


def cluster_of(rows: pl.DataFrame, contract: Contract) -> pl.Series:
    """Return a number per row, the same for rows that belong together, ``(n_rows,)`` Int64.

    Of several entities it is the one that gathers the positives most. A row without one is by
    itself, and so is every row where no entity tells enough of them apart.
    """
    alone = pl.int_range(-1, -1 - rows.height, -1, eager=True)
    entities = [name for name in contract.columns.entities if name in rows.columns]
    gathered = {name: share for name in entities if (share := _gathered(rows, name)) is not None}
    if not gathered:
        return alone.alias(CLUSTER)
    chosen = rows[max(gathered, key=lambda name: gathered[name])]
    number = chosen.cast(pl.String).rank("dense").cast(pl.Int64)
    return pl.select(pl.coalesce(number, alone)).to_series().alias(CLUSTER)


def _gathered(rows: pl.DataFrame, entity: str) -> float | None:
    """Return how many positives a positive's entity has on average; None of too few entities."""
    positives = rows.filter(pl.col(LABEL) == 1)[entity].drop_nulls()
    counts = positives.value_counts()["count"]
    if len(counts) < MIN_CLUSTERS:
        return None
    return float((counts**2).sum()) / len(positives)
