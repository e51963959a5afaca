"""The simulated stream: exact counts, its own statistics, and the same bytes for the same seed."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from features.contract import read_contract
from features.simulation.parameters import SimulationError
from features.simulation.rhythm import PROFILES
from features.simulation.stream import SCHEMA
from features.simulation.transactions import (
    TransactionSimulation,
    simulate_transactions,
    simulate_transactions_to,
)

N_ROWS = 60_000


@pytest.fixture(scope="module")
def stream() -> pl.DataFrame:
    return simulate_transactions(N_ROWS, seed=11, fraud_rate=0.02)


def test_stream_has_the_asked_rows_and_columns(stream: pl.DataFrame) -> None:
    assert stream.schema == SCHEMA
    assert stream.height == N_ROWS
    assert stream["TRANSACTION_ID"].to_list() == list(range(N_ROWS))


def test_stream_is_in_time_order_within_its_days(stream: pl.DataFrame) -> None:
    time = stream["TX_DATETIME"]

    assert time.is_sorted()
    assert time[0] >= datetime(2025, 1, 1, tzinfo=UTC)
    assert time[-1] < datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=183)


def test_fraud_rate_is_exact(stream: pl.DataFrame) -> None:
    assert stream["TX_FRAUD"].sum() == N_ROWS * 0.02
    assert (stream["TX_FRAUD"] == (stream["TX_FRAUD_SCENARIO"] > 0)).all()


def test_every_scenario_occurs_in_its_default_share(stream: pl.DataFrame) -> None:
    frauds = stream.filter(pl.col("TX_FRAUD") == 1)
    counts = dict(frauds["TX_FRAUD_SCENARIO"].value_counts().iter_rows())

    assert counts == {1: 216, 2: 264, 3: 300, 4: 240, 5: 180}


def test_fraud_is_spread_over_the_months(stream: pl.DataFrame) -> None:
    """No month has less than half or more than twice its share of the frauds."""
    monthly = stream.group_by(pl.col("TX_DATETIME").dt.month()).agg(pl.col("TX_FRAUD").mean())
    six = monthly.filter(pl.col("TX_DATETIME") <= 6)["TX_FRAUD"]

    assert six.len() == 6
    assert six.is_between(0.01, 0.04).all()


def test_amounts_are_positive_whole_cents(stream: pl.DataFrame) -> None:
    cents = stream["TX_AMOUNT"] * 100

    assert stream["TX_AMOUNT"].min() >= 0.01
    assert ((cents - cents.round()).abs() < 1e-6).all()


def test_the_contract_reads_the_stream(stream: pl.DataFrame) -> None:
    contract = read_contract("simulated_stream").resolve(stream.columns)

    assert contract.amount_column == "TX_AMOUNT"
    assert "TX_FRAUD_SCENARIO" not in contract.source_columns


def test_same_seed_same_frame_and_other_seed_other_frame() -> None:
    first = simulate_transactions(3_000, seed=5)

    assert first.equals(simulate_transactions(3_000, seed=5))
    assert not first.equals(simulate_transactions(3_000, seed=6))


def test_customers_keep_the_hours_of_their_profile() -> None:
    """Genuine rows of each profile peak where the profile says, and daytime people sleep."""
    world = TransactionSimulation(n_rows=40_000, seed=2, fraud_rate=0.0).stream()
    profile = world.habits.population.customers.profile
    frame = pl.concat(world.days()).with_columns(
        hour=pl.col("TX_DATETIME").dt.hour(),
        profile=pl.col("CUSTOMER_ID").map_elements(lambda c: int(profile[c]), pl.Int64),
    )
    night = frame.with_columns(is_night=pl.col("hour") < 5).group_by("profile")
    at_night = dict(night.agg(pl.col("is_night").mean()).iter_rows())
    names = [habit.name for habit in PROFILES]

    assert at_night[names.index("daytime")] < 0.02
    assert at_night[names.index("night")] > 0.25


def test_people_spend_near_home() -> None:
    """Most purchases in shops are made in the customer's own country."""
    stream = simulate_transactions(20_000, seed=4, fraud_rate=0.0)
    shops = stream.filter(~pl.col("ENTRY_MODE").is_in(["ecommerce", "card_on_file"]))

    assert (shops["CARD_COUNTRY"] == shops["MERCHANT_COUNTRY"]).mean() > 0.95


def test_fridays_are_busier_than_sundays() -> None:
    stream = simulate_transactions(50_000, seed=3, fraud_rate=0.0, days=364)
    daily = stream.group_by(pl.col("TX_DATETIME").dt.date().alias("day")).len()
    weekday = daily.group_by(pl.col("day").dt.weekday()).agg(pl.col("len").mean())
    mean = dict(weekday.iter_rows())

    assert mean[5] > 1.2 * mean[7]


def test_unreported_fraud_keeps_its_scenario_but_not_its_label() -> None:
    frame = simulate_transactions(20_000, seed=9, fraud_rate=0.1, unreported_rate=0.25)
    hidden = frame.filter((pl.col("TX_FRAUD_SCENARIO") > 0) & (pl.col("TX_FRAUD") == 0))

    assert 400 < hidden.height < 600
    assert hidden["REPORTED_AT"].null_count() == hidden.height


def test_fraud_is_reported_after_it_happened(stream: pl.DataFrame) -> None:
    delay = stream["REPORTED_AT"] - stream["TX_DATETIME"]

    assert (stream["REPORTED_AT"].is_not_null() == (stream["TX_FRAUD"] == 1)).all()
    assert (delay.drop_nulls() >= timedelta(minutes=1)).all()
    assert timedelta(days=1) < delay.median() < timedelta(days=7)


