"""A tiny shop's service with a decision log, and traffic through it at moments of one's own."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from features.online.events import microseconds_of
from flows.monitoring.config import MonitorConfig
from flows.monitoring.gathering import gather
from flows.monitoring.report import MonitorReport
from flows.monitoring.request import MonitorRequest
from flows.monitoring.run import report_on
from infra.settings import Settings
from serving.decisions.opening import open_recording
from serving.outcomes import OutcomeBook
from serving.refusals import RequestRefused
from serving.reported_labels import Outcome
from serving.request_context import RequestContext
from serving.served_models import ModelSource
from tests.serving.conftest import ROW, SHOP, make_home

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
DELAYED: dict[str, Any] = SHOP | {
    "label": {"column": "IS_FRAUD", "delay": "7d", "absent_means": "negative"},
    "policy": {"segments": ["COUNTRY"]},
}
TEN_DAYS = {"days": 10}
CONFIG = """
min_rows = 200
min_positives = 10
reference = {days = 10}
"""


@dataclass
class Shop:
    """A state folder with a model, its traffic and its labels."""

    home: Path
    log_uri: str | None = None
    n_rows: int = 0

    @property
    def settings(self) -> Settings:
        return Settings(home=self.home, log_uri=self.log_uri)

    def serve(self, day: float, n_rows: int, *, seed: int = 0, **changed: Any) -> list[Any]:
        """Answer rows spread over a day; a change is a value, or made of the random generator."""
        rng = np.random.default_rng([seed, int(day * 10)])
        rows = []
        for at in range(n_rows):
            self.n_rows += 1
            placed = BEGIN + timedelta(days=day + at / n_rows)
            row = ROW | {
                "ORDER_ID": self.n_rows,
                "PLACED_AT": placed.isoformat(),
                "AMOUNT": round(float(rng.lognormal(4, 1)), 2),
                "AGE_DAYS": int(rng.integers(0, 1000)),
                "DISTANCE": round(float(rng.exponential(1)), 4),
                "COUNTRY": str(rng.choice(["DE", "FR", "XX"], p=[0.6, 0.3, 0.1])),
                "DEVICE": int(rng.integers(1, 3)),
            }
            made = {key: value(rng) if callable(value) else value for key, value in changed.items()}
            rows.append({key: value for key, value in (row | made).items() if value is not ...})
        recording = open_recording(self.settings)
        models = ModelSource(self.home, ["shop"], recording=recording).load_all()
        context = RequestContext(received_at=microseconds_of(BEGIN + timedelta(days=day + 1)))
        answers = []
        for at in range(0, n_rows, 500):
            answers += models.by_name["shop"].answer_rows(rows[at : at + 500], context)
        models.close()
        recording.log.close()
        assert not any(isinstance(answer, RequestRefused) for answer in answers), answers[0]
        return answers

    def report(self, labels: dict[str, int], day: float) -> None:
        """Take labels of rows, all known from one day on."""
        at = microseconds_of(BEGIN + timedelta(days=day))
        book = OutcomeBook(self.home)
        outcomes = [Outcome(name, label, at) for name, label in labels.items()]
        book.record("shop", outcomes, now=at)

    def request(self, since: float, until: float, as_of: float, **values: Any) -> MonitorRequest:
        """The days from one to another, with what was known on a third."""
        moments = [BEGIN + timedelta(days=day) for day in (since, until, as_of)]
        return MonitorRequest(
            name="shop", since=moments[0], until=moments[1], as_of=moments[2], **values
        )

    def look(self, since: float, until: float, as_of: float, **limits: Any) -> MonitorReport:
        """Look at days without writing anything down."""
        config = MonitorConfig(min_rows=200, min_positives=10, **{"reference": TEN_DAYS, **limits})
        request = self.request(since, until, as_of)
        return report_on(gather(self.settings, request, config), config, self.home)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A shop whose labels take a week."""
    home = tmp_path / "home"
    make_home(home, contract=DELAYED)
    return Shop(home)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Ten days before the window are the reference, and few rows are enough."""
    path = tmp_path / "monitor.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def server_log(postgresql: str) -> Iterator[str]:
    """URI of an empty database on a PostgreSQL server."""
    import psycopg

    name = f"monitor_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield urlsplit(postgresql)._replace(path=f"/{name}").geturl()
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
