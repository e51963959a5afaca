"""Decisions of the shop, in each kind of database, and what replays them."""

from collections.abc import Callable

import pytest

from serving.decisions.sealing import read_log_secret
from serving.kept_rules import KeptRules
from serving.model_store import ModelStore
from serving.replaying.logged import opened_decisions
from serving.replaying.models import ArchivedModels
from serving.replaying.replayer import ReplayedDecision, Replayer
from tests.serving.decisions.conftest import (  # noqa: F401 - fixtures
    LogPlace,
    corner,
    place,
    postgres_place,
    private,
    shop,
    sqlite_place,
)


@pytest.fixture
def replay() -> Callable[..., list[ReplayedDecision]]:
    """Replays every decision of a place, in the order of the log."""

    def run(where: LogPlace, *, platform: str | None = None) -> list[ReplayedDecision]:
        settings, store = where.settings(), where.store()
        secret = read_log_secret(settings.keys)
        records = [(g.writer_id, r) for g in store.groups() for r in g.decoded()]
        replayer = Replayer(
            ArchivedModels(ModelStore(where.home)),
            KeptRules(where.home, secret),
            secret,
            platform=platform,
        )
        return replayer.replay(opened_decisions(records, store, secret))

    return run
