"""Labels as they were known at a moment."""

import tomllib
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from features.contract import Contract, parse_contract
from features.ingestion.conforming import conform
from features.labels import (
    LabelError,
    attach_labels,
    known_after,
    label_text,
    reported_labels,
)

DAY = timedelta(days=1)
START = datetime(2024, 3, 1, tzinfo=UTC)


def contract(label: str = "", positive: str = "1", time: bool = True) -> Contract:
    text = f"""
    name = "cards"
    [columns]
    id = "tx"
    {'event_time = "when"' if time else ""}
    numeric = ["amount"]
    [label]
    column = "fraud"
    positive = {positive}
    {label}
    [split]
    by = "random"
    """
    return parse_contract(tomllib.loads(text), source="test")


def table(fraud: list[Any] | None = None, **columns: list[Any]) -> pl.DataFrame:
    """Return ten rows, one a day from 2024-03-01, numbered from 0; rows 2 and 5 are fraud."""
    frame = pl.DataFrame(
        {
            "tx": range(10),
            "when": [START + i * DAY for i in range(10)],
            "amount": [1.0] * 10,
            "fraud": fraud if fraud is not None else [int(i in (2, 5)) for i in range(10)],
            **columns,
        }
    )
    return conform(frame, contract())


def test_a_row_is_left_out_until_its_delay_has_passed() -> None:
    """As of day 7, rows up to day 4 are three days old; the fraud of day 5 is not known."""
    labelled = attach_labels(table(), contract('delay = "3d"'), as_of=START + 7 * DAY)

    assert labelled.frame["label"].to_list() == [0, 0, 1, 0, 0] + [None] * 5
    assert (labelled.n_immature, labelled.n_unlabelled) == (5, 0)
    assert labelled.known["tx"].to_list() == ["0", "1", "2", "3", "4"]


def test_the_newest_event_is_the_moment_by_default() -> None:
    labelled = attach_labels(table(), contract('delay = "3d"'))

    assert labelled.as_of == START + 9 * DAY
    assert labelled.n_immature == 3


def test_a_naive_moment_is_utc() -> None:
    naive = (START + 7 * DAY).replace(tzinfo=None)

    assert attach_labels(table(), contract(), as_of=naive).as_of == START + 7 * DAY


def test_without_event_times_everything_is_known() -> None:
    labelled = attach_labels(table(), contract(time=False))

    assert labelled.as_of is None
    assert labelled.n_immature == 0


def test_a_row_without_a_time_is_never_old_enough() -> None:
    has_time = pl.col("tx") != "0"
    frame = table().with_columns(pl.when(has_time).then(pl.col("when")).alias("when"))

    assert attach_labels(frame, contract()).frame["label"][0] is None


def test_a_later_moment_only_adds_labels() -> None:
    """What was known on one day is known, and the same, on every later one."""
    declared = contract('delay = "2d"')
    days = [attach_labels(table(), declared, as_of=START + i * DAY) for i in range(5, 12)]

    for earlier, later in pairwise(days):
        known = earlier.frame["label"].is_not_null()
        assert later.frame["label"].filter(known).equals(earlier.known["label"])
        assert later.known.height >= earlier.known.height


