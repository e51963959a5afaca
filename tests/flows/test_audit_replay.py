"""Past decisions are replayed from the command line: one, a period, a retired day."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from balancing.inference_platform import inference_platform
from flows.audit_replay import LogUnreadable, UnknownDecision, replay_decision, replay_period
from flows.cli import app
from flows.decisions import retire_decisions
from flows.moments import RequestError
from flows.retired_segments import ArchiveRefused
from infra.settings import Settings
from serving.decisions.opening import open_recording
from serving.request_context import RequestContext
from serving.served_models import ModelSource
from tests.serving.conftest import ROW, SHOP, make_home

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PERSONAL = SHOP | {"columns": SHOP["columns"] | {"pii": ["AGE_DAYS"]}}
Decided = Callable[..., list[str]]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("WHITECROW_HOME", str(tmp_path / "home"))
    return Settings()


@pytest.fixture
def decided(settings: Settings) -> Decided:
    """Has the shop decide rows, received hours after one another in March; returns the ids."""

    def run(n: int = 4, contract: dict[str, Any] = SHOP) -> list[str]:
        make_home(settings.root, contract=contract)
        recording = open_recording(settings)
        models = ModelSource(settings.root, ["shop"], recording=recording).load_all()
        ids = []
        for hour in range(n):
            context = RequestContext(received_at=int((NOON.timestamp() + 3600 * hour) * 1e6))
            row = ROW | {"ORDER_ID": hour, "AMOUNT": [300.0, 900.0][hour % 2], "CUSTOMER": hour}
            (answer,) = models.by_name["shop"].answer_rows([row], context)
            ids.append(answer.decision_id)
        models.close()
        recording.log.close()
        return ids

    return run


def _run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["audit", "replay", *arguments], catch_exceptions=True)


def test_one_decision_is_shown_beside_its_replay(decided: Decided) -> None:
    decision_id = decided()[0]

    done, page = _run(decision_id, "--json"), _run(decision_id)

    assert (done.exit_code, page.exit_code) == (0, 0)
    shown = json.loads(done.stdout)
    assert shown["verdict"] == "exact"
    assert {level["verdict"] for level in shown["levels"].values()} == {"exact"}
    assert shown["platform"] == {
        "logged": inference_platform(), "here": inference_platform(), "same": True,
    }  # fmt: skip
    logged, again = shown["logged"], shown["from_features"]
    assert logged["decision"] == again["decision"] == "review"
    assert logged["reasons"] == again["reasons"]
    assert logged["reasons"][0]["text"] == "Amount unusual for this customer"
    assert logged["risk_score"] == shown["from_logits"]["risk_score"]
    assert logged["features"] == shown["from_row"]["features"]
    assert (logged["features"]["AMOUNT"], logged["features"]["COUNTRY"]) == (300.0, "DE")
    assert "Amount unusual for this customer" in page.stdout
    assert "same platform" in page.stdout


def test_what_is_personal_is_compared_and_not_shown(decided: Decided, settings: Settings) -> None:
    shown = replay_decision(settings, decided(contract=PERSONAL)[0])

    assert shown["verdict"] == "exact"
    assert "AGE_DAYS" not in shown["logged"]["features"]
    assert "AGE_DAYS" not in shown["from_row"]["features"]
    assert shown["logged"]["features"]["AMOUNT"] == 300.0


def test_a_period_is_replayed_and_counted(decided: Decided) -> None:
    decided()

    whole = _run("--all", "--json")
    part = _run("--all", "--from", "2026-03-01T13:00", "--to", "2026-03-01T15:00", "--json")
    other = _run("--all", "--model", "another")

    assert whole.exit_code == 0
    found = json.loads(whole.stdout)
    assert (found["n_decisions"], found["by_verdict"]["exact"], found["n_mismatches"]) == (4, 4, 0)
    assert (found["n_same_platform"], found["missing"], found["mismatches"]) == (4, {}, [])
    assert json.loads(part.stdout)["n_decisions"] == 2
    assert (other.exit_code, other.stdout) == (0, "0 decisions replayed: none found.\n")


def test_a_mismatch_is_named_and_the_answer_is_no(decided: Decided, settings: Settings) -> None:
    ids = decided()
    for folder in ("models", "policies"):
        shutil.rmtree(settings.root / folder)
    make_home(settings.root, intercept=-1.9, live=False)

    one, period, page = _run(ids[0], "--json"), _run("--all", "--json"), _run("--all")

    assert (one.exit_code, period.exit_code, page.exit_code) == (1, 1, 1)
    found = json.loads(period.stdout)
    assert found["n_mismatches"] == 4
    assert [each["decision_id"] for each in found["mismatches"]] == ids
    assert found["mismatches"][0]["from_logits"] == []
    assert found["mismatches"][0]["from_features"][0].startswith("logits:")
    assert f"differs: {ids[0]}: logits:" in page.stdout


def test_what_is_missing_is_counted_and_no_mismatch(decided: Decided, settings: Settings) -> None:
    decided(2)
    shutil.rmtree(settings.root / "models" / "shop" / "1")

    done = _run("--all")

    assert done.exit_code == 0
    assert "2 decisions replayed: 2 incomplete." in done.stdout
    assert "missing for 2: shop has no version 1" in done.stdout


def test_a_retired_day_is_replayed_from_its_files(
    decided: Decided, settings: Settings, tmp_path: Path
) -> None:
    decision_id = decided()[2]
    archive, later = tmp_path / "archive", datetime.now(UTC) + timedelta(days=92)
    (day,) = retire_decisions(
        settings, timedelta(days=90), archive, actor="a", reason="r", now=later
    )

    gone = _run(decision_id)
    found = json.loads(_run(decision_id, "--archive", str(archive), "--json").stdout)
    period = json.loads(_run("--all", "--archive", str(archive), "--json").stdout)
    other = _run("01890a5d-ac96-774b-bcce-b302099a8057", "--archive", str(archive))

    assert isinstance(gone.exception, UnknownDecision)
    assert "--archive FOLDER" in str(gone.exception)
    assert (found["verdict"], found["decision_id"]) == ("exact", decision_id)
    assert period["by_verdict"]["exact"] == 4
    assert f"nor in {archive}" in str(other.exception)

    with (archive / day.groups_file).open("ab") as file:
        file.write(b"x")
    with pytest.raises(ArchiveRefused, match="not as the ledger has it"):
        replay_period(settings, archive=archive)
    (archive / day.file).unlink()
    with pytest.raises(ArchiveRefused, match="is missing"):
        replay_decision(settings, decision_id, archive=archive)


def test_a_folder_without_retired_days_is_refused(
    decided: Decided, settings: Settings, tmp_path: Path
) -> None:
    decided(1)

    with pytest.raises(ArchiveRefused, match=r"the ledger knows of: none"):
        replay_period(settings, archive=tmp_path)


def test_bytes_that_are_no_decisions_are_one_line(decided: Decided, settings: Settings) -> None:
    decided(1)
    with closing(sqlite3.connect(settings.root / "decisions.db")) as log, log:
        log.execute("UPDATE log_group SET records = ?", (b"\x92\x90\x91\x01",))

    with pytest.raises(LogUnreadable, match="Group 1 of writer .* audit verify"):
        replay_period(settings)


@pytest.mark.parametrize(("arguments", "error", "message"), [
    ((), RequestError, "Name one decision, or give --all"),
    (("x", "--all"), RequestError, "Name one decision, or give --all"),
    (("x", "--model", "shop"), RequestError, "go with --all"),
    (("x",), UnknownDecision, "A decision's id is a UUID"),
    (("01890a5d-ac96-774b-bcce-b302099a8057",), UnknownDecision, "test identities"),
    (("--all", "--from", "noon"), RequestError, "--from: write a moment"),
    (("--all", "--to", "noon"), RequestError, "--to: write a moment"),
])  # fmt: skip
def test_what_cannot_be_asked_is_named(
    decided: Decided, arguments: tuple[str, ...], error: type[Exception], message: str
) -> None:
    decided(1)

    done = _run(*arguments)

    assert isinstance(done.exception, error)
    assert message in str(done.exception)


def test_without_vector_instructions_only_last_bits_differ(
    decided: Decided, settings: Settings
) -> None:
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    if not found:
        pytest.skip("numpy finds no vector instructions beyond its baseline here")
    decided(8)
    command = [sys.executable, "-c", "from flows.cli import main; main()"]
    environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": " ".join(found)}

    done = subprocess.run(
        [*command, "audit", "replay", "--all", "--json"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    period = json.loads(done.stdout)
    assert period["platform"] != inference_platform()
    assert (period["n_decisions"], period["n_same_platform"], period["n_mismatches"]) == (8, 0, 0)
    assert period["largest_difference"] < 1e-12
