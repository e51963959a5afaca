"""A released version is trained again: the same network, or what differs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from infra.ledger import Ledger
from infra.settings import Settings

pytestmark = [pytest.mark.xdist_group("trained"), pytest.mark.slow]


@pytest.fixture
def copied(trained: Any, tmp_path: Path) -> Path:
    """The state folder of the trained model, to be changed."""
    home = tmp_path / "home"
    for part in ("models", "policies", "keys", "runs"):
        shutil.copytree(trained.home / part, home / part)
    return home


@pytest.fixture
def reproduce(command: Callable[..., Any]) -> Callable[..., Any]:
    return lambda home, *more: command(home, "audit", "reproduce", "stream:1", *more)


def left_behind(home: Path) -> list[str]:
    return [path.name for path in home.glob(".reproduce-*")]


def test_the_same_data_code_and_seed_give_the_same_network(trained, copied, reproduce) -> None:
    done = reproduce(copied, "--json")

    assert done.code == 0, done.err
    found = done.json
    released = trained.store.bundle("stream", "1").model_sha256
    assert found["model_sha256"] == {"recorded": released, "found": released}
    assert (found["identical"], found["same_features"], found["differences"]) == (True, True, None)
    assert found["ledger_sequence"] is None
    assert not Ledger(copied / "whitecrow.db").entries(), "no test row was read"
    assert left_behind(copied) == []
    assert [path.name for path in (copied / "models" / "stream").iterdir()] == ["1"]
    assert len(list((copied / "runs").iterdir())) == len(list((trained.home / "runs").iterdir()))


def test_another_seed_differs_and_says_by_how_much(copied, reproduce) -> None:
    done = reproduce(copied, "--seed", 7, "--json", "--actor", "ann", "--reason", "what seeds do")

    assert done.code == 1
    found = done.json
    assert (found["identical"], found["same_features"]) == (False, True)
    assert found["seed"] == {"recorded": 0, "here": 7}
    for difference in found["differences"].values():
        assert difference["low"] <= difference["value"] <= difference["high"]
    assert set(found["differences"]) == {"average_precision", "roc_auc", "recall_at_fpr_0.01"}
    (entry,) = Ledger(copied / "whitecrow.db").entries()
    assert (entry.event, entry.actor, entry.reason) == ("test_rows.read", "ann", "what seeds do")
    assert entry.sequence == found["ledger_sequence"]


def test_other_code_is_refused_with_the_way_there(copied, reproduce, monkeypatch) -> None:
    recorded = json.loads((copied / "models/stream/1/manifest.json").read_text())["code_revision"]
    monkeypatch.setattr("flows.audit_reproduce.code_revision", lambda: "f" * 40)

    refused = reproduce(copied)

    commit = recorded.removesuffix("+changes")
    assert refused.code == 1
    assert f"git worktree add ../whitecrow-{commit[:12]} {commit}" in refused.error
    assert "--other-code" in refused.error
    done = reproduce(copied, "--other-code")
    assert done.code == 0
    assert "stream:1 is reproduced to the bit" in done.out


def test_changed_data_are_refused_by_name(copied, reproduce, stream, tmp_path) -> None:
    other = tmp_path / "other.parquet"
    pl.read_parquet(stream).head(19_999).write_parquet(other)
    (record,) = copied.glob("runs/*/run.json")
    record.write_text(record.read_text().replace(str(stream), str(other)))

    changed = reproduce(copied)
    other.unlink()
    gone = reproduce(copied)

    assert changed.code == 1
    assert f"{other} is not the data table that the version was trained on" in changed.error
    assert "(19,999 rows)" in changed.error
    assert gone.code == 2
    assert str(other) in gone.error
    assert left_behind(copied) == []


def test_a_version_whose_run_is_gone_cannot_be_reproduced(copied, reproduce) -> None:
    shutil.rmtree(copied / "runs")

    done = reproduce(copied)

    assert done.code == 2
    assert "made stream:1" in done.error
    assert "Restore the run's folder" in done.error


def test_an_unknown_version_is_named(copied, command) -> None:
    done = command(copied, "audit", "reproduce", "stream:9", "--other-code")

    assert done.code == 2
    assert "stream has no version 9" in done.error
    assert (
        not Settings(home=copied).database.exists() or not Ledger(copied / "whitecrow.db").entries()
    )
