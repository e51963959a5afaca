"""A decision log in each kind of database, and models that write to it."""

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from infra.settings import Settings
from serving.decisions.opening import Recording, open_recording, open_store
from serving.decisions.store import DecisionStore
from serving.served_model import ServedModel
from serving.served_models import ModelSource

SERVER = os.environ.get("WHITECROW_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432")


@dataclass
class LogPlace:
    """A database for one test: a file, or a database of a PostgreSQL server."""

    home: Path
    uri: str | None = None
    opened: list[Any] = field(default_factory=list)

    def settings(self, **values: Any) -> Settings:
        return Settings(home=self.home, log_uri=self.uri, **values)

    def recording(self, **values: Any) -> Recording:
        """A log as a service opens it; each call is one more process's."""
        recording = open_recording(self.settings(**values))
        self.opened.append(recording.log)
        return recording

    def store(self) -> DecisionStore:
        """The database itself."""
        store = open_store(self.settings())
        self.opened.append(store)
        return store

    def serve(self, name: str = "shop", **values: Any) -> ServedModel:
        """A model of the state folder that writes its decisions down here."""
        recording = self.recording(**values)
        models = ModelSource(self.home, [name], recording=recording).load_all()
        self.opened.insert(0, models)
        model = models.by_name[name]
        model.log = recording.log  # type: ignore[attr-defined]
        return model

    def content(self) -> bytes:
        """All bytes of the log, as they lie on the disk or leave the server."""
        for each in self.opened:
            each.close()
        self.opened.clear()
        if self.uri is None:
            files = sorted(self.home.glob("decisions.db*"))
            return b"".join(file.read_bytes() for file in files)
        found = b""
        with psycopg.connect(self.uri) as connection:
            query = "SELECT tablename FROM pg_tables WHERE tablename LIKE 'log_%'"
            for (table,) in connection.execute(query).fetchall():
                for row in connection.execute(f"SELECT * FROM {table}").fetchall():
                    found += b"".join(
                        each if isinstance(each, bytes) else str(each).encode() for each in row
                    )
        return found


@pytest.fixture
def sqlite_place(tmp_path: Path) -> Iterator[LogPlace]:
    place = LogPlace(tmp_path / "home")
    yield place
    for each in place.opened:
        each.close()


@pytest.fixture
def postgres_place(tmp_path: Path) -> Iterator[LogPlace]:
    name = f"whitecrow_{uuid.uuid4().hex[:12]}"
    try:
        server = psycopg.connect(f"{SERVER}/postgres", autocommit=True, connect_timeout=2)
    except psycopg.OperationalError as error:
        pytest.skip(f"no PostgreSQL at {SERVER} (set WHITECROW_TEST_POSTGRES): {error}")
    with server:
        server.execute(f"CREATE DATABASE {name}")
        place = LogPlace(tmp_path / "home", f"{SERVER}/{name}")
        yield place
        for each in place.opened:
            each.close()
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> LogPlace:
    """Each kind of database in turn."""
    found: LogPlace = request.getfixturevalue(f"{request.param}_place")
    return found


@pytest.fixture
def shop(place: LogPlace, new_home) -> LogPlace:
    """A place whose state folder has the shop's model."""
    new_home(place.home)
    return place


@pytest.fixture
def corner(place: LogPlace, new_home, corner_contract) -> LogPlace:
    """A place whose state folder has the corner shop's model, which looks back in time."""
    new_home(place.home, contract=corner_contract)
    return place


@pytest.fixture
def private(place: LogPlace, new_home, shop_contract) -> LogPlace:
    """The shop with personal columns: country, age and the order's id."""
    columns = shop_contract["columns"] | {"pii": ["COUNTRY", "AGE_DAYS", "ORDER_ID"]}
    new_home(place.home, contract=shop_contract | {"columns": columns})
    return place


@pytest.fixture(scope="session")
def log_place() -> Callable[..., LogPlace]:
    """Makes places."""
    return LogPlace
