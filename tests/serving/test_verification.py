"""A model is served only if it reproduces its golden rows on this machine."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from serving.bundle import BundleMismatch, write_bundle
from serving.golden import GoldenRows
from serving.model_store import ModelStore
from serving.verification import load_scorer


def _with_golden(store: ModelStore, golden: GoldenRows) -> ModelStore:
    """Write the shop's bundle again, soundly sealed, with other golden rows."""
    bundle = store.bundle("shop", "1")
    shutil.rmtree(bundle.folder)
    with store.new_bundle("shop", "1") as folder:
        write_bundle(folder, model=bundle.model, manifest=bundle.manifest, golden=golden)
    return store


def test_golden_rows_survive_their_file(store: ModelStore) -> None:
    golden = store.bundle("shop", "1").golden

    again = GoldenRows.from_parquet(golden.to_parquet())

    assert again.requests == golden.requests
    assert np.array_equal(again.numeric, golden.numeric, equal_nan=True)
    assert np.array_equal(again.categorical, golden.categorical)
    assert np.array_equal(again.logits, golden.logits)
    assert (again.numeric.dtype, again.categorical.dtype) == (np.float32, np.int64)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("features", lambda g: {"numeric": np.nextafter(g.numeric, np.float32(np.inf))}),
        ("features", lambda g: {"categorical": g.categorical + 1}),
        ("features", lambda g: {"requests": (*g.requests[1:], g.requests[0])}),
        ("logits", lambda g: {"logits": g.logits + np.float32(2e-5)}),
    ],
)
def test_a_bundle_that_does_not_reproduce_them_is_refused(
    new_home, tmp_path: Path, what: str, change
) -> None:
    store = new_home(tmp_path)
    golden = store.bundle("shop", "1").golden
    _with_golden(store, replace(golden, **change(golden)))

    with pytest.raises(BundleMismatch, match=f"does not reproduce the {what} of its golden rows"):
        load_scorer(store, "shop")


def test_a_rounding_difference_of_another_processor_is_no_mismatch(
    new_home, tmp_path: Path
) -> None:
    store = new_home(tmp_path)
    golden = store.bundle("shop", "1").golden
    _with_golden(store, replace(golden, logits=golden.logits + np.float32(1e-6)))

    assert load_scorer(store, "shop").name == "shop"


def test_a_golden_row_that_no_client_could_send_is_named_as_such(new_home, tmp_path: Path) -> None:
    store = new_home(tmp_path)
    golden = store.bundle("shop", "1").golden
    _with_golden(store, replace(golden, requests=("{}", *golden.requests[1:])))

    with pytest.raises(BundleMismatch, match="golden rows is refused"):
        load_scorer(store, "shop")
