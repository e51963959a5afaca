"""Declined applications with their reasons in words, for the notices that go out."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.moments import RequestError
from infra.settings import Settings
from serving.decisions.opening import open_recording
from serving.live import LiveRecord
from serving.model_references import UnknownModel
from serving.request_context import RequestContext
from serving.served_models import ModelSource
from tests.serving.conftest import ROW, SHOP, make_home

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULES = """
[[deny]]
name = "stolen"
column = "CUSTOMER"
values = [1]
reason = "Reported stolen"
expires = 2999-01-31
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Declines by amount, by amount and country, and by a hard rule; and two that pass."""
    home = tmp_path / "home"
    make_home(home)
    (home / "rules").mkdir()
    (home / "rules" / "shop.toml").write_text(RULES)
    monkeypatch.setenv("WHITECROW_HOME", str(home))
    settings = Settings()
    recording = open_recording(settings)
    models = ModelSource(home, ["shop"], recording=recording).load_all()
    for hour, changes in enumerate(
        (
            {"AMOUNT": 900.0},
            {"AMOUNT": 800.0, "COUNTRY": "XX"},
            {"AMOUNT": 10.0, "CUSTOMER": 1},
            {"AMOUNT": 300.0},
            {"AMOUNT": 10.0},
        )
    ):
        context = RequestContext(received_at=int((NOON.timestamp() + 3600 * hour) * 1e6))
        models.by_name["shop"].answer_rows([ROW | {"ORDER_ID": hour} | changes], context)
    models.close()
    recording.log.close()
    return settings


@pytest.fixture
def run(settings: Settings, tmp_path: Path) -> Callable[..., tuple[Any, pl.DataFrame]]:
    def command(*arguments: str) -> tuple[Any, pl.DataFrame]:
        file = tmp_path / "out" / "reasons.csv"
        done = CliRunner().invoke(app, ["audit", "reasons", "--out", str(file), *arguments])
        found = pl.read_csv(file, infer_schema=False) if file.is_file() else pl.DataFrame()
        return done, found

    return command


def test_each_declined_application_has_its_reasons_in_order(run: Any) -> None:
    done, table = run("-m", "shop", "--json")

    assert done.exit_code == 0, done.exception
    counts = json.loads(done.stdout)
    del counts["file"]
    assert counts == {
        "n_declined": 3, "n_with_reasons": 2, "n_by_hard_rule_alone": 1, "n_without_reasons": 0,
    }  # fmt: skip
    assert table["id"].to_list() == ["0", "1", "2"]
    assert table["reason_1"].to_list() == ["Amount unusual for this customer"] * 2 + [None]
    assert "COUNTRY" in table["reason_2"][1]
    assert table["hard_rules"].fill_null("").to_list() == ["", "", "stolen"]
    assert set(table["model_version"]) == set(table["policy_version"]) == {"1"}
    assert "AGE_DAYS" not in table.write_csv(), "the contract denies it"


def test_a_column_that_was_denied_since_is_not_named(run: Any, settings: Settings) -> None:
    reasons = SHOP["reasons"] | {"deny": ["AGE_DAYS", "AMOUNT", "COUNTRY"]}
    store = make_home(settings.root, contract=SHOP | {"reasons": reasons}, version="2", live=False)
    now = store.live.get("shop")
    store.live.compare_and_swap("shop", now, LiveRecord("2", "2", 2))

    done, table = run("-m", "shop")

    assert "Amount" not in table.write_csv()
    assert "COUNTRY" not in table.write_csv()
    assert table.height == 3
    assert "were declined by a hard rule alone" in done.stdout


def test_a_period_has_its_own_file(run: Any) -> None:
    done, table = run("-m", "shop", "--from", "2026-03-01T13:00", "--to", "2026-03-01T14:00")

    assert table["id"].to_list() == ["1"]
    assert done.stdout.startswith("1 declined applications written to")


@pytest.mark.parametrize(("arguments", "error", "message"), [
    (("-m", "other"), UnknownModel, "No model 'other'"),
    (("-m", "shop", "--from", "noon"), RequestError, "--from: write a moment"),
    (("-m", "shop", "--to", "noon"), RequestError, "--to: write a moment"),
])  # fmt: skip
def test_what_cannot_be_asked_is_named(
    run: Any, arguments: tuple[str, ...], error: type[Exception], message: str
) -> None:
    done, table = run(*arguments)

    assert isinstance(done.exception, error)
    assert message in str(done.exception)
    assert table.is_empty()
