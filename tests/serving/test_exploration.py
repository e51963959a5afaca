"""A few declined rows are let through: as many as asked for, always the same, and no others."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from balancing.calibration.policy import PolicyMismatch
from features.online.state import StateUnreachable
from flows.alerts import list_alerts
from infra.settings import Settings
from serving.alerts import decisions
from serving.answers import Answer, encode, encode_answer
from serving.decisions.opening import open_recording, open_store
from serving.decisions.sealing import LogSecret
from serving.exploration import FLAG, is_explored
from serving.forced_answers import ForcedAnswers
from serving.live import LiveRecord
from serving.metrics.tally import ServiceTally
from serving.model_store import ModelStore
from serving.online_path import OnlinePath
from serving.openapi import openapi_document
from serving.refusals import RequestRefused
from serving.request_context import RequestContext
from serving.request_trace import RequestTrace
from serving.served_model import ServedModel
from serving.served_models import ModelSource, ServedModels
from serving.state_link import StateLink
from serving.verification import load_scorer

SECRET, OTHER_SECRET = "5" * 64, "6" * 64
DECLINED, REVIEWED, APPROVED = {"AMOUNT": 900.0}, {"AMOUNT": 300.0}, {"AMOUNT": 10.0}
HALF = {"rate": 0.5}
RULES = """
[[deny]]
name = "stolen"
column = "CUSTOMER"
values = [1]
reason = "Reported stolen"
expires = 2999-01-31
[[cap]]
name = "pilot"
max_amount = 500
column = "CUSTOMER"
values = [2]
reason = "Limit of the pilot"
expires = 2999-01-31
"""

Serve = Callable[..., ServedModel]


@pytest.fixture
def serve(tmp_path: Path, new_home: Any, shop_contract: dict[str, Any]) -> Iterator[Serve]:
    """Serves a contract's model from a state folder, as one more process would."""
    opened: list[Any] = []

    def build(
        exploration: dict[str, Any] | None = None,
        *,
        home: str = "home",
        contract: dict[str, Any] = shop_contract,
        **settings: Any,
    ) -> ServedModel:
        asked = Settings(home=tmp_path / home, **{"log_secret": SECRET} | settings)
        if not (asked.root / "models" / contract["name"]).exists():
            new_home(asked.root, contract=contract, exploration=exploration)
        recording = open_recording(asked)
        models = ModelSource(asked.root, [contract["name"]], recording=recording).load_all()
        opened[:0] = [models, recording.log]
        return models.get(None)

    yield build
    for each in opened:
        each.close()


@pytest.fixture
def rows(shop_row: Any) -> Callable[..., list[dict[str, Any]]]:
    """Makes rows of the shop, each with an id and a customer of its own."""

    def build(n: int, *, first: int = 0, **changes: Any) -> list[dict[str, Any]]:
        numbers = range(first, first + n)
        return [shop_row(**{"ORDER_ID": at, "CUSTOMER": 100 + at} | changes) for at in numbers]

    return build


def answered(model: ServedModel, rows: Sequence[dict[str, Any]]) -> list[Answer]:
    found = model.answer_rows(rows)
    assert all(isinstance(answer, Answer) for answer in found), found
    return found  # type: ignore[return-value]


def ids_let_through(answers: Sequence[Answer]) -> list[str | None]:
    return [answer.id for answer in answers if is_explored(answer.flags)]


@pytest.mark.parametrize("contract", ["shop_contract", "corner_contract"])
def test_the_rate_is_what_was_asked_for(
    serve: Serve, rows: Any, request: pytest.FixtureRequest, contract: str
) -> None:
    model = serve({"rate": 0.1}, contract=request.getfixturevalue(contract))

    answers = answered(model, rows(1_000, **DECLINED))

    # 100 expected; the standard deviation is (1,000 * 0.1 * 0.9) ** 0.5, or 9.5.
    assert 60 <= len(ids_let_through(answers)) <= 140
    for answer in answers:
        if is_explored(answer.flags):
            assert (answer.decision, answer.flags, answer.reasons) == ("approve", (FLAG,), ())
        else:
            assert (answer.decision, answer.flags) == ("decline", ())
            assert answer.reasons
        assert answer.risk_score > 0.8


