"""Groups of test rows: joined by id, numbers in bands, months of the test period."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from balancing.calibration.policy import Decisions
from features.contract import parse_contract
from flows.group_evaluation import JudgedRows, banded, evaluate_groups
from flows.run_folder import RunFolder

LOANS: dict[str, Any] = {
    "name": "loans",
    "columns": {
        "id": "LOAN",
        "event_time": "AT",
        "numeric": ["INCOME"],
        "categorical": ["GRADE"],
        "groups": ["SEX", "AGE"],
    },
    "label": {"column": "BAD"},
}
N_ROWS = 400
START = datetime(2026, 1, 1, tzinfo=UTC)


def source() -> pl.DataFrame:
    """Rows as they passed validation, the last ones first: order must not matter."""
    at = np.arange(N_ROWS)
    return pl.DataFrame(
        {
            "LOAN": at,
            "SEX": np.where(at % 2 == 0, "f", "m"),
            "AGE": 20 + at % 40,
            "INCOME": 1.0 * at,
            "GRADE": np.where(at % 4 == 0, "A", "B"),
            "AT": [START + timedelta(days=int(each) // 4) for each in at],
        }
    ).reverse()


def judged(contract: Any) -> JudgedRows:
    """Test rows of which every woman and no man is declined."""
    at = np.arange(N_ROWS)
    table = pl.DataFrame(
        {
            "row_id": at.astype(str),
            "event_time": [START + timedelta(days=int(each) // 4) for each in at],
            "GRADE": np.where(at % 4 == 0, "A", "B"),
        },
        schema_overrides={"event_time": pl.Datetime("us", "UTC")},
    )
    decision = np.where(at % 2 == 0, 2, 0).astype(np.int8)
    score = np.where(at % 2 == 0, 0.9, 0.1)
    decided = Decisions(score, decision, np.zeros(N_ROWS), None)
    return JudgedRows(table, (at % 5 == 0).astype(np.int8), decided, 0)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path)
    source().write_parquet(folder.passed_of("data"))
    return folder


def test_groups_are_found_by_the_id_of_their_row(run) -> None:
    contract = parse_contract(LOANS, source="tests")

    sex, age = evaluate_groups(judged(contract), contract, run).groups

    assert [(group.value, group.rows, group.approved.value) for group in sex.groups] == [
        ("f", 200, 0.0), ("m", 200, 1.0),
    ]  # fmt: skip
    assert sex.groups[0].ratios["approved"].value == 0.0
    assert [group.value for group in age.groups] == [
        "over 29.75 to 39.5", "over 39.5 to 49.25", "over 49.25", "up to 29.75",
    ]  # fmt: skip
    assert {group.rows for group in age.groups} == {100}


def test_rows_of_a_separate_test_file_are_found_there(run) -> None:
    contract = parse_contract(LOANS, source="tests")
    source().with_columns(SEX=pl.lit("d")).write_parquet(run.passed_of("test"))

    (sex, _) = evaluate_groups(judged(contract), contract, run).groups

    assert [(group.value, group.rows) for group in sex.groups] == [("d", 400)]


def test_of_two_rows_under_one_id_nobody_says_which_is_which(run) -> None:
    contract = parse_contract(LOANS, source="tests")
    twice = source().with_columns(LOAN=pl.col("LOAN").clip(lower_bound=100))
    twice.write_parquet(run.passed_of("data"))

    (sex, _) = evaluate_groups(judged(contract), contract, run).groups

    assert [(group.value, group.rows) for group in sex.groups] == [
        ("f", 149), ("m", 150), (None, 101),
    ]  # fmt: skip


def test_rows_without_an_id_of_their_own_go_by_their_number(run) -> None:
    columns = LOANS["columns"] | {"id": None, "drop": ["LOAN"]}
    contract = parse_contract(LOANS | {"columns": columns}, source="tests")

    (sex, _) = evaluate_groups(judged(contract), contract, run).groups

    # The file is in reverse: row 0 of it is a man.
    assert [(group.value, group.approved.value) for group in sex.groups] == [("f", 1.0), ("m", 0.0)]


def test_segments_and_months_are_told_without_ratios(run) -> None:
    contract = parse_contract(LOANS, source="tests")

    found = evaluate_groups(judged(contract), contract, run)

    assert [(one.column, [g.rows for g in one.groups]) for one in found.segments] == [
        ("GRADE", [100, 300])
    ]
    assert found.periods is not None
    assert (found.periods.column, [g.value for g in found.periods.groups]) == (
        "month", ["2026-01", "2026-02", "2026-03"],
    )  # fmt: skip
    assert [one.rows for one in found.periods.left_out] == [40]  # ten days of April
    assert all(not group.ratios for one in found.segments for group in one.groups)


def test_a_contract_without_groups_and_times_has_neither(run) -> None:
    columns = {"id": "LOAN", "numeric": ["INCOME"], "categorical": ["GRADE"]}
    split = {"by": "random"}
    contract = parse_contract(LOANS | {"columns": columns, "split": split}, source="tests")
    rows = judged(contract)
    timeless = JudgedRows(
        rows.table.with_columns(event_time=pl.lit(None, pl.Datetime("us", "UTC"))),
        rows.label, rows.decided, 0,
    )  # fmt: skip

    found = evaluate_groups(timeless, contract, run)

    assert (found.groups, found.periods) == ((), None)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["x", "y", None], ["x", "y", None]),
        ([1, 2, 2], ["1", "2", "2"]),
        ([None, None], [None, None]),
        ([*range(12), *[None] * 2], [*map(str, range(12)), None, None]),
        ([0] * 90 + list(range(1, 14)), ["up to 0"] * 90 + ["over 0"] * 13),
        (
            [*range(13), None],
            [*["up to 3"] * 4, *["over 3 to 6"] * 3, *["over 6 to 9"] * 3, *["over 9"] * 3, None],
        ),
    ],
)
def test_columns_of_few_values_are_told_as_they_are(values, words) -> None:
    assert banded(pl.Series("A", values)).to_list() == words
