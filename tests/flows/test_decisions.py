"""Decisions leave the log as tables, and whole days of it with an entry in the ledger."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.decisions import export_decisions, retire_decisions
from infra.errors import InputError
from infra.ledger import Ledger
from infra.settings import Settings
from serving.decisions.chain import verify_groups
from serving.decisions.export import read_groups
from serving.decisions.opening import open_recording, open_store
from serving.request_context import RequestContext
from serving.served_models import ModelSource

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A log with four decisions of today, received hours after one another in March."""
    from tests.serving.conftest import ROW, make_home

    home = tmp_path / "home"
    make_home(home)
    monkeypatch.setenv("WHITECROW_HOME", str(home))
    settings = Settings()
    recording = open_recording(settings)
    models = ModelSource(home, ["shop"], recording=recording).load_all()
    for hour in range(4):
        context = RequestContext(received_at=int((NOON.timestamp() + 3600 * hour) * 1e6))
        models.by_name["shop"].answer_rows([ROW | {"ORDER_ID": hour, "AMOUNT": 300.0}], context)
    models.close()
    recording.log.close()
    return settings


def _run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=True)


def test_decisions_are_exported_by_moment_and_model(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "out" / "some.parquet"

    done = _run("decisions", "export", "--out", str(file), "--from", "2026-03-01T13:00",
                "--to", "2026-03-01T15:00", "--model", "shop", "--json")  # fmt: skip

    assert json.loads(done.stdout)["n_decisions"] == 2
    table = pl.read_parquet(file)
    assert table["id"].to_list() == ["1", "2"]
    assert table["decision"].to_list() == ["review", "review"]
    assert json.loads(table["features"][0])["AMOUNT"] == 300.0
    assert json.loads(table["reasons"][0])
    assert "CUSTOMER" not in json.loads(table["row"][0])
    assert export_decisions(settings, file, model="other") == 0
    assert pl.read_parquet(file).is_empty()


def test_a_day_leaves_the_log_with_proof_and_an_entry(settings: Settings, tmp_path: Path) -> None:
    out, later = tmp_path / "archive", datetime.now(UTC) + timedelta(days=92)
    age = timedelta(days=90)

    kept = retire_decisions(settings, age, out, actor="a", reason="r", now=datetime.now(UTC))
    (retired,) = retire_decisions(settings, age, out, actor="ann", reason="law", now=later)

    assert (kept, retired.n_decisions) == ([], 4)
    assert pl.read_parquet(out / retired.file).height == 4
    assert sum(verify_groups(read_groups(out / retired.groups_file)).values()) == 4
    (entry,) = Ledger(settings.database).entries(event="decisions.retired")
    (end,) = retired.ends
    assert (end.last_sequence, entry.details["ends"][0]["digest"]) == (4, end.digest)
    assert (entry.actor, entry.reason, entry.details["n_decisions"]) == ("ann", "law", 4)
    store = open_store(settings)
    assert (list(store.groups()), store.segments()) == ([], [])
    assert [head.n_records for head in store.heads()] == [4]
    assert store.find_decision(bytes(16)) is None
    store.close()


def test_what_may_still_be_asked_for_is_not_retired(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least the 7 days"):
        retire_decisions(settings, timedelta(days=6), tmp_path, actor="a", reason="r")


@pytest.mark.parametrize(("arguments", "message"), [
    (("export", "--out", "x", "--from", "noon"), "--from: write a moment"),
    (("export", "--out", "x", "--to", "noon"), "--to: write a moment"),
    (("retire", "--out", "x", "--older-than", "90"), "--older-than: a duration"),
])  # fmt: skip
def test_options_that_cannot_be_used_are_named(
    settings: Settings, arguments: tuple[str, ...], message: str
) -> None:
    done = _run("decisions", *arguments)

    assert message in str(done.exception)
