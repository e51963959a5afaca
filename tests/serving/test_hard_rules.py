"""Hard rules decide before the model and cap it; a file that is no good leaves the old ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from features.contract import Contract, parse_contract
from serving.hard_rules import HardRules
from serving.rule_book import LiveRules, RuleBook
from serving.rule_file import RulesUnusable
from serving.scored import ScoredRow
from serving.scorer import Scorer

DENY = """
[[deny]]
name = "stolen"
column = "CUSTOMER"
values = [5, "A17"]
reason = "Reported stolen"
expires = 2999-01-31
"""
ALLOW = """
[[allow]]
name = "known"
column = "CUSTOMER"
values = [5]
reason = "Our own test customer"
expires = 2999-01-31
"""
CAP = """
[[cap]]
name = "high"
max_amount = 500
reason = "Pilot"
expires = 2999-01-31
"""


@pytest.fixture
def contract(shop_contract) -> Contract:
    return parse_contract(shop_contract, source="tests")


@pytest.fixture
def decide(scorer: Scorer, contract: Contract, shop_row) -> Callable[..., ScoredRow]:
    """Scores a row of the shop and lets rules decide it."""

    def run(content: str, *, at_least_review: bool = False, **changes: Any) -> ScoredRow:
        rules = HardRules(content, contract, source="rules")
        rows = scorer.read_rows([shop_row(**changes)])
        scored = scorer.score_typed(rows, at_least_review=at_least_review)
        (row,) = rules.apply(rows, scored, at_least_review=at_least_review)
        return row

    return run


RISKY = {"AMOUNT": 900.0}


@pytest.mark.parametrize("customer", [5, "5", "A17"])
def test_a_denied_entity_is_declined_and_its_score_stays(
    decide: Callable[..., ScoredRow], customer: Any
) -> None:
    plain, denied = decide("", CUSTOMER=customer), decide(DENY, CUSTOMER=customer)

    assert (plain.decision, plain.flags) == ("approve", ())
    assert (denied.decision, denied.flags) == ("decline", ("hard_rule:stolen",))
    assert denied.risk_score == plain.risk_score


def test_an_allowed_entity_is_approved_without_reasons(decide: Callable[..., ScoredRow]) -> None:
    plain, allowed = decide("", **RISKY), decide(ALLOW, **RISKY)

    assert plain.decision == "decline"
    assert plain.reasons
    assert (allowed.decision, allowed.flags, allowed.reasons) == (
        "approve", ("hard_rule:known",), (),
    )  # fmt: skip
    assert allowed.risk_score == plain.risk_score


def test_a_rule_that_changes_nothing_did_not_decide(decide: Callable[..., ScoredRow]) -> None:
    assert decide(ALLOW).flags == ()
    assert decide(DENY, CUSTOMER=6).flags == ()
    assert decide(CAP, AMOUNT=500.0).flags == ()
    assert decide(CAP, **RISKY).flags == (), "the model declines what the cap would review"


def test_a_broken_row_rule_is_still_reviewed_unless_the_rule_says_otherwise(
    decide: Callable[..., ScoredRow],
) -> None:
    broken = {"ORDER_ID": "x1"}

    kept = decide(ALLOW, **broken)
    overridden = decide(ALLOW + "overrides_row_rules = true", **broken)

    assert (kept.decision, kept.flags) == ("review", ("rule:ORDER_ID.pattern",))
    assert (overridden.decision, overridden.flags) == (
        "approve", ("rule:ORDER_ID.pattern", "hard_rule:known"),
    )  # fmt: skip


def test_a_row_decided_without_its_past_is_not_approved_by_a_list(
    decide: Callable[..., ScoredRow],
) -> None:
    allowed = decide(ALLOW + "overrides_row_rules = true", at_least_review=True)

    assert (allowed.decision, allowed.flags) == ("review", ())


def test_a_cap_is_a_floor_under_the_decision(decide: Callable[..., ScoredRow]) -> None:
    amount = {"AMOUNT": 500.01, "AGE_DAYS": 3000}

    assert decide("", **amount).decision == "approve"
    assert decide(CAP, **amount).decision == "review"
    assert decide(CAP + 'decision = "decline"', **amount).flags == ("hard_rule:high",)
    assert decide(CAP + 'decision = "decline"', **amount).decision == "decline"
    assert decide(CAP, **amount | {"AMOUNT": None}).flags == ()


def test_a_cap_may_be_about_some_entities_only(decide: Callable[..., ScoredRow]) -> None:
    cap = CAP + 'column = "CUSTOMER"\nvalues = [7]'
    amount = {"AMOUNT": 501.0, "AGE_DAYS": 3000}

    assert decide(cap, CUSTOMER=7, **amount).decision == "review"
    assert decide(cap, CUSTOMER=8, **amount).decision == "approve"


def test_deny_comes_before_cap_and_cap_before_allow(decide: Callable[..., ScoredRow]) -> None:
    amount = {"AMOUNT": 501.0, "AGE_DAYS": 3000}

    assert decide(DENY + ALLOW + CAP, **amount).flags == ("hard_rule:stolen",)
    assert decide(ALLOW + CAP, **amount).flags == ("hard_rule:high",)


@pytest.mark.parametrize("expires", ["2020-01-31", "2020-01-31T12:00:00+01:00"])
def test_an_expired_rule_decides_nothing(
    decide: Callable[..., ScoredRow], contract: Contract, expires: str
) -> None:
    content = DENY.replace("2999-01-31", expires)

    assert decide(content).decision == "approve"
    rules = HardRules(content + CAP, contract, source="rules")
    assert (rules.n_rules, rules.n_in_force()) == (2, 1)


def test_a_date_is_the_last_day(
    decide: Callable[..., ScoredRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = DENY.replace("2999-01-31", "2027-01-31")
    last_second = 1801439999  # 2027-01-31T23:59:59Z

    monkeypatch.setattr("serving.hard_rules.time.time", lambda: last_second)
    assert decide(content).decision == "decline"
    monkeypatch.setattr("serving.hard_rules.time.time", lambda: last_second + 1)
    assert decide(content).decision == "approve"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("deny = 1", "rules: deny: Input should be a valid tuple"),
        ("[[deny]", "rules is not TOML"),
        ("[[forbid]]", "rules: forbid: Extra inputs are not permitted"),
        (DENY + "colour = 1", r"deny\.0\.colour: Extra inputs"),
        (DENY.replace('reason = "Reported stolen"', ""), r"deny\.0\.reason: Field required"),
        (DENY.replace("expires = 2999-01-31", ""), r"deny\.0\.expires: Field required"),
        (DENY.replace("2999-01-31", '"2999-01-31"'), "without quotes"),
        (DENY.replace("2999-01-31", "2999-01-31T00:00:00"), "with its offset"),
        (DENY.replace('[5, "A17"]', "[]"), r"deny\.0\.values: Tuple should have at least 1"),
        (DENY.replace('[5, "A17"]', "[5.5]"), r"deny\.0\.values\.0"),
        (DENY.replace('[5, "A17"]', "[true]"), r"deny\.0\.values\.0"),
        (DENY.replace('"stolen"', '"two words"'), r"deny\.0\.name: String should match"),
        (DENY.replace("CUSTOMER", "COUNTRY"), "'COUNTRY', which is no entity .*: CUSTOMER"),
        (DENY + DENY, "two rules are named 'stolen'"),
        (CAP.replace("500", "-1"), r"cap\.0\.max_amount: .*greater than or equal to 0"),
        (CAP.replace("500", "nan"), r"cap\.0\.max_amount: .*finite"),
        (CAP + 'decision = "approve"', r"cap\.0\.decision: Input should be 'review' or 'decline'"),
        (CAP + 'column = "CUSTOMER"', r"cap\.0: give column and values together"),
    ],
)
def test_a_file_that_makes_no_sense_is_one_line(
    contract: Contract, content: str, message: str
) -> None:
    with pytest.raises(RulesUnusable, match=message) as caught:
        HardRules(content, contract, source="rules")

    assert len(str(caught.value).splitlines()) == 1


def test_a_cap_needs_a_contract_with_an_amount(shop_contract) -> None:
    columns = {k: v for k, v in shop_contract["columns"].items() if k != "amount"}
    bare = {"columns": columns, "reasons": {}, "expectations": {}}

    with pytest.raises(RulesUnusable, match="contract shop has no amount to cap"):
        HardRules(CAP, parse_contract(shop_contract | bare, source="tests"), source="rules")


@pytest.fixture
def live(contract: Contract, tmp_path: Path) -> tuple[Path, LiveRules]:
    """A file of rules, and what a service makes of it."""
    path = tmp_path / "shop.toml"
    path.write_text(DENY)
    return path, LiveRules(path, contract)


def said(rules: LiveRules) -> tuple[Any, Any]:
    described = rules.describe() or {}
    return described.get("n_rules"), described.get("problem")


def test_a_changed_file_counts_once_it_stands_still(live: tuple[Path, LiveRules]) -> None:
    path, rules = live
    path.write_text(DENY + CAP)

    rules.look()
    assert said(rules) == (1, None), "it may still be written"
    rules.look()
    assert said(rules) == (2, None)


@pytest.mark.parametrize("spoil", ["[[deny", "gone", "bytes"])
def test_a_broken_file_leaves_the_old_rules_and_says_so_once(
    live: tuple[Path, LiveRules], caplog: pytest.LogCaptureFixture, spoil: str
) -> None:
    path, rules = live
    if spoil == "gone":
        path.unlink()
    else:
        path.write_bytes(b"\xff\xfe" if spoil == "bytes" else spoil.encode())
    for _ in range(4):
        rules.look()

    n_rules, problem = said(rules)
    assert n_rules == 1
    assert str(path) in problem
    assert [record.message for record in caplog.records] == [
        "hard rules not taken over: the old ones stay in force"
    ]
    path.write_text(CAP + ALLOW)
    rules.look()
    rules.look()
    assert said(rules) == (2, None)


def test_no_file_means_no_rules_until_there_is_one(contract: Contract, tmp_path: Path) -> None:
    book = RuleBook(tmp_path)
    rules = book.rules_of(contract)
    assert rules.describe() is None

    (tmp_path / "shop.toml").write_text(DENY)
    book.look()
    book.look()
    assert said(rules) == (1, None)


def test_a_broken_file_stops_the_first_start_only(contract: Contract, tmp_path: Path) -> None:
    path = tmp_path / "all.toml"
    with pytest.raises(RulesUnusable, match="no such file"):
        RuleBook(path).rules_of(contract)
    path.write_text("[[deny")
    with pytest.raises(RulesUnusable, match="is not TOML"):
        RuleBook(path).rules_of(contract)

    path.write_text(DENY)
    book = RuleBook(path)
    before = book.rules_of(contract)
    path.write_text("[[deny")
    assert book.rules_of(contract) is before, "a swap of the model keeps the rules"


def test_what_is_no_file_is_one_line(contract: Contract, tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.mkdir()

    with pytest.raises(RulesUnusable, match="cannot be read"):
        LiveRules(path, contract)
