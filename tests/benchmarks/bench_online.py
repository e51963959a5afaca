"""Online features over time: rows a second, latency and size, with many entities in the state.

Fills a state with entities, then sends rows one by one: read the past, evaluate, apply. Run it as

    python tests/benchmarks/bench_online.py [--entities 1000000] [--keep FOLDER]
    python tests/benchmarks/bench_online.py --state redis://127.0.0.1:6379/9

A SQLite state does everything on one core, checkpoints included; ``--keep`` reuses one that an
earlier run filled. A Redis server is filled where its database is empty; it works on another core.
The goal is 5,000 rows a second with SQLite and 3,000 with Redis, each with a p99 below 1 ms and a
million entities; on a machine that others use, give both a core of their own (``chrt -f 10``).
"""

import argparse
import os
import random
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from features.contract import Contract, parse_contract
from features.online.evaluator import VelocityEvaluator
from features.online.events import Event, LabelReport
from features.online.opening import open_state
from features.online.state import OnlineState
from features.velocity import velocity_plan

CONTRACT = """
name = "bench"
[columns]
id = "tx"
event_time = "when"
amount = {column = "amount", currency = "EUR"}
entities = ["card", "shop"]
[label]
column = "fraud"
delay = "7d"
absent_means = "negative"
[[velocity]]
entity = "card"
windows = ["1h", "1d", "7d", "30d"]
aggregates = ["count", "amount_sum", "amount_mean", "amount_max"]
[[velocity]]
entity = "card"
windows = ["1d", "7d"]
aggregates = ["distinct:shop", "seconds_since_last"]
[[velocity]]
entity = "shop"
windows = ["1d", "7d", "30d"]
aggregates = ["count"]
[[label_rate]]
entity = "shop"
windows = ["7d", "30d"]
"""
DAY = 86_400_000_000
START = 1_780_000_000_000_000
DAYS_OF_HISTORY = 30
CARDS_PER_SHOP = 4
ROWS_AT_ONCE = 20_000
ROWS_AT_ONCE_ON_A_SERVER = 1_000
N_WARM_UP = 2_000
N_LABELS = 5_000
N_HOT_ROWS = 51
HOT_SIZES = (1_000, 10_000, 100_000)


def main() -> None:
    """Print one line for each measurement."""
    arguments = _arguments()
    os.sched_setaffinity(0, {arguments.core})
    contract = parse_contract(tomllib.loads(CONTRACT), source="bench")
    plan = velocity_plan(contract)
    print(f"{len(plan.features)} features over {len(plan.entities)} entities, on one core")
    with TemporaryDirectory() as temporary:
        folder = Path(arguments.keep or temporary)
        n_cards = arguments.entities * CARDS_PER_SHOP // (CARDS_PER_SHOP + 1)
        state = open_state(contract, arguments.state, folder=folder, clock=_end, patience=30)
        if state.newest() is None:
            _fill(state, n_cards, arguments)
            state.close()
            state = open_state(contract, arguments.state, folder=folder, clock=_end, patience=30)
        _report_size(state)
        _report_speed(contract, state, n_cards, arguments.rows)
        _report_labels(state)
        _report_hot(contract, state)
        state.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--entities", type=int, default=1_000_000)
    parser.add_argument("--events-per-card", type=int, default=10)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--keep", type=str)
    parser.add_argument("--state", type=str, help="redis://HOST:PORT/DATABASE")
    return parser.parse_args()


def _end() -> int:
    return START + 10_000 * DAY


def _fill(state: OnlineState, n_cards: int, arguments: argparse.Namespace) -> None:
    """Load thirty days of history, card by card."""
    at_once = ROWS_AT_ONCE_ON_A_SERVER if arguments.state else ROWS_AT_ONCE
    begun = time.perf_counter()
    batch: list[Event] = []
    n_events = 0
    for event in _history(n_cards, arguments.events_per_card):
        batch.append(event)
        n_events += 1
        if len(batch) == at_once:
            state.load(batch, [], str(n_events))
            batch = []
    state.load(batch, [], str(n_events))
    seconds = time.perf_counter() - begun
    print(f"loaded {n_events:,} events in {seconds:.0f} s: {n_events / seconds:,.0f} events/s")


def _history(n_cards: int, events_per_card: int) -> Iterator[Event]:
    random_ = random.Random(1)
    n_shops = n_cards // CARDS_PER_SHOP
    for card in range(n_cards):
        for _ in range(random_.randint(1, 2 * events_per_card - 1)):
            moment = START + random_.randrange(DAYS_OF_HISTORY * DAY)
            yield _event(random_, f"{random_.getrandbits(48):012x}", moment, card, n_shops)


