"""From a version back to its data, people and decisions; what nobody recorded is named."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.provenance.gathering import UnknownDecision, lineage_of
from infra.errors import InputError
from infra.ledger import Ledger
from infra.settings import Settings
from infra.storage import sha256_file
from serving.bundle import BundleMismatch
from serving.model_references import UnknownModel


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=True)


def test_a_version_tells_its_data_labels_validation_and_machine(shop) -> None:
    told = lineage_of(shop.settings, "shop:2")

    (source,) = told.data
    assert (source["name"], source["sha256"]) == ("shop.parquet", sha256_file(shop.data))
    assert told.recorded is not None
    assert told.recorded.labels.known == 403
    assert told.recorded.validation[0].rules == {"range(AMOUNT)": 8}
    assert told.recorded.environment["packages"]["polars"]
    assert (told.config["seed"], told.length) == (7, "3.00 epochs, chosen by validation part")
    assert told.not_recorded == ()


def test_it_tells_who_made_it_live_in_the_ledgers_order(shop) -> None:
    told = lineage_of(shop.settings, "shop:2")

    assert (told.state, told.live_policy) == ("champion", "2")
    assert [(each.actor, each.says) for each in told.events] == [
        ("ana", "registered: version 2 with policy 2"),
        ("cy", "promoted.intent: version 2 with policy 2, was version 1 with policy 1"),
        ("cy", "promoted.done"),
    ]
    assert [each.sequence for each in told.events] == [2, 3, 4]


def test_the_version_before_tells_what_took_its_place(shop) -> None:
    told = lineage_of(shop.settings, "shop:1")

    assert told.state == "waits", "the ledger knows no promotion of it"
    assert [each.sequence for each in told.events] == [1, 3, 4]


def test_policies_of_one_network_are_told_apart_by_the_ledger(shop) -> None:
    assert [one.version for one in lineage_of(shop.settings, "shop:1").policies] == ["1"]
    (own,) = lineage_of(shop.settings, "shop:2").policies

    assert (own.version, own.policy.actor, own.policy.reason) == ("2", "bo", "fewer alerts")


def test_decisions_are_counted_by_version_and_policy(shop) -> None:
    for version, policy, count, minute in (("1", "1", 3, 2), ("2", "2", 2, 4)):
        (one,) = lineage_of(shop.settings, f"shop:{version}").decisions or ()
        assert (one.policy_version, one.decisions) == (policy, count)
        assert one.by_decision == {"review": count}
        assert (one.last.hour, one.last.minute) == (12, minute)


def test_a_decision_leads_to_the_version_that_made_it(shop) -> None:
    assert lineage_of(shop.settings, shop.decision_ids[0]).version == "1"
    assert lineage_of(shop.settings, shop.decision_ids[-1]).version == "2"


def test_an_unknown_decision_is_one_line(shop) -> None:
    with pytest.raises(UnknownDecision, match="holds no decision 00000000-.*retired"):
        lineage_of(shop.settings, "00000000-0000-7000-8000-000000000000")


def test_an_earlier_release_says_what_it_did_not_record(shop) -> None:
    told = lineage_of(shop.settings, "shop:1")

    assert told.recorded is None
    assert any("label snapshot (released before" in each for each in told.not_recorded)


@pytest.mark.parametrize("reference", ["nope", "shop:9", "shop@latest", "no such name"])
def test_an_unknown_reference_is_one_line(shop, reference) -> None:
    with pytest.raises(UnknownModel):
        lineage_of(shop.settings, reference)


def copied(shop, tmp_path: Path) -> Settings:
    return Settings(home=Path(shutil.copytree(shop.home, tmp_path / "home")))


def test_a_kept_file_that_was_changed_is_refused(shop, tmp_path) -> None:
    settings = copied(shop, tmp_path)
    kept = settings.root / "calibration" / "shop" / "2" / "lineage.json"
    kept.write_text(kept.read_text().replace("fresh rows", "other rows"))

    with pytest.raises(BundleMismatch, match=r"lineage\.json is missing or not as it was written"):
        lineage_of(settings, "shop:2")


def test_a_policy_that_was_changed_is_told_and_does_not_hide_the_rest(shop, tmp_path) -> None:
    settings = copied(shop, tmp_path)
    policy = settings.root / "policies" / "shop" / "2.json"
    policy.write_text(policy.read_text().replace("fewer alerts", "more alerts"))

    told = lineage_of(settings, "shop:2")

    assert told.policies == ()
    assert any("Policy 2 does not verify" in each for each in told.cautions)


def test_without_a_log_nothing_is_counted_and_none_is_made(shop, tmp_path) -> None:
    settings = copied(shop, tmp_path)
    for left in settings.root.glob("decisions.db*"):
        left.unlink()

    assert lineage_of(settings, "shop:2").decisions == ()
    assert not (settings.root / "decisions.db").exists()


def test_a_log_that_does_not_answer_is_a_caution(shop, tmp_path) -> None:
    settings = copied(shop, tmp_path)
    (settings.root / "decisions.db").write_bytes(b"no database at all" * 100)

    told = lineage_of(settings, "shop:2")

    assert told.decisions is None
    assert any(each.startswith("Decisions were not counted: ") for each in told.cautions)


def test_mlflow_that_is_away_is_a_caution(shop, tmp_path, monkeypatch) -> None:
    from flows.provenance import gathering

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    cautions: list[str] = []
    settings = Settings(home=shop.home, tracking_uri="http://127.0.0.1:9")

    assert gathering._mlflow(settings, "0" * 32, cautions) is None
    assert [each.startswith("MLflow was not asked: ") for each in cautions] == [True]


def test_show_prints_one_json_object_or_a_page_of_words(shop) -> None:
    told = json.loads(run("audit", "show", "shop:2", "--json").stdout)
    words = run("audit", "show", "shop:2", "--no-mlflow")

    assert (told["version"], told["recorded"]["actor"]) == ("2", "ana")
    assert words.exit_code == 0
    for said in ("champion with policy 2", "shop.parquet", "8 in quarantine", "2 decisions with"):
        assert said in " ".join(words.stdout.split())


def test_a_lineage_of_a_later_release_is_one_line(shop, tmp_path) -> None:
    from flows.provenance import gathering

    class Store:
        """Keeps a file that this build cannot read."""

        def kept(self, *_: str) -> Path:
            file = tmp_path / "lineage.json"
            file.write_text('{"format": 99}')
            return file

    with pytest.raises(InputError, match="cannot be read by this build"):
        gathering.recorded_lineage(Store(), "shop", "2")  # type: ignore[arg-type]


def test_showing_appends_nothing_to_the_ledger(shop) -> None:
    before = len(Ledger(shop.settings.database).entries())

    lineage_of(shop.settings, "shop")

    assert len(Ledger(shop.settings.database).entries()) == before
