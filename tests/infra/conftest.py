"""A ledger in each kind of database."""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from infra.ledger import Ledger, open_ledger
from infra.settings import Settings

SERVER = os.environ.get("WHITECROW_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432")


@pytest.fixture
def database_uri() -> Iterator[str]:
    """A database of its own on the PostgreSQL server."""
    name = f"whitecrow_{uuid.uuid4().hex[:12]}"
    try:
        server = psycopg.connect(f"{SERVER}/postgres", autocommit=True, connect_timeout=2)
    except psycopg.OperationalError as error:
        pytest.skip(f"no PostgreSQL at {SERVER} (set WHITECROW_TEST_POSTGRES): {error}")
    with server:
        server.execute(f"CREATE DATABASE {name}")
        yield f"{SERVER}/{name}"
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings that name a ledger in a file, or on a server."""
    uri = request.getfixturevalue("database_uri") if request.param == "postgres" else None
    return Settings(home=tmp_path / "home", ledger_uri=uri)


@pytest.fixture
def ledger(place: Settings) -> Ledger:
    """Three promotions of one model."""
    ledger = open_ledger(place)
    for version in ("1", "2", "3"):
        ledger.append(
            "promoted", "cards", actor="ana", reason="better", details={"version": version}
        )
    return ledger


@pytest.fixture
def tamper(place: Settings) -> Callable[[str], None]:
    """Runs one statement on the ledger's database, as a person with access to it would."""

    def run(statement: str) -> None:
        import sqlite3
        from contextlib import closing

        if place.ledger_uri is not None:
            with psycopg.connect(place.ledger_uri, autocommit=True) as connection:
                connection.execute(statement.encode())
            return
        with closing(sqlite3.connect(place.database)) as file, file:
            file.execute(statement)

    return run
