"""Drafts: what is guessed, what is flagged, and that every draft is a contract that fits."""

import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from features.contract import Contract, ContractError, parse_contract
from features.drafting.draft import Draft, draft_contract
from features.drafting.single_column_auc import single_column_auc
from features.ingestion.conforming import conform
from features.ingestion.data_error import DataError
from features.ingestion.tables import read_table
from features.labels import LabelError, attach_labels

START = datetime(2024, 3, 1, tzinfo=UTC)
N = 400


def table(**columns: Any) -> pl.DataFrame:
    """Return 400 rows of honest columns, every tenth of them fraud, with columns added."""
    rng = np.random.default_rng(0)
    honest: dict[str, Any] = {
        "tx_id": [f"t{i}" for i in range(N)],
        "tx_time": [START + timedelta(hours=i) for i in range(N)],
        "amount": rng.gamma(2, 20, N).round(2),
        "balance": rng.normal(0, 1, N),
        "country": rng.choice(["DE", "FR"], N),
        "fraud": [int(i % 10 == 3) for i in range(N)],
    }
    return pl.DataFrame(honest | columns)


def drafted(frame: pl.DataFrame, *, label: str = "fraud", **options: Any) -> tuple[Draft, Contract]:
    """Return the draft and the contract it reads back as, fitted to the table."""
    draft = draft_contract(frame, label=label, name="t", **options)
    contract = parse_contract(tomllib.loads(draft.toml), source="draft").resolve(frame.columns)
    conform(frame, contract)
    return draft, contract


def test_an_ordinary_table_is_understood() -> None:
    _, contract = drafted(table())

    assert contract.columns.id == "tx_id"
    assert contract.event_time_column == "tx_time"
    assert contract.amount_column == "amount"
    assert contract.columns.numeric == ("balance",)
    assert contract.columns.categorical == ("country",)
    assert contract.split.by == "time"
    assert contract.expectations.columns["amount"].min == 0
    assert contract.expectations.columns["balance"].min is None
    assert contract.expectations.columns["tx_id"].unique is True


@pytest.mark.parametrize(
    ("values", "role"),
    [
        ([7] * N, "drop"),
        ([None] * N, "drop"),
        ([f"a long story {i // 2}" for i in range(N)], "drop"),
        ([f"r{i}" for i in range(N)], "drop"),
        ([[i] for i in range(N)], "drop"),
        ([START - timedelta(minutes=i * i % 97) for i in range(N)], "drop"),
        ([str(i % 7) if i % 3 else "Missing" for i in range(N)], "categorical"),
        ([f"{i / 7:.3f}" if i % 3 else "Missing" for i in range(N)], "drop"),
        ([f"{(i * 37) % 101 / 7:.3f}" for i in range(N)], "numeric"),
        ([(i * 37) % 101 if i % 3 else None for i in range(N)], "numeric"),
        ([i % 3 == 0 for i in range(N)], "numeric"),
        (list(range(N)), "drop"),
    ],
)
def test_a_column_gets_its_role(values: list[Any], role: str) -> None:
    draft, contract = drafted(table(extra=pl.Series(values, strict=False)))

    assert "extra" in getattr(contract.columns, role)
    if role == "drop":
        assert any(note.startswith("extra: dropped: ") for note in draft.notes)


