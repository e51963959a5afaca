"""Benign references: what an ordinary negative looks like, one value a feature."""

import polars as pl

from features.contract import Contract


def benign_reference(train: pl.DataFrame, contract: Contract) -> dict[str, float | str | None]:
    """Return the median of each numeric and the mode of each categorical feature.

    Args:
        train: Rows of a feature table's train part; only its negatives count.
        contract: Whose features; its ``reasons.benign`` come before what is found here.
    """
    negatives = train.filter(pl.col("label") == 0)
    medians = negatives.select(pl.col(contract.numeric_features).median()).row(0, named=True)
    modes = {name: _mode(negatives[name]) for name in contract.categorical_features}
    chosen = {
        # TOML's 2 for a category is the text that a conformed table holds.
        name: _category_text(value) if name in modes else value
        for name, value in contract.reasons.benign.items()
    }
    return {**medians, **modes, **chosen}


def _category_text(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return str(int(value)) if value.is_integer() else pl.Series([value]).cast(pl.String).item()


def _mode(column: pl.Series) -> str | None:
    """Return the most frequent value, the first by text among equals."""
    counts = column.drop_nulls().value_counts(name="n_rows")
    top = counts.sort("n_rows", column.name, descending=[True, False]).head(1)
    return top[column.name][0] if top.height else None
