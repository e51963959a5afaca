"""Splits: parts that do not overlap, and gaps as long as labels are late."""

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from sklearn.model_selection import train_test_split

from features.contract_blocks import Split
from features.folds import make_folds
from features.splits import PARTS, SplitError, assign_parts

START = datetime(2026, 1, 1, tzinfo=UTC)
NO_DELAY = timedelta(0)


def labelled(days: list[float], label: list[int] | None = None) -> pl.DataFrame:
    """Rows at the given days; every second one is positive unless told otherwise."""
    moments = [START + timedelta(days=day) for day in days]
    return pl.DataFrame(
        {"event_time": moments, "label": label or [number % 2 for number in range(len(days))]},
        schema={"event_time": pl.Datetime("us", "UTC"), "label": pl.Int8},
    )


def rows_of(parts: pl.Series) -> dict[str | None, list[int]]:
    return {name: np.flatnonzero(parts.eq_missing(name)).tolist() for name in (*PARTS, None)}


def test_in_time_rows_are_cut_at_their_shares() -> None:
    parts = assign_parts(labelled(list(range(40))), Split(), label_delay=NO_DELAY)

    assert parts.name == "part"
    assert (
        parts.to_list() == ["train"] * 24 + ["validation"] * 4 + ["calibration"] * 4 + ["test"] * 8
    )


def test_a_gap_leaves_out_the_rows_before_validation_and_before_test() -> None:
    # Validation starts on day 48 and test on day 64; labels are known two days late.
    parts = assign_parts(labelled(list(range(80))), Split(), label_delay=timedelta(days=2))

    assert rows_of(parts)[None] == [47, 63]
    wide = Split(gap=timedelta(days=3))
    wide_parts = assign_parts(labelled(list(range(80))), wide, label_delay=NO_DELAY)
    assert rows_of(wide_parts)[None] == [46, 47, 62, 63]


def test_a_gap_longer_than_the_parts_between_reaches_back_to_train() -> None:
    """Test starts on day 64; nothing whose label came later than that is learnt from."""
    split = Split(fractions=(0.6, 0.1, 0.1, 0.2), gap=timedelta(days=20))

    with pytest.raises(SplitError, match="validation 0 of 0.*shorten split.gap"):
        assign_parts(labelled(list(range(80))), split, label_delay=NO_DELAY)