def test_draws_are_spread_evenly_and_independent_of_each_other() -> None:
    secret = LogSecret(bytes(32))
    contents = [number.to_bytes(16) for number in range(20_000)]

    draws = [secret.draw("a", content) for content in contents]
    others = [secret.draw("b", content) for content in contents]

    for tenth in range(10):
        # 2,000 expected in each; the standard deviation is 42.
        assert 1_800 < sum(tenth / 10 <= draw < (tenth + 1) / 10 for draw in draws) < 2_200
    both = sum(one < 0.1 and other < 0.1 for one, other in zip(draws, others, strict=True))
    assert 130 < both < 270, "200 expected"
    assert draws == [secret.draw("a", content) for content in contents]


def test_every_worker_and_every_start_lets_the_same_rows_through(serve: Serve, rows: Any) -> None:
    asked = rows(200, **DECLINED)

    one = ids_let_through(answered(serve(HALF, home="one"), asked))
    other = ids_let_through(answered(serve(HALF, home="other"), asked))
    foreign = ids_let_through(answered(serve(HALF, home="foreign", log_secret=OTHER_SECRET), asked))
    fewer = ids_let_through(answered(serve({"rate": 0.1}, home="fewer"), asked))

    assert one == other
    assert one != foreign, "nobody can foresee it without the secret"
    assert 0 < len(fewer) < len(one)
    assert set(fewer) <= set(one)


def test_a_secret_in_a_file_draws_alike_after_a_restart(serve: Serve, rows: Any) -> None:
    asked = rows(100, **DECLINED)
    one = serve(HALF, log_secret=None)
    again = serve(HALF, log_secret=None)

    first = answered(one, asked[:50]) + answered(again, asked[50:])
    other = answered(again, asked[:50]) + answered(one, asked[50:])

    assert 20 < len(ids_let_through(first)) < 80
    assert [encode_answer(answer) for answer in other] == [encode(answer) for answer in first]


def test_another_header_does_not_draw_again(
    serve: Serve, shop_contract: dict[str, Any], shop_row: Any
) -> None:
    columns = {name: role for name, role in shop_contract["columns"].items() if name != "id"}
    rules = {"AMOUNT": {"min": 0, "max": 10000}}
    unnamed = shop_contract | {
        "columns": columns | {"drop": ["ORDER_ID"]}, "expectations": rules,
    }  # fmt: skip
    model = serve(HALF, contract=unnamed)
    row = shop_row(ORDER_ID=..., **DECLINED)

    tried = [
        answer
        for number in range(10)
        for answer in model.answer_rows([row], RequestContext(idempotency_key=f"try {number}"))
    ]
    varied = answered(model, [row | {"AGE_DAYS": at} for at in range(30)])

    assert len({answer.decision_id for answer in tried}) == 10
    assert len({answer.decision for answer in tried}) == 1
    assert {answer.decision for answer in varied} == {"approve", "decline"}


def test_declined_rows_alone_are_let_through(serve: Serve, rows: Any) -> None:
    model = serve(HALF)

    reviewed = answered(model, rows(50, **REVIEWED))
    approved = answered(model, rows(50, first=50, **APPROVED))

    assert {(answer.decision, answer.flags) for answer in reviewed} == {("review", ())}
    assert {(answer.decision, answer.flags) for answer in approved} == {("approve", ())}


def test_never_above_the_amount_nor_without_one(serve: Serve, rows: Any) -> None:
    model = serve({"rate": 0.5, "max_amount": 700.0})
    risky = {"COUNTRY": "XX", "DISTANCE": 9.0}

    above = answered(model, rows(60, AMOUNT=700.01))
    at_most = answered(model, rows(60, first=100, AMOUNT=700.0))
    without = answered(model, rows(60, first=200, AMOUNT=None, **risky))
    unbound = answered(serve(HALF, home="unbound"), rows(60, first=200, AMOUNT=None, **risky))

    assert ids_let_through(above) == ids_let_through(without) == []
    assert {answer.decision for answer in (*above, *without)} == {"decline"}
    assert len(ids_let_through(at_most)) > 10
    assert len(ids_let_through(unbound)) > 10


