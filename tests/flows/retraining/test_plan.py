"""What is left out is the champion's, and what makes a retraining the same as another one."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from features.contract import shipped_contracts
from flows.moments import RequestError
from flows.retraining.plan import RetrainPlan, plan_retraining
from flows.retraining.request import RetrainRequest, retrain_request
from flows.run_config import RunConfig

pytestmark = pytest.mark.xdist_group("trained")


@pytest.fixture
def plan(trained):
    def planned(**values: Any) -> RetrainPlan:
        request = RetrainRequest(**{"name": "stream", "actor": "ana", **values})
        return plan_retraining(trained.settings, request)

    return planned


def test_what_is_left_out_is_the_champions(plan, trained) -> None:
    manifest = trained.store.bundle("stream", "1").manifest

    found = plan()

    assert found.data == (str(trained.stream),)
    assert found.contract == manifest.contract
    assert found.config == RunConfig.model_validate(manifest.training["config"])
    assert (found.champion, found.as_of, found.picks_rows) == ("1", None, False)


def test_knowledge_ends_with_the_window_unless_another_moment_is_named(plan) -> None:
    window = {"since": "2025-02-01", "until": "2025-03-01"}

    assert str(plan(**window).as_of) == "2025-03-01 00:00:00+00:00"
    assert str(plan(**window, as_of="2025-04-01").as_of) == "2025-04-01 00:00:00+00:00"
    assert plan(**window).picks_rows


def test_a_seed_alone_leaves_the_champions_configuration(plan) -> None:
    assert plan(seed=7).config == plan().config.model_copy(update={"seed": 7})


WINDOW = {"since": "2025-02-01", "until": "2025-03-01"}


def test_who_asks_and_why_and_how_often_make_no_difference(plan) -> None:
    one = plan(**WINDOW)
    other = plan(**WINDOW, actor="bo", reason="another", again=True, device="cpu")
    same_moment = plan(since="2025-02-01T01:00:00+01:00", until="2025-03-01")

    assert one.key == other.key == same_moment.key


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 7},
        {"since": "2025-02-02"},
        {"until": "2025-03-02"},
        {"as_of": "2025-04-01"},
        {"config": RunConfig(few_positives=11)},
        {"data": ("a.parquet",)},
        {"contract": "card_stream"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_all_that_shapes_the_model_makes_another_retraining(plan, change) -> None:
    assert plan(**WINDOW).key != plan(**{**WINDOW, **change}).key


def test_a_window_without_an_end_is_told_by_the_tables_content(
    plan, trained, frame, tmp_path
) -> None:
    grown = tmp_path / "grown.parquet"
    shutil.copy(trained.stream, grown)
    asked = {"data": (str(grown),), "since": "2025-02-01"}
    open_before, closed_before = plan(**asked), plan(**asked, until="2025-03-01")
    frame.head(19_000).write_parquet(grown)

    assert plan(**asked).key != open_before.key
    assert plan(**asked, until="2025-03-01").key == closed_before.key


def test_the_policys_settings_make_no_difference(plan, tmp_path) -> None:
    import features

    text = (Path(features.__file__).parent / "contracts" / "simulated_stream.toml").read_text()
    assert "alerts_per_day = 25" in text
    assert "simulated_stream" in shipped_contracts()
    (tmp_path / "more.toml").write_text(text.replace("alerts_per_day = 25", "alerts_per_day = 50"))
    asked = {**WINDOW, "contract": "simulated_stream"}

    assert plan(**asked).key == plan(**{**asked, "contract": str(tmp_path / "more.toml")}).key


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"since": "2025-03-01", "until": "2025-03-01"}, "--from, --to"),
        ({"name": "No Name"}, "NAME"),
        ({"device": "tpu"}, "--device"),
        ({"seed": -1}, "--seed"),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused(values, named) -> None:
    with pytest.raises(RequestError, match=named):
        retrain_request(**{"name": "stream", "actor": "ana", **values})
