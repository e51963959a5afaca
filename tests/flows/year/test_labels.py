"""How the truth comes in: late, and of declined rows because somebody asks."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from features.online.events import microseconds_of
from flows.year.labels import CARDHOLDER, CHARGEBACK, LabelDesk

DAY = timedelta(days=1)
START = datetime(2025, 5, 1, tzinfo=UTC)
STREAM = pl.DataFrame(
    {
        "TRANSACTION_ID": [1, 2, 3, 4],
        "TX_DATETIME": [START + at * DAY for at in range(4)],
        "TX_FRAUD": [0, 1, 0, 1],
        "REPORTED_AT": [None, START + 9 * DAY, None, START + 20 * DAY],
    },
    schema_overrides={"REPORTED_AT": pl.Datetime("us", "UTC")},
)


def decided(**decisions: str) -> pl.DataFrame:
    ids = [int(name[1:]) for name in decisions]
    return pl.DataFrame({"TRANSACTION_ID": ids, "decision": list(decisions.values())})


@pytest.fixture
def desk() -> LabelDesk:
    return LabelDesk(STREAM, asked_days=7)


def told(desk: LabelDesk, first: int, last: int) -> list[tuple[str, int, str | None]]:
    due = desk.due(START + first * DAY, START + last * DAY)
    return [(each.id, each.label, each.source) for each in due]


def test_a_fraud_is_reported_on_its_day_and_once(desk: LabelDesk) -> None:
    assert told(desk, 0, 9) == []
    assert told(desk, 9, 10) == [("2", 1, CHARGEBACK)]
    assert told(desk, 10, 40) == [("4", 1, CHARGEBACK)]


def test_nobody_speaks_of_genuine_payments_that_went_through(desk: LabelDesk) -> None:
    desk.note(decided(_1="approve", _3="review"))

    assert [each[0] for each in told(desk, 0, 400)] == ["2", "4"]


def test_who_was_declined_answers_a_week_later(desk: LabelDesk) -> None:
    desk.note(decided(_1="decline", _2="approve"))
    (answer,) = desk.due(START + 7 * DAY, START + 8 * DAY)

    assert (answer.id, answer.label, answer.source) == ("1", 0, CARDHOLDER)
    assert answer.reported_at == microseconds_of(START + 7 * DAY)


def test_a_declined_fraud_stays_a_fraud_and_is_reported_once(desk: LabelDesk) -> None:
    desk.note(decided(_2="decline"))

    assert told(desk, 0, 400) == [("2", 1, CHARGEBACK), ("4", 1, CHARGEBACK)]
