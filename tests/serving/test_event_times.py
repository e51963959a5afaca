"""Event times are moments, however a client writes them."""

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from features.contract_blocks import EventTime
from features.ingestion.timestamps import to_utc
from serving.event_times import EventTimeReader, UnreadableTime

BERLIN = EventTime(column="t", time_zone="Europe/Berlin")
SECONDS = EventTime(column="t", unit="s", origin=datetime(2013, 9, 1, tzinfo=UTC))
MONTHS = EventTime(column="t", format="%d-%b-%Y")


@pytest.mark.parametrize(
    ("event_time", "value", "expected"),
    [
        (BERLIN, "2026-07-01T12:00:00Z", datetime(2026, 7, 1, 12, tzinfo=UTC)),
        (BERLIN, "2026-07-01T12:00:00+05:30", datetime(2026, 7, 1, 6, 30, tzinfo=UTC)),
        (BERLIN, "2026-07-01 12:00:00", datetime(2026, 7, 1, 10, tzinfo=UTC)),
        (BERLIN, "2026-01-01", datetime(2025, 12, 31, 23, tzinfo=UTC)),
        (BERLIN, "2026-10-25T02:30:00", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        (SECONDS, 406, datetime(2013, 9, 1, 0, 6, 46, tzinfo=UTC)),
        (SECONDS, 0.000001, datetime(2013, 9, 1, 0, 0, 0, 1, tzinfo=UTC)),
        (SECONDS, "2013-09-02T00:00:00Z", datetime(2013, 9, 2, tzinfo=UTC)),
        (MONTHS, "03-Feb-2018", datetime(2018, 2, 3, tzinfo=UTC)),
        (MONTHS, "2018-02-03", datetime(2018, 2, 3, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_as_a_table_reads_it(
    event_time: EventTime, value: Any, expected: datetime
) -> None:
    table = to_utc(pl.Series("t", [value]), event_time)

    assert EventTimeReader(event_time).read(value) == expected == table.item()


@pytest.mark.parametrize(
    ("event_time", "value"),
    [
        (BERLIN, "yesterday"),
        (BERLIN, ""),
        (BERLIN, "2026-02-30T00:00:00Z"),
        (BERLIN, "2026-03-29T02:30:00"),
        (BERLIN, "0001-01-01T00:00:00"),
        (BERLIN, "9999-12-31T23:59:59-12:00"),
        (SECONDS, 1e300),
        (SECONDS, -(10**30)),
    ],
)
def test_what_is_no_moment_is_refused_without_repeating_it(
    event_time: EventTime, value: Any
) -> None:
    with pytest.raises(UnreadableTime, match="not a moment") as refusal:
        EventTimeReader(event_time).read(value)

    assert not value or str(value) not in str(refusal.value)


@pytest.mark.parametrize("event_time", [BERLIN, SECONDS, MONTHS])
@pytest.mark.parametrize("microsecond", [0, 1, 999_999, 123_456])
def test_a_written_time_is_read_back_exactly(event_time: EventTime, microsecond: int) -> None:
    reader = EventTimeReader(event_time)
    moment = datetime(2026, 10, 25, 0, 30, 59, microsecond, tzinfo=UTC)

    assert reader.read(reader.write(moment)) == moment


def test_whole_seconds_are_written_as_a_number() -> None:
    moment = datetime(2013, 9, 1, 0, 6, 46, tzinfo=UTC)

    assert EventTimeReader(SECONDS).write(moment) == 406
    assert EventTimeReader(BERLIN).write(moment) == "2013-09-01T00:06:46Z"