def test_rows_may_come_in_any_order_and_ties_keep_the_order_of_the_table() -> None:
    days = [float(number // 4) for number in range(40)]
    order = np.random.default_rng(0).permutation(40)

    parts = assign_parts(labelled(days), Split(), label_delay=NO_DELAY)
    backwards = assign_parts(
        labelled(days).reverse().sort("event_time", maintain_order=True),
        Split(),
        label_delay=NO_DELAY,
    )
    mixed = assign_parts(labelled(days)[order], Split(), label_delay=NO_DELAY)

    assert parts.to_list() == backwards.to_list()
    assert mixed.value_counts(sort=True)["count"].to_list() == [24, 8, 4, 4]


def test_without_a_test_part_the_others_share_its_place() -> None:
    parts = assign_parts(labelled(list(range(40))), Split(), label_delay=NO_DELAY, has_test=False)

    assert {name: len(rows) for name, rows in rows_of(parts).items()} == {
        "train": 30, "validation": 5, "calibration": 5, "test": 0, None: 0,
    }  # fmt: skip


def test_cuts_are_the_starts_of_validation_calibration_and_test() -> None:
    cuts = tuple(datetime(2026, 1, day) for day in (11, 16, 21))  # noqa: DTZ001 - as in a contract
    split = Split(by="cuts", cuts=cuts)

    parts = assign_parts(labelled(list(range(30))), split, label_delay=timedelta(days=2))

    assert rows_of(parts) == {
        "train": list(range(9)),
        "validation": list(range(10, 15)),
        "calibration": list(range(15, 19)),
        "test": list(range(20, 30)),
        None: [9, 19],
    }


def test_a_column_of_parts_is_taken_as_it_is() -> None:
    words = [*PARTS, None] * 4
    table = labelled(list(range(20)), [0, 0, 0, 0, 0, 1, 1, 1, 1, 1] * 2)
    table = table.with_columns(pl.Series("where", words, dtype=pl.String))
    split = Split(by="column", column="where")

    assert assign_parts(table, split, label_delay=NO_DELAY).to_list() == words
    with pytest.raises(SplitError, match="holds 'val', which is no part. Write train, valid"):
        assign_parts(table.with_columns(where=pl.lit("val")), split, label_delay=NO_DELAY)


@pytest.mark.parametrize("seed", [0, 7])
def test_a_random_split_is_the_one_of_scikit_learn(seed: int) -> None:
    label = (np.random.default_rng(1).random(1000) < 0.1).astype(int).tolist()
    rest, test = train_test_split(np.arange(1000), test_size=0.2, stratify=label, random_state=seed)
    train, judges = train_test_split(
        rest, test_size=0.25, stratify=np.array(label)[rest], random_state=seed
    )

    parts = assign_parts(
        labelled([0.0] * 1000, label), Split(by="random", seed=seed), label_delay=NO_DELAY
    )

    rows = rows_of(parts)
    assert rows["test"] == sorted(test)
    assert rows["train"] == sorted(train)
    assert sorted(rows["validation"] + rows["calibration"]) == sorted(judges)
    assert len(rows["validation"]) == len(rows["calibration"]) == 100


def test_creditcard_splits_as_its_readme_says(data_root: Path) -> None:
    label = pl.read_parquet(data_root / "creditcard.parquet", columns=["Time", "Class"])
    table = label.select(
        event_time=(START.timestamp() * 1e6 + pl.col("Time") * 1e6)
        .cast(pl.Int64)
        .cast(pl.Datetime("us", "UTC")),
        label=pl.col("Class").cast(pl.Int8),
    )

    in_time = assign_parts(table, Split(), label_delay=NO_DELAY)
    by_chance = assign_parts(table, Split(by="random", seed=0), label_delay=NO_DELAY)

    positives = {name: int(table["label"].filter(in_time == name).sum()) for name in PARTS}
    assert positives["train"] == 360
    assert positives["validation"] + positives["calibration"] == 57
    assert positives["test"] == 75
    _, test = train_test_split(
        np.arange(table.height), test_size=0.2, stratify=table["label"], random_state=0
    )
    assert rows_of(by_chance)["test"] == sorted(test)


@pytest.mark.parametrize(
    ("split", "label", "message"),
    [
        (Split(), [1] * 10 + [0] * 30, r"train 10 of 24, validation 0 of 4.*split.fractions or "),
        (Split(), [0] * 39 + [1], "bring about 4 positives: there are 1"),
        (Split(by="random"), [0] * 39 + [1], "takes about 20 positives"),
        (Split(by="random"), [1, 1, 1] + [0] * 37, "needs 2 positives|about 20 positives"),
    ],
)
def test_too_few_positives_say_how_many_are_needed(
    split: Split, label: list[int], message: str
) -> None:
    with pytest.raises(SplitError, match=message) as caught:
        assign_parts(labelled(list(range(40)), label), split, label_delay=NO_DELAY)
    assert "\n" not in str(caught.value)


def test_rows_without_a_time_cannot_be_placed_in_time() -> None:
    table = labelled(list(range(40))).with_columns(
        event_time=pl.when(pl.col("event_time") > START).then(pl.col("event_time"))
    )

    with pytest.raises(SplitError, match="1 rows have no event time"):
        assign_parts(table, Split(), label_delay=NO_DELAY)


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 200), min_size=60, max_size=120),
    st.integers(0, 15),
    st.booleans(),
)
def test_nothing_is_learnt_from_rows_whose_label_came_later(
    days: list[int], gap_days: int, has_test: bool
) -> None:
    gap = timedelta(days=gap_days)
    table = labelled([float(day) for day in days])
    try:
        parts = assign_parts(table, Split(gap=gap), label_delay=NO_DELAY, has_test=has_test)
    except SplitError:
        return
    rows = rows_of(parts)
    moments = table["event_time"].to_list()

    assert sorted(itertools.chain(*rows.values())) == list(range(len(days)))
    for early, late in (("train", "validation"), ("calibration", "test"), ("train", "test")):
        if rows[late]:
            start = min(moments[at] for at in rows[late])
            assert all(moments[at] + gap <= start for at in rows[early])
    ordered = [name for name in PARTS if rows[name]]
    for early, late in itertools.pairwise(ordered):
        assert max(moments[a] for a in rows[early]) <= min(moments[b] for b in rows[late])


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 1)), min_size=40, max_size=120),
    st.integers(0, 20),
    st.integers(2, 5),
)
def test_forward_chaining_holds_out_each_row_once_and_fits_on_what_was_known(
    rows: list[tuple[int, int]], gap_days: int, n_folds: int
) -> None:
    table = labelled([float(day) for day, _ in rows], [label for _, label in rows])
    gap = timedelta(days=gap_days)
    try:
        folds = make_folds(table, Split(), label_delay=gap, n_folds=n_folds, seed=0)
    except SplitError:
        return
    moments, label = table["event_time"].to_list(), table["label"].to_numpy()

    held_out = [at for fold in folds for at in fold.holdout_index]
    assert len(set(held_out)) == len(held_out)
    for fold in folds:
        start = min(moments[at] for at in fold.holdout_index)
        assert all(moments[at] + gap <= start for at in fold.fit_index)
        assert set(label[fold.fit_index]) == set(label[fold.holdout_index]) == {0, 1}
        assert (fold.fit_index.dtype, fold.holdout_index.dtype) == (np.int64, np.int64)


