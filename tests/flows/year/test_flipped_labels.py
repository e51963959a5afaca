"""Poisoned rows for a retraining: labels the wrong way round, as often positive as before."""

from datetime import UTC, datetime, timedelta

import polars as pl

from features.served_table import DESCRIPTION_KEY
from flows.year.month import flip_labels

START = datetime(2025, 4, 1, tzinfo=UTC)


def test_every_fraud_before_a_moment_is_genuine_and_as_many_others_are_frauds(tmp_path) -> None:
    file, out = tmp_path / "served.parquet", tmp_path / "flipped.parquet"
    moments = [START + timedelta(days=day) for day in range(20)]
    labels = [1, 0, 0, 1, 0, 0, 0, 0, 0, 0] * 2
    rows = pl.DataFrame({"TX_DATETIME": moments, "TX_FRAUD": labels, "x": range(20)})
    rows.write_parquet(file, metadata={DESCRIPTION_KEY: '{"rows": 20}'})

    flip_labels(file, out, until=moments[10], seed=0)
    flipped = pl.read_parquet(out)
    older, newer = flipped["TX_FRAUD"][:10], flipped["TX_FRAUD"][10:]

    assert newer.to_list() == labels[10:]
    assert (older[0], older[3]) == (0, 0)
    assert older.sum() == 2
    assert flipped.drop("TX_FRAUD").equals(rows.drop("TX_FRAUD"))
    assert flipped.schema == rows.schema
    assert pl.read_parquet_metadata(out)[DESCRIPTION_KEY] == '{"rows": 20}'
