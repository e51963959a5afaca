"""A stream through the online evaluator, as a service meets it, against the offline table.

Events arrive late and out of order, some twice; the state is closed and opened again in the
middle; labels come days later. What was served to each row must equal the table that knows when
rows arrived, and the state that is left must equal the table in event time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from features.contract import Contract, parse_contract, read_contract
from features.ingestion.conforming import conform
from features.labels import reported_labels
from features.online.evaluator import VelocityEvaluator
from features.online.events import Event, EventReader, LabelReport, microseconds_of
from features.online.opening import open_state
from features.online.overlay import BatchOverlay
from features.online.state import Applied, OnlineState
from features.simulation.transactions import simulate_transactions
from features.velocity import VelocityPlan, velocity_plan
from features.velocity_table import add_velocity

TIME, AMOUNT, ARRIVED, REPORTED = "TX_DATETIME", "TX_AMOUNT", "ARRIVED_AT", "REPORTED_AT"
ID, CUSTOMER, TERMINAL = "TRANSACTION_ID", "CUSTOMER_ID", "TERMINAL_ID"
FRACTIONS = {"amount_mean", "amount_std", "amount_to_mean", "share", "count_ratio"}
FRACTIONS |= {"amount_mean_ratio", "rate"}
AGGREGATES = [
    "count", "amount_sum", "amount_mean", "amount_max", "amount_min", "amount_std",
    "amount_to_mean", "seconds_since_last",
]  # fmt: skip
BATCH_SIZES = (1, 1, 1, 1, 25)
END_OF_TIME = 2**62

Open = Callable[[Contract], OnlineState]


def watching(name: str, *, entry_mode: bool) -> Contract:
    """A shipped contract with every aggregate, for both entities and their pair."""
    document = read_contract(name).model_dump(mode="json")
    share = ["share:ENTRY_MODE=chip"] if entry_mode else []
    document["label"] |= {"reported_at": REPORTED, "absent_means": "negative", "delay": "7d"}
    document["velocity"] = [
        {
            "entity": CUSTOMER,
            "windows": ["1h", "1d", "7d"],
            "aggregates": [*AGGREGATES, *share, f"distinct:{TERMINAL}", "count_ratio:30d",
                           "amount_mean_ratio:30d"],
        },
        {"entity": TERMINAL, "windows": ["1d", "30d"], "aggregates": ["count", "amount_mean"]},
        {"entity": [CUSTOMER, TERMINAL], "windows": ["30d"], "aggregates": ["count", "amount_max"]},
    ]  # fmt: skip
    document["label_rate"] = [{"entity": TERMINAL, "windows": ["1d", "7d", "30d"]}]
    return parse_contract(document, source="test")


def with_arrivals(frame: pl.DataFrame, first: int, seed: int) -> pl.DataFrame:
    """Rows that arrive within five minutes, one in a hundred within an hour; history at once."""
    chance = np.random.default_rng(seed)
    seconds = chance.integers(0, 300, frame.height)
    seconds *= np.where(chance.random(frame.height) < 0.01, 12, 1)
    seconds[:first] = 0
    late = pl.Series(seconds * 1_000_000).cast(pl.Duration("us"))
    return frame.with_columns((frame[TIME] + late).alias(ARRIVED))


def with_reports(stream: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Rows whose frauds are reported after seven to seventeen days."""
    days = np.random.default_rng(seed).integers(0, 10 * 86_400, stream.height) + 7 * 86_400
    reported = stream[TIME] + pl.Series(days * 1_000_000).cast(pl.Duration("us"))
    is_fraud = pl.col("TX_FRAUD") == 1
    return stream.with_columns(pl.when(is_fraud).then(reported).alias(REPORTED))