def test_what_people_decide_and_broken_rules_stay_declined(
    serve: Serve, rows: Any, tmp_path: Path
) -> None:
    rules = tmp_path / "home" / "rules" / "shop.toml"
    rules.parent.mkdir(parents=True)
    rules.write_text(RULES)
    model = serve(HALF)

    denied = answered(model, rows(40, CUSTOMER=1, **APPROVED))
    declined_and_denied = answered(model, rows(40, first=50, CUSTOMER=1, **DECLINED))
    # The cap demands a review only, and the model declines: a flag would not name the rule.
    capped = answered(model, rows(40, first=100, CUSTOMER=2, **DECLINED))
    broken = answered(model, rows(40, first=200, AMOUNT=20_000.0))
    free = answered(model, rows(40, first=300, **DECLINED))

    assert {answer.decision for answer in (*denied, *declined_and_denied, *capped, *broken)} == {
        "decline"
    }
    assert {answer.flags for answer in capped} == {()}
    assert {answer.flags for answer in broken} == {("rule:AMOUNT.max",)}
    assert len(ids_let_through(free)) > 5


def test_a_repeated_row_gets_its_first_answer_whatever_the_policy_is_now(
    serve: Serve, rows: Any, tmp_path: Path, new_policy: Any
) -> None:
    asked = rows(40, **DECLINED)
    model = serve(HALF)
    first = answered(model, asked)

    bundle, store = model.scorer.bundle, ModelStore(tmp_path / "home")
    version = store.add_policy("shop", new_policy(bundle.model_sha256, bundle.golden.logits))
    store.live.compare_and_swap("shop", store.live.get("shop"), LiveRecord("1", version, 2))
    without = serve()
    again, later = answered(without, asked), answered(without, rows(40, first=100, **DECLINED))

    assert 5 < len(ids_let_through(first)) < 35
    assert [encode_answer(answer) for answer in again] == [encode(answer) for answer in first]
    assert without.scorer.policy_version == version
    assert ids_let_through(later) == []


def test_the_log_holds_the_answer_and_what_would_have_been_decided(
    serve: Serve, rows: Any, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path / "home", log_secret=SECRET)
    answers = answered(serve(HALF), rows(40, **DECLINED))

    with closing(open_store(settings)) as store:
        written = {each.stored.decision_id: each.to_json() for each in decisions(store)}
    alerts = list_alerts(settings)

    for answer in answers:
        record = written[answer.decision_id]
        assert (record["decision"], record["flags"]) == (answer.decision, answer.flags)
    assert {alert.id for alert in alerts} == {
        answer.id for answer in answers if not is_explored(answer.flags)
    }
    assert len(alerts) < 40


def test_a_row_let_through_is_part_of_the_past_where_declined_ones_are_not(
    serve: Serve, rows: Any, corner_contract: dict[str, Any]
) -> None:
    contract = corner_contract | {"policy": {"count_declined": False}}
    model = serve(HALF, contract=contract)
    tried = rows(20, **DECLINED)
    later = rows(20, PLACED_AT="2026-03-01T13:00:00Z", **APPROVED)
    later = [row | {"ORDER_ID": row["ORDER_ID"] + 500} for row in later]

    # In one batch: a row sees those before it.
    found = answered(model, [*tried, *later])
    first, after = found[:20], found[20:]

    scores = {
        is_explored(before.flags): answer.risk_score
        for before, answer in zip(first, after, strict=True)
    }
    assert set(scores) == {True, False}
    assert scores[True] > scores[False], "one more event, of 900, a day"
    for before, answer in zip(first, after, strict=True):
        assert answer.risk_score == scores[is_explored(before.flags)]


