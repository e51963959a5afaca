import numpy as np
import pytest

from balancing.dataset import LabelledArrays
from balancing.preprocessing import (
    AutomaticConfig,
    PiecewiseLinearConfig,
    StandardiseConfig,
    category_shares,
    fit_numeric,
    quantile_edges,
    resolve_numeric,
    standardised,
)

GAP = np.nan


def test_statistics_are_of_the_present_values():
    numeric = np.array([[1.0], [3.0], [GAP], [8.0]], dtype=np.float32)

    statistics = fit_numeric(numeric, clip=2.0)

    assert statistics.median.tolist() == [3.0]
    assert statistics.mean.tolist() == [4.0]
    assert statistics.deviation == pytest.approx([np.sqrt(26 / 3)])
    assert statistics.high == pytest.approx([4 + 2 * np.sqrt(26 / 3)])


def test_only_columns_with_gaps_in_training_get_an_indicator():
    numeric = np.array([[1.0, GAP], [2.0, 1.0]], dtype=np.float32)

    assert fit_numeric(numeric, clip=20.0).indicator.tolist() == [1]


@pytest.mark.parametrize("value", [7.0, GAP, np.inf])
def test_a_constant_or_empty_column_lets_one_value_through(value: float):
    statistics = fit_numeric(np.full((5, 1), value, dtype=np.float32), clip=20.0)

    assert statistics.low == statistics.high == statistics.median
    assert statistics.deviation == [1.0]


def test_an_infinity_does_not_spoil_the_statistics():
    numeric = np.array([[1.0], [3.0], [np.inf]], dtype=np.float32)

    assert fit_numeric(numeric, clip=20.0).mean.tolist() == [2.0]


def test_edges_are_distinct_quantiles_and_none_for_a_constant():
    numeric = np.array([[0, 5], [0, 5], [0, 5], [1, 5], [2, 5]], dtype=np.float32)
    values = standardised(numeric, fit_numeric(numeric, clip=20.0))

    first, second = quantile_edges(values, n_bins=4)

    assert first == pytest.approx(np.unique(values[:, 0]))
    assert len(second) == 0


def test_category_shares_count_codes_of_training():
    codes = np.array([[2], [2], [3], [0]])
    arrays = LabelledArrays(np.zeros((4, 0), np.float32), codes, np.zeros(4, np.int8))

    (share,) = category_shares(arrays, (5,))

    assert share.tolist() == [0.25, 0.0, 0.5, 0.25, 0.0]


@pytest.mark.parametrize(
    ("cardinalities", "message"), [((3,), r"in \[0, 3\). Got 0 to 3"), ((), "name every")]
)
def test_cardinalities_that_do_not_fit_the_codes_are_refused(
    cardinalities: tuple[int, ...], message: str
):
    codes = np.array([[0], [3]])
    arrays = LabelledArrays(np.zeros((2, 0), np.float32), codes, np.zeros(2, np.int8))

    with pytest.raises(ValueError, match=message):
        category_shares(arrays, cardinalities)


def test_numbers_are_embedded_where_positives_abound(make_toy):
    few, many = make_toy(n_positives=9), make_toy(n_positives=10)
    config = AutomaticConfig(fewest_positives=10)

    assert resolve_numeric(config, few) == StandardiseConfig()
    assert resolve_numeric(config, many) == PiecewiseLinearConfig()
    assert resolve_numeric(PiecewiseLinearConfig(n_bins=3), few).n_bins == 3  # type: ignore[union-attr]
