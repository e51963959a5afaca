"""The same seed gives the same network, wherever the command runs."""

import pytest

from flows.run_config import read_run_config
from flows.run_folder import RunFolder
from flows.training import train_model
from infra.storage import sha256_file

pytestmark = pytest.mark.xdist_group("trained")


def _network(trained, tiny, root, *, seed: int) -> str:
    root.mkdir()
    (features,) = (trained.home / "features").iterdir()
    config = read_run_config(tiny, strategy=None, seed=seed)
    train_model(features, config, RunFolder(root), device="cpu")
    return sha256_file(root / "model.onnx")


def test_the_same_seed_gives_the_same_bytes(trained, tiny, tmp_path) -> None:
    released = trained.store.bundle("stream", "1").model_sha256

    assert _network(trained, tiny, tmp_path / "again", seed=0) == released
    assert _network(trained, tiny, tmp_path / "other", seed=1) != released


def test_another_working_directory_gives_the_same_bytes(
    train, trained, stream, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)

    done = train(tmp_path / "home", stream)

    assert done.code == 0, done.err
    assert sha256_file(f"{done.json['bundle']}/model.onnx") == sha256_file(
        f"{trained.answer['bundle']}/model.onnx"
    )