@dataclass
class Service:
    """What stands between requests and the state: reads, evaluates, applies, restarts."""

    contract: Contract
    open: Open
    frame: pl.DataFrame
    served: NDArray[np.float64] = field(init=False)
    state: OnlineState = field(init=False)

    def __post_init__(self) -> None:
        self.plan: VelocityPlan = velocity_plan(self.contract)
        self.evaluator = VelocityEvaluator(self.plan)
        self.events = events_of(self.frame, self.contract)
        self.reports = reports_of(self.frame)
        self.arrived = self.frame[ARRIVED].to_physical().to_numpy()
        self.served = np.full((self.frame.height, len(self.plan.features)), np.nan)
        self.state = self.open(self.contract)
        self.n_reported = self.n_repeated = self.n_overtaken = 0

    def load(self, n_rows: int) -> None:
        """Take the first rows as history, with the labels that were known by then."""
        until = self.events[n_rows].event_time
        for start in range(0, n_rows, 5_000):
            self.state.load(self.events[start : min(start + 5_000, n_rows)], [], str(start))
        self.hand_in_labels(until)

    def replay(self, first: int, *, seed: int, rows_per_run: int) -> None:
        """Serve every row from ``first`` on in order of arrival, some of them twice."""
        chance = np.random.default_rng(seed)
        order = first + np.argsort(self.arrived[first:], kind="stable")
        self.n_overtaken = int((np.diff(order) < 0).sum())
        delivered = with_repeats(order, chance)
        start = 0
        while start < delivered.size:
            stop = start + int(chance.choice(BATCH_SIZES))
            self.serve(delivered[start:stop].tolist())
            if start // rows_per_run < stop // rows_per_run:
                self.restart()
            start = stop

    def serve(self, rows: list[int]) -> None:
        """Answer one batch: its rows see each other, and what was applied before counts once."""
        self.hand_in_labels(int(self.arrived[rows].max()))
        batch = [self.events[row] for row in rows]
        seen, pasts = self.state.seen(batch), self.state.past(batch)
        overlay = BatchOverlay(self.plan)
        new: list[Event] = []
        for row, event, before, past in zip(rows, batch, seen, pasts, strict=True):
            if before is None and event not in new:
                self.served[row] = self.evaluator.evaluate(event, overlay.extend(event, past))
                overlay.add(event)
                new.append(event)
        applied = self.state.apply(batch)
        assert applied.count(Applied.APPLIED) == len(new)
        assert applied.count(Applied.DUPLICATE) == len(batch) - len(new)
        self.n_repeated += len(batch) - len(new)

    def hand_in_labels(self, moment: int) -> None:
        """Report the labels that became known before a moment."""
        start = self.n_reported
        while (
            self.n_reported < len(self.reports)
            and self.reports[self.n_reported].reported_at < moment
        ):
            self.n_reported += 1
        if self.n_reported > start:
            self.state.report_labels(self.reports[start : self.n_reported])

    def restart(self) -> None:
        self.state.close()
        self.state = self.open(self.contract)

    def answers(self, frame: pl.DataFrame) -> NDArray[np.float64]:
        """What the state says of rows that it is only asked about."""
        events = events_of(frame, self.contract)
        return np.array(
            [
                self.evaluator.evaluate(event, self.state.past([event])[0])
                for event in events
            ]
        )  # fmt: skip


def events_of(frame: pl.DataFrame, contract: Contract) -> list[Event]:
    found = EventReader(contract).read_frame(frame, frame[ID])
    return [event for event in found if event is not None]


def reports_of(frame: pl.DataFrame) -> list[LabelReport]:
    """The reports of frauds, in the order in which they came."""
    frauds = frame.drop_nulls("label_reported_at").sort("label_reported_at")
    rows = frauds.select(ID, "label", "label_reported_at").iter_rows()
    return [LabelReport(name, label, microseconds_of(at)) for name, label, at in rows]


def with_repeats(order: NDArray[np.int64], chance: np.random.Generator) -> NDArray[np.int64]:
    """Deliver one row in thirty again: at once, or up to two thousand deliveries later."""
    again = np.flatnonzero(chance.random(order.size) < 1 / 30)
    later = again + chance.choice([0, 1, 7, 2_000], again.size)
    place = np.concatenate([np.arange(order.size), later])
    rows = np.concatenate([order, order[again]])
    return rows[np.argsort(place, kind="stable")]


def assert_parity(
    served: NDArray[np.float64], table: pl.DataFrame, plan: VelocityPlan, *, n_rows: int
) -> None:
    """Whole numbers must be equal, and what is divided to 1e-12."""
    expected = table.select(plan.names).fill_null(np.nan).to_numpy()
    assert served.shape == expected.shape == (n_rows, len(plan.features))
    for at, feature in enumerate(plan.features):
        kind = getattr(feature, "aggregate", None) or getattr(feature, "kind", "")
        tolerance = 1e-12 if kind in FRACTIONS else 0
        found, wanted = served[:, at], expected[:, at]
        is_same = np.isclose(found, wanted, rtol=tolerance, atol=0, equal_nan=True)
        wrong = np.flatnonzero(~is_same)
        assert not wrong.size, (feature.name, wrong.size, found[wrong[:3]], wanted[wrong[:3]])


