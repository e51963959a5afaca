"""State folders as a service leaves them: released, promoted, asked, anchored, partly retired."""

import os
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flows.decisions import retire_decisions
from flows.promotion import PROMOTED, make_live
from flows.signing import signing_key
from infra.ledger import open_ledger
from infra.settings import Settings
from infra.signing import read_signing_key
from serving.access.keys import KeyStore, Scope
from serving.decisions.anchoring import Anchoring
from serving.decisions.opening import open_recording
from serving.live import CHALLENGER, LiveRecord
from serving.model_references import ResolvedModel
from serving.model_store import ModelStore
from serving.served_models import ModelSource
from tests.serving.conftest import ROW, SHOP, make_home

SERVER = os.environ.get("WHITECROW_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432")
WHO = {"actor": "ana", "reason": "tests"}


@dataclass
class Site:
    """One state folder, and what a person with access to all of it could do."""

    settings: Settings
    archive: Path

    @property
    def home(self) -> Path:
        return self.settings.root

    @property
    def on_server(self) -> bool:
        return self.settings.log_uri is not None

    def decide(self, numbers: Sequence[int], *, size: int = 4, anchored: bool = True) -> None:
        """One more process decides rows, in groups, and ends."""
        recording = open_recording(self.settings)
        models = ModelSource(self.home, ["shop"], recording=recording).load_all()
        try:
            for begin in range(0, len(numbers), size):
                rows = [
                    ROW | {"ORDER_ID": str(number), "CUSTOMER": f"c{number % 7}"}
                    for number in numbers[begin : begin + size]
                ]
                models.by_name["shop"].answer_rows(rows, places=range(len(rows)))
            if anchored:
                self.anchoring(recording.log.store).anchor()
        finally:
            models.close()
            recording.log.close()

    def anchoring(self, store: Any, *, signed: bool = True) -> Anchoring:
        keys = self.settings.keys
        return Anchoring(
            open_ledger(self.settings),
            lambda: store,
            lambda: read_signing_key(keys) if signed else None,
            actor="service",
        )

    def run(self, statement: str, *values: Any, ledger: bool = False) -> list[Any]:
        """Run a statement on the database of the log, or of ledger and live records."""
        uri = self.settings.ledger_uri if ledger else self.settings.log_uri
        if uri is not None:
            with psycopg.connect(uri, autocommit=True) as connection:
                cursor = connection.execute(statement.replace("?", "%s").encode(), values)
                return cursor.fetchall() if cursor.description else []
        return self.run_file("whitecrow.db" if ledger else "decisions.db", statement, *values)

    def run_file(self, name: str, statement: str, *values: Any) -> list[Any]:
        with closing(sqlite3.connect(self.home / name)) as file, file:
            return file.execute(statement, values).fetchall()


def make_site(settings: Settings, archive: Path) -> Site:
    """Two policies, one of them live, two API keys, a retired day, and three processes' rows."""
    site = Site(settings, archive)
    private = SHOP["columns"] | {"pii": ["COUNTRY"]}
    store = make_home(site.home, contract=SHOP | {"columns": private}, live=False)
    signing_key(settings, store, actor="ana")
    key = read_signing_key(settings.keys)
    ledger, policy = open_ledger(settings), store.policy("shop", "1")
    newer = store.add_policy("shop", policy, key=key)
    registered = _told(store, "1") | {"bundle_sha256": store.bundle_sha256("shop", "1")}
    ledger.append("registered", "shop", details=registered, **WHO)
    created = ledger.append("policy_created", "shop", details=_told(store, newer), **WHO)
    make_live(
        settings, ResolvedModel("shop", "1", "1"), PROMOTED, mirror=lambda change: None, **WHO
    )
    waiting = LiveRecord("1", newer, created.sequence)
    store.live.compare_and_swap("shop", None, waiting, alias=CHALLENGER)
    keys = KeyStore(settings.database, ledger)
    keys.create([Scope.SCORE], name="till", **WHO)
    keys.revoke(keys.create([Scope.SCORE], **WHO)[0].key_id, **WHO)
    site.decide(range(6))
    later = datetime.now(UTC) + timedelta(days=92)
    retire_decisions(settings, timedelta(days=90), archive, now=later, **WHO)
    site.decide(range(10, 22))
    site.decide(range(30, 39), size=1)
    return site


def _told(store: ModelStore, policy_version: str) -> dict[str, Any]:
    """What a release writes into the ledger."""
    bundle, policy = store.bundle("shop", "1"), store.policy("shop", policy_version)
    return {
        "model_version": "1",
        "policy_version": policy_version,
        "model_sha256": bundle.model_sha256,
        "policy_id": policy.policy_id,
        "policy_sha256": store.policy_sha256("shop", policy_version),
    }


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


@pytest.fixture
def new_site(tmp_path: Path) -> Callable[..., Site]:
    """Makes sites."""

    def build(name: str = "home", uri: str | None = None) -> Site:
        settings = Settings(home=tmp_path / name, log_uri=uri, ledger_uri=uri)
        return make_site(settings, tmp_path / f"{name}-archive")

    return build


@pytest.fixture(params=["sqlite", "postgres"])
def site(request: pytest.FixtureRequest, new_site: Callable[..., Site]) -> Site:
    """A site with its log and ledger in files, or on a server."""
    uri = request.getfixturevalue("database_uri") if request.param == "postgres" else None
    return new_site(uri=uri)