@pytest.mark.parametrize(
    ("values", "positive"),
    [
        ([0, 1], "1"),
        ([0, 1], "true"),
        (["0", "1"], "1"),
        (['"0"', '"1"'], "1"),
        (["0", "1"], '"1"'),
        ([0.0, 1.0], "1"),
        ([False, True], "true"),
        ([False, True], "1"),
        (["false", "True"], "true"),
        (["Fully Paid", "Charged Off"], '"Charged Off"'),
        ([2, 1], "1"),
        ([-1, 1], "1"),
    ],
)
def test_a_positive_label_is_known_however_it_is_written(values: list[Any], positive: str) -> None:
    fraud = [values[i in (2, 5)] for i in range(10)]

    labelled = attach_labels(table(fraud), contract(positive=positive))

    assert labelled.frame["label"].dtype == pl.Int8
    assert labelled.frame["label"].to_list() == [0, 0, 1, 0, 0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("missing", [None, "", "NA"])
def test_a_missing_label_is_unlabelled(missing: str | None) -> None:
    labelled = attach_labels(table([missing, "0", "1"] + ["0"] * 7), contract())

    assert labelled.frame["label"][0] is None
    assert labelled.n_unlabelled == 1
    assert labelled.frame.height == 10


def reported(**days: int) -> list[datetime | None]:
    """Return when each row was reported, in days after the start: ``r2=3`` is row 2 on day 3."""
    return [START + days[f"r{i}"] * DAY if f"r{i}" in days else None for i in range(10)]


def test_a_label_reported_later_is_unseen() -> None:
    frame = table(at=reported(r2=3, r5=9))
    declared = contract('reported_at = "at"')

    labelled = attach_labels(frame, declared, as_of=START + 8 * DAY)

    assert labelled.frame["label"].to_list() == [0, 0, 1, 0, 0, None, 0, 0, 0, None]
    assert labelled.n_immature == 2


def test_an_unseen_fraud_looks_genuine_where_absence_means_so() -> None:
    frame = table(at=reported(r2=3, r5=9))
    declared = contract('reported_at = "at"\nabsent_means = "negative"')

    labelled = attach_labels(frame, declared, as_of=START + 8 * DAY)

    assert labelled.frame["label"][5] == 0
    assert labelled.n_immature == 1


OTHER = 'source = "chargebacks.csv"\nkey = "tx"\nabsent_means = "{}"\ndelay = "2d"'


def test_absence_from_another_table_is_negative_after_the_delay() -> None:
    chargebacks = pl.DataFrame({"tx": [5, 2, 99], "fraud": [1, 1, 1]})

    labelled = attach_labels(
        table().drop("fraud"), contract(OTHER.format("negative")), labels=chargebacks
    )

    assert labelled.frame["label"].to_list() == [0, 0, 1, 0, 0, 1, 0, 0, None, None]
    assert labelled.n_immature == 2


def test_absence_from_another_table_may_be_unknown() -> None:
    outcomes = pl.DataFrame({"tx": ["5", "2", "3"], "fraud": [1, 1, 0]})

    labelled = attach_labels(
        table().drop("fraud"), contract(OTHER.format("unknown")), labels=outcomes
    )

    assert labelled.known["label"].to_list() == [1, 0, 1]
    assert (labelled.n_unlabelled, labelled.n_immature) == (5, 2)


def test_the_last_report_by_the_moment_counts() -> None:
    """Row 2 is charged back on day 3 and cleared on day 6."""
    declared = contract(OTHER.format("negative") + '\nreported_at = "at"')
    reports = pl.DataFrame(
        {"tx": [2, 2, 5], "fraud": [1, 0, 1], "at": ["2024-03-04", "2024-03-07", "2024-03-06"]}
    )
    frame = table().drop("fraud")

    before = attach_labels(frame, declared, as_of=START + 5.5 * DAY, labels=reports)
    with pytest.raises(LabelError, match="one class only"):
        attach_labels(frame, declared, as_of=START + 6 * DAY, labels=reports)
    after = attach_labels(frame, declared, as_of=START + 8 * DAY, labels=reports)

    assert before.frame["label"].to_list()[:4] == [0, 0, 1, 0]
    assert after.frame["label"].to_list()[:6] == [0, 0, 0, 0, 0, 1]


def known_on(frame: pl.DataFrame, declared: Contract, row: int) -> float:
    """Days after its event on which a row's label is known."""
    return int(known_after(frame, declared)[row]) / DAY.total_seconds() / 1e6


def test_a_label_is_known_after_the_delay_or_when_it_was_reported_later() -> None:
    frame = table(at=reported(r2=3, r5=9))
    declared = contract('reported_at = "at"\ndelay = "2d"')

    found = reported_labels(frame, declared)

    assert found["label_reported_at"].to_list() == reported(r2=3, r5=9)
    assert [known_on(found, declared, row) for row in (0, 2, 5)] == [2, 2, 4]


def test_a_label_without_reports_is_known_after_the_delay() -> None:
    declared = contract('delay = "2d"')

    assert known_on(table(), declared, 7) == 2


@pytest.mark.parametrize(
    ("reports", "label", "day"),
    [
        ([(1, "2024-03-06"), (1, "2024-03-09")], 1, 3),
        ([(1, "2024-03-06"), (0, "2024-03-07"), (1, "2024-03-09"), (1, "2024-03-10")], 1, 6),
        ([(1, "2024-03-06"), (0, "2024-03-09")], 0, 6),
        ([(1, "2024-03-06"), (1, None)], 1, 2),
    ],
)
def test_a_joined_label_is_known_from_the_first_report_that_still_stands(
    reports: list[tuple[int, str | None]], label: int, day: float
) -> None:
    """Row 2 happens on 3 March; its reports come from another table."""
    declared = contract(OTHER.format("unknown") + '\nreported_at = "at"')
    labels = pl.DataFrame(
        [(2, *report) for report in reports], schema=["tx", "fraud", "at"], orient="row"
    )

    found = reported_labels(table().drop("fraud"), declared, labels=labels)

    assert found["label"][2] == label
    assert known_on(found, declared, 2) == day


def test_the_label_table_is_read_from_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "chargebacks.csv"
    path.write_text('tx,fraud\n2,"1"\n5,"1"\n')
    declared = contract(OTHER.format("negative").replace("chargebacks.csv", str(path)))

    assert attach_labels(table().drop("fraud"), declared).known["label"].sum() == 2


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"tx": [2, 2], "fraud": [1, 0]}, "1 key(s) of the label table chargebacks.csv have both"),
        ({"id": [2], "fraud": [1]}, "Column 'tx' is missing from the label table"),
        ({"tx": [2], "is_fraud": [1]}, "'fraud' is missing from the label table"),
        ({"tx": [99], "fraud": [1]}, "one class only as of 2024-03-10"),
        ({"tx": [2, 3, 4], "fraud": [1, 2, 3]}, "has 3 values"),
    ],
)
def test_a_bad_label_table_is_refused(labels: dict[str, list[int]], message: str) -> None:
    with pytest.raises(LabelError) as refusal:
        attach_labels(
            table().drop("fraud"),
            contract(OTHER.format("negative")),
            labels=pl.DataFrame(labels),
        )

    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("fraud", "label", "message"),
    [
        ([0, 1, 2] + [0] * 7, "", "Label 'fraud' has 3 values ('0': 8, '1': 1, '2': 1)"),
        (["good"] * 8 + ["bad"] * 2, "", "is never 1 ('good': 8, 'bad': 2). Set label.positive"),
        ([0] * 10, "", "0 positive, 10 negative (0 immature, 0 without a label)"),
        ([1] * 10, "", "one class only as of 2024-03-10 00:00: 10 positive, 0 negative"),
        ([None] * 10, "", "0 positive, 0 negative (0 immature, 10 without a label)"),
        ([0] * 9 + [1], 'delay = "3d"', "0 positive, 7 negative (3 immature"),
    ],
)
def test_a_label_that_is_not_two_classes_is_refused(
    fraud: list[Any], label: str, message: str
) -> None:
    with pytest.raises(LabelError) as refusal:
        attach_labels(table(fraud), contract(label))

    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_two_spellings_of_a_value_are_one() -> None:
    assert label_text(pl.Series(["1.0", "1", " TRUE ", "-2", "1e3"])).to_list() == [
        "1", "1", "1", "-2", "1000",
    ]  # fmt: skip
