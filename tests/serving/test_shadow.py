"""Challengers that score what their champion answers, and never reach an answer."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.database import StateUnavailable
from serving.challengers import Challengers
from serving.http import ScoringApp
from serving.live import CHALLENGER, LiveRecord
from serving.served_models import ModelSource
from serving.shadow import ShadowDecision, ShadowRow, ShadowScoring, why_not_shadowed
from serving.shadow_log import PostgresShadowLog, SqliteShadowLog, open_shadow_log
from serving.verification import load_scorer


class Kept:
    """A log in memory that can be told to hang or to fail."""

    def __init__(self) -> None:
        self.decisions: list[ShadowDecision] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.fails = False

    def record(self, decisions: Sequence[ShadowDecision]) -> None:
        self.go_on.wait(30)
        if self.fails:
            raise StateUnavailable("the disk is full")
        self.decisions.extend(decisions)

    def close(self) -> None:
        pass


class Service:
    """The application with its challengers, without a server and without a clock."""

    def __init__(self, home: Path, **options: Any) -> None:
        self.app = ScoringApp()
        source = ModelSource(home)
        self.app.serve(source.load_all())
        self.tally = self.app.recorder.tally
        self.log = Kept()
        self.scoring = ShadowScoring(self.log, self.tally, **options)
        self.challengers = Challengers(self.app, source, self.scoring)
        self._store = source.store

    def challenge(self, name: str, version: str | None, policy_version: str = "") -> None:
        before = self._store.live.get(name, alias=CHALLENGER)
        after = LiveRecord(version, policy_version, 1) if version else None
        self._store.live.compare_and_swap(name, before, after, alias=CHALLENGER)
        self.challengers.look()

    def answer(self, row: dict[str, Any], name: str = "shop") -> Any:
        return self.app.models.get(name).answer_rows([row])[0]

    def described(self, name: str = "shop") -> dict[str, Any] | None:
        models = self.app.models
        challenger: dict[str, Any] | None = models.describe(models.get(name)).get("challenger")
        return challenger

    def rows(self, outcome: str, name: str = "shop") -> int:
        return self.tally.shadow_rows[name, outcome]


@pytest.fixture
def new_service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    made: list[Service] = []

    def make(**options: Any) -> Service:
        made.append(Service(tmp_path, **options))
        return made[-1]

    yield make
    for service in made:
        service.log.go_on.set()
        service.scoring.close()
        service.app.close()


@pytest.fixture
def new_challenged(new_home, new_service, tmp_path: Path) -> Callable[..., Service]:
    """Makes services whose shop has a challenger of another version."""

    def make(**options: Any) -> Service:
        new_home(tmp_path)
        new_home(tmp_path, version="2", intercept=1.0, live=False)
        service: Service = new_service(**options)
        service.challenge("shop", "2", "2")
        return service

    return make


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.01)


def test_a_challenger_scores_the_rows_of_its_champion(
    new_home, new_service, shop_row, tmp_path: Path
) -> None:
    new_home(tmp_path)
    new_home(tmp_path, version="2", intercept=1.0, live=False)
    service = new_service()
    service.answer(shop_row())
    service.challenge("shop", "2", "2")
    answers = [service.answer(shop_row(AMOUNT=amount)) for amount in (0.0, 100.0)]

    until(lambda: service.rows("scored") == 2)

    assert [answer.model.version for answer in answers] == ["1", "1"]
    assert service.described() == {"version": "2", "policy_version": "2", "state": "in the shadow"}
    # 1 + 0.01 AMOUNT - 0.002 * 500 + 0.5
    found = [(each.decision_id, each.logits[1] - each.logits[0]) for each in service.log.decisions]
    assert found == [
        (answers[0].decision_id, pytest.approx(0.5, abs=1e-5)),
        (answers[1].decision_id, pytest.approx(1.5, abs=1e-5)),
    ]
    assert [each.decision for each in service.log.decisions] == ["review", "decline"]
    assert {(each.model, each.model_version, each.policy_version)
            for each in service.log.decisions} == {("shop", "2", "2")}  # fmt: skip


def test_it_sees_the_past_that_the_champion_read(
    new_home, new_service, corner_contract, shop_row, tmp_path: Path
) -> None:
    new_home(tmp_path, contract=corner_contract)
    new_home(tmp_path, contract=corner_contract, version="2", intercept=0.0, live=False)
    service = new_service()
    service.challenge("corner", "2", "2")
    rows = [shop_row(ORDER_ID=at, PLACED_AT=f"2026-03-01T1{at}:00:00Z") for at in (2, 3)]
    champion = [service.answer(row, "corner").risk_score for row in rows]

    until(lambda: service.rows("scored", "corner") == 2)

    log_odds = [each.logits[1] - each.logits[0] for each in service.log.decisions]
    # The second row looks back at the first: 0.5 for one order and 0.001 * 100 for its amount.
    assert log_odds == pytest.approx([0.5, 1.1], abs=1e-5)
    expected = [np.log(score / (1 - score)) + 2 for score in champion]
    assert log_odds == pytest.approx(expected, abs=1e-5)


def test_one_with_other_features_over_time_says_why_it_cannot(
    new_home, new_service, corner_contract, shop_row, *, caplog, tmp_path: Path
) -> None:
    blocks = [{"entity": "CUSTOMER", "windows": ["1d"], "aggregates": ["count"]}]
    new_home(tmp_path, contract=corner_contract)
    new_home(tmp_path, contract=corner_contract | {"velocity": blocks}, version="2", live=False)
    service = new_service()
    for _ in range(2):
        service.challenge("corner", "2", "2")
    service.answer(shop_row(), "corner")

    described = service.described("corner")
    assert described is not None
    assert (described["version"], described["state"]) == ("2", "not shadowed")
    assert "features over time" in described["why"]
    assert len([each for each in caplog.records if "cannot be shadowed" in each.message]) == 1


def test_one_that_does_not_verify_says_why(new_home, new_service, shop_row, tmp_path: Path) -> None:
    new_home(tmp_path)
    new_home(tmp_path, version="2", live=False)
    (tmp_path / "models/shop/2/model.onnx").write_bytes(b"no network")
    service = new_service()
    service.challenge("shop", "2", "2")

    described = service.described()
    assert described is not None
    assert "model.onnx" in described["why"]
    assert service.answer(shop_row()).decision == "approve"


def test_one_that_is_withdrawn_leaves_the_shadow(new_challenged, shop_row) -> None:
    service = new_challenged()
    there = service.app.models.get("shop").shadow
    service.challenge("shop", None)

    assert there is not None
    assert service.app.models.get("shop").shadow is None
    assert service.described() is None


def test_a_champion_that_is_its_own_challenger_has_no_shadow(
    new_home, new_service, shop_row, tmp_path: Path
) -> None:
    new_home(tmp_path)
    service = new_service()

    service.challenge("shop", "1", "1")
    service.answer(shop_row())

    assert service.described() is None
    service.scoring.close()
    assert service.rows("scored") == 0


def test_rows_that_do_not_fit_are_dropped_and_counted(new_challenged, shop_row) -> None:
    service = new_challenged(most_waiting=3)
    service.log.go_on.clear()
    for _ in range(50):
        service.answer(shop_row())
    dropped = service.rows("dropped")
    service.log.go_on.set()

    until(lambda: service.rows("scored") + service.rows("dropped") == 50)
    assert dropped > 0


def test_a_log_that_fails_is_logged_once_and_answers_go_on(
    new_challenged, shop_row, caplog
) -> None:
    caplog.set_level(logging.INFO)
    service = new_challenged()
    service.log.fails = True
    for n_failed in (1, 2, 3):
        assert service.answer(shop_row()).decision == "approve"
        until(lambda n=n_failed: service.rows("failed") == n)
    service.log.fails = False
    service.answer(shop_row())

    until(lambda: service.rows("scored") == 1)
    messages = [each.message for each in caplog.records if "shadow scoring" in each.message]
    assert messages == ["shadow scoring failed; answers are not affected",
                        "shadow scoring works again"]  # fmt: skip


def test_what_waits_is_scored_before_the_end(new_challenged, shop_row) -> None:
    service = new_challenged()
    for _ in range(20):
        service.answer(shop_row())
    service.scoring.close()
    service.answer(shop_row())

    assert (service.rows("scored"), service.rows("dropped")) == (20, 1)


def test_a_row_that_overflows_fails_alone(store, scorer, shop_row) -> None:
    log = Kept()
    tally = ScoringApp().recorder.tally
    scoring = ShadowScoring(log, tally)
    typed = scorer.read_rows([shop_row(), shop_row(DISTANCE=3.4e38), shop_row()])
    scoring.offer(scorer, [ShadowRow(str(at), row) for at, row in enumerate(typed)])
    scoring.close()

    assert [each.decision_id for each in log.decisions] in (["0", "2"], ["0", "1", "2"])
    assert sum(tally.shadow_rows.values()) == 3


def test_why_not_names_the_field(new_home, shop_contract, tmp_path: Path) -> None:
    store = new_home(tmp_path)
    columns = dict(shop_contract["columns"])
    smaller = columns | {"categorical": ["COUNTRY"], "optional": ["DISTANCE"], "drop": ["DEVICE"]}
    expectations = {k: v for k, v in shop_contract["expectations"].items() if k != "DEVICE"}
    other = {"name": "small", "columns": smaller, "expectations": expectations}
    new_home(tmp_path, contract=shop_contract | other)
    shop, small = (load_scorer(store, name) for name in ("shop", "small"))

    assert why_not_shadowed(small, shop) == "the champion's requests have no DEVICE"
    assert why_not_shadowed(shop, small) is None


DECISION = ShadowDecision(
    "d1", "shop", "2", "3", (-0.5, 0.5), 0.73, "review", 4_102_444_800_000_000
)
OLD = ShadowDecision("d0", "shop", "2", "3", (-0.5, 0.5), 0.73, "review", 1)


def test_the_file_keeps_each_decision_once_and_not_for_ever(tmp_path: Path) -> None:
    for _ in range(2):
        log = open_shadow_log(tmp_path / "shadow.db", str(tmp_path / "decisions.db"))
        log.record([DECISION, OLD])
        log.close()
    log = SqliteShadowLog(tmp_path / "shadow.db")
    log.record([DECISION])
    log.close()

    with sqlite3.connect(tmp_path / "shadow.db") as connection:
        rows = connection.execute("SELECT decision_id, logits, decision FROM shadow_decisions")
        assert rows.fetchall() == [("d1", "[-0.5, 0.5]", "review")]
    connection.close()


def test_a_file_that_is_no_database_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "shadow.db").write_bytes(b"no database" * 100)
    log = SqliteShadowLog(tmp_path / "shadow.db")

    with pytest.raises(StateUnavailable):
        log.record([DECISION])


def test_postgresql_keeps_each_decision_once(postgresql: str) -> None:
    import psycopg

    schema = f"shadow_{time.time_ns()}"
    with psycopg.connect(postgresql, autocommit=True) as admin:
        admin.execute(f"CREATE SCHEMA {schema}".encode())
        try:
            uri = f"{postgresql}?options=-csearch_path%3D{schema}"
            log = open_shadow_log(Path("unused"), uri)
            assert isinstance(log, PostgresShadowLog)
            for _ in range(2):
                log.record([DECISION])
            log.close()
            query = f"SELECT decision_id, risk_score FROM {schema}.shadow_decisions"
            assert admin.execute(query.encode()).fetchall() == [("d1", 0.73)]
        finally:
            admin.execute(f"DROP SCHEMA {schema} CASCADE".encode())


def test_a_postgresql_that_does_not_answer_is_one_error() -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    log = PostgresShadowLog("postgresql://nobody@127.0.0.1:1/nothing")

    with pytest.raises(StateUnavailable, match="Cannot write shadow decisions"):
        log.record([DECISION])
