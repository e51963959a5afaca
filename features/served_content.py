"""Whether a table of served rows still holds what it was written with."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from features.contract import Contract
from features.served_table import ServedTable, ServedTableMismatch, description_of
from infra.storage import canonical_json

_ROWS_AT_ONCE = 1 << 18


class ContentDigest:
    """Digest of the served features of rows, in their order; however they are cut into parts.

    Args:
        served: Columns.
    """

    def __init__(self, served: Sequence[str]) -> None:
        self._served = list(served)
        self._digest = hashlib.sha256()

    def add(self, rows: pl.DataFrame) -> None:
        """Take in more rows."""
        if self._served:
            values = rows.select(pl.col(self._served).cast(pl.Float64)).to_numpy(order="c")
            self._digest.update(values.astype("<f8", copy=False).tobytes())

    def hexdigest(self, description: ServedTable) -> str:
        """Return the digest of the rows and what is said of them, in hexadecimal."""
        whole = self._digest.copy()
        whole.update(canonical_json(description.of_a_part.model_dump(mode="json")).encode())
        return whole.hexdigest()

    def sealed(self, description: ServedTable) -> ServedTable:
        """Return the description with the digest of the rows in it."""
        return description.model_copy(update={"content": self.hexdigest(description)})


def verified_description(source: str | Path, contract: Contract) -> ServedTable | None:
    """Return what a file says of itself, if its rows are those that it was written with.

    Args:
        source: A path or URI.
        contract: Under which it is to be used; its patterns need not be expanded.

    Raises:
        ServedTableMismatch: If it was changed, or does not fit the contract.
    """
    found = description_of(source)
    if found is None:
        return None
    lazy = pl.scan_parquet(source, glob=False)
    found.check(contract, lazy.collect_schema().names(), source)
    if found.content is not None:
        digest = ContentDigest(found.served)
        for rows in lazy.select(found.served).collect_batches(
            chunk_size=_ROWS_AT_ONCE, maintain_order=True
        ):
            digest.add(rows)
        if digest.hexdigest(found) != found.content:
            raise ServedTableMismatch(
                f"{source} was changed after it was built: its served features are not those that "
                "it was written with. Build it again: whitecrow dataset build."
            )
    return found
