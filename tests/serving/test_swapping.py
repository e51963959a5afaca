"""Changes of what is live, taken over by a service that goes on answering."""

import asyncio
import gc
import logging
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.signing import SigningKey
from serving.http import ScoringApp
from serving.live import LiveRecord
from serving.model_references import ResolvedModel
from serving.model_store import ModelStore
from serving.served_models import ModelSource
from serving.swapping import ModelSwapper, freeze_garbage_collection


class Service:
    """The application and its swapper, without a server and without a clock."""

    def __init__(self, home: Path, references: tuple[str, ...] = ()) -> None:
        self.store = ModelStore(home)
        self.app = ScoringApp()
        source = ModelSource(home, references)
        self.app.serve(source.load_all())
        self.tally = self.app.recorder.tally
        self.swapper = ModelSwapper(self.app, source, self.tally)

    def promote(self, version: str, policy_version: str, *, name: str = "shop") -> None:
        record = LiveRecord(version, policy_version, 1)
        self.store.live.compare_and_swap(name, self.store.live.get(name), record)
        self.swapper.look()

    def ask(self, method: str, path: str, **request: Any) -> Any:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)  # type: ignore[arg-type]
            async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
                return await client.request(method, path, **request)

        return asyncio.run(send()).json()

    def versions(self, row: dict[str, Any]) -> tuple[str, str]:
        model = self.ask("POST", "/v1/score", json=row)["model"]
        return model["version"], model["policy_version"]

    def described(self) -> dict[str, Any]:
        described: dict[str, Any] = self.ask("GET", "/v1/model")
        return described


@pytest.fixture
def home(new_home, tmp_path: Path) -> Path:
    """A state folder with three versions of the shop, the first one live."""
    new_home(tmp_path)
    for version, intercept in (("2", 0.0), ("3", 1.0)):
        new_home(tmp_path, version=version, intercept=intercept, live=False)
    return tmp_path


@pytest.fixture
def service(home: Path) -> Service:
    return Service(home)


def test_a_new_version_answers_without_a_restart(service: Service, shop_row) -> None:
    before = service.versions(shop_row())
    service.promote("2", "2")

    assert before == ("1", "1")
    assert service.versions(shop_row()) == ("2", "2")
    assert service.tally.model_changes == {("shop", "swapped"): 1}


def test_the_pages_follow(service: Service) -> None:
    def example() -> float:
        operation = service.ask("GET", "/openapi.json")["paths"]["/v1/score"]["post"]
        content = operation["responses"]["200"]["content"]["application/json"]
        return float(content["example"]["risk_score"])

    before = example()
    service.promote("3", "3")

    assert example() > before
    assert service.described()["version"] == "3"


def test_a_policy_alone_swaps_on_the_same_network(service: Service, new_policy, shop_row) -> None:
    scorer = service.app.models.get("shop").scorer
    strict = new_policy(scorer.bundle.model_sha256, scorer.bundle.golden.logits, review=0.001)
    version = service.store.add_policy("shop", strict)

    service.promote("1", version)

    swapped = service.app.models.get("shop").scorer
    assert service.ask("POST", "/v1/score", json=shop_row())["decision"] == "review"
    assert service.versions(shop_row()) == ("1", version)
    assert swapped.model is scorer.model


def _damage_network(home: Path) -> None:
    (home / "models/shop/2/model.onnx").write_bytes(b"no network")


def _lose_golden_rows(home: Path) -> None:
    (home / "models/shop/2/golden.parquet").unlink()


def _lose_policy(home: Path) -> None:
    (home / "policies/shop/2.json").unlink()


def _damage_policy(home: Path) -> None:
    path = home / "policies/shop/2.json"
    path.write_text(path.read_text().replace("tests", "texts"))


