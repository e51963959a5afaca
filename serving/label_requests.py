"""Requests that report labels: what became of rows, strictly typed."""

from datetime import datetime
from typing import Any

from features.contract import Contract
from features.contract_blocks import EventTime
from features.online.events import microseconds_of
from serving.event_times import EventTimeReader, UnreadableTime
from serving.refusals import RequestRefused, shown
from serving.reported_labels import ReportedLabel
from serving.request_fields import kind_of
from serving.request_json import parse_batch, parse_row

_FIELDS = ("id", "label", "reported_at", "source")
LONGEST_SOURCE = 64
"""Characters of who reports a label."""


class LabelReader:
    """Reads ``{"labels": [{"id", "label", "reported_at", "source"}]}`` for one contract.

    ``reported_at`` is ISO 8601 text, without an offset in the contract's time zone, and may be
    left out: then the label became known when it arrived. ``source`` is kept with it.
    """

    def __init__(self, contract: Contract) -> None:
        event_time = contract.columns.event_time
        zone = event_time.time_zone if event_time is not None else "UTC"
        self._times = EventTimeReader(EventTime(column="reported_at", time_zone=zone))

    def read(self, body: bytes, *, arrived: datetime) -> list[ReportedLabel]:
        """Return the reports in a body; one that is at fault refuses them all.

        Args:
            body: JSON.
            arrived: When it came in.

        Raises:
            RequestRefused: At the first report that is at fault, named by its place from 0.
        """
        reports = parse_batch(body, "labels")
        return [
            self._report(parse_row(report), f"labels[{at}]", arrived)
            for at, report in enumerate(reports)
        ]

    def _report(self, report: dict[str, Any], where: str, arrived: datetime) -> ReportedLabel:
        for name in report:
            if name not in _FIELDS:
                raise RequestRefused(
                    "unknown_field",
                    f"A label has {', '.join(_FIELDS)} only.",
                    field=f"{where}.{shown(name)}",
                )
        return ReportedLabel(
            _id(report.get("id"), where),
            _label(report.get("label"), where),
            microseconds_of(self._moment(report.get("reported_at"), where, arrived)),
            _source(report.get("source"), where),
            is_dated=report.get("reported_at") is not None,
        )

    def _moment(self, value: Any, where: str, arrived: datetime) -> datetime:
        if value is None:
            return arrived
        if not isinstance(value, str):
            raise _wrong_type(f"{where}.reported_at", self._times.wanted, value)
        try:
            return self._times.read(value)
        except UnreadableTime as error:
            field = f"{where}.reported_at"
            raise RequestRefused("invalid_timestamp", f"{field}: {error}", field=field) from None


def _id(value: Any, where: str) -> str:
    if value is None:
        raise RequestRefused("missing_field", f"{where}.id is required.", field=f"{where}.id")
    if type(value) is not str and type(value) is not int:
        raise _wrong_type(f"{where}.id", "text or a whole number", value)
    return str(value)


def _label(value: Any, where: str) -> int:
    if value is None:
        raise RequestRefused("missing_field", f"{where}.label is required.", field=f"{where}.label")
    if type(value) is not int:
        raise _wrong_type(f"{where}.label", "0 or 1", value)
    if value not in (0, 1):
        raise RequestRefused(
            "out_of_range",
            f"{where}.label must be 1 for the positive class, or 0.",
            field=f"{where}.label",
        )
    return value


def _source(value: Any, where: str) -> str | None:
    if value is None:
        return None
    if type(value) is not str:
        raise _wrong_type(f"{where}.source", "text", value)
    if len(value) > LONGEST_SOURCE:
        raise RequestRefused(
            "out_of_range",
            f"{where}.source has at most {LONGEST_SOURCE} characters.",
            field=f"{where}.source",
        )
    return value or None


def _wrong_type(field: str, wanted: str, value: Any) -> RequestRefused:
    return RequestRefused(
        "wrong_type", f"{field} must be {wanted}, not {kind_of(value)}.", field=field
    )
