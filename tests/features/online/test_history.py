"""A table's rows become the events and reports that they would have been."""

from collections.abc import Callable
from datetime import UTC, timedelta

import polars as pl
import pytest

from features.contract import Contract, parse_contract
from features.ingestion.data_error import DataError
from features.online.events import LabelReport, microseconds_of
from features.online.history import History, HistoryCounts, history_columns
from features.online.state import ClockSkewRefused

HOUR = timedelta(hours=1)


@pytest.fixture
def rows(start) -> Callable[..., pl.DataFrame]:
    """Makes a table of ``watched``: for each row what matters, the rest as usual."""

    def make(*given: dict[str, object]) -> pl.DataFrame:
        usual = {"card": "c", "shop": "s", "mode": "chip", "amount": 10.0, "fraud": 0}
        table = [
            {"tx": f"t{n}", **usual, "reported": None, **row, "when": start + row["at"] * HOUR}
            if row.get("at") is not None
            else {"tx": f"t{n}", **usual, "reported": None, **row, "when": None}
            for n, row in enumerate(given)
        ]
        return pl.DataFrame(
            table,
            schema_overrides={"when": pl.Datetime("us", "UTC"), "reported": pl.Datetime("us")},
        ).drop("at")

    return make


@pytest.fixture
def history_of(watched, start) -> Callable[..., History]:
    def make(table: pl.DataFrame, contract: Contract = watched, **options: object) -> History:
        now = microseconds_of(start + 1_000 * timedelta(days=1))
        return History.of(table, contract, **{"name": "ab12", "clock": lambda: now, **options})

    return make


def ids(history: History) -> list[str]:
    return [event.id for event in history.events(0, history.frame.height)]


def test_events_come_in_time_order_whatever_the_table_s(rows, history_of) -> None:
    history = history_of(rows({"at": 3}, {"at": 1}, {"at": 2}, {"at": 1}))

    assert ids(history) == ["t1", "t3", "t2", "t0"]


def test_what_is_left_out_is_counted(rows, history_of, start) -> None:
    table = rows(
        {"at": 0},  # 8 days and an hour before the newest: a week of look-back, a day of lateness
        {"at": 1},
        {"at": None},
        {"at": 193, "tx": "again"},
        {"at": 192, "tx": "again"},
        {"at": 194},
    )

    history = history_of(table, as_of=start + 193 * HOUR)

    assert history.counts == HistoryCounts(
        read=6, without_event_time=1, later=1, too_old=1, repeated=1, kept=2
    )
    assert ids(history) == ["t1", "again"]
    assert history.newest == start + 192 * HOUR


def test_rows_without_an_id_are_named_by_the_table_and_their_place(rows, history_of) -> None:
    history = history_of(rows({"at": 2, "tx": None}, {"at": 1}, {"at": 3, "tx": None}))

    assert ids(history) == ["t1", "ab12:0", "ab12:2"]


def test_a_positive_is_reported_when_its_table_says_so(rows, history_of, start) -> None:
    reported = (start + 5 * HOUR).replace(tzinfo=None)
    table = rows({"at": 0, "fraud": 1, "reported": reported}, {"at": 1, "fraud": 1}, {"at": 99})

    reports = history_of(table).reports(0, 3)

    # The second one has no report: it is known after the label delay of two days.
    assert reports == [
        LabelReport("t0", 1, microseconds_of(start + 5 * HOUR)),
        LabelReport("t1", 1, microseconds_of(start + 49 * HOUR)),
    ]


def test_labels_that_were_not_known_by_the_moment_are_not_reported(rows, history_of, start):
    late = (start + 60 * HOUR).replace(tzinfo=None)
    table = rows({"at": 0, "fraud": 1}, {"at": 1, "fraud": 1, "reported": late}, {"at": 2})

    def known(hours: float) -> list[str]:
        history = history_of(table, as_of=start + hours * HOUR)
        return [report.id for report in history.reports(0, 3)]

    assert known(47.99) == []
    assert known(48) == ["t0"]
    assert known(59.99) == ["t0"]
    assert known(60) == ["t0", "t1"]


