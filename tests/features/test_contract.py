"""The contract: what it accepts, and the one line it answers with when it refuses."""

import tomllib
from datetime import timedelta

import pytest

from features.contract import Contract, ContractError, parse_contract, read_contract
from infra.exploration import Exploration

MINIMAL = """
name = "cards"
[columns]
id = "tx"
event_time = "when"
amount = {column = "amount", currency = "EUR"}
entities = ["card"]
numeric = ["V*"]
categorical = ["country"]
drop = ["answer"]
[label]
column = "fraud"
delay = "7d"
"""
TABLE = ["tx", "when", "amount", "card", "V1", "V2", "country", "answer", "fraud"]


def contract_from(text: str) -> Contract:
    return parse_contract(tomllib.loads(text), source="test.toml")


def test_patterns_expand_against_the_table_in_its_order() -> None:
    resolved = contract_from(MINIMAL).resolve(["V2", *TABLE[:4], "V1", *TABLE[6:]])

    assert resolved.columns.numeric == ("V2", "V1")
    assert resolved.numeric_features == ("amount", "V2", "V1")


def test_a_pattern_leaves_columns_with_a_role_of_their_own_alone() -> None:
    text = MINIMAL.replace('["V*"]', '["*"]')

    resolved = contract_from(text).resolve(TABLE)

    assert resolved.columns.numeric == ("V1", "V2")


def test_a_dropped_column_may_be_absent() -> None:
    resolved = contract_from(MINIMAL).resolve([name for name in TABLE if name != "answer"])

    assert resolved.columns.drop == ()


def test_required_columns_leave_out_the_optional_ones() -> None:
    text = MINIMAL.replace("[label]", 'optional = ["country"]\n[label]')

    contract = contract_from(text).resolve(TABLE)

    assert contract.required_columns == ("tx", "when", "card", "amount", "V1", "V2")
    assert contract.request_columns[-1] == "country"


def test_a_rule_for_a_pattern_becomes_one_for_each_column_without_its_own() -> None:
    text = MINIMAL + '[expectations]\n"V*" = {min = -9}\nV2 = {min = 0}\n'

    rules = contract_from(text).resolve(TABLE).expectations.columns

    assert {name: rule.min for name, rule in rules.items()} == {"V1": -9, "V2": 0}


def test_json_round_trip_keeps_every_value() -> None:
    contract = contract_from(MINIMAL)

    assert Contract.model_validate_json(contract.model_dump_json()) == contract
    assert contract.label.delay == timedelta(days=7)


def test_declined_rows_are_let_through_only_if_the_contract_says_so() -> None:
    explored = "[policy]\nexploration = {rate = 0.01, max_amount = 100}\n"
    no_amount = MINIMAL.replace('amount = {column = "amount", currency = "EUR"}\n', "")

    told = contract_from(MINIMAL + explored).policy.exploration

    assert contract_from(MINIMAL).policy.exploration is None
    assert told == Exploration(rate=0.01, max_amount=100.0)
    assert no_amount != MINIMAL
    with pytest.raises(ContractError, match=r"policy\.exploration\.max_amount bounds amounts"):
        contract_from(no_amount + explored)


