"""Labels are read strictly: every mistake is named by its place."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from features.contract import parse_contract
from features.online.events import microseconds_of
from serving.label_requests import LabelReader
from serving.refusals import RequestRefused
from serving.reported_labels import ReportedLabel

NOW = datetime(2026, 4, 1, tzinfo=UTC)
NOON = microseconds_of(datetime(2026, 3, 1, 12, tzinfo=UTC))
REPORT = {"id": "17", "label": 1, "reported_at": "2026-03-01T12:00:00Z", "source": "chargeback"}


@pytest.fixture
def reader(shop_contract: dict[str, Any]) -> LabelReader:
    columns = shop_contract["columns"] | {
        "event_time": {"column": "PLACED_AT", "time_zone": "Europe/Berlin"}
    }
    return LabelReader(parse_contract(shop_contract | {"columns": columns}, source="tests"))


@pytest.mark.parametrize(
    ("change", "report"),
    [
        ({}, ReportedLabel("17", 1, NOON, "chargeback")),
        ({"id": 17, "label": 0}, ReportedLabel("17", 0, NOON, "chargeback")),
        ({"reported_at": "2026-03-01 13:00:00"}, ReportedLabel("17", 1, NOON, "chargeback")),
        ({"source": ""}, ReportedLabel("17", 1, NOON)),
        (
            {"reported_at": None, "source": None},
            ReportedLabel("17", 1, microseconds_of(NOW), is_dated=False),
        ),
    ],
)
def test_a_report_is_read(
    reader: LabelReader, change: dict[str, Any], report: ReportedLabel
) -> None:
    body = json.dumps({"labels": [REPORT | change]}).encode()

    assert reader.read(body, arrived=NOW) == [report]


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"id": None}, "missing_field", "labels[1].id"),
        ({"id": 1.5}, "wrong_type", "labels[1].id"),
        ({"id": True}, "wrong_type", "labels[1].id"),
        ({"label": None}, "missing_field", "labels[1].label"),
        ({"label": True}, "wrong_type", "labels[1].label"),
        ({"label": "1"}, "wrong_type", "labels[1].label"),
        ({"label": 2}, "out_of_range", "labels[1].label"),
        ({"reported_at": 5}, "wrong_type", "labels[1].reported_at"),
        ({"reported_at": "soon"}, "invalid_timestamp", "labels[1].reported_at"),
        ({"source": 7}, "wrong_type", "labels[1].source"),
        ({"source": "x" * 65}, "out_of_range", "labels[1].source"),
        ({"lable": 1}, "unknown_field", "labels[1].lable"),
    ],
)
def test_a_report_at_fault_is_named_by_its_place(
    reader: LabelReader, change: dict[str, Any], code: str, field: str
) -> None:
    body = json.dumps({"labels": [REPORT, REPORT | change]}).encode()

    with pytest.raises(RequestRefused) as caught:
        reader.read(body, arrived=NOW)

    assert (caught.value.code, caught.value.field) == (code, field)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[]", "wrong_type"),
        (b'{"rows": []}', "missing_field"),
        (b'{"labels": [], "rows": []}', "unknown_field"),
        (b'{"labels": [], "labels": []}', "duplicate_field"),
        (b'{"labels": [7]}', "wrong_type"),
        (b'{"labels": [' + b", ".join([b"{}"] * 1001) + b"]}", "too_many_rows"),
        (b'{"labels": ', "malformed_json"),
    ],
)
def test_a_body_that_is_no_list_of_labels_is_refused(
    reader: LabelReader, body: bytes, code: str
) -> None:
    with pytest.raises(RequestRefused) as caught:
        reader.read(body, arrived=NOW)

    assert caught.value.code == code
