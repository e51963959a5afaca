"""What the service decided is decided again to the bit, or the replay says what is missing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from balancing.calibration.policy import Policy
from features.online.state import StateUnreachable
from serving.exploration import FLAG as EXPLORED
from serving.live import LiveRecord
from serving.replaying.comparison import Verdict
from serving.replaying.replayer import ReplayedDecision
from serving.request_context import RequestContext
from tests.serving.conftest import CORNER, SHOP, make_home
from tests.serving.decisions.test_faults import away, one, wait_until_back
from tests.serving.test_row_thresholds import by_row, changed

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
decision = "decline"
column = "CUSTOMER"
values = [2]
reason = "Limit of the pilot"
expires = 2999-01-31
[[allow]]
name = "tests"
column = "CUSTOMER"
values = [3]
reason = "Our own"
expires = 2999-01-31
"""
Replay = Callable[..., list[ReplayedDecision]]


def decide(model: Any, rows: list[dict[str, Any]]) -> list[Any]:
    return model.answer_rows(rows, RequestContext(key_id="k"))


def verdicts(replayed: list[ReplayedDecision]) -> list[tuple[str, str, str]]:
    return [
        (each.features.verdict, each.from_logits.verdict, each.from_features.verdict)
        for each in replayed
    ]


def all_exact(replayed: list[ReplayedDecision]) -> bool:
    found = [
        text
        for each in replayed
        for level in (each.features, each.from_logits, each.from_features)
        for text in (*level.differences, *level.missing)
    ]
    assert found == []
    return {each.verdict for each in replayed} == {Verdict.EXACT}


def various(shop_row: Any, n: int = 40) -> list[dict[str, Any]]:
    """Rows that are approved, reviewed and declined; some with unknown values and broken rules."""
    return [
        shop_row(
            ORDER_ID=at,
            CUSTOMER=100 + at % 7,
            AMOUNT=[10.0, 300.0, 900.0, 20000.0][at % 4],
            COUNTRY=["DE", "XX", "unheard of"][at % 3],
            DISTANCE=[1.0, None][at % 2],
            DEVICE=[1, 2, 3][at % 3],
        )
        for at in range(n)
    ]


def test_every_decision_is_decided_again_to_the_bit(shop: Any, shop_row, replay: Replay) -> None:
    answers = decide(shop.serve(), various(shop_row))

    replayed = replay(shop)

    assert all_exact(replayed)
    assert {each.is_same_platform for each in replayed} == {True}
    assert {each.decision for each in answers} == {"approve", "review", "decline"}
    assert any(flag.startswith("rule:") for each in answers for flag in each.flags)
    assert any(flag.startswith("unknown_category:") for each in answers for flag in each.flags)
    for answer, each in zip(answers, replayed, strict=True):
        assert each.by_logits.risk_score == each.by_features.risk_score == answer.risk_score
        assert each.by_features.reasons == answer.reasons


def test_features_over_time_are_replayed_as_they_were_served(
    corner: Any, shop_row, replay: Replay
) -> None:
    model = corner.serve("corner")
    for row in various(shop_row):
        decide(model, [row])

    replayed = replay(corner)
    shutil.rmtree(corner.home / "state")

    assert all_exact(replayed)
    assert replayed[-1].by_features.numeric == replayed[-1].decision.stored.numeric
    assert all_exact(replay(corner)), "no state is asked"