def test_data_hash_ignores_policy_reasons_and_about_and_nothing_else() -> None:
    contract = contract_from(MINIMAL)
    other_policy = contract_from(MINIMAL + '[policy]\nmax_clock_skew = "1h"\n')
    other_words = contract_from(MINIMAL + '[about]\npurpose = "stops stolen cards"\n')
    other_delay = contract_from(MINIMAL.replace("7d", "8d"))

    assert contract.data_hash() == other_policy.data_hash() == other_words.data_hash()
    assert contract.data_hash() != other_delay.data_hash()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("numeric =", "numerc =", "unknown key 'columns.numerc'; did you mean 'numeric'?"),
        ('delay = "7d"', 'delay = "7 days"', "label.delay: a duration is a whole number"),
        ('column = "fraud"\n', "", "missing key 'label.column'"),
        ('name = "cards"', 'name = "Cards & co"', "name: String should match"),
        ("EUR", "euro", "columns.amount.currency"),
        ('["country"]', '["amount"]', "'amount' has two roles"),
        ('event_time = "when"\n', "", "split.by"),
        ('"V*"', '"label"', "'label' is a reserved name"),
        ('event_time = "when"', 'event_time = {column = "when", unit = "s"}', "unit and origin"),
        (
            'event_time = "when"',
            'event_time = {column = "when", time_zone = "Mars/Base"}',
            "not a known time zone: 'Mars/Base'",
        ),
        ("[label]", '[derived]\namount = "1"\n[label]', "derived.amount has the name of a column"),
        ("[label]", 'optional = ["kountry"]\n[label]', "did you mean 'country'?"),
        ("[label]", "[expectations]\namont = {min = 0}\n[label]", "did you mean 'amount'?"),
        ("[label]", "[expectations]\namount = {mn = 0}\n[label]", "unknown key"),
        ("[label]", '[about]\npurpos = "x"\n[label]', "'about.purpos'; did you mean 'purpose'?"),
        (
            "[label]",
            '[policy]\nreview = {objective = "max_fpr", max_fpr = 2}\n[label]',
            "policy.review.max_fpr",
        ),
        ("[label]", '[policy]\nreview = {objective = "best"}\n[label]', "policy.review"),
        ("[label]", "[policy]\nexploration = {rate = 0}\n[label]", "policy.exploration.rate: "),
        ("[label]", "[policy]\nexploration = {rate = 0.6}\n[label]", "policy.exploration.rate: "),
        ("[label]", "[policy]\nexploration = {}\n[label]", "missing key 'policy.exploration.rate'"),
        ("[label]", "[policy]\nexploration = 0.1\n[label]", "policy.exploration: "),
        (
            "[label]",
            "[policy]\nexploration = {rate = 0.1, max_amount = 0}\n[label]",
            "policy.exploration.max_amount: ",
        ),
        (
            "[label]",
            "[policy]\nexploration = {rate = 0.1, max_amout = 5}\n[label]",
            "unknown key 'policy.exploration.max_amout'; did you mean 'max_amount'?",
        ),
        (
            "[label]",
            '[[velocity]]\nentity = "shop"\nwindows = ["1h"]\naggregates = ["count"]\n[label]',
            "velocity.entity 'shop' is not one of columns.entities",
        ),
        ("[label]", "[split]\nfractions = [0.5, 0.1, 0.1, 0.2]\n[label]", "sum to 1"),
        ("[label]", '[split]\nby = "cuts"\n[label]', "cuts"),
    ],
)
def test_a_wrong_contract_is_refused_by_its_key(old: str, new: str, message: str) -> None:
    assert old in MINIMAL

    with pytest.raises(ContractError) as refused:
        contract_from(MINIMAL.replace(old, new, 1))

    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_windows_without_event_time_are_refused() -> None:
    text = MINIMAL.replace('event_time = "when"\n', "").replace('delay = "7d"', "")
    text += '[split]\nby = "random"\n'
    text += '[[velocity]]\nentity = "card"\nwindows = ["1h"]\naggregates = ["count"]\n'

    with pytest.raises(ContractError, match=r"\[\[velocity\]\] has windows over time"):
        contract_from(text)


def test_a_missing_column_is_named_with_its_closest_match() -> None:
    table = ["amuont" if name == "amount" else name for name in TABLE]

    with pytest.raises(ContractError, match=r"no column 'amount'.*Did you mean 'amuont'"):
        contract_from(MINIMAL).resolve(table)


def test_a_column_named_nowhere_is_an_error_not_a_guess() -> None:
    with pytest.raises(ContractError, match="does not say what 1 column.*'surprise'"):
        contract_from(MINIMAL).resolve([*TABLE, "surprise"])


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(ContractError, match=r"no column of the table matches 'V\*'"):
        contract_from(MINIMAL).resolve([name for name in TABLE if not name.startswith("V")])


def test_an_unknown_contract_lists_the_shipped_ones() -> None:
    with pytest.raises(ContractError, match=r"No contract 'creditcrd'.*creditcard"):
        read_contract("creditcrd")


def test_a_missing_file_says_how_to_draft_one(tmp_path) -> None:
    with pytest.raises(ContractError, match="whitecrow contract draft"):
        read_contract(tmp_path / "absent.toml")


def test_a_file_that_is_not_toml_is_one_line(tmp_path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("name = \n")

    with pytest.raises(ContractError, match="not valid TOML"):
        read_contract(path)
