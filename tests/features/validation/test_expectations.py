"""The rules a contract and a profile imply, and that Great Expectations finds every breach."""

import logging
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from features.contract import Contract, ContractError, parse_contract
from features.validation.expectations import RowSuite, table_failures
from features.validation.profile import ColumnProfile, DataProfile, fit_profile
from features.validation.row_rules import RowRule, row_rules
from features.validation.table_rules import (
    DriftTolerances,
    TableFacts,
    TableRule,
    category_shift,
    in_words,
    mean_shift,
    observe,
    observed_in_words,
    table_rules,
)


def contract(expectations: dict[str, Any] | None = None, **columns: Any) -> Contract:
    mapping = {
        "name": "toy",
        "columns": {"numeric": ["x"], "categorical": ["kind"], **columns},
        "label": {"column": "is_fraud"},
        "split": {"by": "random"},
        "expectations": expectations or {},
    }
    return parse_contract(mapping, source="test")


SCHEMA = {"x": pl.Float64(), "kind": pl.String(), "is_fraud": pl.Int64()}


def names(declared: Contract, schema: dict[str, Any] | None = None) -> list[str]:
    return [rule.name for rule in row_rules(declared, schema or SCHEMA)]


def test_a_contract_without_expectations_still_refuses_infinities() -> None:
    assert names(contract()) == ["finite(x)"]


def test_text_where_numbers_belong_may_break_the_type() -> None:
    assert names(contract(), {**SCHEMA, "x": pl.String()}) == ["type(x)", "finite(x)"]


def test_ids_and_event_times_must_be_there_and_ids_but_once() -> None:
    declared = contract(id="id", event_time="t")

    found = names(declared, {"id": pl.Int64(), "t": pl.String(), **SCHEMA})

    assert found == ["null(id)", "unique(id)", "type(t)", "null(t)", "finite(x)"]


def test_expectations_of_a_contract_become_rules_in_their_order() -> None:
    declared = contract(
        {"x": {"min": 0, "null": False}, "kind": {"values": ["a"], "pattern": "[a-z]"}}
    )

    assert names(declared) == ["finite(x)", "null(x)", "range(x)", "values(kind)", "pattern(kind)"]


def test_a_dropped_column_is_judged_only_where_the_contract_asks() -> None:
    schema = {**SCHEMA, "z": pl.Int64()}

    assert "range(z)" not in names(contract(drop=["z"]), schema)
    assert "range(z)" in names(contract({"z": {"max": 1}}, drop=["z"]), schema)


@pytest.mark.parametrize(
    ("expectations", "message"),
    [
        ({"kind": {"pattern": "["}}, "expectations.kind.pattern is not a regular expression"),
        ({"x": {"values": ["red"]}}, "expectations.x.values must be numbers"),
        ({"t": {"min": 0}}, "expectations.t: min and max are for numbers"),
    ],
)
def test_an_expectation_that_cannot_be_applied_is_refused(
    expectations: dict[str, Any], message: str
) -> None:
    declared = contract(expectations, event_time="t")

    with pytest.raises(ContractError, match=message.replace(".", r"\.")):
        row_rules(declared, {**SCHEMA, "t": pl.Datetime("us", "UTC")})


def test_every_failing_row_is_found_and_not_a_sample() -> None:
    rule = RowRule("range", "x", "number:x", "from 0 to 1", low=0, high=1)
    values = np.linspace(0, 1, 3000)
    values[::2] = 7.0

    (failing,) = RowSuite([rule]).failing(pl.DataFrame({"number:x": values}))

    assert failing.tolist() == list(range(0, 3000, 2))


