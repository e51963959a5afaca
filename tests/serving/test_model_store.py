"""References mean one version and one policy, and policies are written once."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from balancing.calibration.policy import PolicyMismatch
from infra.errors import InputError
from infra.signing import SignatureRefused, SigningKey
from serving.bundle import BundleMismatch
from serving.live import CHALLENGER, LiveRecord
from serving.model_references import UnknownModel
from serving.model_store import ModelStore
from serving.scorer import Scorer
from serving.verification import load_scorer


@pytest.mark.parametrize("reference", ["shop", "shop@champion", "shop:1"])
def test_a_name_its_champion_and_a_version_mean_the_same_here(
    store: ModelStore, reference: str
) -> None:
    found = store.resolve(reference)

    assert (found.name, found.model_version, found.policy_version) == ("shop", "1", "1")


def test_a_version_means_its_newest_policy(new_home, new_policy, tmp_path: Path) -> None:
    store = new_home(tmp_path)
    bundle = store.bundle("shop", "1")
    again = new_policy(bundle.model_sha256, bundle.golden.logits, review=0.4)
    other = new_policy("f" * 64, bundle.golden.logits)

    assert store.add_policy("shop", again) == "2"
    assert store.add_policy("shop", other) == "3"
    assert store.resolve("shop:1").policy_version == "2"
    assert store.resolve("shop").policy_version == "1"


def test_a_challenger_stands_beside_the_champion(new_home, tmp_path: Path) -> None:
    store = new_home(tmp_path)
    new_home(tmp_path, version="2", intercept=-1.0, live=False)
    store.live.compare_and_swap("shop", None, LiveRecord("2", "2", 2), alias=CHALLENGER)

    assert store.resolve("shop@challenger").model_version == "2"
    assert store.resolve("shop").model_version == "1"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nope", r"No model 'nope' in .* \(there are: shop\)"),
        ("shop:9", r"shop has no version 9 \(there are: 1\)"),
        ("shop@challenger", r"shop has no challenger \(versions: 1\)"),
        ("shop@best", "the aliases are champion and challenger"),
        ("../shop", "A model is written NAME"),
        ("shop:1:2", "A model is written NAME"),
        ("", "A model is written NAME"),
    ],
)
def test_a_reference_to_nothing_is_refused_with_what_there_is(
    store: ModelStore, reference: str, message: str
) -> None:
    with pytest.raises(UnknownModel, match=message):
        store.resolve(reference)


def test_policies_written_at_once_get_different_versions(
    new_home, new_policy, tmp_path: Path
) -> None:
    store = new_home(tmp_path)
    policy = new_policy("f" * 64, np.zeros((1, 2), np.float32))

    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda _: store.add_policy("shop", policy), range(16)))

    assert sorted(map(int, versions)) == list(range(2, 18))
    assert store.policy("shop", "17") == policy
    assert [path.name for path in (tmp_path / "policies" / "shop").glob(".*")] == []


@pytest.mark.parametrize("attempt", range(6))
def test_one_flipped_byte_in_a_policy_is_refused_by_name(
    new_home, tmp_path: Path, attempt: int
) -> None:
    store = new_home(tmp_path)
    path = tmp_path / "policies" / "shop" / "1.json"
    content = bytearray(path.read_bytes())
    position = len(content) - 1 if attempt == 0 else random.randrange(len(content))
    content[position] ^= 1 << random.randrange(8)
    path.write_bytes(content)

    with pytest.raises((BundleMismatch, PolicyMismatch), match=r"1\.json"):
        store.policy("shop", "1")


def test_a_policy_made_for_another_model_is_refused(new_home, tmp_path: Path) -> None:
    store = new_home(tmp_path)
    new_home(tmp_path, version="2", intercept=-1.0, live=False)

    with pytest.raises(InputError, match="was made for model"):
        Scorer(
            store.bundle("shop", "2"),
            store.policy("shop", "1"),
            model_version="2",
            policy_version="1",
        )


def test_a_live_record_with_a_foreign_policy_is_refused_at_load(new_home, tmp_path: Path) -> None:
    store = new_home(tmp_path)
    new_home(tmp_path, version="2", intercept=-1.0, live=False)
    record = store.live.get("shop")
    store.live.compare_and_swap("shop", record, LiveRecord("1", "2", 2))

    with pytest.raises(PolicyMismatch, match="was made for model"):
        load_scorer(store, "shop")


@pytest.fixture
def signed_home(new_home, new_policy, tmp_path: Path) -> tuple[Path, SigningKey]:
    """A state folder with a key, whose model has a second, signed policy."""
    store, key = new_home(tmp_path), SigningKey.generate()
    bundle = store.bundle("shop", "1")
    store.sign_unsigned(key)
    key.write_public(tmp_path / "keys")
    again = new_policy(bundle.model_sha256, bundle.golden.logits, review=0.4)
    assert store.add_policy("shop", again, key=key) == "2"
    return tmp_path, key


def test_a_signed_policy_names_its_key(signed_home) -> None:
    home, key = signed_home
    store = ModelStore(home)

    assert store.signed_policy("shop", "2")[1] == key.key_id
    assert load_scorer(store, "shop:1").policy_key_id == key.key_id
    assert ModelStore(home, verify_key=key.public.hex()).resolve("shop:1").policy_version == "2"


def test_what_is_signed_once_is_not_signed_again(signed_home) -> None:
    home, _ = signed_home

    assert ModelStore(home).sign_unsigned(SigningKey.generate()) == []


def test_an_unsigned_policy_is_refused_where_there_is_a_key(signed_home, new_policy) -> None:
    home, _ = signed_home
    store = ModelStore(home)
    bundle = store.bundle("shop", "1")
    store.add_policy("shop", new_policy(bundle.model_sha256, bundle.golden.logits))

    with pytest.raises(SignatureRefused, match=r"3\.json is not signed"):
        store.policy("shop", "3")


def test_another_key_than_the_pinned_one_is_refused(signed_home) -> None:
    home, _ = signed_home
    store = ModelStore(home, verify_key=SigningKey.generate().public.hex())

    with pytest.raises(SignatureRefused, match="not trusted here"):
        store.policy("shop", "2")
    with pytest.raises(SignatureRefused, match="not trusted here"):
        store.bundle("shop", "1")


def test_a_number_whose_signature_was_left_behind_is_not_used_again(
    signed_home, new_policy
) -> None:
    home, key = signed_home
    store = ModelStore(home)
    bundle = store.bundle("shop", "1")
    policy = new_policy(bundle.model_sha256, bundle.golden.logits)
    store.withdraw_policy("shop", "2")

    assert store.policy_versions("shop") == ["1"]
    assert store.add_policy("shop", policy, key=key) == "3"
    assert store.add_policy("shop", policy) == "4"


def test_signed_policies_written_at_once_all_verify(signed_home, new_policy) -> None:
    home, key = signed_home
    store = ModelStore(home)
    bundle = store.bundle("shop", "1")
    policy = new_policy(bundle.model_sha256, bundle.golden.logits)

    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda _: store.add_policy("shop", policy, key=key), range(16)))

    assert sorted(map(int, versions)) == list(range(3, 19))
    assert {store.signed_policy("shop", version)[1] for version in versions} == {key.key_id}


def test_kept_files_come_back_only_as_they_were(new_home, tmp_path: Path) -> None:
    store = new_home(tmp_path)
    (tmp_path / "rows.parquet").write_bytes(b"rows")
    store.keep("shop", "1", [tmp_path / "rows.parquet"])

    assert store.kept("shop", "1", "rows.parquet") is None  # the manifest names no such file
    with pytest.raises(FileExistsError):
        store.keep("shop", "1", [])
