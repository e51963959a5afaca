"""The service without HTTP: it answers as the service does, and asks again as clients do."""

import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from features.online.events import microseconds_of
from infra.settings import Settings
from serving.in_process import InProcessService, RowRefused
from serving.outcomes import OutcomeBook
from serving.reported_labels import ReportedLabel
from tests.serving.conftest import make_home, shop_frame


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    make_home(tmp_path)
    return Settings(home=tmp_path)


def test_rows_are_answered_in_order_and_labels_are_outcomes(settings) -> None:
    rows = shop_frame(450)
    label = ReportedLabel("3", 1, microseconds_of(datetime(2026, 4, 9, tzinfo=UTC)))

    with InProcessService(settings, "shop") as service:
        answers = service.decide(rows)
        taken = service.take_labels([label])

    assert [answer.id for answer in answers] == rows["ORDER_ID"].to_list()
    assert taken.accepted == 1
    assert OutcomeBook(settings.root).known("shop") == {"3"}


def test_it_follows_what_is_live(settings, new_home) -> None:
    with InProcessService(settings, "shop") as service:
        before = service.version
        new_home(settings.root, version="2", intercept=1.0)
        assert service.version == before == "1"
        service.follow()
        assert service.version == "2"
        assert service.decide(shop_frame(1))[0].model.version == "2"


def test_rows_that_find_the_log_locked_are_sent_again(settings) -> None:
    with (
        InProcessService(settings, "shop") as service,
        closing(
            sqlite3.connect(
                settings.root / "decisions.db", isolation_level=None, check_same_thread=False
            )
        ) as another,
    ):
        another.execute("BEGIN IMMEDIATE")
        threading.Timer(4.0, another.execute, ["ROLLBACK"]).start()
        answers = service.decide(shop_frame(3))

    assert [answer.id for answer in answers] == ["0", "1", "2"]


def test_a_row_that_no_repetition_helps_is_refused(settings) -> None:
    rows = shop_frame(2).with_columns(
        pl.lit(None, dtype=pl.Datetime("us", "UTC")).alias("PLACED_AT")
    )

    with (
        InProcessService(settings, "shop") as service,
        pytest.raises(RowRefused, match="PLACED_AT"),
    ):
        service.decide(rows)
