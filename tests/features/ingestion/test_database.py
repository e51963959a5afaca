"""Tables from a database query."""

import importlib.util
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from features.ingestion.data_error import DataError
from features.ingestion.database import parse_uri, without_password
from features.ingestion.tables import fingerprint, read_table


@pytest.fixture
def database(tmp_path: Path) -> str:
    """URI of a SQLite file with three payments, without a query."""
    path = tmp_path / "my payments.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE payments (id INTEGER, amount REAL, city TEXT)")
        rows = [(1, 2, "x"), (2, None, "50% off"), (3, 2.5, None)]
        connection.executemany("INSERT INTO payments VALUES (?, ?, ?)", rows)
    connection.close()
    return f"sqlite:///{path}"


def test_a_query_is_read_like_a_file(database: str) -> None:
    frame = read_table(f"{database}?query=SELECT id, amount FROM payments WHERE id < 3")

    assert frame.rows() == [(1, 2.0), (2, None)]


def test_sql_may_be_percent_encoded(database: str) -> None:
    frame = read_table(f"{database}?query=SELECT%20city%20FROM%20payments%20WHERE%20id%3D2")

    assert frame.rows() == [("50% off",)]


def test_sql_keeps_its_own_question_marks_and_percent_signs(database: str) -> None:
    sql = "SELECT id FROM payments WHERE city LIKE '50% o%' OR city = '?query='"

    assert read_table(f"{database}?query={sql}").rows() == [(2,)]


def test_a_relative_path_has_three_slashes_and_an_absolute_one_four() -> None:
    assert parse_uri("sqlite:///a.db?query=SELECT 1").uri == "sqlite:///a.db"
    assert parse_uri("sqlite:////tmp/a.db?query=SELECT 1").uri == "sqlite:////tmp/a.db"


def test_a_query_has_a_fingerprint_of_its_rows(database: str) -> None:
    small = fingerprint(f"{database}?query=SELECT id FROM payments WHERE id < 3")
    large = fingerprint(f"{database}?query=SELECT id FROM payments")

    assert (small.rows, large.rows, large.columns) == (2, 3, 1)
    assert small.sha256 != large.sha256
    assert large == fingerprint(f"{database}?query=SELECT id FROM payments")


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("", "names a database but no query"),
        ("?query=", "names a database but no query"),
        ("?query=SELECT town FROM payments", "no such column: town"),
        ("?query=SELECT id FROM payments WHERE id > 9", "selects no rows"),
        ("?query=SELECT id, id FROM payments", "more than once"),
        ("?query=DELETE FROM payments", "not valid 'read' queries"),
    ],
)
def test_a_bad_query_is_refused_in_one_line(database: str, rest: str, message: str) -> None:
    with pytest.raises(DataError) as refusal:
        read_table(database + rest)

    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "none.db"

    with pytest.raises(DataError, match="There is no SQLite file"):
        read_table(f"sqlite:///{path}?query=SELECT 1")
    assert not path.exists()


@pytest.mark.skipif(
    importlib.util.find_spec("psycopg") is not None
    or importlib.util.find_spec("connectorx") is not None,
    reason="a PostgreSQL driver is installed",
)
def test_a_missing_driver_is_named_and_the_password_is_not() -> None:
    with pytest.raises(DataError, match=r"pip install 'psycopg\[binary\]'") as refusal:
        read_table("postgresql://ana:secret@nowhere/db?query=SELECT 1")

    assert "secret" not in str(refusal.value)


def test_an_unknown_database_is_refused() -> None:
    with pytest.raises(DataError):
        read_table("oracle://ana:secret@nowhere/db?query=SELECT 1")


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://ana:s3cret@db/x",
        "postgresql://ana:s3cret@db:5432/x?query=SELECT 'a@b'",
        "postgresql://ana@db/x?password=s3cret&query=SELECT 1",
    ],
)
def test_no_password_is_shown(uri: str) -> None:
    assert "s3cret" not in without_password(uri)
    assert "ana@db" in without_password(uri)


def test_postgresql_is_read_and_never_written(postgresql: str) -> None:
    rows = "VALUES (1, 12.50, timestamptz '2024-03-01 12:00+02'), (2, NULL, NULL)"

    frame = read_table(f"{postgresql}?query=SELECT * FROM ({rows}) AS t (id, amount, at)")

    assert frame["id"].to_list() == [1, 2]
    assert frame["amount"].cast(pl.Float64).to_list() == [12.5, None]
    assert frame["at"][0] == datetime(2024, 3, 1, 10, tzinfo=UTC)
    with pytest.raises(DataError, match="read-only transaction"):
        read_table(f"{postgresql}?query=SELECT 1 AS a INTO whitecrow_test")
