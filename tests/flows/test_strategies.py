"""Every strategy ends in the same bundle, policy and report."""

from pathlib import Path

import pytest

from serving.bundle import read_bundle


@pytest.mark.parametrize("kind", ["metabalance", "eos"])
def test_a_strategy_is_released_like_plain_training(train, stream, tmp_path, kind: str):
    done = train(tmp_path, stream, "--strategy", kind)

    assert done.code == 0, done.err
    assert done.json["strategy"] == kind
    bundle = read_bundle(Path(done.json["bundle"]))
    assert bundle.manifest.strategy["kind"] == kind
    assert done.json["metrics"]["log_loss_skill"]["value"] > 0
    assert kind in Path(done.json["report"]).read_text("utf-8")
