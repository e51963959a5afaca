"""Labels from files reach the online state, in the contract's words or in the service's."""

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from features.contract import Contract, parse_contract
from features.ingestion.data_error import DataError
from flows.labels import label_reports

NOW = datetime(2026, 4, 1, tzinfo=UTC)
MARCH = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def contract() -> Contract:
    return parse_contract(
        {
            "name": "loans",
            "columns": {"id": "LOAN", "event_time": {"column": "T", "time_zone": "Europe/Berlin"},
                        "numeric": ["INCOME"]},
            "label": {"column": "STATUS", "positive": "lost", "reported_at": "CLOSED"},
        },
        source="tests",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("table", "reports"),
    [
        (
            {"LOAN": [7, 8], "STATUS": ["lost", "repaid"], "CLOSED": ["2026-03-01 01:00:00"] * 2},
            [("7", 1, MARCH), ("8", 0, MARCH)],
        ),
        (
            {"id": ["7"], "label": [1], "reported_at": ["2026-03-01T00:00:00Z"]},
            [("7", 1, MARCH)],
        ),
        ({"id": ["7"], "label": [0]}, [("7", 0, NOW)]),
        (
            {"id": ["7", None, "9", "1"], "label": [1, 1, None, 1],
             "reported_at": [None, *["2026-03-01T00:00:00Z"] * 3]},
            [("1", 1, MARCH)],
        ),
    ],
)  # fmt: skip
def test_reports_are_read_by_the_contracts_names_or_the_services(
    contract: Contract, table: dict[str, list[Any]], reports: list[Any]
) -> None:
    assert label_reports(pl.DataFrame(table), contract, arrived=NOW).rows() == reports


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"id": [1]}, "no column 'STATUS' or 'label'; there are 'id'"),
        ({"label": [1]}, "no column 'LOAN' or 'id'"),
        ({"id": [1], "label": ["lost"]}, "must hold 1 for the positive class, or 0. Got 'lost'"),
    ],
)
def test_a_file_that_does_not_say_enough_is_one_line(
    contract: Contract, table: dict[str, list[Any]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        label_reports(pl.DataFrame(table), contract, arrived=NOW)


@pytest.mark.xdist_group("trained")
def test_a_file_of_labels_is_imported_once(whitecrow, trained, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WHITECROW_STATE_URI", str(tmp_path / "state.db"))
    command = (trained.home, "labels", "import", trained.stream, "-m", "stream", "--json")

    first, again = whitecrow(*command), whitecrow(*command)

    frauds = int(pl.read_parquet(trained.stream)["REPORTED_AT"].is_not_null().sum())
    assert first.json == {
        "name": "stream", "read": 20_000, "left_out": 20_000 - frauds, "accepted": 0,
        "duplicates": 0, "unknown": frauds,
    }  # fmt: skip
    assert again.json["duplicates"] + again.json["unknown"] == frauds


@pytest.mark.xdist_group("trained")
def test_labels_for_an_unknown_model_are_one_line(whitecrow, trained) -> None:
    done = whitecrow(trained.home, "labels", "import", trained.stream, "-m", "nope")

    assert done.code == 2
    assert "there are: stream" in done.error
