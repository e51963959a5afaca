"""Forward from a file: versions, policies, data sets and decisions that it went into."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.provenance.tracing import NothingToTrace, trace
from infra.ledger import Ledger
from infra.settings import Settings
from infra.storage import sha256_file
from tests.flows.provenance.conftest import CALIBRATED_ON, SHOP_SHA256

FILE = {"until": None, "since": None, "as_of": "2026-05-01T00:00:00Z", "model_version": "2"}


@pytest.fixture
def settings(shop, tmp_path) -> Settings:
    return Settings(home=Path(shutil.copytree(shop.home, tmp_path / "home")))


def test_a_file_leads_to_its_version_and_the_decisions_of_that(shop) -> None:
    found = trace(shop.settings, str(shop.data))

    assert found.sha256 == sha256_file(shop.data)
    (one,) = found.versions
    assert (one.name, one.version, one.how, one.live_as) == (
        "shop", "2", ("trained from",), "champion",
    )  # fmt: skip
    assert (one.policies, found.decisions) == (("2",), 2)


def test_a_digest_does_as_well_as_the_file(shop) -> None:
    found = trace(shop.settings, SHOP_SHA256.upper())

    assert [(one.version, one.policies) for one in found.versions] == [("1", ("1",))]
    assert found.decisions == 3


def test_rows_that_calibrated_a_policy_lead_to_what_was_decided_with_it(shop) -> None:
    found = trace(shop.settings, CALIBRATED_ON)

    assert [(one.version, one.how, one.policies) for one in found.versions] == [
        ("2", ("calibrated on",), ("2",))
    ]
    assert found.decisions == 2


def test_a_file_that_nothing_was_made_from_leads_nowhere(shop) -> None:
    found = trace(shop.settings, "0" * 64)

    assert (found.versions, found.datasets, found.decisions) == ((), (), 0)


def test_what_is_no_file_is_one_line(shop) -> None:
    with pytest.raises(NothingToTrace, match="'nowhere.csv' is neither a file nor a SHA-256"):
        trace(shop.settings, "nowhere.csv")


def test_a_data_set_is_named_as_the_file_and_as_what_may_hold_its_decisions(settings, shop) -> None:
    ledger = Ledger(settings.database)
    told = FILE | {"file": "may.parquet", "sha256": "9" * 64}
    ledger.append("dataset_built", "shop", actor="a", reason="r", details=told)
    ledger.append("dataset_built", "other", actor="a", reason="r", details=told)

    own = trace(settings, "9" * 64)
    of_data = trace(settings, str(shop.data))

    assert [one.how for one in own.datasets] == ["is this file", "is this file"]
    assert [(one.model, one.how) for one in of_data.datasets] == [
        ("shop", "may hold decisions of shop:2")
    ]


@pytest.mark.parametrize(
    ("window", "is_held"),
    [
        ({}, True),
        ({"since": "2026-04-01T00:00:00Z", "until": "2026-05-01T00:00:00Z"}, True),
        ({"since": "2026-05-01T00:00:00Z"}, False),
        ({"until": "2026-04-01T00:00:00Z"}, False),
    ],
)
def test_a_retired_day_leads_to_data_sets_whose_window_holds_it(settings, window, is_held) -> None:
    ledger = Ledger(settings.database)
    built = FILE | {"file": "x.parquet", "sha256": "9" * 64} | window
    day = {"segment": "2026-04-15", "n_decisions": 7, "sha256": "8" * 64, "groups_sha256": "7" * 64}
    ledger.append("dataset_built", "other", actor="a", reason="r", details=built)
    ledger.append("decisions.retired", "2026-04-15", actor="a", reason="r", details=day)
    ledger.append("dataset_built", "late", actor="a", reason="r", details=built)

    for file in ("8" * 64, "7" * 64):
        models = [one.model for one in trace(settings, file).datasets]
        assert models == (["other"] if is_held else []), "a later one cannot hold it"


def test_trace_prints_one_json_object_or_words(shop) -> None:
    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, list(arguments), catch_exceptions=True)

    told = json.loads(run("audit", "trace", str(shop.data), "--json").stdout)
    words = run("audit", "trace", str(shop.data))

    assert told["decisions"] == 2
    assert "shop:2 (trained from, champion)" in words.stdout
    assert words.exit_code == 0