def _trust_a_key(home: Path) -> None:
    SigningKey.generate().write_public(home / "keys")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (_damage_network, "model.onnx is not as it was written"),
        (_lose_golden_rows, "no readable golden.parquet"),
        (_lose_policy, "no policy 2"),
        (_damage_policy, "policy"),
        (_trust_a_key, "not signed"),
    ],
)
def test_what_does_not_verify_leaves_the_old_one_serving_and_says_why(
    service: Service, home: Path, shop_row, caplog, *, damage: Callable[[Path], None], why: str
) -> None:
    damage(home)
    service.promote("2", "2")
    for _ in range(3):
        service.swapper.look()

    described = service.described()
    failed = described["failed"]
    assert service.versions(shop_row()) == ("1", "1")
    assert (described["state"], described["version"]) == ("serving", "1")
    assert (failed["version"], failed["policy_version"]) == ("2", "2")
    assert why.lower() in failed["why"].lower()
    assert service.tally.failed_models == {"shop"}
    assert service.tally.model_changes == {("shop", "failed"): 1}
    lines = [each for each in caplog.records if "cannot be served" in each.message]
    assert [(each.levelno, each.version) for each in lines] == [(logging.ERROR, "2")]


def test_another_networks_policy_is_refused(service: Service, shop_row) -> None:
    service.promote("2", "3")

    assert service.versions(shop_row()) == ("1", "1")
    assert "failed" in service.described()


def test_it_is_tried_again_when_a_file_changes(service: Service, home: Path, shop_row) -> None:
    whole = (home / "models/shop/2/model.onnx").read_bytes()
    _damage_network(home)
    service.promote("2", "2")
    failed = service.described()["failed"]

    (home / "models/shop/2/model.onnx").write_bytes(whole)
    service.swapper.look()

    assert failed["version"] == "2"
    assert service.versions(shop_row()) == ("2", "2")
    assert "failed" not in service.described()
    assert service.tally.failed_models == frozenset()


def test_it_is_forgotten_when_the_old_one_is_live_again(service: Service, home: Path) -> None:
    _damage_network(home)
    service.promote("2", "2")
    service.promote("1", "1")

    assert "failed" not in service.described()
    assert service.tally.failed_models == frozenset()


def test_an_explicit_version_stays(home: Path, shop_row) -> None:
    service = Service(home, ("shop:1",))
    service.promote("2", "2")

    assert service.versions(shop_row()) == ("1", "1")


def test_only_the_names_asked_for_are_served(home: Path, new_home, shop_contract) -> None:
    service = Service(home, ("shop",))
    new_home(home, contract=shop_contract | {"name": "outlet"})
    service.swapper.look()

    assert list(service.app.models.by_name) == ["shop"]


def test_a_new_champion_is_picked_up_and_the_default_stays(
    service: Service, home: Path, new_home, shop_contract, shop_row
) -> None:
    new_home(home, contract=shop_contract | {"name": "outlet"}, intercept=0.0)
    service.swapper.look()

    assert service.versions(shop_row()) == ("1", "1")
    named = service.ask("POST", "/v1/models/outlet/score", json=shop_row())
    assert named["model"]["name"] == "outlet"
    assert [each["default"] for each in service.ask("GET", "/v1/models")["models"]] == [True, False]


def test_a_new_champion_that_does_not_verify_is_listed_as_waiting(
    service: Service, home: Path, new_home, shop_contract
) -> None:
    new_home(home, contract=shop_contract | {"name": "outlet"})
    (home / "models/outlet/1/model.onnx").write_bytes(b"no network")
    service.swapper.look()

    shop, outlet = service.ask("GET", "/v1/models")["models"]
    assert (shop["name"], shop["state"]) == ("shop", "serving")
    assert (outlet["name"], outlet["state"]) == ("outlet", "waiting")
    assert "model.onnx" in outlet["failed"]["why"]


def test_a_record_that_is_gone_changes_nothing(service: Service, shop_row) -> None:
    service.store.live.compare_and_swap("shop", service.store.live.get("shop"), None)
    service.swapper.look()

    assert service.versions(shop_row()) == ("1", "1")