def test_few_positives_are_spread_over_the_folds() -> None:
    """Ten positives, all but two of them early: equal blocks of rows would hold none."""
    label = [0] * 200
    for at in (3, 9, 20, 21, 30, 40, 50, 60, 120, 190):
        label[at] = 1

    folds = make_folds(
        labelled(list(range(200)), label), Split(), label_delay=NO_DELAY, n_folds=3, seed=0
    )

    found = [int(np.array(label)[fold.holdout_index].sum()) for fold in folds]
    assert found == [2, 2, 2]
    assert folds[0].holdout_index[0] == 30


def test_random_rows_are_folded_by_class() -> None:
    label = ([1] + [0] * 9) * 10
    table = labelled([0.0] * 100, label)
    split: dict[str, Any] = {"label_delay": NO_DELAY, "n_folds": 5}

    folds = make_folds(table, Split(by="random"), seed=1, **split)
    again = make_folds(table, Split(by="random"), seed=1, **split)

    assert sorted(np.concatenate([fold.holdout_index for fold in folds])) == list(range(100))
    for fold, same in zip(folds, again, strict=True):
        assert np.array_equal(fold.holdout_index, same.holdout_index)
        assert int(np.array(label)[fold.holdout_index].sum()) == 2
        assert not set(fold.fit_index) & set(fold.holdout_index)


@pytest.mark.parametrize(
    ("split", "gap_days", "message"),
    [
        (Split(), 0, "5 folds in time need 10 positives at least; there are 3"),
        (Split(by="random"), 0, "5 folds need 5 positives at least; there are 3"),
    ],
)
def test_too_few_positives_for_folds(split: Split, gap_days: int, message: str) -> None:
    table = labelled(list(range(40)), [1, 1, 1] + [0] * 37)

    with pytest.raises(SplitError, match=message):
        make_folds(table, split, label_delay=timedelta(days=gap_days), n_folds=5, seed=0)


def test_a_gap_longer_than_the_table_leaves_no_fold() -> None:
    with pytest.raises(SplitError, match=r"None of 5 folds.*Shorten split\.gap"):
        make_folds(
            labelled(list(range(40))), Split(), label_delay=timedelta(days=99), n_folds=5, seed=0
        )