def _event(random_: random.Random, name: str, moment: int, card: int, n_shops: int) -> Event:
    shop = f"{random_.randrange(n_shops)}"
    return Event(name, moment, random_.randrange(100, 50_000), (f"{card}", shop), (shop,))


def _report_size(state: OnlineState) -> None:
    held = state.describe()
    print(
        f"{held.n_entities:,} entities, {held.n_events:,} events in {held.n_bytes / 2**20:,.0f} "
        f"MiB: {held.n_bytes / held.n_entities:,.0f} bytes an entity, "
        f"{held.n_bytes / held.n_events:,.0f} bytes an event"
    )


def _report_speed(contract: Contract, state: OnlineState, n_cards: int, n_rows: int) -> None:
    """Send rows of random cards one after the other, as a stream that continues the history."""
    evaluator = VelocityEvaluator(velocity_plan(contract))
    random_ = random.Random(time.time_ns())
    n_shops = n_cards // CARDS_PER_SHOP
    newest = state.describe().newest_event_time or START
    rows = [
        _event(
            random_, f"{random_.getrandbits(48):012x}", newest + 50_000 * at,
            random_.randrange(n_cards), n_shops,
        )
        for at in range(n_rows + N_WARM_UP)
    ]  # fmt: skip
    laps = np.empty((len(rows), 4))
    busy = 0.0
    for at, event in enumerate(rows):
        if at == N_WARM_UP:
            busy = time.process_time()
        laps[at, 0] = time.perf_counter()
        past = state.past([event])
        laps[at, 1] = time.perf_counter()
        evaluator.evaluate(event, past[0])
        laps[at, 2] = time.perf_counter()
        state.apply([event])
        laps[at, 3] = time.perf_counter()
    busy = time.process_time() - busy
    laps = laps[N_WARM_UP:]
    took = laps[:, 3] - laps[:, 0]
    stages = np.median(np.diff(laps, axis=1), axis=0) * 1e6
    print(
        f"{n_rows / busy:,.0f} rows a second of processor time, checkpoints included\n"
        f"{n_rows / (laps[-1, 3] - laps[0, 0]):,.0f} rows/s; "
        f"p50 {np.quantile(took, 0.5) * 1e3:.3f} ms, p99 {np.quantile(took, 0.99) * 1e3:.3f} ms, "
        f"p99.9 {np.quantile(took, 0.999) * 1e3:.3f} ms, largest {took.max() * 1e3:.1f} ms; "
        f"medians: past {stages[0]:.0f}, evaluate {stages[1]:.0f}, apply {stages[2]:.0f} us; "
        f"load average {os.getloadavg()[0]:.1f}"
    )


def _report_labels(state: OnlineState) -> None:
    """Report labels one by one, on events that were applied just before."""
    newest = state.newest() or START
    random_ = random.Random(time.time_ns())
    events = [
        _event(random_, f"{random_.getrandbits(48):012x}", newest, n, n + 1)
        for n in range(N_LABELS)
    ]
    state.apply(events)
    begun = time.perf_counter()
    for event in events:
        state.report_labels([LabelReport(event.id, 1, newest + 1)])
    print(f"{N_LABELS / (time.perf_counter() - begun):,.0f} labels/s, one by one")


def _report_hot(contract: Contract, state: OnlineState) -> None:
    """Send rows of one card that has ever more events."""
    evaluate = VelocityEvaluator(velocity_plan(contract)).evaluate
    newest = (state.newest() or START) + 1
    n_events = 0
    for n_wanted in HOT_SIZES:
        while n_events < n_wanted:
            n = min(ROWS_AT_ONCE_ON_A_SERVER, n_wanted - n_events)
            state.load([_hot(newest, n_events + at) for at in range(n)], [], "hot")
            n_events += n
        took = []
        for _ in range(N_HOT_ROWS):
            begun = time.perf_counter()
            event = _hot(newest, n_events)
            evaluate(event, state.past([event])[0])
            state.apply([event])
            took.append(time.perf_counter() - begun)
            n_events += 1
        print(f"a card of {n_wanted:,} events: {np.median(took) * 1e3:.2f} ms a row")


def _hot(newest: int, n: int) -> Event:
    shop = f"{n % 999}"
    return Event(f"hot {newest} {n}", newest + n, 1_000 + n % 977, ("hot", shop), (shop,))


if __name__ == "__main__":
    main()