def test_a_model_is_let_go_after_its_last_request(service: Service, shop_row) -> None:
    old = service.app.models.get("shop")
    network = weakref.ref(old.scorer.model)
    assert old.users.take()
    service.promote("2", "2")
    waiting = service.swapper.n_retired
    late = old.answer_rows([shop_row()])[0]

    old.users.give_back()
    del old
    gc.disable()
    try:
        service.swapper.look()
        freed = network() is None
    finally:
        gc.enable()

    assert (waiting, late.model.version) == (1, "1")
    assert service.swapper.n_retired == 0
    assert freed, "by counting references alone: a full collection would stop the service"


def test_what_was_replaced_is_let_go_at_the_end(new_home, corner_contract, tmp_path: Path) -> None:
    new_home(tmp_path, contract=corner_contract)
    new_home(tmp_path, contract=corner_contract, version="2", live=False)
    service = Service(tmp_path)
    old = service.app.models.get("corner")
    link = old.path.link
    assert old.users.take()
    service.promote("2", "2", name="corner")

    service.swapper.close()
    service.app.close()

    assert service.swapper.n_retired == 0
    with pytest.raises(Exception, match="closed"):
        link.ask(lambda state: state.newest())


def test_what_is_being_loaded_is_said(service: Service) -> None:
    changes = service.app.models.changes
    changes.begin(ResolvedModel("shop", "2", "3"))
    loading = service.described()["loading"]
    changes.end("shop")

    assert (loading["version"], loading["policy_version"]) == ("2", "3")
    assert "loading" not in service.described()


def test_models_of_one_feature_set_share_their_online_state(
    new_home, corner_contract, shop_row, tmp_path: Path
) -> None:
    new_home(tmp_path, contract=corner_contract)
    new_home(tmp_path, contract=corner_contract, version="2", intercept=0.0, live=False)
    service = Service(tmp_path)
    link = service.app.models.get("corner").path.link
    service.ask("POST", "/v1/score", json=shop_row(ORDER_ID=1))

    service.promote("2", "2", name="corner")
    row = shop_row(ORDER_ID=2, PLACED_AT="2026-03-01T13:00:00Z", AMOUNT=0.0)
    answer = service.ask("POST", "/v1/score", json=row)

    assert service.app.models.get("corner").path.link is link
    # 0 - 0.002 * 500 + 0.5 + 0.5 * 1 + 0.001 * 100, the first row being its past
    assert answer["risk_score"] == pytest.approx(1 / (1 + 2.718281828459045**-0.1), abs=1e-5)
    assert answer["model"]["version"] == "2"


def test_another_feature_set_has_a_state_of_its_own(
    new_home, corner_contract, shop_row, tmp_path: Path
) -> None:
    new_home(tmp_path, contract=corner_contract)
    blocks = [{"entity": "CUSTOMER", "windows": ["1d"], "aggregates": ["count"]}]
    new_home(tmp_path, contract=corner_contract | {"velocity": blocks}, version="2", live=False)
    service = Service(tmp_path)
    link = service.app.models.get("corner").path.link

    service.promote("2", "2", name="corner")

    assert service.app.models.get("corner").path.link is not link
    assert service.ask("POST", "/v1/score", json=shop_row())["model"]["version"] == "2"
    assert len(list((tmp_path / "state").glob("corner-*.db"))) == 2


def test_swaps_leave_nothing_behind_for_the_garbage_collector(service: Service) -> None:
    frozen = []
    try:
        freeze_garbage_collection()
        for turn in range(12):
            version = "2" if turn % 2 else "3"
            service.promote(version, version)
            frozen.append(gc.get_freeze_count())
    finally:
        gc.unfreeze()

    assert frozen[-1] - frozen[3] < 2_000, frozen


def test_records_that_cannot_be_read_are_an_error_of_one_look(
    service: Service, home: Path, shop_row
) -> None:
    whole = (home / "whitecrow.db").read_bytes()
    for name in ("whitecrow.db-wal", "whitecrow.db-shm"):
        (home / name).unlink(missing_ok=True)
    (home / "whitecrow.db").write_bytes(b"no database" * 1000)
    with pytest.raises(Exception, match="Cannot use the state"):
        service.swapper.look()
    (home / "whitecrow.db").write_bytes(whole)
    service.swapper.look()

    assert service.versions(shop_row()) == ("1", "1")
