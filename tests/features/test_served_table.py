"""Tables of served rows: what they say of themselves, and which of them are refused."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from features.contract import Contract, parse_contract
from features.feature_table import build_feature_table
from features.large_feature_table import write_large_feature_table
from features.served_content import ContentDigest, verified_description
from features.served_table import (
    DECISION_COLUMNS,
    DESCRIPTION_KEY,
    ServedTable,
    ServedTableMismatch,
    brings_served_features,
    common_description,
    description_of,
)
from features.validation.quarantine import parquet_rows
from features.velocity import velocity_plan

AS_OF = datetime(2026, 6, 1, tzinfo=UTC)
CONTRACT: dict[str, Any] = {
    "name": "cards",
    "columns": {
        "id": "TX",
        "event_time": "AT",
        "amount": {"column": "AMOUNT", "currency": "EUR"},
        "entities": ["CARD"],
        "groups": ["REGION"],
    },
    "label": {"column": "FRAUD", "delay": "1d", "absent_means": "negative"},
    "velocity": [{"entity": "CARD", "windows": ["30d"], "aggregates": ["count"]}],
    "expectations": {"CARD": {"pattern": "^[0-9]+$", "null": False}, "AMOUNT": {"min": 0}},
    "split": {"by": "random"},
}


def contract(**changes: Any) -> Contract:
    return parse_contract(CONTRACT | changes, source="tests")


def rows(n: int = 200) -> pl.DataFrame:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    return pl.DataFrame(
        {
            "TX": [str(k) for k in range(n)],
            "AT": pl.Series([at] * n).dt.offset_by(pl.Series([f"{k}m" for k in range(n)])),
            "AMOUNT": [float(k) for k in range(n)],
            "CARD": [f"c{k % 7}" for k in range(n)],
            "FRAUD": [int(k % 4 == 0) for k in range(n)],
            # No table could give these counts: they are the service's word.
            "CARD_count_30d": [None if k % 5 == 0 else 1000.0 + k for k in range(n)],
            "decision_id": [f"d{k}" for k in range(n)],
            "decision": ["approve"] * n,
            "risk_score": [0.1] * n,
            "model_version": ["1"] * n,
            "policy_version": ["1"] * n,
            "explored": [False] * n,
        },
        schema_overrides={"AT": pl.Datetime("us", "UTC")},
    )


def described(rows: pl.DataFrame, **changes: Any) -> ServedTable:
    plan = velocity_plan(contract())
    told = ServedTable(
        model="cards", contract="cards", contract_hash="0", feature_set_hash="1",
        over_time=plan.state_key, served=plan.names, hidden=("CARD",), label=("FRAUD",),
        input_types={"TX": "integer", "CARD": "integer", "AMOUNT": "number", "AT": "timestamp"},
        since=None, until=None, as_of=AS_OF, coverage={"rows": rows.height},
    )  # fmt: skip
    digest = ContentDigest(plan.names)
    digest.add(rows)
    return digest.sealed(told).model_copy(update=changes)


def write(path: Path, rows: pl.DataFrame, told: ServedTable | None) -> Path:
    with parquet_rows(path) as file:
        file.append(rows)
        if told is not None:
            file.describe(told.metadata)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "served.parquet", rows(), described(rows()))


def test_a_table_says_of_itself_what_was_written(file: Path, tmp_path: Path) -> None:
    assert description_of(file) == described(rows())
    assert verified_description(file, contract()) == described(rows())
    assert description_of(write(tmp_path / "plain.parquet", rows(), None)) is None
    assert description_of(tmp_path / "nothing.parquet") is None
    assert description_of("postgresql://localhost/x?table=y") is None
    (tmp_path / "no.parquet").write_bytes(b"PAR1 and no more")
    assert description_of(tmp_path / "no.parquet") is None


def test_the_digest_does_not_depend_on_how_rows_are_cut() -> None:
    whole, parts = (ContentDigest(("CARD_count_30d",)) for _ in range(2))
    whole.add(rows())
    for part in rows().iter_slices(33):
        parts.add(part)

    assert whole.hexdigest(described(rows())) == parts.hexdigest(described(rows()))


def change_a_value(table: pl.DataFrame) -> pl.DataFrame:
    counts = table["CARD_count_30d"].scatter(3, 7.0)
    return table.with_columns(counts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_a_value, "was changed after it was built"),
        (lambda table: table.head(100), "was changed after it was built"),
        (lambda table: table.drop("CARD_count_30d"), "lacks 'CARD_count_30d'"),
    ],
)
def test_a_table_that_was_changed_is_refused_in_one_line(
    tmp_path: Path, change: Any, message: str
) -> None:
    path = write(tmp_path / "d.parquet", change(rows()), described(rows()))

    with pytest.raises(ServedTableMismatch, match=message) as caught:
        verified_description(path, contract())
    assert "\n" not in str(caught.value)


def test_what_is_said_of_a_table_cannot_be_changed_either(tmp_path: Path) -> None:
    told = described(rows()).model_copy(update={"feature_set_hash": "2"})
    path = write(tmp_path / "d.parquet", rows(), told)

    with pytest.raises(ServedTableMismatch, match="was changed after it was built"):
        verified_description(path, contract())


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("no json", r"cannot be read \(description: Invalid JSON"),
        ('{"format": 2}', r"cannot be read \(format: "),
        ("{}", r"cannot be read \(model: Field required\)"),
    ],
)
def test_a_description_that_cannot_be_read_is_one_line(
    tmp_path: Path, metadata: str, message: str
) -> None:
    path = tmp_path / "d.parquet"
    with parquet_rows(path) as file:
        file.append(rows())
        file.describe({DESCRIPTION_KEY: metadata})

    with pytest.raises(ServedTableMismatch, match=message) as caught:
        description_of(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"velocity": [{"entity": "CARD", "windows": ["7d"], "aggregates": ["count"]}]},
        {"velocity": []},
        {"label": CONTRACT["label"] | {"delay": "2d"}},
    ],
)
def test_a_contract_with_other_features_over_time_is_refused(
    file: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(ServedTableMismatch, match="contract 'cards' declares") as caught:
        verified_description(file, contract(**changes))
    assert "\n" not in str(caught.value)


def test_policy_and_wording_may_differ(file: Path) -> None:
    other = contract(name="other", policy={"segments": []}, reasons={"deny": ["AMOUNT"]})

    assert verified_description(file, other) is not None


def test_a_contract_resolves_without_what_no_request_carries(file: Path) -> None:
    told = described(rows())

    resolved = told.resolve(contract(), rows().columns)

    assert resolved.columns.groups == ("REGION",)
    assert resolved.expectations == contract().expectations
    judged = told.judged(resolved).expectations.columns
    assert (judged["CARD"].pattern, judged["CARD"].null, judged["AMOUNT"].min) == (None, False, 0)


def test_labels_of_another_table_are_brought_along() -> None:
    label = {"column": "FRAUD", "source": "far.csv", "key": "TX", "absent_means": "negative"}
    other = contract(label=label | {"delay": "1d"})
    told = described(rows())

    assert told.resolve(other, rows().columns).label.source == "far.csv"
    labels = told.labels(rows().lazy(), other)
    assert labels is not None
    assert labels.collect().columns == ["TX", "FRAUD"]
    assert told.labels(rows().lazy(), contract()) is None


def test_served_features_are_kept_in_memory_and_on_disk(tmp_path: Path) -> None:
    """No window is as long as the rows reach back, and none is computed."""
    resolved = described(rows()).resolve(contract(), rows().columns)
    passed = rows().drop(DECISION_COLUMNS)
    passed.write_parquet(tmp_path / "passed.parquet")
    types = described(rows()).input_types

    table = build_feature_table(passed, resolved, input_types=types, as_of=AS_OF, is_served=True)
    write_large_feature_table(
        tmp_path / "passed.parquet", resolved, tmp_path / "large.parquet", scratch=tmp_path,
        input_types=types, as_of=AS_OF, is_served=True,
    )  # fmt: skip

    assert table.frame["CARD_count_30d"].equals(passed["CARD_count_30d"])
    assert pl.read_parquet(tmp_path / "large.parquet").equals(table.frame)


def test_tables_of_two_kinds_are_not_used_together() -> None:
    one = described(rows())
    other = one.model_copy(update={"hidden": ()})

    assert common_description({"a": None, "b": None}) is None
    assert common_description({"a": one, "b": one}) == one.of_a_part
    for pair in ({"a": one, "b": None}, {"a": one, "b": other}):
        with pytest.raises(ServedTableMismatch, match="b and the other tables cannot be used"):
            common_description(pair)


def test_rows_bring_their_features_if_they_say_of_which_decision_they_are() -> None:
    table = rows()

    assert brings_served_features(table, contract())
    assert not brings_served_features(table.drop("decision_id"), contract())
    assert not brings_served_features(table.drop("CARD_count_30d"), contract())
    assert not brings_served_features(table, contract(velocity=[]))
    mixed = pl.concat([table, rows(3).drop("decision_id")], how="diagonal")
    with pytest.raises(ServedTableMismatch, match="3 of 203 rows were not served"):
        brings_served_features(mixed, contract())
