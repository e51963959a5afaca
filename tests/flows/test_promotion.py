"""What is live, who made it so, and the way back."""

import json
import shutil
import socket
from pathlib import Path

import pytest
from mlflow import MlflowClient

from flows.interrupted_changes import finish_interrupted_change
from flows.promotion import DONE, promote, registry_mirror
from infra.ledger import Ledger
from infra.settings import Settings
from infra.tracking import open_tracking
from serving.live import CHALLENGER, CHAMPION
from serving.model_references import ResolvedModel
from serving.model_store import ModelStore

pytestmark = pytest.mark.xdist_group("trained")


@pytest.fixture(scope="module")
def two_versions(train, trained, tmp_path_factory) -> Path:
    """A copy of the state folder in which the same name was trained once more."""
    home = tmp_path_factory.mktemp("two") / "home"
    shutil.copytree(trained.home, home)
    again = train(home, trained.stream, "--name", "stream", "--seed", "1")
    assert again.code == 0, again.err
    assert (again.json["version"], again.json["champion"]) == ("2", False)
    return home


@pytest.fixture
def home(two_versions, tmp_path) -> Path:
    return Path(shutil.copytree(two_versions, tmp_path / "home"))


def test_the_first_version_of_a_name_is_champion_and_challenger(trained) -> None:
    assert (trained.answer["version"], trained.answer["champion"]) == ("1", True)
    for reference in ("stream", "stream@champion", "stream@challenger", "stream:1"):
        assert trained.store.resolve(reference) == ResolvedModel("stream", "1", "1")


def test_the_second_waits_as_challenger(two_versions) -> None:
    store = ModelStore(two_versions)

    assert store.resolve("stream@champion").model_version == "1"
    assert store.resolve("stream@challenger") == ResolvedModel("stream", "2", "2")
    assert store.versions("stream") == ["1", "2"]


def test_promotion_and_rollback_are_told_in_the_ledger(whitecrow, home) -> None:
    store = ModelStore(home)

    promoted = whitecrow(
        home, "promote", "stream@challenger", "--reason", "better", "--actor", "bo", "--json"
    )
    assert promoted.json | {"ledger_sequence": 0} == {
        "name": "stream", "before": "1", "before_policy_version": "1", "version": "2",
        "policy_version": "2", "ledger_sequence": 0,
    }  # fmt: skip
    assert store.resolve("stream").model_version == "2"
    assert store.live.get("stream", alias=CHALLENGER) is None

    rolled_back = whitecrow(home, "rollback", "stream", "--reason", "worse", "--actor", "cy")
    assert rolled_back.code == 0
    assert store.resolve("stream") == ResolvedModel("stream", "1", "1")

    ledger = Ledger(home / "whitecrow.db")
    told = [(entry.event, entry.actor, entry.reason) for entry in ledger.entries("stream")]
    assert told[-4:] == [
        ("promoted.intent", "bo", "better"),
        ("promoted.done", "bo", "better"),
        ("rolled_back.intent", "cy", "worse"),
        ("rolled_back.done", "cy", "worse"),
    ]
    assert ledger.verify() == len(ledger.entries())
    live = store.live.get("stream")
    assert live is not None
    assert ledger.entries()[live.ledger_sequence - 1].event == "rolled_back.intent"


def test_registration_comes_before_promotion_in_the_ledger(two_versions) -> None:
    events = [entry.event for entry in Ledger(two_versions / "whitecrow.db").entries("stream")]

    assert [event for event in events if event != "test_rows.read"] == [
        "registered", "promoted.intent", "promoted.done", "registered",
    ]  # fmt: skip


def test_the_registry_mirrors_what_is_live(whitecrow, home) -> None:
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}", f"sqlite:///{home / 'mlflow.db'}")
    waits = client.get_model_version_by_alias("stream", CHALLENGER).version

    whitecrow(home, "promote", "stream:2", "--reason", "better")

    assert waits in (2, "2")
    assert client.get_model_version_by_alias("stream", CHAMPION).version in (2, "2")
    assert CHALLENGER not in client.get_registered_model("stream").aliases


def _told(home: Path) -> tuple[str, dict[str, str], dict[str, dict[str, str]]]:
    """The model's description, and by version its description and its tags, as MLflow has them."""
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}", f"sqlite:///{home / 'mlflow.db'}")
    versions = {number: client.get_model_version("stream", number) for number in ("1", "2")}
    return (
        client.get_registered_model("stream").description,
        {number: found.description for number, found in versions.items()},
        {number: dict(found.tags) for number, found in versions.items()},
    )


def test_descriptions_say_what_is_so_after_promotion_and_rollback(whitecrow, home) -> None:
    assert "Version 2 with policy 2 waits as challenger." in _told(home)[0]

    whitecrow(home, "promote", "stream:2", "--reason", "better", "--actor", "bo")
    model, versions, tags = _told(home)

    assert "**Version 2 with policy 2 answers** since" in model
    assert "by bo: better" in model
    assert "It answers requests, with policy 2." in versions["2"]
    assert "It answered requests once and does so no more." in versions["1"]
    assert "| average_precision |" in versions["2"]
    assert "stream.parquet" in versions["2"]
    assert (tags["1"]["whitecrow.standing"], tags["2"]["whitecrow.standing"]) == (
        "was champion", "champion",
    )  # fmt: skip

    whitecrow(home, "rollback", "stream", "--reason", "worse", "--actor", "cy")
    model, versions, _ = _told(home)

    assert "**Version 1 with policy 1 answers** since" in model
    assert "by cy: worse" in model
    assert "It answered requests once" in versions["2"]


