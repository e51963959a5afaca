"""A finding takes an effect, and more than chance; a limit says what it calls for."""

import numpy as np
import polars as pl
import pytest

from balancing.metrics.intervals import Interval
from flows.monitoring.config import Limit, MonitorConfig
from flows.monitoring.decision_drift import AlertVolume, decision_shares
from flows.monitoring.feature_sample import FeatureSample
from flows.monitoring.findings import column_findings, decision_findings, strongest
from flows.monitoring.input_drift import drift_table, input_drift

CONFIG = MonitorConfig(min_rows=200)


def sample(numbers: np.ndarray, codes: np.ndarray) -> FeatureSample:
    """Rows of one number, 0 to 1 or missing, and one category."""
    return FeatureSample(
        names=("A", "B"),
        numeric=numbers.reshape(-1, 1).astype(np.float32),
        categorical=codes.reshape(-1, 1),
        n_rows=len(numbers),
        n_missing=np.array([np.isnan(numbers).sum(), (codes == 0).sum()]),
        n_unseen=np.array([(codes == 1).sum()]),
    )


def test_a_limit_says_what_a_value_calls_for() -> None:
    limit = Limit(notify=0.1, retrain=0.25)

    assert [limit.action(value) for value in (0.05, 0.1, 0.25, float("nan"))] == [
        "none", "notify", "retrain", "none",
    ]  # fmt: skip
    assert limit.reached(0.3) == 0.25
    assert Limit(notify=0.1).action(9) == "notify"
    assert Limit().action(9) == "none"


def test_columns_that_did_not_change_are_rarely_called_changed() -> None:
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(200):
        sides = [sample(rng.random(400), rng.integers(2, 6, 400)) for _ in range(2)]
        alarms += bool(column_findings(input_drift(*sides, min_rows=200), CONFIG))

    assert alarms <= 10


def test_each_way_to_change_has_its_finding() -> None:
    rng = np.random.default_rng(0)
    before = sample(rng.random(1000), rng.integers(2, 6, 1000))
    numbers = np.where(rng.random(1000) < 0.3, np.nan, rng.random(1000) ** 3)
    now = sample(numbers, np.where(rng.random(1000) < 0.2, 1, rng.integers(2, 6, 1000)))

    found = column_findings(input_drift(now, before, min_rows=200), CONFIG)

    assert {(each.metric, each.about) for each in found} == {
        ("column_drift", "A"), ("missing_rise", "A"), ("column_drift", "B"), ("unseen_rise", "B"),
    }  # fmt: skip
    assert strongest(found) == "retrain"
    assert strongest([]) == "none"


def test_a_change_too_small_to_matter_is_none_however_sure() -> None:
    rng = np.random.default_rng(0)
    before = sample(rng.random(200_000), np.full(200_000, 2))
    now = sample(rng.random(200_000) * 0.98, np.full(200_000, 2))

    columns = input_drift(now, before, min_rows=200)

    assert columns[0].p_value is not None
    assert columns[0].p_value < 1e-9
    assert column_findings(columns, CONFIG) == []


def test_a_column_without_values_is_missing_and_nothing_else() -> None:
    before = sample(np.random.default_rng(0).random(500), np.full(500, 2))
    now = sample(np.full(500, np.nan), np.zeros(500, dtype=np.int64))

    columns = input_drift(now, before, min_rows=200)

    assert [each.stability_index for each in columns] == [None, None]
    assert {each.metric for each in column_findings(columns, CONFIG)} == {"missing_rise"}
    assert drift_table(columns)["missing"].to_list() == [1.0, 1.0]


@pytest.mark.parametrize(("rows", "n_findings"), [(300, 1), (5, 0)])
def test_too_many_alerts_are_a_finding_unless_rows_are_few(rows: int, n_findings: int) -> None:
    volume = AlertVolume(rows, 300, 1.0, Interval(300, 270, 330), 100.0, "the policy's budget")
    shares = decision_shares(pl.DataFrame({"decision": [0, 1]}), pl.DataFrame({"decision": [0, 1]}))

    found = decision_findings(None, shares, volume, CONFIG, "shop:1")

    assert len(found) == n_findings
    assert all(each.value == 3 for each in found)
    assert all("instead of 100.0, the policy's budget" in each.says for each in found)


def test_without_a_budget_no_number_of_alerts_is_too_many() -> None:
    volume = AlertVolume(300, 300, 1.0, Interval(300, 270, 330), None, "nothing")

    assert np.isnan(volume.ratio.value)
    assert decision_findings(None, [], volume, CONFIG, "shop:1") == []
