"""Labels from files reach the online state, in the contract's words or in the service's."""

import json
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from features.contract import Contract, parse_contract
from features.ingestion.data_error import DataError
from features.online.events import microseconds_of
from flows.labels import LeftOut, label_reports
from serving.label_requests import LabelReader
from serving.reported_labels import ReportedLabel

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
            [("7", 1, NOW), ("1", 1, MARCH)],
        ),
    ],
)  # fmt: skip
def test_reports_are_read_by_the_contracts_names_or_the_services(
    contract: Contract, table: dict[str, list[Any]], reports: list[Any]
) -> None:
    found = label_reports(pl.DataFrame(table), contract, arrived=NOW)

    assert found.reports.select("id", "label", "reported_at").rows() == reports


@pytest.mark.parametrize("reported_at", [None, "2026-03-01 01:00:00"])
@pytest.mark.parametrize(("status", "label"), [("lost", 1), ("repaid", 0)])
def test_a_file_says_what_the_same_request_says(
    contract: Contract, status: str, label: int, reported_at: str | None
) -> None:
    body = {"labels": [{"id": "7", "label": label, "reported_at": reported_at}]}
    by_route = LabelReader(contract).read(json.dumps(body).encode(), arrived=NOW)

    for names in (("LOAN", "STATUS", "CLOSED"), ("id", "label", "reported_at")):
        value = status if names[1] == "STATUS" else label
        table = pl.DataFrame(dict(zip(names, (["7"], [value], [reported_at]), strict=True)))
        found = label_reports(table, contract, arrived=NOW)

        by_file = [
            ReportedLabel(i, k, microseconds_of(at), source, is_dated=is_dated)
            for i, k, at, source, is_dated in found.reports.rows()
        ]
        assert by_file == by_route
        assert found.left_out == ()


def test_rows_that_report_nothing_are_named_with_the_reason(contract: Contract) -> None:
    table = pl.DataFrame({"id": ["7", None, "9"], "label": [1, 1, None]})

    found = label_reports(table, contract, arrived=NOW)

    assert found.reports["id"].to_list() == ["7"]
    assert found.left_out == (LeftOut(2, "no id"), LeftOut(3, "no label"))


@pytest.mark.xdist_group("trained")
def test_the_command_names_what_it_leaves_out(whitecrow, trained, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WHITECROW_STATE_URI", str(tmp_path / "state.db"))
    file = tmp_path / "labels.csv"
    file.write_text("id,label\n7,1\n,0\n9,\n" + "8,\n" * 9)

    done = whitecrow(trained.home, "labels", "import", file, "-m", "stream")

    counts, hint, named = done.out.splitlines()
    assert counts.endswith(f"11 left out; in {tmp_path / 'state.db'}")
    assert hint.startswith("None of these rows is in that state.")
    assert "row 2 (no id), row 3 (no label)" in named
    assert named.endswith("row 11 (no label) and 1 more")


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

    assert first.json == {
        "name": "stream", "read": 20_000, "left_out": 0, "left_out_rows": [], "accepted": 0,
        "duplicates": 0, "unknown": 20_000, "contradictory": 0, "state": str(tmp_path / "state.db"),
    }  # fmt: skip
    assert again.json["duplicates"] + again.json["unknown"] == 20_000


@pytest.mark.xdist_group("trained")
def test_labels_for_an_unknown_model_are_one_line(whitecrow, trained) -> None:
    done = whitecrow(trained.home, "labels", "import", trained.stream, "-m", "nope")

    assert done.code == 2
    assert "there are: stream" in done.error
