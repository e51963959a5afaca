"""Profiles: the figures are those a reader can add up, and nothing is lost on the way to JSON."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from features.contract import Contract, parse_contract, read_contract
from features.ingestion.conforming import conform
from features.ingestion.tables import read_table
from features.validation.profile import MAX_CATEGORIES, DataProfile, fit_profile


def contract(**columns: Any) -> Contract:
    mapping = {
        "name": "toy",
        "columns": {"numeric": ["x"], "categorical": ["kind"], **columns},
        "label": {"column": "is_fraud"},
        "split": {"by": "random"},
    }
    return parse_contract(mapping, source="test")


def frame(**columns: Any) -> pl.DataFrame:
    given = {"x": [1.0, 2.0, 3.0, 6.0], "kind": ["a", "b", "b", None], **columns}
    return pl.DataFrame(given)


def test_a_number_is_profiled_by_its_range_mean_and_standard_deviation() -> None:
    x = fit_profile(frame(), contract()).columns["x"]

    assert (x.minimum, x.maximum, x.mean) == (1.0, 6.0, 3.0)
    assert x.std == pytest.approx(math.sqrt((4 + 1 + 0 + 9) / 4))
    assert x.quantiles["0.99"] == 6.0


def test_missing_values_and_infinities_take_no_part_in_the_mean() -> None:
    x = fit_profile(frame(x=[2.0, None, math.nan, math.inf]), contract()).columns["x"]

    assert (x.mean, x.maximum, x.null_share) == (2.0, 2.0, 0.5)


def test_shares_of_categories_are_of_the_rows_with_a_value() -> None:
    kind = fit_profile(frame(), contract()).columns["kind"]

    assert kind.categories == {"b": pytest.approx(2 / 3), "a": pytest.approx(1 / 3)}
    assert (kind.null_share, kind.n_distinct) == (0.25, 2)


def test_only_the_most_frequent_categories_are_kept_and_ties_go_by_name() -> None:
    values = [f"c{i:03d}" for i in range(MAX_CATEGORIES + 50)]
    rows = frame(kind=values, x=[0.0] * len(values))

    kind = fit_profile(rows, contract()).columns["kind"]

    assert list(kind.categories) == values[:MAX_CATEGORIES]
    assert kind.n_distinct == len(values)


def test_the_label_rate_counts_labelled_rows_only() -> None:
    label = pl.Series([1, 0, None, 0], dtype=pl.Int8)

    given = fit_profile(frame(), contract(), label=label)
    found = fit_profile(frame(label=label), contract())

    assert given.label_rate == found.label_rate == pytest.approx(1 / 3)
    assert given.n_labelled == 3


def test_times_are_profiled_with_their_order() -> None:
    timed = contract(event_time="t")
    days = [datetime(2020, 1, day, tzinfo=UTC) for day in (1, 2, 2, 5)]

    ordered = fit_profile(frame(t=days), timed)
    shuffled = fit_profile(frame(t=days[::-1]), timed)

    assert (ordered.first_event, ordered.last_event) == (days[0], days[-1])
    assert ordered.is_time_ordered is True
    assert shuffled.is_time_ordered is False


@pytest.mark.parametrize("rows", [frame(), frame().clear(), frame(x=[None] * 4, kind=[None] * 4)])
def test_json_loses_nothing(rows: pl.DataFrame) -> None:
    rows = rows.cast({"x": pl.Float64, "kind": pl.String})
    profile = fit_profile(rows, contract(), label=pl.Series([1] * rows.height, dtype=pl.Int8))

    text = json.dumps(profile.to_json(), allow_nan=False)

    assert DataProfile.from_json(json.loads(text)) == profile


def test_a_profile_cannot_be_changed() -> None:
    profile = fit_profile(frame(), contract())

    with pytest.raises(ValidationError):
        profile.n_rows = 3  # type: ignore[misc]


def test_a_lazy_table_gives_the_same_profile() -> None:
    assert fit_profile(frame().lazy(), contract()) == fit_profile(frame(), contract())


def test_the_real_card_table(data_root: Path) -> None:
    table = read_table(data_root / "creditcard.parquet")
    declared = read_contract("creditcard").resolve(table.columns)

    profile = fit_profile(conform(table, declared), declared, label=table["Class"].cast(pl.Int8))

    assert profile.n_rows == 284_807
    assert profile.label_rate == pytest.approx(492 / 284_807)
    assert profile.is_time_ordered is True
    assert profile.columns["Amount"].maximum == 25_691.16
    assert profile.columns["Amount"].mean == pytest.approx(88.3496, abs=1e-4)