@pytest.mark.parametrize(
    ("name", "values", "role"),
    [
        ("card_id", [i % 80 for i in range(N)], "entities"),
        ("mcc_code", [5_000 + i % 9 for i in range(N)], "categorical"),
        ("gender", ["f", "m"] * (N // 2), "groups"),
        ("applicantAge", [20 + i % 50 for i in range(N)], "groups"),
        ("E-Mail", [f"{i % 90}@example.org" for i in range(N)], "pii"),
        ("label", [i % 5 for i in range(N)], "drop"),
    ],
)
def test_a_name_says_what_a_type_cannot(name: str, values: list[Any], role: str) -> None:
    _, contract = drafted(table(**{name: values}))

    assert name in getattr(contract.columns, role)


def test_a_column_repeated_row_by_row_is_dropped() -> None:
    frame = table()
    frame = frame.with_columns(frame["country"].alias("country.1"))

    draft, contract = drafted(frame)

    assert contract.columns.drop == ("country.1",)
    assert "the same as 'country'" in draft.toml


def test_which_of_several_amounts_is_left_to_a_person() -> None:
    draft, contract = drafted(table(fee_amount=[float(i % 9) for i in range(N)]))

    assert contract.amount_column is None
    assert draft.toml.count("may be the amount, as others may") == 2


IS_FRAUD = np.arange(N) % 10 == 3


@pytest.mark.parametrize(
    "values",
    [
        np.where(IS_FRAUD, 2.0, 1.0) + np.linspace(0, 0.5, N),
        np.where(IS_FRAUD, -1e9, np.linspace(0, 1, N)),
        [1 + i % 9 if is_fraud else None for i, is_fraud in enumerate(IS_FRAUD)],
        ["chargeback" if is_fraud else f"ok{i % 3}" for i, is_fraud in enumerate(IS_FRAUD)],
        [5 if is_fraud else 9 * (i % 2) for i, is_fraud in enumerate(IS_FRAUD)],
        IS_FRAUD,
    ],
    ids=["above", "below", "only present for fraud", "category", "code in the middle", "boolean"],
)
def test_a_column_that_tells_the_answer_is_flagged_and_kept(values: Any) -> None:
    draft, contract = drafted(table(hint=pl.Series(values)))

    assert "hint" in contract.columns.numeric + contract.columns.categorical
    assert draft.notes[0].startswith("hint: LIKELY LEAK: alone it gives ROC-AUC 1.0000")
    assert next(line for line in draft.toml.splitlines() if '"hint"' in line).count("LEAK") == 1


def test_honest_columns_are_not_flagged() -> None:
    draft, _ = drafted(table(shop=[f"s{i * 7 % 17}" for i in range(N)]))

    assert "LEAK" not in draft.toml


def test_an_identifier_does_not_look_like_a_leak() -> None:
    """Every value is seen once: in sample it would rank the rows perfectly."""
    column = pl.Series([f"v{i}" for i in range(N)])

    assert single_column_auc(column, IS_FRAUD) < 0.6


def test_the_auc_of_a_number_equals_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(IS_FRAUD, 1.5).round(1)

    expected = roc_auc_score(IS_FRAUD, values)
    assert single_column_auc(pl.Series(values), IS_FRAUD) == pytest.approx(expected)
    assert single_column_auc(pl.Series(-values), IS_FRAUD) == pytest.approx(expected)


AWKWARD = [
    "credit.policy", "default payment next month", "größe", 'with "quotes"', "back\\slash",
    "line\nend", "#hash", "table", "columns", "日本", "tab\t", "[x]", "a=b", "del\x7f", "'",
]  # fmt: skip


@pytest.mark.parametrize("name", AWKWARD)
def test_any_column_name_survives_the_way_through_toml(name: str) -> None:
    _, contract = drafted(table(**{name: [float(i % 17) for i in range(N)]}))

    assert name in contract.columns.numeric


def test_an_awkward_label_survives_too() -> None:
    frame = table().rename({"fraud": 'is "bad"?'})

    _, contract = drafted(frame, label='is "bad"?')

    assert contract.label.column == 'is "bad"?'


@pytest.mark.parametrize(
    ("values", "positive"),
    [
        ((0, 1), 1),
        ((1, 2), 2),
        ((False, True), True),
        (("Fully Paid", "Charged Off"), "Charged Off"),
        (("0", "1"), 1),
    ],
)
def test_the_rarer_value_is_positive(values: tuple[Any, Any], positive: Any) -> None:
    frame = table(fraud=[values[int(is_fraud)] for is_fraud in IS_FRAUD])

    _, contract = drafted(frame)

    assert contract.label.positive == positive
    labelled = attach_labels(conform(frame, contract), contract)
    assert labelled.frame["label"].sum() == 40


def test_rows_without_a_label_are_counted() -> None:
    draft, _ = drafted(table(fraud=[None] * 5 + [int(is_fraud) for is_fraud in IS_FRAUD[5:]]))

    assert "fraud: 5 rows have no label." in draft.notes


@pytest.mark.parametrize(
    ("pattern", "declared"),
    [("%Y/%m/%d", "%Y/%m/%d"), ("%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M"), ("%Y-%m-%dT%H:%M:%S", None)],
)
def test_a_time_written_as_text_is_found_with_its_format(
    pattern: str, declared: str | None
) -> None:
    texts = [(START + timedelta(hours=9 * i)).strftime(pattern) for i in range(N)]

    _, contract = drafted(table(tx_time=texts))

    assert contract.columns.event_time is not None
    assert contract.columns.event_time.format == declared


def test_seconds_since_1970_are_found_and_other_numbers_only_when_named() -> None:
    epoch = [1_709_251_200 + 60 * i for i in range(N)]
    elapsed = [60.0 * i for i in range(N)]

    _, found = drafted(table(tx_time=epoch))
    _, unnamed = drafted(table(tx_time=elapsed))
    _, named = drafted(table(tx_time=elapsed), time="tx_time")

    assert found.columns.event_time is not None
    assert found.columns.event_time.unit == "s"
    assert unnamed.columns.event_time is None
    assert unnamed.split.by == "random"
    assert named.event_time_column == "tx_time"


def test_a_clock_in_another_column_is_no_feature() -> None:
    _, contract = drafted(table(elapsed=[i // 4 for i in range(N)]))

    assert contract.columns.drop == ("elapsed",)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"label": "frauds"}, DataError, "no column 'frauds'. Did you mean 'fraud'?"),
        ({"label": "country", "time": "tx_tim"}, DataError, "Did you mean 'tx_time' or"),
        ({"label": "fraud", "time": "country"}, DataError, "'country' holds no moments"),
        ({"label": "balance"}, LabelError, "it must have two"),
    ],
)
def test_what_cannot_be_drafted_is_refused(
    options: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as refusal:
        draft_contract(table(), name="t", **options)

    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_table_without_features_is_refused() -> None:
    with pytest.raises(ContractError, match="no features"):
        draft_contract(table().select("tx_id", "fraud"), label="fraud", name="t")


def test_the_name_is_made_to_fit() -> None:
    draft = draft_contract(table(), label="fraud", name="My Table (2024)")

    assert tomllib.loads(draft.toml)["name"] == "my_table_2024"


@pytest.mark.parametrize(
    ("file", "label", "event_time", "flagged"),
    [
        ("credit_default.csv.gz", "default payment next month", None, []),
        ("loan_data.csv", "not.fully.paid", None, []),
        ("lending_club_2018.parquet", "loan_status", "issue_d", []),
        ("card_stream.parquet", "TX_FRAUD", "TX_DATETIME", ["TX_FRAUD_SCENARIO"]),
    ],
)
def test_real_tables_are_drafted(
    data_root: Path, file: str, label: str, event_time: str | None, flagged: list[str]
) -> None:
    frame = read_table(data_root / file)[:200_000]

    draft, contract = drafted(frame, label=label)

    assert contract.event_time_column == event_time
    assert [note.split(":")[0] for note in draft.notes if "LIKELY LEAK" in note] == flagged