def test_each_entry_that_names_a_version_is_a_tag_of_it_and_in_its_runs_artifact(
    whitecrow, home, tmp_path
) -> None:
    whitecrow(home, "promote", "stream:2", "--reason", "better", "--actor", "bo")
    whitecrow(home, "rollback", "stream", "--reason", "worse", "--actor", "cy")
    _, _, tags = _told(home)
    second = {name: said for name, said in tags["2"].items() if "whitecrow.ledger." in name}
    run = ModelStore(home).bundle("stream", "2").manifest.mlflow_run_id
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}", f"sqlite:///{home / 'mlflow.db'}")
    file = client.download_artifacts(run or "", "ledger/stream-2.json", str(tmp_path))

    assert [said.split(": ", 1)[1] for said in list(second.values())[-4:]] == [
        "promoted.intent: version 2 with policy 2, was version 1 with policy 1 (better)",
        "promoted.done (better)",
        "rolled back.intent: version 1 with policy 1, was version 2 with policy 2 (worse)",
        "rolled back.done (worse)",
    ]
    events = json.loads(Path(file).read_text())
    assert [each["sequence"] for each in events] == [int(name[-8:]) for name in sorted(second)]


def test_descriptions_that_cannot_be_written_undo_nothing(whitecrow, home, monkeypatch) -> None:
    def refused(*_: object) -> None:
        raise OSError("the registry takes no words")

    monkeypatch.setattr("infra.tracking_registry.Registry.describe_version", refused)

    done = whitecrow(home, "promote", "stream:2", "--reason", "better")

    assert done.code == 0
    assert "MLflow's descriptions are not up to date" in done.err
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}", f"sqlite:///{home / 'mlflow.db'}")
    assert str(client.get_model_version_by_alias("stream", CHAMPION).version) == "2"


def test_a_rollback_without_history_is_one_line(whitecrow, trained) -> None:
    done = whitecrow(trained.home, "rollback", "stream", "--reason", "worse")

    assert (done.code, done.out) == (2, "")
    assert done.error.startswith("'stream' has no earlier live version")
    assert trained.store.resolve("stream").model_version == "1"


@pytest.mark.parametrize("reference", ["nope", "stream:9", "stream@latest", "no such name"])
def test_an_unknown_reference_is_one_line(whitecrow, trained, reference) -> None:
    done = whitecrow(trained.home, "promote", reference, "--reason", "x", "--json")

    assert done.code == 2
    assert done.json == {"error": {"message": done.error}}


def test_what_is_live_already_is_not_promoted_again(whitecrow, home) -> None:
    before = len(Ledger(home / "whitecrow.db").entries())

    done = whitecrow(home, "promote", "stream", "--reason", "again")

    assert done.code == 2
    assert "version 1 with policy 1 is live already" in done.error
    assert "there are: 1, 2" in done.error
    assert len(Ledger(home / "whitecrow.db").entries()) == before


class _Killed(BaseException):
    """Stands for a process that ends between two lines."""


def _reigns(home: Path) -> list[tuple[str | None, str | None]]:
    """Since when and until when each version was champion, as MLflow has it."""
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}", f"sqlite:///{home / 'mlflow.db'}")
    tags = [client.get_model_version("stream", version).tags for version in ("1", "2")]
    return [
        (each.get("whitecrow.champion_from"), each.get("whitecrow.champion_until")) for each in tags
    ]


@pytest.mark.parametrize("died", ["before the ledger's end", "before the registry's copy"])
def test_a_change_that_died_half_way_is_told_to_ledger_and_registry(
    home, monkeypatch, died
) -> None:
    settings = Settings(home=home)
    append = Ledger.append

    def killed(ledger: Ledger, event: str, *subject: str, **told: object) -> object:
        if event.endswith(DONE) and died == "before the ledger's end":
            raise _Killed
        return append(ledger, event, *subject, **told)

    def not_mirrored(_: object) -> None:
        raise _Killed

    monkeypatch.setattr(Ledger, "append", killed)
    with pytest.raises(_Killed):
        promote(settings, "stream:2", actor="bo", reason="better", mirror=not_mirrored)
    monkeypatch.undo()
    mirror = registry_mirror(open_tracking(settings), settings)
    assert finish_interrupted_change(settings, "stream", mirror) is died.endswith("ledger's end")

    (_, until), (since, ends) = first = _reigns(home)
    assert until == since is not None
    assert ends is None
    assert finish_interrupted_change(settings, "stream", mirror) is False
    assert _reigns(home) == first
    told = [(e.event, e.actor, e.reason) for e in Ledger(settings.database).entries("stream")]
    assert told[-2:] == [
        ("promoted.intent", "bo", "better"),
        ("promoted.done", "bo", "better"),
    ]
    client = open_tracking(settings).client
    assert str(client.get_model_version_by_alias("stream", CHAMPION).version) == "2"
    assert CHALLENGER not in client.get_registered_model("stream").aliases
    assert ModelStore(home).live.get("stream", alias=CHALLENGER) is None


def test_without_mlflow_a_promotion_stands_and_one_line_says_what_is_missing(
    whitecrow, home, monkeypatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("WHITECROW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    done = whitecrow(home, "promote", "stream:2", "--reason", "better", "--json")

    assert (done.code, done.json["version"]) == (0, "2")
    (line,) = done.err.splitlines()
    assert "registry alias not set; the live record stands" in line
    assert f"MLflow at {uri} does not answer: Connection refused." in line
    assert ModelStore(home).resolve("stream").model_version == "2"
