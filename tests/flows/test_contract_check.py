"""``whitecrow contract check``: what only the table can tell about a contract."""

from pathlib import Path

import pytest

from features.simulation.transactions import simulate_transactions
from features.velocity_table import WindowLongerThanHistory
from flows.commands.data import check

VELOCITY = """
[[velocity]]
entity = "CUSTOMER_ID"
windows = ["1d", "30d"]
aggregates = ["count"]
"""
CONTRACT = """
name = "cards"
[columns]
id = "TRANSACTION_ID"
event_time = "TX_DATETIME"
amount = {column = "TX_AMOUNT", currency = "EUR"}
entities = ["CUSTOMER_ID", "TERMINAL_ID"]
drop = ["TX_FRAUD_SCENARIO", "REPORTED_AT", "*_C*"]
categorical = ["ENTRY_MODE"]
[label]
column = "TX_FRAUD"
"""


def test_a_window_longer_than_the_table_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, contract = tmp_path / "stream.parquet", tmp_path / "cards.toml"
    simulate_transactions(2_000, seed=1, days=20, fraud_rate=0.05).write_parquet(data)
    contract.write_text(CONTRACT + VELOCITY)

    check(str(contract))
    with pytest.raises(WindowLongerThanHistory, match="'CUSTOMER_ID_count_30d' is 30d; the table"):
        check(str(contract), str(data))

    contract.write_text(CONTRACT + VELOCITY.replace("30d", "7d"))
    check(str(contract), str(data))
    assert f"fits {data}" in capsys.readouterr().out.replace("\n", "")