def questions(frame: pl.DataFrame, first: int, *, n: int, seed: int) -> pl.DataFrame:
    """Moments at which nothing happened, each of another customer and another terminal."""
    chance = np.random.default_rng(seed)
    rows = frame[first:]
    n = min(n, rows[CUSTOMER].n_unique(), rows[TERMINAL].n_unique())
    start, end = rows[TIME].to_physical().min(), rows[TIME].to_physical().max()
    moments = pl.Series(chance.integers(start, end, n)).cast(pl.Datetime("us", "UTC"))
    asked = pl.DataFrame(
        {
            ID: [f"question {number}" for number in range(n)],
            TIME: moments,
            AMOUNT: chance.integers(100, 9_999, n) / 100,
            CUSTOMER: rows[CUSTOMER].unique().sort().sample(n, seed=seed, shuffle=True),
            TERMINAL: rows[TERMINAL].unique().sort().sample(n, seed=seed + 1, shuffle=True),
        }
    )
    nothing = [name for name in frame.columns if name not in asked.columns]
    return asked.with_columns(
        pl.lit(None, dtype=frame.schema[name]).alias(name) for name in nothing
    ).select(frame.columns)


def check_replay(service: Service, first: int, *, seed: int, rows_per_run: int, asked: int) -> None:
    """Replay, then hold what was served and what is left against the offline table."""
    frame, contract, plan = service.frame, service.contract, service.plan
    if first:
        service.load(first)
    service.replay(first, seed=seed, rows_per_run=rows_per_run)
    history, rows = frame[:first], frame[first:]
    assert service.n_repeated > rows.height // 60
    assert service.n_overtaken > rows.height // 60

    as_arrived = add_velocity(rows, contract, history=history, arrival=ARRIVED)
    assert_parity(service.served[first:], as_arrived, plan, n_rows=rows.height)
    assert min(as_arrived.select(plan.names).max().row(0)) > 0, "a feature is put to no test"
    in_event_time = add_velocity(rows, contract, history=history)
    assert not in_event_time.equals(as_arrived)

    # Settled: the state knows now what event time says, at events and between them.
    service.hand_in_labels(END_OF_TIME)
    sample = np.sort(np.random.default_rng(seed).permutation(rows.height)[:asked])
    assert_parity(
        service.answers(rows[sample]), in_event_time[sample], plan, n_rows=len(sample)
    )  # fmt: skip
    between = questions(frame, first, n=asked, seed=seed)
    table = add_velocity(between, contract, history=frame)
    assert_parity(service.answers(between), table, plan, n_rows=between.height)


def simulated(n_rows: int, first: int) -> tuple[Contract, pl.DataFrame]:
    """Rows of few people, conformed, with labels, reports and arrivals, in order of time."""
    stream = simulate_transactions(
        n_rows, seed=11, days=60, fraud_rate=0.05, n_customers=40, n_terminals=100
    )
    contract = watching("simulated_stream", entry_mode=True).resolve(stream.columns)
    frame = reported_labels(conform(with_reports(stream, seed=1), contract), contract)
    return contract, with_arrivals(frame, first, seed=2)


@pytest.fixture(params=["sqlite", "redis"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the same state each time, of each kind of store."""
    uri = request.getfixturevalue("redis_uri") if request.param == "redis" else None
    yield from opening(uri, tmp_path)


def opening(uri: str | None, folder: Path) -> Iterator[Open]:
    opened: list[OnlineState] = []

    def open_again(contract: Contract) -> OnlineState:
        # Kept for as long as the replay lasts: the settled state is asked about all of it.
        lateness = timedelta(days=90)
        state = open_state(
            contract, uri, folder=folder, lateness=lateness, clock=lambda: END_OF_TIME
        )
        opened.append(state)
        return state

    yield open_again
    opened[-1].close()


def test_a_small_stream_is_served_what_the_table_says(opener: Open) -> None:
    contract, frame = simulated(2_400, 800)
    service = Service(contract, opener, frame)

    check_replay(service, 800, seed=4, rows_per_run=300, asked=150)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_200_000_rows_of_card_stream_are_served_what_the_table_says(
    data_root: Path, tmp_path: Path
) -> None:
    source = pl.read_parquet(data_root / "card_stream.parquet")
    contract = watching("card_stream", entry_mode=False).resolve([*source.columns, REPORTED])
    stream = with_reports(source.sort(TIME, maintain_order=True), seed=1)
    # Six weeks fill the longest window and its delay; then three weeks are replayed.
    first, n_rows = 400_000, 200_000
    stream = stream[200_000 : 200_000 + first + n_rows]
    frame = reported_labels(conform(stream, contract), contract)
    frame = with_arrivals(frame, first, seed=2)
    opened = opening(None, tmp_path)
    service = Service(contract, next(opened), frame)
    span = frame[TIME][first] - frame[TIME][0]
    assert span > velocity_plan(contract).longest_horizon

    check_replay(service, first, seed=4, rows_per_run=20_000, asked=4_000)
    service.state.close()
