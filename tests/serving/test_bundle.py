"""A bundle is used as it was written, or not at all."""

import json
import random
import shutil
from pathlib import Path

import pytest

from serving.bundle import BUNDLE_FILES, BundleMismatch, _seal, read_bundle
from serving.model_store import ModelStore


@pytest.fixture
def folder(store: ModelStore, tmp_path: Path) -> Path:
    """A copy of the shop's bundle, to be broken."""
    return Path(shutil.copytree(store.bundle_folder("shop", "1"), tmp_path / "bundle"))


def test_reading_returns_what_was_written(store: ModelStore) -> None:
    bundle = store.bundle("shop", "1")

    assert bundle.manifest.name == "shop"
    assert bundle.contract.amount_column == "AMOUNT"
    assert bundle.feature_set.hash == bundle.manifest.feature_set_hash
    assert set(bundle.manifest.files) == {"model.onnx", "golden.parquet"}
    assert len(bundle.golden.rows) == 16


@pytest.mark.parametrize("where", ["first", "somewhere", "elsewhere", "last"])
@pytest.mark.parametrize("name", BUNDLE_FILES)
def test_one_flipped_byte_in_any_file_is_refused_by_name(
    folder: Path, name: str, where: str
) -> None:
    content = bytearray((folder / name).read_bytes())
    position = {"first": 0, "last": len(content) - 1}.get(where, random.randrange(len(content)))
    content[position] ^= 1 << random.randrange(8)
    (folder / name).write_bytes(content)

    with pytest.raises(BundleMismatch, match=name) as refusal:
        read_bundle(folder)

    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", BUNDLE_FILES)
def test_a_missing_or_cut_file_is_refused_by_name(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1])
    with pytest.raises(BundleMismatch, match=name):
        read_bundle(folder)

    (folder / name).unlink()
    with pytest.raises(BundleMismatch, match=f"no readable {name}"):
        read_bundle(folder)


def test_a_feature_set_that_this_build_computes_otherwise_is_refused(folder: Path) -> None:
    _rewrite_manifest(folder, feature_set_hash="3f9c1a" + "0" * 58)

    with pytest.raises(BundleMismatch, match="expects feature set 3f9c1a, this build computes"):
        read_bundle(folder)


def test_a_manifest_of_a_later_format_is_refused(folder: Path) -> None:
    _rewrite_manifest(folder, format=2)

    with pytest.raises(BundleMismatch, match="cannot read its manifest.json"):
        read_bundle(folder)


def test_a_bundle_is_never_overwritten(new_home, tmp_path: Path) -> None:
    store = new_home(tmp_path)
    before = (store.bundle_folder("shop", "1") / "manifest.json").read_bytes()

    with pytest.raises(FileExistsError), store.new_bundle("shop", "1") as staging:
        (staging / "manifest.json").write_text("other")

    assert (store.bundle_folder("shop", "1") / "manifest.json").read_bytes() == before


def test_a_failed_write_leaves_no_version_behind(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)

    with pytest.raises(OSError, match="directory"), store.new_bundle("shop", "1") as staging:
        (staging / "no" / "model.onnx").write_bytes(b"half")

    assert store.names() == []
    assert store.versions("shop") == []


def test_references_of_the_contract_come_before_trained_ones(
    new_home, shop_contract, tmp_path: Path
) -> None:
    reasons = {**shop_contract["reasons"], "benign": {"AMOUNT": 5.0}}
    store = new_home(tmp_path, contract=shop_contract | {"reasons": reasons})

    benign = store.bundle("shop", "1").benign

    assert benign["AMOUNT"] == 5.0
    assert benign["DISTANCE"] == 0.0


def _rewrite_manifest(folder: Path, **changes: object) -> None:
    """Change the manifest and seal it again, as another release would have written it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    content = json.dumps(manifest | changes).encode()
    (folder / "manifest.json").write_bytes(content)
    (folder / "bundle.sha256").write_bytes(_seal(content))