def test_inflation_raises_genuine_amounts_over_a_year() -> None:
    settings = {"seed": 1, "fraud_rate": 0.0, "days": 365}
    plain = simulate_transactions(20_000, **settings)["TX_AMOUNT"]
    risen = simulate_transactions(20_000, **settings, yearly_inflation=1.0)["TX_AMOUNT"]

    assert risen.head(50).sum() == pytest.approx(plain.head(50).sum(), rel=0.01)
    assert risen.tail(50).sum() == pytest.approx(2 * plain.tail(50).sum(), rel=0.02)


def test_each_slice_holds_one_day_and_can_be_made_again() -> None:
    """Memory is bounded by a day, and reading a stream twice gives the same rows."""
    world = TransactionSimulation(n_rows=4_000, seed=1, days=20).stream()
    first = [frame.with_columns(pl.col("TX_DATETIME").dt.date()) for frame in world.days()]

    assert len(first) == 20
    assert [frame["TX_DATETIME"].n_unique() for frame in first] == [1] * 20
    assert sum(frame.height for frame in first) == 4_000
    assert pl.concat(world.days()).equals(pl.concat(world.days()))


@pytest.mark.parametrize(("n_rows", "days"), [(1, 1), (1, 400), (2, 30), (7, 1), (500, 3)])
def test_tiny_streams_are_exact_too(n_rows: int, days: int) -> None:
    frame = simulate_transactions(n_rows, seed=1, days=days, fraud_rate=0.5)

    assert frame.height == n_rows
    assert frame["TX_FRAUD"].sum() == round(n_rows * 0.5)


def test_a_world_of_two_terminals_and_one_customer_still_works() -> None:
    frame = simulate_transactions(200, seed=1, n_terminals=2, n_customers=1, fraud_rate=0.5)

    assert frame.height == 200
    assert set(frame["TERMINAL_ID"]) <= {0, 1}


def test_start_may_be_a_date_or_midnight() -> None:
    as_date = simulate_transactions(50, seed=1, start=date(2024, 2, 28))
    as_time = simulate_transactions(50, seed=1, start=datetime(2024, 2, 28))  # noqa: DTZ001

    assert as_date.equals(as_time)
    assert as_date["TX_DATETIME"][0].date() >= date(2024, 2, 28)


@pytest.mark.parametrize("ending", [".parquet", ".feather"])
def test_a_written_stream_equals_the_frame(tmp_path: Path, ending: str) -> None:
    path = simulate_transactions_to(tmp_path / f"stream{ending}", 5_000, seed=8)
    read = pl.read_parquet(path) if ending == ".parquet" else pl.read_ipc(path)

    assert read.equals(simulate_transactions(5_000, seed=8))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_written_csv_says_utc(tmp_path: Path) -> None:
    path = simulate_transactions_to(tmp_path / "stream.csv", 300, seed=8)
    read = pl.read_csv(path, try_parse_dates=True)

    assert read.height == 300
    assert path.read_text().splitlines()[1].split(",")[1].endswith("Z")


def test_json_lines_carry_one_object_per_row(tmp_path: Path) -> None:
    path = simulate_transactions_to(tmp_path / "stream.jsonl", 300, seed=8)

    assert pl.read_ndjson(path, infer_schema_length=None)["TRANSACTION_ID"].to_list() == list(
        range(300)
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_rows": 0}, "n_rows is not valid: Input should be greater than or equal to 1"),
        ({"n_rows": -5}, "Got n_rows=-5"),
        ({"n_rows": 2.5}, "Got n_rows=2.5"),
        ({"seed": -1}, "seed is not valid"),
        ({"days": 0}, "days is not valid"),
        ({"fraud_rate": 0.6}, "less than or equal to 0.5. Got fraud_rate=0.6"),
        ({"fraud_rate": -0.1}, "fraud_rate is not valid"),
        ({"fraud_rate": float("nan")}, "fraud_rate is not valid"),
        ({"unreported_rate": 1.0}, "less than 1. Got unreported_rate=1.0"),
        ({"n_customers": 0}, "n_customers is not valid"),
        ({"n_terminals": 1}, "n_terminals is not valid"),
        ({"yearly_inflation": -1}, "yearly_inflation is not valid"),
        ({"start": "yesterday"}, "start is not valid"),
        ({"start": datetime(2025, 1, 1, 6)}, "start is not valid"),  # noqa: DTZ001
        ({"frad_rate": 0.1}, "Unknown simulation setting frad_rate. Known settings: n_rows, seed"),
        ({"scenarios": [{"name": "heist"}]}, "scenarios.0.name is not valid"),
        ({"scenarios": []}, "No scenario is active in the 183 days"),
        ({"scenarios": [{"name": "stolen_card", "first_day": 183}]}, "No scenario is active"),
        ({"scenarios": [{"name": "stolen_card", "days": 3}]}, "setting scenarios.0.days."),
    ],
)
def test_bad_settings_are_refused_in_one_line(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SimulationError) as refused:
        simulate_transactions(**{"n_rows": 1_000, "seed": 1, **settings})

    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_unknown_ending_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match=r"stream.xlsx: the name must end in .parquet"):
        simulate_transactions_to(tmp_path / "stream.xlsx", 10**9, seed=1)

    assert list(tmp_path.iterdir()) == []
