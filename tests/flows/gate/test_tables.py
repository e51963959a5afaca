"""The service's own traffic judges like any other table."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from features.served_table import ServedTable, ServedTableMismatch
from flows.gate.contenders import find_contenders
from flows.gate.rows import Period, judged_rows
from flows.gate.rule import GateRule
from serving.live import CHALLENGER, CHAMPION

PROMOTES = GateRule(on_pass="promote", max_latency_ratio=50.0)
COVERAGE = {
    "decided": 10_000, "rows": 6_000, "declined": 400, "declined_rows": 20, "explored": 20,
}  # fmt: skip


@pytest.fixture
def guarded(new_till):
    """A till whose rows have a card number, of digits alone."""
    columns = {
        "id": "ORDER", "event_time": "AT", "amount": {"column": "AMOUNT", "currency": "EUR"},
        "entities": ["CARD"], "numeric": ["SIGNAL", "NOISE"], "categorical": ["WAY"],
    }  # fmt: skip
    till = new_till(columns=columns, expectations={"CARD": {"pattern": "^[0-9]+$"}})
    till.release(CHAMPION)
    till.release(CHALLENGER)
    return till


@pytest.fixture
def traffic(guarded, rows, start, tmp_path) -> Path:
    """The same rows as the log tells them: cards go by pseudonyms."""
    path = tmp_path / "traffic.parquet"
    description = ServedTable(
        model="till",
        contract="till",
        contract_hash=guarded.contract.data_hash(),
        feature_set_hash="0" * 64,
        over_time=None,
        served=(),
        hidden=("CARD",),
        label=("FRAUD",),
        input_types={},
        since=None,
        until=None,
        as_of=start + timedelta(days=200),
        coverage=COVERAGE,
    )
    table = pl.read_parquet(rows).with_columns(
        CARD=pl.lit("c0ffee"), decision_id=pl.col("ORDER").cast(pl.String),
        decision=pl.lit("approve"), risk_score=pl.lit(0.1), model_version=pl.lit("1"),
        policy_version=pl.lit("1"), explored=pl.lit(value=False),
    )  # fmt: skip
    table.drop("REGION").write_parquet(path, metadata=description.metadata)
    return path


def test_traffic_judges_and_says_what_it_covers(guarded, traffic, start) -> None:
    verdict = guarded.judge(traffic, rule=PROMOTES)

    told = verdict.to_json()["rows"]
    assert verdict.outcome == "promote"
    assert told["log_coverage"] == {"rows": 0.6, "declines": 0.05}
    # Labels are those known when the table was built, not those of its newest row.
    assert told["as_of"] == (start + timedelta(days=200)).isoformat()
    assert told["coverage"]["rows"] == 1.0
    assert "60.0% of its decisions" in verdict.page.read_text()


def test_pseudonyms_break_no_rule_of_rows(guarded, traffic, rows, tmp_path) -> None:
    """In clear, a card that is no number is reviewed whatever its score; a pseudonym is not."""
    clear = tmp_path / "clear.parquet"
    pl.read_parquet(rows).with_columns(CARD=pl.lit("c0ffee")).write_parquet(clear)

    def reviewed(table: Path) -> float:
        contenders = find_contenders(guarded.settings, "till", None)
        judged = judged_rows(*contenders, [str(table)], Period(None, None, None))
        return float((judged.frame["new_decision"] > 0).mean())

    assert reviewed(traffic) < 0.2
    assert reviewed(clear) == 1.0


def test_traffic_and_another_table_are_not_mixed(guarded, traffic, rows, tmp_path) -> None:
    clear = tmp_path / "clear.parquet"
    pl.read_parquet(rows).write_parquet(clear)

    with pytest.raises(ServedTableMismatch, match="cannot be used together"):
        guarded.judge(traffic, clear)
