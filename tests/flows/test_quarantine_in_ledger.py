"""Rows that are not learnt from are told to the ledger: how many, by which rules, and where."""

from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from flows.cli import app
from infra.ledger import Ledger
from infra.storage import sha256_file

CONTRACT = """
name = "till"
[columns]
id = "ID"
numeric = ["AMOUNT"]
[label]
column = "FRAUD"
[expectations]
AMOUNT = {min = 0}
[split]
by = "random"
"""


@pytest.mark.parametrize(("amounts", "n_quarantined"), [([1.0, -1.0, -2.0], 2), ([1.0, 2.0], 0)])
def test_quarantined_rows_are_an_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, amounts: list[float], n_quarantined: int
) -> None:
    monkeypatch.setenv("WHITECROW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WHITECROW_ACTOR", "ana")
    data, contract = tmp_path / "rows.parquet", tmp_path / "till.toml"
    contract.write_text(CONTRACT)
    ids = [str(number) for number in range(len(amounts))]
    pl.DataFrame({"ID": ids, "AMOUNT": amounts, "FRAUD": [0] * len(ids)}).write_parquet(data)

    done = CliRunner().invoke(app, ["validate", str(data), "--contract", str(contract)])

    assert done.exit_code == 0, done.exception
    entries = Ledger(tmp_path / "home" / "whitecrow.db").entries("till", event="rows.quarantined")
    assert [entry.details["quarantined"] for entry in entries] == [n_quarantined] * bool(
        n_quarantined
    )
    for entry in entries:
        (quarantine,) = (tmp_path / "home" / "runs").rglob("*quarantine*")
        assert entry.actor == "ana"
        assert entry.details["rows"] == 3
        assert entry.details["source_sha256"] == sha256_file(data)
        assert entry.details["quarantine_sha256"] == sha256_file(quarantine)
        assert sum(entry.details["rules"].values()) == 2
