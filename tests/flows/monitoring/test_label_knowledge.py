"""A label that is not known yet is never a negative, and a decline that nobody saw is none."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.contract import parse_contract
from flows.monitoring.decided_rows import DECIDED
from flows.monitoring.label_knowledge import reported_labels, with_knowledge
from serving.outcomes import OutcomeBook
from serving.reported_labels import Outcome
from tests.flows.monitoring.conftest import BEGIN, DELAYED

AS_OF = BEGIN + timedelta(days=20)
CONTRACT = parse_contract(DELAYED, source="tests")
NO_REPORTS = pl.DataFrame(
    schema={"row_id": pl.String, "reported": pl.Int8, "reported_at": pl.Datetime("us", "UTC")}
)


def rows(days: list[float], decisions: list[int], explored: list[bool] | None = None) -> Any:
    n = len(days)
    return pl.DataFrame(
        {
            "row_id": [str(at) for at in range(n)],
            "happened_at": [BEGIN + timedelta(days=day) for day in days],
            "risk_score": [0.5] * n,
            "decision": decisions,
            "is_explored": explored or [False] * n,
            "is_degraded": [False] * n,
            "model_version": ["1"] * n,
            "policy_version": ["1"] * n,
        },
        schema=DECIDED,
    )


def reports(*said: tuple[int, int, float]) -> pl.DataFrame:
    """Reports as (row, label, day)."""
    table = [(str(row), label, BEGIN + timedelta(days=day)) for row, label, day in said]
    return pl.DataFrame(table, schema=NO_REPORTS.schema, orient="row")


def known(frame: pl.DataFrame, reported: pl.DataFrame = NO_REPORTS, **rates: float) -> Any:
    return with_knowledge(frame, reported, CONTRACT, AS_OF, rates)


@given(
    st.lists(st.tuples(st.floats(0, 25), st.integers(0, 2), st.booleans(), st.booleans()),
             min_size=1, max_size=30)
)  # fmt: skip
def test_no_row_is_judged_before_its_delay_has_passed(
    drawn: list[tuple[float, int, bool, bool]],
) -> None:
    days, decisions, explored, is_fraud = (list(each) for each in zip(*drawn, strict=True))
    frame = rows(days, decisions, explored)
    said = [(at, 1, day + 1.0) for at, day in enumerate(days) if is_fraud[at] and day + 1 <= 20]

    found = known(frame, reports(*said))

    for at, label in enumerate(found["label"]):
        is_old_enough = days[at] + 7 <= 20
        assert found["is_mature"][at] == is_old_enough or abs(days[at] - 13) < 1e-6
        if not found["is_mature"][at]:
            assert label is None
        elif decisions[at] == 2 and not explored[at]:
            assert label == (1 if is_fraud[at] else None)
        else:
            assert label == int(is_fraud[at])


def test_a_positive_of_a_young_row_is_known_and_not_judged() -> None:
    found = known(rows([18, 18], [0, 0]), reports((0, 1, 19.0)))

    assert found["label"].to_list() == [None, None]
    assert found["is_positive"].to_list() == [True, False]
    assert found["known_after"].to_list() == [1.0, None]
    assert found["age"].to_list() == [2.0, 2.0]


def test_what_absence_means_is_the_contracts_to_say() -> None:
    said = DELAYED | {"label": DELAYED["label"] | {"absent_means": "unknown"}}
    contract = parse_contract(said, source="tests")

    found = with_knowledge(rows([1, 1], [0, 0]), reports((0, 0, 3.0)), contract, AS_OF, {})

    assert found["label"].to_list() == [0, None]
    assert found["known_after"].to_list() == [2.0, None]


def test_explored_rows_stand_for_the_declines_of_their_policy() -> None:
    frame = rows([1, 1, 1], [2, 2, 0], [True, False, False])

    assert known(frame, **{"1": 0.1})["weight"].to_list() == [10.0, 0.0, 1.0]
    assert known(frame)["weight"].to_list() == [1.0, 1.0, 1.0]
    # A policy that is gone says nothing of its rate.
    assert known(frame, **{"2": 0.1})["weight"].to_list() == [None, 1.0, 1.0]


def test_a_report_counts_from_its_moment_and_not_from_the_present(tmp_path: Any) -> None:
    book, frame = OutcomeBook(tmp_path), rows([1], [0])
    for day, label in ((10, 1), (30, 0)):
        at = int((BEGIN + timedelta(days=day)).timestamp() * 1e6)
        book.record("shop", [Outcome("0", label, at)], now=at)

    then = reported_labels(book, frame, "shop", AS_OF)
    before = reported_labels(book, frame, "shop", BEGIN + timedelta(days=9))
    later = reported_labels(book, frame, "shop", datetime(2027, 1, 1, tzinfo=UTC))

    assert then["reported"].to_list() == [1]
    assert before.is_empty()
    assert later["reported"].to_list() == [0]


@pytest.mark.parametrize("frame", [rows([], [])])
def test_no_rows_are_no_trouble(frame: pl.DataFrame) -> None:
    assert known(frame).height == 0
