"""Rows on their way to the file: by day on disk, each id once."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from flows.datasets import days
from flows.datasets.days import MOMENT, RECEIVED, DayFiles, SeenIds

START = datetime(2026, 3, 1, tzinfo=UTC)
SCHEMA = {MOMENT: pl.Datetime("us", "UTC"), RECEIVED: pl.Datetime("us", "UTC")}


def rows(*hours: int) -> pl.DataFrame:
    moments = [START + timedelta(hours=hour) for hour in hours]
    names = pl.Series("decision_id", [str(hour) for hour in hours], dtype=pl.String)
    return pl.DataFrame({MOMENT: moments, RECEIVED: moments}, schema=SCHEMA).with_columns(names)


def test_days_come_one_by_one_and_in_order(tmp_path: Path) -> None:
    files = DayFiles(tmp_path)
    for hours in ([49, 1], [], [25, 3], [2, 50]):
        files.add(rows(*hours))

    assert [each["decision_id"].to_list() for each in files.in_order()] == [
        ["1", "2", "3"], ["25"], ["49", "50"],
    ]  # fmt: skip


def test_rows_leave_memory_for_the_disk(tmp_path: Path) -> None:
    files = DayFiles(tmp_path)
    half = rows(*[1] * (days.ROWS_IN_MEMORY // 2))

    files.add(half)
    assert list(tmp_path.iterdir()) == []
    files.add(half)

    assert len(list(tmp_path.iterdir())) == 1
    assert sum(each.height for each in files.in_order()) == days.ROWS_IN_MEMORY


def test_no_rows_are_no_days(tmp_path: Path) -> None:
    assert list(DayFiles(tmp_path).in_order()) == []


def test_an_id_is_new_once(tmp_path: Path) -> None:
    with closing(SeenIds(tmp_path / "seen.db")) as seen:
        first = seen.is_first(pl.Series(["a", "b", None, "a", None]))
        second = seen.is_first(pl.Series(["c", "b", None]))

    assert first.to_list() == [True, True, True, False, True]
    assert second.to_list() == [True, False, True]