def test_a_row_decided_without_its_past_is_never_let_through(
    serve: Serve, rows: Any, corner_contract: dict[str, Any]
) -> None:
    model = serve(HALF, contract=corner_contract)

    def away() -> Any:
        raise StateUnreachable("away")

    blind = ServedModel(
        model.scorer, OnlinePath(model.scorer, StateLink(away)), recorder=model.recorder
    )

    answers = answered(blind, rows(40, AMOUNT=900.0))

    assert {(answer.decision, answer.degraded) for answer in answers} == {("decline", True)}


def test_refused_rows_stay_in_their_places(serve: Serve, rows: Any) -> None:
    good = rows(20, **DECLINED)
    mixed = [each for row in good for each in (row, {"AMOUNT": "much"})]

    found = serve(HALF).answer_rows(mixed)

    assert all(isinstance(each, RequestRefused) for each in found[1::2])
    assert [each.id for each in found[::2]] == [str(row["ORDER_ID"]) for row in good]
    assert 0 < len(ids_let_through(found[::2])) < 20


def test_test_identities_are_never_let_through(serve: Serve, rows: Any) -> None:
    scorer = serve(HALF).scorer
    forced = ForcedAnswers(slow_seconds=0.0)

    for number in range(30):
        (row,) = rows(1, ORDER_ID=f"test:decline:{number}", **DECLINED)
        found = forced.find(scorer, row)
        assert found is not None
        assert isinstance(found.outcome, Answer)
        assert (found.outcome.decision, is_explored(found.outcome.flags)) == ("decline", False)


def test_tables_and_golden_rows_show_the_policys_own_decision(
    serve: Serve, table: Any, scorer: Any
) -> None:
    exploring = serve(HALF).scorer
    frame = table()

    assert exploring.score_frame(frame).decision.tolist() == (
        scorer.score_frame(frame).decision.tolist()
    )
    exploring.policy.check_golden()


def test_nothing_is_let_through_where_nothing_is_written_down(
    new_home: Any, rows: Any, tmp_path: Path
) -> None:
    model = ServedModel(load_scorer(new_home(tmp_path, exploration=HALF), "shop"))

    assert {answer.decision for answer in answered(model, rows(40, **DECLINED))} == {"decline"}


def test_the_service_says_what_it_explores(serve: Serve) -> None:
    bound = {"rate": 0.25, "max_amount": 100.0}
    exploring, plain = serve(bound), serve(home="plain")

    told = ServedModels([exploring]).describe(exploring)
    document = openapi_document(ServedModels([exploring]))
    without = openapi_document(ServedModels([plain]))

    assert told["exploration"] == bound
    assert ServedModels([plain]).describe(plain)["exploration"] is None
    description = document["paths"]["/v1/score"]["post"]["description"]
    assert "rows to decline of at most 100, 0.25 (a share" in description
    assert FLAG in description
    assert FLAG in document["components"]["schemas"]["Answer"]["properties"]["flags"]["description"]
    assert "description" not in without["paths"]["/v1/score"]["post"]


def test_rows_let_through_are_counted_once(serve: Serve, rows: Any) -> None:
    model, tally = serve(HALF), ServiceTally()
    asked = rows(40, **DECLINED)
    answers, repeated = answered(model, asked), answered(model, asked)
    trace = RequestTrace()
    trace.answers = [*answers, *repeated]

    tally.record(trace)

    n_explored = len(ids_let_through(answers))
    assert tally.explored == {"shop": n_explored}
    assert tally.decisions["shop", "1", "1", "approve"] == n_explored
    assert tally.decisions["shop", "1", "1", "decline"] == 40 - n_explored


def test_a_bound_without_amounts_is_refused_at_load(
    new_home: Any, shop_contract: dict[str, Any], tmp_path: Path
) -> None:
    columns = {name: role for name, role in shop_contract["columns"].items() if name != "amount"}
    numeric = [*columns["numeric"], "AMOUNT"]
    contract = shop_contract | {"columns": columns | {"numeric": numeric}}
    store = new_home(tmp_path, contract=contract, exploration={"rate": 0.1, "max_amount": 5.0})

    with pytest.raises(PolicyMismatch, match=r"exploration\.max_amount bounds amounts"):
        load_scorer(store, "shop")