def test_what_was_decided_without_the_past_is_decided_so_again(
    corner: Any, shop_row, replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = corner.serve("corner")
    (before,) = decide(model, [shop_row(ORDER_ID=1, AMOUNT=10.0)])

    def gone(_ask: Any) -> Any:
        raise StateUnreachable("gone")

    monkeypatch.setattr(model.path.link, "ask", gone)
    (blind,) = decide(model, [shop_row(ORDER_ID=2, AMOUNT=10.0)])

    assert (before.degraded, before.decision) == (False, "approve")
    assert (blind.degraded, blind.decision) == (True, "review")
    assert all_exact(replay(corner))


def test_what_was_decided_while_the_log_was_away_is_replayed(
    shop: Any, shop_row, replay: Replay
) -> None:
    (shop.home / "rules").mkdir()
    (shop.home / "rules" / "shop.toml").write_text(RULES)
    model = shop.serve(log_on_stall="degrade")
    one(model, shop_row(ORDER_ID=0))
    with away(shop):
        blind = [
            one(model, shop_row(ORDER_ID=at, CUSTOMER=at, AMOUNT=10.0 if at == 4 else 900.0))
            for at in range(1, 5)
        ]
    wait_until_back(model)

    assert [each.decision for each in blind] == ["decline", "decline", "review", "review"]
    assert [each.degraded for each in blind] == [True] * 4
    assert all_exact(replay(shop))


def test_hard_rules_are_applied_as_they_stood_then(shop: Any, shop_row, replay: Replay) -> None:
    file = shop.home / "rules" / "shop.toml"
    file.parent.mkdir()
    file.write_text(RULES)
    rows = [
        shop_row(ORDER_ID=at, CUSTOMER=at % 5, AMOUNT=[10.0, 600.0, 900.0][at % 3])
        for at in range(30)
    ]
    answers = decide(shop.serve(), rows)
    file.write_text("")
    decide(shop.serve(), [shop_row(ORDER_ID=100, CUSTOMER=1)])

    replayed = replay(shop)

    assert all_exact(replayed)
    flagged = {flag for each in answers for flag in each.flags}
    assert flagged == {"hard_rule:stolen", "hard_rule:pilot", "hard_rule:tests"}
    kept = [path.read_text() for path in (shop.home / "kept-rules").iterdir()]
    assert len(kept) == 2
    assert "Reported stolen" in "".join(kept)
    values = [
        value for text in kept for rule in json.loads(text)["deny"] for value in rule["values"]
    ]
    assert [len(value) for value in values] == [32], "a pseudonym, no customer's number"


def test_hard_rules_that_are_lost_or_changed_are_named(shop: Any, shop_row, replay: Replay) -> None:
    (shop.home / "rules").mkdir()
    (shop.home / "rules" / "shop.toml").write_text(RULES)
    decide(shop.serve(), [shop_row(CUSTOMER=1), shop_row(ORDER_ID=18, CUSTOMER=9)])
    (kept,) = (shop.home / "kept-rules").iterdir()
    content = kept.read_text()

    kept.write_text(content.replace("stolen", "stole"))
    changed, other = replay(shop)
    kept.unlink()
    lost, _ = replay(shop)

    assert other.verdict is Verdict.EXACT
    assert changed.verdict is lost.verdict is Verdict.INCOMPLETE
    assert "hard_rule:stolen" in changed.from_logits.missing[0]
    assert "was changed since it was kept" in changed.from_logits.missing[0]
    assert "is missing" in lost.from_features.missing[0]
    assert lost.from_logits.largest_difference == 0.0


@pytest.mark.parametrize("contract", [SHOP, CORNER], ids=["shop", "corner"])
def test_explored_rows_are_drawn_again(
    place: Any, new_home: Any, shop_row, replay: Replay, contract: dict[str, Any]
) -> None:
    new_home(place.home, contract=contract, exploration={"rate": 0.5, "max_amount": 1000.0})
    rows = [
        shop_row(ORDER_ID=at, CUSTOMER=200 + at, AMOUNT=[900.0, 1100.0][at % 4 == 0])
        for at in range(40)
    ]
    answers = decide(place.serve(contract["name"]), rows)

    explored = [EXPLORED in each.flags for each in answers]

    assert 5 < sum(explored) < 30
    assert all_exact(replay(place))


def test_a_key_that_was_destroyed_takes_what_is_personal_along(
    private: Any, shop_row, replay: Replay
) -> None:
    model = private.serve()
    decide(model, [shop_row(ORDER_ID=at, CUSTOMER=at) for at in (1, 2)])
    private.store().destroy_key(model.log.secret.pseudonym("CUSTOMER", "1"))

    erased, other = replay(private)

    assert other.verdict is Verdict.EXACT
    assert verdicts([erased]) == [("incomplete", "exact", "incomplete")]
    assert "key of this decision's subject was destroyed" in erased.features.missing[0]
    assert erased.from_features.missing[0].startswith("AGE_DAYS, COUNTRY:")


def test_without_personal_features_an_erased_row_goes_through_the_network_again(
    shop: Any, shop_row, replay: Replay
) -> None:
    model = shop.serve()
    rows = various(shop_row, 12)
    decide(model, [row | {"CUSTOMER": 1} for row in rows])
    shop.store().destroy_key(model.log.secret.pseudonym("CUSTOMER", "1"))

    assert set(verdicts(replay(shop))) == {("incomplete", "exact", "exact")}


def with_golden(policy: Policy) -> Policy:
    """The policy with golden rows that have amounts and segments."""
    n = len(policy.golden.logits)
    amounts, segments = tuple(range(0, 9000 * n, 9000)), ("0", "1") * (n // 2)
    _, decision = policy.decide(
        policy.golden.logits, amount_minor=amounts, segment=np.array(segments, object)
    )
    changes = {"amount_minor": amounts, "segment": segments, "decision": tuple(decision.tolist())}
    return changed(policy, golden=policy.golden.model_copy(update=changes))


@pytest.mark.parametrize(("pii", "told"), [
    ("AMOUNT", "AMOUNT, by which policy 2 decides"),
    ("AGE_DAYS", "segment IS_NIGHT, which is computed from the whole row"),
])  # fmt: skip
def test_a_policy_that_needs_what_was_erased_cannot_decide(
    place: Any, shop_row, replay: Replay, pii: str, told: str
) -> None:
    columns = SHOP["columns"] | {"pii": [pii]}
    store = make_home(place.home, contract=SHOP | {"columns": columns})
    by_amount = with_golden(by_row(store.policy("shop", "1"), ("IS_NIGHT",), **{"0": 0.4}))
    live = LiveRecord("1", store.add_policy("shop", by_amount), 2)
    store.live.compare_and_swap("shop", store.live.get("shop"), live)
    model = place.serve()
    decide(model, [shop_row(ORDER_ID=at, CUSTOMER=at) for at in (1, 2)])
    place.store().destroy_key(model.log.secret.pseudonym("CUSTOMER", "1"))

    erased, other = replay(place)

    assert other.verdict is Verdict.EXACT
    assert verdicts([erased]) == [("incomplete",) * 3]
    assert told in erased.from_logits.missing[0]
    assert "key of this decision's subject was destroyed" in erased.from_logits.missing[0]


@pytest.mark.parametrize(("gone", "message"), [
    ("models/shop/1", "no version 1"),
    ("policies/shop/1.json", "no policy 1"),
])  # fmt: skip
def test_what_decided_and_is_gone_is_named(
    shop: Any, shop_row, replay: Replay, gone: str, message: str
) -> None:
    decide(shop.serve(), [shop_row()])
    path: Path = shop.home / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()

    (replayed,) = replay(shop)

    assert verdicts([replayed]) == [("incomplete",) * 3]
    assert message in str(replayed.from_logits.missing + replayed.from_features.missing)


def test_another_platform_has_its_tolerance_and_says_so(
    shop: Any, shop_row, replay: Replay
) -> None:
    decide(shop.serve(), various(shop_row, 8))

    elsewhere = replay(shop, platform="another machine")

    assert all_exact(elsewhere)
    assert {each.is_same_platform for each in elsewhere} == {False}


def test_another_network_under_the_same_number_differs(
    shop: Any, new_home: Any, shop_row, replay: Replay
) -> None:
    decide(shop.serve(), various(shop_row, 8))
    for folder in ("models", "policies"):
        shutil.rmtree(shop.home / folder)
    new_home(shop.home, intercept=-1.9, live=False)

    replayed = replay(shop)

    assert {each.from_features.verdict for each in replayed} == {Verdict.DIFFERS}
    assert {each.from_logits.verdict for each in replayed} == {Verdict.EXACT}
    assert replayed[0].from_features.differences[0].startswith("logits: ")