def test_a_report_within_the_label_delay_is_kept_for_when_the_delay_is_over(
    rows, history_of, start
) -> None:
    early = (start + 5 * HOUR).replace(tzinfo=None)
    table = rows({"at": 0, "fraud": 1, "reported": early}, {"at": 1, "fraud": 1})

    history = history_of(table, as_of=start + 6 * HOUR)

    assert history.reports(0, 2) == [LabelReport("t0", 1, microseconds_of(start + 5 * HOUR))]


def test_without_a_moment_every_report_of_the_table_counts(rows, history_of, start) -> None:
    late = (start + 500 * HOUR).replace(tzinfo=None)
    table = rows({"at": 0, "fraud": 1, "reported": late}, {"at": 1})

    assert [report.id for report in history_of(table).reports(0, 2)] == ["t0"]


@pytest.mark.parametrize("absent_means", ["negative", "unknown"])
def test_a_negative_that_nobody_reported_is_left_to_its_absence(
    rows, history_of, start, everything, absent_means
) -> None:
    contract = parse_contract(everything(absent_means), source="watched.toml")
    at = (start + 3 * HOUR).replace(tzinfo=None)
    table = rows({"at": 0}, {"at": 0, "reported": at}, {"at": 99, "fraud": 1})

    reported = [report.id for report in history_of(table, contract).reports(0, 2)]

    assert reported == (["t1"] if absent_means == "negative" else ["t0", "t1"])


def test_labels_come_from_another_table_where_the_contract_says_so(
    rows, history_of, start, everything
) -> None:
    document = everything()
    document["label"] |= {"source": "chargebacks.parquet", "key": "tx"}
    labels = pl.DataFrame(
        {"tx": ["t1"], "fraud": [1], "reported": [(start + 70 * HOUR).replace(tzinfo=None)]}
    )
    contract = parse_contract(document, source="watched.toml")
    table = rows({"at": 0}, {"at": 1}, {"at": 99}).drop("fraud", "reported")

    history = history_of(table, contract, labels=labels)

    assert history.reports(0, 3) == [LabelReport("t1", 1, microseconds_of(start + 70 * HOUR))]


def test_only_what_events_hold_is_asked_of_a_table(watched, everything) -> None:
    document = everything()
    document["columns"] |= {"numeric": ["V*"], "optional": ["mode"]}
    contract = parse_contract(document, source="watched.toml")

    wanted = ["tx", "when", "amount", "card", "shop", "mode", "fraud", "reported"]
    assert history_columns(["tx", "V1", "mode"], contract) == wanted
    assert history_columns(["tx", "V1"], contract) == [name for name in wanted if name != "mode"]


def test_columns_that_no_event_holds_may_be_anything(rows, history_of, everything) -> None:
    document = everything()
    document["columns"] |= {"numeric": ["V*", "age"], "optional": ["mode"]}
    contract = parse_contract(document, source="watched.toml")
    table = rows({"at": 1}).drop("mode").with_columns(age=pl.lit("unknown"))

    (event,) = history_of(table, contract).events(0, 1)

    assert event.values == ("s", None)


def test_a_table_without_moments_has_no_history(rows, history_of) -> None:
    with pytest.raises(DataError, match="None of 2 rows has an event time"):
        history_of(rows({"at": None}, {"at": None}))


def test_a_moment_before_all_rows_leaves_nothing(rows, history_of, start) -> None:
    with pytest.raises(DataError, match="All rows lie after --as-of"):
        history_of(rows({"at": 1}), as_of=start)


def test_rows_of_the_future_are_refused_unless_they_are_left_out(rows, history_of, start) -> None:
    table = rows({"at": 1}, {"at": 24 * 365 * 9})

    with pytest.raises(ClockSkewRefused, match=r"1 row.*--as-of 2028-12-21"):
        history_of(table)
    assert ids(history_of(table, as_of=start + 2 * HOUR)) == ["t0"]


def test_moments_of_another_zone_are_the_same_moments(rows, history_of, start) -> None:
    table = rows({"at": 1}, {"at": 2})
    elsewhere = table.with_columns(pl.col("when").dt.convert_time_zone("America/New_York"))

    assert history_of(elsewhere).newest == (start + 2 * HOUR).astimezone(UTC)
    assert history_of(elsewhere).events(0, 2) == history_of(table).events(0, 2)