def test_each_kind_of_rule_finds_its_rows_and_passes_missing_values() -> None:
    rules = [
        RowRule("finite", "x", "number:x", "", low=-sys.float_info.max, high=sys.float_info.max),
        RowRule("range", "x", "number:x", "", high=5),
        RowRule("values", "x", "number:x", "", values=(1.0, 9.0)),
        RowRule("null", "x", "present:x", ""),
        RowRule("type", "x", "readable:x", "", values=(True,)),
        RowRule("values", "s", "text:s", "", values=("a", "b\n")),
        RowRule("pattern", "s", "text:s", "", pattern=r"\A(?:[a-c])\Z"),
    ]
    checks = pl.DataFrame(
        {
            "number:x": [1.0, None, np.inf, -np.inf, 9.0],
            "present:x": pl.Series([1, None, 1, 1, 1], dtype=pl.Int8),
            "readable:x": [True, True, True, False, True],
            "text:s": ["a", "b\n", "c", None, "ab"],
        }
    )

    failing = [rows.tolist() for rows in RowSuite(rules).failing(checks)]

    assert failing == [[2, 3], [2, 4], [2, 3], [1], [3], [2, 4], [1, 4]]


def test_no_rows_break_no_rules() -> None:
    rule = RowRule("null", "x", "present:x", "")

    (failing,) = RowSuite([rule]).failing(pl.DataFrame({"present:x": []}))

    assert failing.tolist() == []


def test_a_rule_that_cannot_run_is_an_error_and_never_a_pass() -> None:
    rule = RowRule("range", "x", "number:absent", "", low=0)

    with pytest.raises(RuntimeError, match="could not evaluate"):
        RowSuite([rule]).failing(pl.DataFrame({"number:x": [1.0]}))


def test_figures_outside_their_interval_fail() -> None:
    rules = [
        TableRule("row_count", None, "rows", low=10),
        TableRule("label_rate", None, "share", low=0.1, high=0.2),
        TableRule("freshness", None, "seconds", high=60),
    ]

    assert table_failures(rules, [10.0, 0.21, None]) == [False, True, False]
    assert table_failures(rules, [9.0, 0.2, 61.0]) == [True, False, True]


def profile(**changes: Any) -> DataProfile:
    number = ColumnProfile(
        type="number", null_share=0.0, minimum=0.0, maximum=4.0, mean=2.0, std=1.0
    )
    text = ColumnProfile(
        type="text", null_share=0.0, categories={"a": 0.75, "b": 0.25}, n_distinct=2
    )
    return DataProfile(
        n_rows=1000,
        n_labelled=1000,
        label_rate=0.01,
        is_time_ordered=True,
        columns={"x": number, "kind": text, **changes},
    )


def test_an_empty_table_is_refused_without_any_expectation() -> None:
    (rule,) = table_rules(contract(), None, DriftTolerances(), n_rows=0)

    assert (rule.name, rule.low) == ("row_count", 1.0)


def test_a_profile_implies_rules_for_the_table_and_each_column() -> None:
    declared = contract(event_time="t")

    rules = table_rules(declared, profile(), DriftTolerances(), n_rows=1000)

    assert [rule.name for rule in rules] == [
        "row_count", "row_count", "label_rate", "time_order",
        "null_share(x)", "outside_range(x)", "mean_drift(x)",
        "null_share(kind)", "unseen_categories(kind)", "category_drift(kind)", "varies(kind)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("quantiles", "largest"),
    [
        ({"0.01": 0.0, "0.25": 0.0, "0.5": 0.0, "0.99": 0.0}, 1.0),
        ({"0.01": 0.0, "0.25": 0.0, "0.5": 0.0, "0.99": 1.0}, 0.99),
        ({"0.25": 1.0, "0.5": 2.0, "0.75": 3.0}, 0.5),
        ({}, 1.0),
    ],
)
def test_a_rare_value_that_is_missing_is_not_yet_a_constant(quantiles, largest) -> None:
    column = ColumnProfile(type="number", null_share=0.0, quantiles=quantiles)

    assert column.largest_share == pytest.approx(largest)
    rules = {
        n: {rule.name for rule in table_rules(
            contract(), profile(x=column), DriftTolerances(), n_rows=n)}
        for n in (10, 100_000)
    }  # fmt: skip
    assert "varies(x)" not in rules[10]
    assert ("varies(x)" in rules[100_000]) is (largest < 1)


