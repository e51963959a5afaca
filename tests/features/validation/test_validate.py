"""Validation: every row read is passed or quarantined, and broken tables stop the flow."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.contract import Contract, ContractError, parse_contract, read_contract
from features.ingestion.conforming import conform
from features.ingestion.data_error import DataError
from features.ingestion.tables import read_table, scan_table
from features.validation.outcome import DataValidationFailed, ValidationOutcome
from features.validation.profile import DataProfile
from features.validation.tally import WITHHELD
from features.validation.validate import validate
from infra.errors import Refusal


def contract(
    expectations: dict[str, Any] | None = None,
    derived: dict[str, str] | None = None,
    **columns: Any,
) -> Contract:
    mapping = {
        "name": "toy",
        "columns": {
            "id": "id",
            "event_time": "t",
            "amount": {"column": "amount", "currency": "EUR"},
            "categorical": ["kind"],
            **columns,
        },
        "label": {"column": "is_fraud"},
        "derived": derived or {},
        "expectations": expectations or {},
    }
    return parse_contract(mapping, source="test")


def table(**columns: Any) -> pl.DataFrame:
    """Four good rows, with some columns exchanged."""
    good = {
        "id": [1, 2, 3, 4],
        "t": ["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04"],
        "amount": ["1", "2.5", "1e+01", "40"],
        "kind": ["a", "b", "a", "b"],
        "is_fraud": [0, 1, 0, 0],
    }
    return pl.DataFrame(good | columns, strict=False)


def check(
    folder: Path, rows: pl.DataFrame, declared: Contract | None = None, **how: Any
) -> ValidationOutcome:
    return validate(
        rows,
        declared or contract(),
        source_sha256="f" * 64,
        quarantine_path=folder / "quarantine.parquet",
        passed_path=folder / "passed.parquet",
        **how,
    )


def broken_rules(outcome: ValidationOutcome) -> dict[int, list[str]]:
    """Rules by row number, as the quarantine file has them."""
    rows = pl.read_parquet(outcome.quarantine_path).select("_row", "_rules").rows()
    return dict(rows)


def test_a_good_table_passes_whole_and_typed(tmp_path: Path) -> None:
    outcome = check(tmp_path, table())

    passed = pl.read_parquet(outcome.passed_path)
    assert (outcome.read, outcome.passed, outcome.quarantined, outcome.stopped) == (4, 4, 0, False)
    assert passed["amount"].to_list() == [1.0, 2.5, 10.0, 40.0]
    assert passed["t"].dtype == pl.Datetime("us", "UTC")
    assert conform(passed, contract().resolve(passed.columns)).equals(passed)
    assert pl.read_parquet(outcome.quarantine_path).height == 0


@pytest.mark.parametrize(
    ("changed", "expectations", "rules"),
    [
        ({"amount": ["1", "abc", "3", "4"]}, {}, {1: ["type(amount)"]}),
        ({"amount": ["1", "1,5", "3", ""]}, {}, {1: ["type(amount)"]}),
        ({"amount": [1.0, float("inf"), float("-inf"), 4.0]}, {},
         {1: ["finite(amount)"], 2: ["finite(amount)"]}),
        ({"amount": ["1", "inf", "3", "4"]}, {}, {1: ["finite(amount)"]}),
        ({"amount": [1.0, float("nan"), None, 4.0]}, {}, {}),
        ({"amount": [1.0, float("nan"), None, 4.0]}, {"amount": {"null": False}},
         {1: ["null(amount)"], 2: ["null(amount)"]}),
        ({"amount": ["1", "NA", "x", "4"]}, {"amount": {"null": False}},
         {1: ["null(amount)"], 2: ["type(amount)"]}),
        ({"amount": [0.0, -0.01, 100.0, 100.01]}, {"amount": {"min": 0, "max": 100}},
         {1: ["range(amount)"], 3: ["range(amount)"]}),
        ({"amount": [1, 2, 2, 9]}, {"amount": {"values": [1, 2]}}, {3: ["values(amount)"]}),
        ({"kind": ["a", "c", None, "A"]}, {"kind": {"values": ["a", "b"]}},
         {1: ["values(kind)"], 3: ["values(kind)"]}),
        ({"kind": [1.0, 2.0, None, 3.0]}, {"kind": {"values": [1, 2]}}, {3: ["values(kind)"]}),
        ({"kind": ["a1", "a1\n", "xa1", "a"]}, {"kind": {"pattern": r"a\d"}},
         {1: ["pattern(kind)"], 2: ["pattern(kind)"], 3: ["pattern(kind)"]}),
        ({"kind": ["7", "7.5", "x", None]}, {"kind": {"type": "integer"}},
         {1: ["type(kind)"], 2: ["type(kind)"]}),
        ({"kind": ["true", "0", "yes", None]}, {"kind": {"type": "boolean"}}, {2: ["type(kind)"]}),
        ({"kind": ["2020-01-01", "soon", None, ""]}, {"kind": {"type": "timestamp"}},
         {1: ["type(kind)"]}),
        ({"id": [1, 2, 1, 1]}, {}, {2: ["unique(id)"], 3: ["unique(id)"]}),
        ({"id": [1, 2, 1, 1]}, {"id": {"unique": False}}, {}),
        ({"id": [1, None, None, 4]}, {}, {1: ["null(id)"], 2: ["null(id)"]}),
        ({"kind": ["a", "a", None, None]}, {"kind": {"unique": True}}, {1: ["unique(kind)"]}),
        ({"t": ["2020-01-01", "yesterday", None, "2020-02-30"]}, {},
         {1: ["type(t)"], 2: ["null(t)"], 3: ["type(t)"]}),
        ({"t": ["2020-01-01T00:00", "2020-01-01T00:00Z", "2020-01-01", "2020-01-01"]}, {},
         {1: ["type(t)"]}),
        ({"is_fraud": [0, 1, 7, 0]}, {"is_fraud": {"max": 1}}, {2: ["range(is_fraud)"]}),
    ],
)  # fmt: skip
def test_a_row_that_breaks_a_rule_is_quarantined_with_the_rule(
    tmp_path: Path,
    changed: dict[str, Any],
    expectations: dict[str, Any],
    rules: dict[int, list[str]],
) -> None:
    outcome = check(tmp_path, table(**changed), contract(expectations))

    assert broken_rules(outcome) == rules
    assert outcome.passed == 4 - len(rules)


def test_the_quarantine_holds_rows_as_read_with_all_rules(tmp_path: Path) -> None:
    rows = table(amount=["1", "-inf", "3", "4"], id=[1, 1, 3, 4])

    outcome = check(tmp_path, rows, contract({"amount": {"min": 0}}))

    quarantined = pl.read_parquet(outcome.quarantine_path)
    assert quarantined.drop("_row", "_rules", "_source_sha256").equals(rows[[1]])
    assert quarantined["_rules"][0].to_list() == ["unique(id)", "finite(amount)", "range(amount)"]
    assert quarantined["_source_sha256"].to_list() == ["f" * 64]


def test_failures_say_how_many_rows_and_show_the_first(tmp_path: Path) -> None:
    rows = table(amount=["x" * 100, "y", "3", "4"])

    (failure,) = check(tmp_path, rows).row_failures

    assert (failure.name, failure.count, failure.expected) == ("type(amount)", 2, "a number")
    assert [example.row for example in failure.examples] == [0, 1]
    assert failure.examples[0].value == "x" * 60 + "…"


def test_values_of_personal_columns_are_not_shown(tmp_path: Path) -> None:
    declared = contract(pii=["kind"], expectations={"kind": {"pattern": "[ab]"}})

    (failure,) = check(tmp_path, table(kind=["a", "4111-1111", "a", "b"]), declared).row_failures

    assert failure.examples[0].value == WITHHELD


@pytest.mark.parametrize("chunk_rows", [1, 2, 3, 4, 100])
@pytest.mark.parametrize("is_lazy", [True, False])
def test_chunks_change_nothing(tmp_path: Path, chunk_rows: int, is_lazy: bool) -> None:
    rows = table(id=[1, 2, 1, 2], amount=["1", "x", "3", "inf"])

    outcome = check(tmp_path, rows.lazy() if is_lazy else rows, chunk_rows=chunk_rows)

    assert broken_rules(outcome) == {
        1: ["type(amount)"],
        2: ["unique(id)"],
        3: ["unique(id)", "finite(amount)"],
    }
    assert pl.read_parquet(outcome.passed_path)["id"].to_list() == ["1"]


def test_a_derived_column_can_have_expectations(tmp_path: Path) -> None:
    pytest.importorskip("features.derived")
    declared = contract({"twice": {"max": 20}}, derived={"twice": "amount * 2"})

    outcome = check(tmp_path, table(), declared)

    assert broken_rules(outcome) == {3: ["range(twice)"]}


def test_a_time_counted_from_an_origin_can_have_bounds(tmp_path: Path) -> None:
    counted = {"column": "t", "unit": "s", "origin": "2020-01-01T00:00:00Z"}
    declared = contract({"t": {"min": 0, "max": 1e15}}, event_time=counted)

    outcome = check(tmp_path, table(t=["0", "-1", "abc", "1e14"]), declared)

    assert broken_rules(outcome) == {1: ["range(t)"], 2: ["type(t)"], 3: ["type(t)"]}


def test_bounds_of_a_counted_time_hold_for_timestamps_too(tmp_path: Path) -> None:
    """Tables of served rows have timestamps where a request counts from an origin."""
    counted = {"column": "t", "unit": "h", "origin": "2020-01-01T00:00:00Z"}
    declared = contract({"t": {"min": 0, "max": 48}}, event_time=counted)
    moments = [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in (0, -1, 48, 49)]

    outcome = check(tmp_path, table(t=moments), declared)

    assert broken_rules(outcome) == {1: ["range(t)"], 3: ["range(t)"]}


def test_a_column_that_can_hold_no_number_loses_every_row(tmp_path: Path) -> None:
    declared = contract({"kind": {"min": 0, "type": "number"}})

    outcome = check(tmp_path, table(kind=[date(2020, 1, day) for day in (1, 2, 3, 4)]), declared)

    assert broken_rules(outcome) == {row: ["type(kind)"] for row in range(4)}


def test_nothing_left_stops_the_flow_after_the_quarantine_is_written(tmp_path: Path) -> None:
    outcome = check(tmp_path, table(amount=["a", "b", "c", "d"]))

    assert (outcome.passed, outcome.quarantined) == (0, 4)
    assert pl.read_parquet(outcome.quarantine_path).height == 4
    with pytest.raises(DataValidationFailed) as stopped:
        outcome.raise_if_stopped(report=tmp_path / "report.html")
    assert isinstance(stopped.value, Refusal)
    assert "row_count is 0 rows, expected at least 1 rows" in str(stopped.value)
    assert str(stopped.value).count("\n") == 0


def test_an_empty_table_stops_the_flow(tmp_path: Path) -> None:
    outcome = check(tmp_path, table().clear())

    assert (outcome.read, outcome.stopped) == (0, True)


@pytest.mark.parametrize(
    ("rules", "broken"),
    [
        ({"rows": {"min": 5}}, ["row_count"]),
        ({"rows": {"min": 1, "max": 3}}, ["row_count"]),
        ({"rows": {"min": 4, "max": 4}}, []),
        ({"label_rate": {"min": 0.3}}, ["label_rate"]),
        ({"label_rate": {"max": 0.2}}, ["label_rate"]),
        ({"label_rate": {"min": 0.25, "max": 0.25}}, []),
        ({"freshness": "2d"}, []),
        ({"freshness": "1d"}, ["freshness"]),
    ],
)
def test_table_rules_of_the_contract_stop_the_flow(
    tmp_path: Path, rules: dict[str, Any], broken: list[str]
) -> None:
    as_of = datetime(2020, 1, 6, tzinfo=UTC)

    outcome = check(tmp_path, table(), contract({"table": rules}), as_of=as_of)

    assert [result.name for result in outcome.broken_table_rules] == broken
    assert outcome.stopped == bool(broken)


def test_labels_that_cannot_be_known_yet_are_not_counted_as_negative(tmp_path: Path) -> None:
    declared = contract()
    delayed = declared.model_copy(
        update={"label": declared.label.model_copy(update={"delay": timedelta(days=2)})}
    )

    outcome = check(tmp_path, table(), delayed)

    # Of the four days, the labels of the first two are known on the last one.
    assert outcome.profile is not None
    assert (outcome.profile.n_labelled, outcome.profile.label_rate) == (2, 0.5)


def trained_on(folder: Path, n_rows: int = 2000) -> tuple[pl.DataFrame, DataProfile]:
    start = datetime(2020, 1, 1, tzinfo=UTC)
    rows = pl.DataFrame(
        {
            "id": range(n_rows),
            "t": [start + timedelta(minutes=i) for i in range(n_rows)],
            "amount": [float(i % 100) for i in range(n_rows)],
            "kind": ["ab"[i % 4 == 0] for i in range(n_rows)],
            "is_fraud": [int(i % 50 == 0) for i in range(n_rows)],
        }
    )
    profile = check(folder, rows).profile
    assert profile is not None
    return rows, profile


def test_a_table_like_the_one_trained_on_passes(tmp_path: Path) -> None:
    rows, profile = trained_on(tmp_path)

    outcome = check(tmp_path, rows.tail(500), profile=profile)

    assert outcome.stopped is False
    assert outcome.compared_rows == 2000
    assert all(result.passed for result in outcome.table_results)


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (pl.col("amount") * 10, {"mean_drift(amount)", "outside_range(amount)"}),
        (pl.when(pl.col("amount") > 50).then("amount"), {"null_share(amount)"}),
        (pl.lit("b").alias("kind"), {"category_drift(kind)", "varies(kind)"}),
        # Where the mean is, so that no other rule sees it.
        (pl.lit(49.5).alias("amount"), {"varies(amount)"}),
        (pl.lit("new").alias("kind"), {"category_drift(kind)", "unseen_categories(kind)"}),
        (pl.lit(1).alias("is_fraud"), {"label_rate"}),
        (pl.col("t").reverse(), {"time_order"}),
    ],
)
def test_drift_against_the_profile_stops_the_flow(
    tmp_path: Path, change: pl.Expr, broken: set[str]
) -> None:
    rows, profile = trained_on(tmp_path)

    outcome = check(tmp_path, rows.with_columns(change), profile=profile)

    assert {result.name for result in outcome.broken_table_rules} >= broken
    with pytest.raises(DataValidationFailed, match="Validation stopped the flow"):
        outcome.raise_if_stopped()


def test_drift_that_a_person_accepts_goes_on_and_is_told(tmp_path: Path) -> None:
    rows, profile = trained_on(tmp_path)
    moved = rows.with_columns(pl.col("amount") * 10)

    outcome = check(tmp_path, moved, profile=profile, accepts_drift=True)

    accepted = {result.name for result in outcome.accepted_table_rules}
    assert accepted == {"mean_drift(amount)", "outside_range(amount)"}
    assert (outcome.stopped, outcome.broken_table_rules) == (False, ())
    outcome.raise_if_stopped()


def test_accepted_drift_does_not_excuse_what_the_contract_forbids(tmp_path: Path) -> None:
    rows, profile = trained_on(tmp_path)
    declared = contract({"table": {"label_rate": {"max": 0.01}}})
    moved = rows.with_columns(pl.col("amount") * 10)

    outcome = check(tmp_path, moved, declared, profile=profile, accepts_drift=True)

    assert [result.name for result in outcome.broken_table_rules] == ["label_rate"]
    with pytest.raises(DataValidationFailed) as stopped:
        outcome.raise_if_stopped(drift_hint="Accept it.")
    assert "Accept it." not in str(stopped.value)


def test_drift_alone_is_told_with_the_way_on(tmp_path: Path) -> None:
    rows, profile = trained_on(tmp_path)

    outcome = check(tmp_path, rows.with_columns(pl.col("amount") * 10), profile=profile)

    with pytest.raises(DataValidationFailed, match="Accept it\\.$"):
        outcome.raise_if_stopped(drift_hint="Accept it.")


def test_far_fewer_rows_than_were_trained_on_stop_the_flow(tmp_path: Path) -> None:
    rows, profile = trained_on(tmp_path)

    outcome = check(tmp_path, rows.head(100), profile=profile)

    assert "row_count" in {result.name for result in outcome.broken_table_rules}


def test_a_fraud_beyond_everything_seen_goes_on(tmp_path: Path) -> None:
    rows, profile = trained_on(tmp_path)
    rare = pl.when(pl.col("id") == 7).then(1e6).otherwise("amount").alias("amount")

    outcome = check(tmp_path, rows.with_columns(rare), profile=profile.model_copy())

    assert outcome.quarantined == 0
    assert "outside_range(amount)" not in {r.name for r in outcome.broken_table_rules}


def test_an_outcome_survives_json(tmp_path: Path) -> None:
    outcome = check(tmp_path, table(amount=["x", "2", "3", "4"]))

    assert ValidationOutcome.from_json(outcome.to_json()) == outcome


def test_a_quarantine_file_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--requeue"):
        check(tmp_path, table().with_columns(_row=pl.lit(1)))


def test_a_column_the_contract_does_not_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="does not say what 1 column"):
        check(tmp_path, table(extra=[1, 2, 3, 4]))


def test_a_failure_on_the_way_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ContractError):
        check(tmp_path, table(), contract({"kind": {"pattern": "("}}))

    assert list(tmp_path.iterdir()) == []


NASTY_NUMBERS = st.one_of(
    st.none(),
    st.floats(),
    st.sampled_from(["", " ", "NA", "nan", "inf", "-Infinity", "1e+05", " 7 ", "0x1", "1,5", "é"]),
    st.text(max_size=5),
    st.integers(),
)
NASTY_TIMES = st.one_of(
    st.none(),
    st.datetimes().map(str),
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
    st.sampled_from(["", "NA", "2020-02-30", "2020-01-01T25:00", "0", "9999-12-31T23:59:59+14:00"]),
)
NASTY_TEXT = st.one_of(
    st.none(), st.sampled_from(["a", "b", "b\n", "", "NA", "🙂"]), st.text(max_size=4)
)
ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.sampled_from(["1", "2", "3"]), st.text(max_size=3)),
        NASTY_TIMES,
        NASTY_NUMBERS,
        NASTY_TEXT,
        st.sampled_from(["0", "1", None, "2"]),
    ),
    max_size=12,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS, chunk_rows=st.integers(1, 13))
def test_quarantined_and_passed_are_always_what_was_read(
    rows: list[tuple[Any, ...]], chunk_rows: int
) -> None:
    declared = contract({"amount": {"min": -5, "null": False}, "kind": {"pattern": "[ab]*"}})
    texts = [tuple(None if v is None else str(v) for v in row) for row in rows]
    schema = dict.fromkeys(["id", "t", "amount", "kind", "is_fraud"], pl.String)
    source = pl.DataFrame(texts, schema=schema, orient="row")

    with TemporaryDirectory() as folder:
        outcome = check(Path(folder), source, declared, chunk_rows=chunk_rows)
        quarantined = pl.read_parquet(outcome.quarantine_path)
        passed = pl.read_parquet(outcome.passed_path)

    assert outcome.read == source.height == outcome.passed + outcome.quarantined
    assert (outcome.passed, outcome.quarantined) == (passed.height, quarantined.height)
    kept = [i for i in range(source.height) if i not in set(quarantined["_row"])]
    assert passed["id"].to_list() == source["id"][kept].to_list()
    assert quarantined.select(source.columns).equals(source[quarantined["_row"].to_list()])
    assert passed["id"].is_unique().all()
    assert conform(passed, declared.resolve(passed.columns)).equals(passed)
    assert passed["amount"].is_finite().all()
    assert passed["t"].null_count() == 0


def test_the_real_card_table_passes_whole(data_root: Path, tmp_path: Path) -> None:
    path = data_root / "creditcard.parquet"

    outcome = check(tmp_path, scan_table(path), read_contract("creditcard"))

    assert (outcome.read, outcome.passed, outcome.stopped) == (284_807, 284_807, False)


def test_the_real_card_table_poisoned_loses_exactly_the_poisoned_rows(
    data_root: Path, tmp_path: Path
) -> None:
    rows = read_table(data_root / "creditcard.parquet").with_row_index("n")
    poisoned = rows.with_columns(
        pl.when(pl.col("n") % 1000 == 7).then(float("inf")).otherwise("V3").alias("V3"),
        pl.when(pl.col("n") % 1000 == 8)
        .then(pl.lit("n/k"))
        .otherwise(pl.col("Amount").cast(pl.String))
        .alias("Amount"),
    ).drop("n")

    outcome = check(tmp_path, poisoned, read_contract("creditcard"), chunk_rows=100_000)

    found = {failure.name: failure.count for failure in outcome.row_failures}
    assert found == {"finite(V3)": 285, "type(Amount)": 285}
    assert outcome.quarantined == 570
    assert set(broken_rules(outcome)) == {n for n in range(284_807) if n % 1000 in (7, 8)}


@pytest.mark.slow
def test_the_real_stream_of_1_75_million_rows_passes_whole(data_root: Path, tmp_path: Path) -> None:
    path = data_root / "card_stream.parquet"

    outcome = check(tmp_path, scan_table(path), read_contract("card_stream"))

    assert (outcome.read, outcome.passed, outcome.stopped) == (1_754_155, 1_754_155, False)
