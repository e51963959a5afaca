"""Schedules, Prefect servers of the tests' own, and workers on them."""

import shutil
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.settings import Settings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of Prefect, when it is imported
    import prefect.server.schemas.schedules
    import prefect.workers.process  # noqa: F401

from flows.scheduling.schedule import Schedule, checked_schedule
from tests.flows.scheduling.site import Site
from tests.serving.conftest import SHOP, make_home

LONG_AGO = datetime(2025, 1, 1, tzinfo=UTC)
MakeSchedule = Callable[..., Schedule]


@pytest.fixture
def make() -> MakeSchedule:
    """Makes a schedule of ``cards``, every day at three, made long ago; with what is given."""

    def made(**values: object) -> Schedule:
        defaults = {
            "name": "cards", "cron": "0 3 * * *", "since": LONG_AGO, "actor": "ana", "reason": "r",
        }  # fmt: skip
        return checked_schedule(**{**defaults, **values})

    return made


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An empty state folder."""
    return Settings(home=tmp_path / "home", prefect_port=0)


@pytest.fixture
def released(tmp_path: Path) -> Settings:
    """A state folder with the model ``stream``, which no training made."""
    make_home(tmp_path / "home", contract=SHOP | {"name": "stream"})
    return Settings(home=tmp_path / "home", prefect_port=0)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A state folder with a Prefect server of its own, on a free port."""
    from flows.scheduling.server import ensure_server, stop_server

    settings = Settings(home=tmp_path_factory.mktemp("served"), prefect_port=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PREFECT_API_URL", raising=False)
        patch.setenv("PREFECT_HOME", str(settings.root / "prefect"))
        ensure_server(settings)
        yield settings
    stop_server(settings)


@pytest.fixture
def site(trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A state folder with the model ``stream``; Prefect's server there is started by what asks."""
    home = shutil.copytree(trained.home, tmp_path / "home")
    # Of the first training's steps none may be mistaken for the retraining's.
    for steps in home.glob("runs/*/steps"):
        shutil.rmtree(steps)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(home / "prefect"))
    site = Site(Settings(home=home, prefect_port=0))
    yield site
    site.end()
