"""Features of held-out rows come back as they were, but for what is personal."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.contract import parse_contract
from features.feature_set import FeatureArrays, FeatureSet
from flows.kept_rows import MOST_REFERENCE_ROWS, read_reference, write_reference
from flows.monitoring.feature_sample import FeatureSampler, sample_of
from tests.serving.conftest import INPUT_TYPES, SHOP, shop_frame


def feature_set(pii: list[str]) -> FeatureSet:
    contract = parse_contract(SHOP | {"columns": SHOP["columns"] | {"pii": pii}}, source="tests")
    return FeatureSet.fit(contract, shop_frame(), input_types=INPUT_TYPES)


def test_features_come_back_as_they_were(tmp_path: Path) -> None:
    fitted = feature_set([])
    arrays = fitted.transform(shop_frame())
    path = tmp_path / "reference.parquet"

    write_reference(path, arrays, fitted)
    read = read_reference(path, fitted)

    np.testing.assert_array_equal(read.numeric, arrays.numeric)
    np.testing.assert_array_equal(read.categorical, arrays.categorical)
    assert (read.numeric.dtype, read.categorical.dtype) == (np.float32, np.int64)


def test_nothing_personal_is_kept(tmp_path: Path) -> None:
    fitted = feature_set(["AGE_DAYS", "COUNTRY"])
    path = tmp_path / "reference.parquet"

    write_reference(path, fitted.transform(shop_frame()), fitted)

    assert set(pl.read_parquet(path).columns) == {"AMOUNT", "DISTANCE", "IS_NIGHT", "DEVICE"}
    read = read_reference(path, fitted)
    assert np.isnan(read.numeric[:, fitted.numeric.index("AGE_DAYS")]).all()
    sample = sample_of([read], fitted, frozenset({"AGE_DAYS", "COUNTRY"}), 1000)
    assert "AGE_DAYS" not in sample.names


def test_many_rows_are_drawn_from_and_the_draw_is_the_same_again(tmp_path: Path) -> None:
    fitted = feature_set([])
    arrays = fitted.transform(shop_frame(MOST_REFERENCE_ROWS + 500))
    paths = [tmp_path / "first.parquet", tmp_path / "second.parquet"]

    for path in paths:
        write_reference(path, arrays, fitted)

    assert pl.read_parquet(paths[0]).height == MOST_REFERENCE_ROWS
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("n_parts", [1, 7])
def test_a_sample_counts_all_rows_and_keeps_some_however_they_come(n_parts: int) -> None:
    fitted = feature_set([])
    arrays = fitted.transform(shop_frame(700))
    sampler = FeatureSampler(fitted, frozenset(), n_kept=100)
    for part in np.array_split(np.arange(700), n_parts):
        sampler.add(FeatureArrays(arrays.numeric[part], arrays.categorical[part]))

    sample = sampler.done()

    whole = sample_of([arrays], fitted, frozenset(), 100)
    assert sample.n_rows == 700
    assert len(sample.numeric) == len(sample.categorical) == 100
    np.testing.assert_array_equal(sample.numeric, whole.numeric)
    distance = fitted.numeric.index("DISTANCE")
    assert sample.n_missing[distance] == np.isnan(arrays.numeric[:, distance]).sum() == 100
