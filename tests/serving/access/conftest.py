"""A real service that asks for keys."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.access.keys import KeyStore, Scope
from serving.access.rates import Rate
from serving.launch import free_port, running_service, wait_until_ready

_ids = count(1_000_000)


@pytest.fixture
def shop_row(shop_row: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """A row with an id of its own: the service is one for all tests, and an id means one row."""
    return lambda **changes: shop_row(**{"ORDER_ID": next(_ids), **changes})


@dataclass
class Guarded:
    """A service for the shop, and keys to it."""

    home: Path
    port: int
    store: KeyStore
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.home / "service.log").read_text()

    def client(self, key: str | None = None) -> httpx.Client:
        """A client that sends a key by its name here."""
        headers = {"Authorization": f"Bearer {self.keys[key]}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=20)


@pytest.fixture(scope="session")
def guarded(new_home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A real server with keys for scoring, labels and all; tests may add their own."""
    home = tmp_path_factory.mktemp("guarded")
    new_home(home)
    service = Guarded(home, free_port(), KeyStore(home / "whitecrow.db"))
    for name, scope in (
        ("score", Scope.SCORE),
        ("label", Scope.LABEL),
        ("admin", Scope.ADMIN),
        ("audit", Scope.AUDIT),
    ):
        service.keys[name] = service.store.create([scope], actor="ada", reason="tests")[1]
    service.keys["slow"] = service.store.create(
        [Scope.SCORE], rate=Rate(0.01), actor="ada", reason="tests"
    )[1]
    with (
        (home / "service.log").open("w") as log,
        running_service(["shop"], port=service.port, home=home, log=log.fileno()),
    ):
        wait_until_ready(service.url, timeout=60)
        yield service