def test_a_small_table_is_given_four_standard_errors_of_room() -> None:
    tolerances = DriftTolerances(mean_shift=0.5)

    wide, narrow = (
        next(r for r in table_rules(contract(), profile(), tolerances, n_rows=n)
             if r.name == "mean_drift(x)")
        for n in (16, 1_000_000)
    )  # fmt: skip

    assert wide.high == pytest.approx(1.5)
    assert narrow.high == pytest.approx(0.504)


def test_figures_are_read_off_the_profiles() -> None:
    day = datetime(2020, 1, 1, tzinfo=UTC)
    rows = pl.DataFrame({"x": [4.0, 6.0, None, 2.0], "kind": ["a", "c", "c", "b"], "t": [day] * 4})
    now = fit_profile(rows, contract(event_time="t"))
    facts = TableFacts(now, day + timedelta(hours=36), {"x": 1 / 3})
    rules = table_rules(contract(event_time="t"), profile(), DriftTolerances(), n_rows=4)

    seen = {rule.name: observe(rule, facts, profile()) for rule in rules}

    assert seen["mean_drift(x)"] == pytest.approx(2.0)
    assert seen["null_share(x)"] == 0.25
    assert seen["unseen_categories(kind)"] == 0.5
    assert seen["category_drift(kind)"] == pytest.approx(0.5)
    assert seen["row_count"] == 4.0
    assert seen["label_rate"] is None
    freshness = TableRule("freshness", None, "seconds", high=86_400)
    assert observe(freshness, facts, None) == 36 * 3600
    assert (observed_in_words(freshness, 36 * 3600), in_words(freshness)) == ("36h", "at most 1d")


def test_a_column_that_was_constant_may_not_move() -> None:
    constant = ColumnProfile(type="number", null_share=0, minimum=1, maximum=1, mean=1, std=0)

    assert mean_shift(constant, constant) == 0.0
    moved = mean_shift(constant, constant.model_copy(update={"mean": 1.5}))
    rule = TableRule("mean_drift", "x", "std", high=1)
    assert table_failures([rule], [moved]) == [True]
    assert observed_in_words(rule, moved) == "away from a constant"


def test_categories_beyond_those_kept_are_never_called_unseen() -> None:
    many = ColumnProfile(type="text", null_share=0, categories={"a": 0.6}, n_distinct=500)
    now = ColumnProfile(type="text", null_share=0, categories={"a": 0.6, "z": 0.4}, n_distinct=2)

    assert category_shift(many, now) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (TableRule("row_count", None, "rows", low=1000), "at least 1,000 rows"),
        (TableRule("label_rate", None, "share", low=0.0001, high=0.5), "from 0.01 % to 50 %"),
        (TableRule("mean_drift", "x", "std", high=0.5), "at most 0.5 standard deviations"),
        (TableRule("time_order", None, "flag", low=1), "rows in order of event time"),
        (
            TableRule("varies", "x", "flag", low=1),
            "several values, as before (mend the table, or drop the column in the contract)",
        ),
    ],
)
def test_rules_are_said_in_words(rule: TableRule, words: str) -> None:
    assert in_words(rule) == words


def test_great_expectations_sends_nothing_and_writes_nothing(tmp_path: Any) -> None:
    code = (
        "import polars as pl, os, features.validation.validate\n"
        "import sys; assert 'great_expectations' not in sys.modules\n"
        "from features.validation.expectations import RowSuite\n"
        "from features.validation.row_rules import RowRule\n"
        "RowSuite([RowRule('null', 'x', 'p', '')]).failing(pl.DataFrame({'p': [1]}))\n"
        "print(os.environ['GX_ANALYTICS_ENABLED'])\n"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    environment.pop("GX_ANALYTICS_ENABLED", None)

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )

    assert (done.stdout, done.stderr) == ("false\n", "")
    assert list(tmp_path.iterdir()) == []


def test_great_expectations_does_not_chatter(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        table_failures([TableRule("row_count", None, "rows", low=1)], [1.0])

    assert caplog.messages == []
