"""A contract with every aggregate, streams with every oddity, and the stores to hold them."""

import itertools
import random
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from features.contract import Contract, parse_contract
from features.online.evaluator import VelocityEvaluator
from features.online.events import Event, EventReader, LabelReport, microseconds_of
from features.online.opening import open_state
from features.online.state import LATENESS, OnlineState
from features.velocity import velocity_plan

EVERYTHING = """
name = "watched"
[columns]
id = "tx"
event_time = "when"
amount = {column = "amount", currency = "EUR"}
entities = ["card", "shop"]
categorical = ["mode"]
[label]
column = "fraud"
delay = "2d"
reported_at = "reported"
absent_means = "negative"
[[velocity]]
entity = "card"
windows = ["1h", "1d", "7d"]
aggregates = ["count", "amount_sum", "amount_mean", "amount_max", "amount_min", "amount_std",
              "amount_to_mean", "distinct:shop", "share:mode=chip", "seconds_since_last"]
[[velocity]]
entity = ["card", "shop"]
windows = ["1d"]
aggregates = ["count", "count_ratio:7d", "amount_mean_ratio:7d"]
[[label_rate]]
entity = "shop"
windows = ["1d", "5d"]
"""
START = datetime(2026, 3, 27, tzinfo=UTC)
DAY = 86_400_000_000
HOUR = 3_600_000_000


@dataclass
class Store:
    """One kind of store: opens states that share what they hold, until the test ends."""

    uri: str | None
    folder: Path
    now: int = microseconds_of(START) + 1_000 * DAY
    opened: list[OnlineState] = field(default_factory=list)

    def open(self, contract: Contract, *, lateness: timedelta = LATENESS) -> OnlineState:
        state = open_state(
            contract, self.uri, folder=self.folder, lateness=lateness, clock=lambda: self.now
        )
        self.opened.append(state)
        return state


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    store = Store(None, tmp_path / "state")
    yield store
    for state in store.opened:
        state.close()


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest) -> Store:
    """Each kind of store in turn."""
    found: Store = request.getfixturevalue(f"{request.param}_store")
    return found


@pytest.fixture(scope="session")
def start() -> datetime:
    """The moment from which hours are counted: two days before summer time."""
    return START


@pytest.fixture(scope="session")
def everything() -> Callable[..., dict[str, Any]]:
    """Makes the document of a contract with every aggregate, over an entity, a pair and labels."""

    def make(absent_means: str = "negative") -> dict[str, Any]:
        document = tomllib.loads(EVERYTHING)
        document["label"]["absent_means"] = absent_means
        return document

    return make


@pytest.fixture
def watched(everything: Callable[..., dict[str, Any]]) -> Contract:
    """That contract."""
    return parse_contract(everything(), source="watched.toml")


@pytest.fixture
def state(store: Store, watched: Contract) -> OnlineState:
    return store.open(watched)


@pytest.fixture
def event() -> Callable[..., Event]:
    """Makes an event of ``watched``: hours after the start, and what matters of the rest."""
    numbers = itertools.count()

    def make(hours: float, **given: object) -> Event:
        row = {"card": "c", "shop": "s", "mode": "chip", "amount": 10.0} | given
        at = microseconds_of(START) + round(hours * HOUR)
        amount = row["amount"]
        minor = None if amount is None else round(float(str(amount)) * 100)
        name = str(given.get("id", f"event {next(numbers)}"))
        card, shop = row["card"], row["shop"]
        return Event(name, at, minor, (card, shop), (shop, row["mode"]))  # type: ignore[arg-type]

    return make


@pytest.fixture
def report() -> Callable[..., LabelReport]:
    """Makes a label report: of an event's id, hours after the start."""

    def make(event_id: str, label: int, hours: float) -> LabelReport:
        return LabelReport(event_id, label, microseconds_of(START) + round(hours * HOUR))

    return make


@pytest.fixture
def features(watched: Contract) -> Callable[[OnlineState, Event], dict[str, float]]:
    """Returns the features of a row as the service would compute them, by name."""
    evaluator = VelocityEvaluator(velocity_plan(watched))

    def of(state: OnlineState, event: Event) -> dict[str, float]:
        values = evaluator.evaluate(event, state.past([event])[0])
        return dict(zip(evaluator.names, values, strict=True))

    return of


@dataclass(frozen=True)
class Stream:
    """Rows in order of time, the events they leave behind, and reports on the positives."""

    table: pl.DataFrame
    events: list[Event]
    reports: list[LabelReport]


@pytest.fixture
def stream(watched: Contract) -> Callable[..., Stream]:
    """Makes a stream of ``watched``, with every oddity that rows may have."""
    reader = EventReader(watched)

    def make(n: int, *, seed: int) -> Stream:
        table = _table(n, random.Random(seed))
        events = [each for each in reader.read_frame(table, table["tx"]) if each is not None]
        reported = table.drop_nulls("label_reported_at")
        rows = reported.select("tx", "label", "label_reported_at").rows()
        reports = [LabelReport(name, label, microseconds_of(at)) for name, label, at in rows]
        return Stream(table, events, reports)

    return make


def _table(n: int, random_: random.Random) -> pl.DataFrame:
    ordinary = [random_.randrange(1, 100_000) / 100 for _ in range(20)]
    amounts = [None, 0.0, -12.5, 1e9, 1e10 + 0.01, 1e300, *ordinary]
    rows = []
    for number, minute in enumerate(sorted(random_.choices(range(60 * n), k=n))):
        when = START + timedelta(minutes=minute // 10 * 10)  # several rows an instant
        reported = when + timedelta(hours=random_.randrange(0, 200))
        is_fraud = random_.random() < 0.3
        row = (
            f"t{number}",
            when,
            random_.choice(amounts),
            random_.choice([None, "c0", "c1", "c2", "c3"]),
            random_.choice([None, "s0", "s1", "s2"]),
            random_.choice(["chip", "swipe", None]),
            int(is_fraud),
            reported if is_fraud else None,
        )
        rows.append(row)
    schema = {
        "tx": pl.String, "when": pl.Datetime("us", "UTC"), "amount": pl.Float64,
        "card": pl.String, "shop": pl.String, "mode": pl.String, "label": pl.Int8,
        "label_reported_at": pl.Datetime("us", "UTC"),
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")


@pytest.fixture
def redis_store(redis_uri: str, tmp_path: Path) -> Iterator[Store]:
    store = Store(redis_uri, tmp_path)
    yield store
    for state in store.opened:
        state.close()
