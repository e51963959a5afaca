"""Rows of a window, of one table or several, as one file."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from features.contract import Contract, parse_contract
from features.ingestion.data_error import DataError
from flows.retraining.window import pick_rows, picked_from
from infra.storage import sha256_file

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def contract() -> Contract:
    return parse_contract(
        {
            "name": "till",
            "columns": {"id": "ID", "event_time": "AT", "numeric": ["X"]},
            "label": {"column": "FRAUD"},
        },
        source="test",
    )


def _days(*days: int) -> pl.DataFrame:
    return pl.DataFrame(
        {"ID": days, "AT": [START + day * DAY for day in days], "X": 1.0, "FRAUD": 0}
    )


def test_a_window_has_its_first_moment_and_not_its_last(contract, tmp_path) -> None:
    _days(0, 1, 2, 3, 4).write_parquet(tmp_path / "a.parquet")
    out = tmp_path / "out.parquet"

    picked = pick_rows(
        [str(tmp_path / "a.parquet")], contract, out, since=START + DAY, until=START + 3 * DAY
    )

    assert pl.read_parquet(out)["ID"].to_list() == [1, 2]
    assert (picked.rows, picked.of, picked.undated) == (2, 5, 0)


def test_rows_that_features_look_back_to_come_along(tmp_path) -> None:
    """A rate of labels looks back over its window and the delay behind which labels are known."""
    contract = parse_contract(
        {
            "name": "till",
            "columns": {"id": "ID", "event_time": "AT", "numeric": ["X"], "entities": ["CARD"]},
            "label": {"column": "FRAUD", "delay": "2d"},
            "velocity": [{"entity": "CARD", "windows": ["1d"], "aggregates": ["count"]}],
            "label_rate": [{"entity": "CARD", "windows": ["3d"]}],
        },
        source="test",
    )
    source, out = tmp_path / "a.parquet", tmp_path / "out.parquet"
    _days(*range(12)).with_columns(CARD=1).write_parquet(source)

    picked = pick_rows([str(source)], contract, out, since=START + 8 * DAY, until=START + 10 * DAY)

    assert pl.read_parquet(out)["ID"].to_list() == [3, 4, 5, 6, 7, 8, 9]
    assert (picked.rows, picked.history, picked.of) == (2, 5, 12)


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"since": START + 2 * DAY}, [2, 1_000]),
        ({"until": START + DAY}, [0]),
        ({}, [0, 1, 2, 1_000]),
    ],
)
def test_a_bound_may_be_missing(contract, tmp_path, bounds, expected) -> None:
    _days(0, 1, 2, 1_000).write_parquet(tmp_path / "a.parquet")

    pick_rows([str(tmp_path / "a.parquet")], contract, tmp_path / "out.parquet", **bounds)

    assert pl.read_parquet(tmp_path / "out.parquet")["ID"].to_list() == expected


def test_a_table_that_has_grown_gives_the_same_bytes(contract, tmp_path) -> None:
    source, window = tmp_path / "a.parquet", {"since": START, "until": START + 3 * DAY}
    _days(0, 1, 2).write_parquet(source)
    pick_rows([str(source)], contract, tmp_path / "before.parquet", **window)
    _days(0, 1, 2, 3, 4, 5).write_parquet(source)

    pick_rows([str(source)], contract, tmp_path / "after.parquet", **window)

    assert sha256_file(tmp_path / "before.parquet") == sha256_file(tmp_path / "after.parquet")


def test_several_tables_are_one(contract, tmp_path) -> None:
    """Their columns may stand in another order, and numbers be written in another way."""
    _days(0, 5).write_parquet(tmp_path / "a.parquet")
    _days(1, 6).with_columns(X=pl.lit(2)).select("X", "AT", "FRAUD", "ID").write_parquet(
        tmp_path / "b.parquet"
    )

    sources = [str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")]
    picked = pick_rows(sources, contract, tmp_path / "out.parquet", until=START + 6 * DAY)

    found = pl.read_parquet(tmp_path / "out.parquet")
    assert found["ID"].to_list() == [0, 5, 1]
    assert found["X"].to_list() == [1.0, 1.0, 2.0]
    assert picked.of == 4
    assert [(each["role"], each["name"]) for each in picked_from(sources)] == [
        ("source", "a.parquet"), ("source", "b.parquet"),
    ]  # fmt: skip


def test_rows_without_a_readable_time_stay_for_the_quarantine(contract, tmp_path) -> None:
    (tmp_path / "a.csv").write_text(
        "ID,AT,X,FRAUD\n1,2026-01-01,1,0\n2,soon,1,0\n3,2026-02-01,1,0\n4,,1,0\n"
    )

    picked = pick_rows(
        [str(tmp_path / "a.csv")], contract, tmp_path / "out.parquet", until=START + DAY
    )

    assert pl.read_parquet(tmp_path / "out.parquet")["ID"].to_list() == [1, 2, 4]
    assert picked.undated == 2


def test_tables_of_other_columns_are_refused_by_name(contract, tmp_path) -> None:
    _days(0).write_parquet(tmp_path / "a.parquet")
    _days(1).with_columns(EXTRA=1).write_parquet(tmp_path / "b.parquet")

    with pytest.raises(DataError, match="differ in column\\(s\\) 'EXTRA'"):
        pick_rows(
            [str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")],
            contract,
            tmp_path / "out.parquet",
        )


def test_tables_of_other_types_are_refused(contract, tmp_path) -> None:
    _days(0).write_parquet(tmp_path / "a.parquet")
    _days(1).with_columns(X=pl.lit([1])).write_parquet(tmp_path / "b.parquet")

    with pytest.raises(DataError, match="as one table"):
        pick_rows(
            [str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")],
            contract,
            tmp_path / "out.parquet",
        )


def test_an_empty_window_is_refused_and_writes_nothing(contract, tmp_path) -> None:
    _days(0, 1).write_parquet(tmp_path / "a.parquet")

    with pytest.raises(DataError, match="None of the 2 rows .* lies in the window"):
        pick_rows(
            [str(tmp_path / "a.parquet")], contract, tmp_path / "out.parquet", since=START + 9 * DAY
        )
    assert not (tmp_path / "out.parquet").exists()


def test_a_table_without_the_event_time_is_refused(contract, tmp_path) -> None:
    _days(0).drop("AT").write_parquet(tmp_path / "a.parquet")

    with pytest.raises(DataError, match="no column 'AT'"):
        pick_rows([str(tmp_path / "a.parquet")], contract, tmp_path / "out.parquet", since=START)
