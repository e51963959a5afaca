"""``whitecrow simulate transactions``: a stream that changes, and options it refuses."""

from pathlib import Path

import polars as pl
import pytest

from features.simulation.transactions import simulate_transactions, usual_scenarios_and


def test_without_options_the_command_writes_the_usual_stream(command, tmp_path: Path) -> None:
    out = tmp_path / "stream.parquet"
    done = command(tmp_path, "simulate", "transactions", "--rows", 2_000, "--out", out, "--json")

    assert done.json == {"out": str(out), "rows": 2_000, "contract": "simulated_stream"}
    assert pl.read_parquet(out).equals(simulate_transactions(2_000, seed=0))


def test_its_options_are_the_settings_of_a_changing_stream(command, tmp_path: Path) -> None:
    out = tmp_path / "stream.parquet"
    options = ("--rows", 2_000, "--seed", 3, "--fraud-rate", 0.1, "--start", "2024-03-01")
    changes = ("--days", 90, "--inflation", 0.3, "--turnover", 2, "--report-days", 7, 30)
    done = command(
        tmp_path, "simulate", "transactions", *options, *changes,
        "--scenario", "relayed_taps:40", "--scenario", "stolen_card:9", "--out", out,
    )  # fmt: skip
    expected = simulate_transactions(
        2_000,
        seed=3,
        fraud_rate=0.1,
        start="2024-03-01",
        days=90,
        yearly_inflation=0.3,
        yearly_customer_turnover=2,
        yearly_terminal_turnover=2,
        report_days=(7, 30),
        scenarios=usual_scenarios_and({"relayed_taps": 40, "stolen_card": 9}),
    )

    assert done.code == 0, done.err
    assert pl.read_parquet(out).equals(expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scenario", "relayed_taps"], "--scenario must be NAME:DAY"),
        (["--scenario", "relayed_taps:-3"], "Got 'relayed_taps:-3'"),
        (["--scenario", ":3"], "Got ':3'"),
        (["--scenario", "heist:3"], "Got name='heist'"),
        (["--report-days", "30", "7"], "The shortest time must not be above the longest"),
        (["--turnover", "-1"], "greater than or equal to 0"),
        (["--start", "yesterday"], "Got start='yesterday'"),
        (["--days", "0"], "Got days=0"),
    ],
)
def test_bad_options_are_refused_and_write_nothing(
    command, tmp_path: Path, options: list[str], message: str
) -> None:
    out = tmp_path / "stream.parquet"
    done = command(tmp_path, "simulate", "transactions", *options, "--out", out)

    assert done.code == 2
    assert message in done.error
    assert not out.exists()
