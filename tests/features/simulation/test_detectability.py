"""What can be learnt from a simulated stream: something from each row, more from the past."""

import numpy as np
import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import average_precision_score
from threadpoolctl import threadpool_limits

from features.contract import read_contract
from features.simulation.transactions import simulate_transactions

N_ROWS = 100_000


def _average_precision(frame: pl.DataFrame, columns: list[str]) -> float:
    """Fit on the first 70 % of the rows, leave a gap, score the rest."""
    inputs, label = frame.select(columns).to_numpy().astype(np.float64), frame["TX_FRAUD"]
    fitted, scored = slice(0, int(0.7 * N_ROWS)), slice(int(0.76 * N_ROWS), N_ROWS)
    model = HistGradientBoostingClassifier(
        max_iter=60, learning_rate=0.1, min_samples_leaf=50, l2_regularization=10, random_state=0
    )
    with threadpool_limits(1):
        model.fit(inputs[fitted], label[fitted])
        risk_score = model.predict_proba(inputs[scored])[:, 1]
    return float(average_precision_score(label[scored], risk_score))


def test_a_row_alone_tells_something_and_the_past_tells_more() -> None:
    stream = simulate_transactions(N_ROWS, seed=1, fraud_rate=0.02)
    contract = read_contract("simulated_stream").resolve(stream.columns)
    derived = [
        pl.sql_expr(sql).cast(pl.Float64).alias(key) for key, sql in contract.derived.items()
    ]
    codes = [
        pl.col(name).cast(pl.Categorical).to_physical() for name in contract.columns.categorical
    ]
    past = [
        pl.col(column)
        .rolling_sum_by("TX_DATETIME", window_size=window, closed="left", min_samples=0)
        .over("CUSTOMER_ID")
        .alias(f"{column}_{window}")
        for column in ("one", "cents")
        for window in ("1h", "1d", "30d")
    ]
    frame = stream.with_columns(
        *derived, cents=(pl.col("TX_AMOUNT") * 100).cast(pl.Int64), one=pl.lit(1)
    )
    frame = frame.with_columns(*codes, *past)
    stateless = ["TX_AMOUNT", *contract.derived, *contract.columns.categorical]
    without_past = _average_precision(frame, stateless)
    with_past = _average_precision(frame, [*stateless, *[e.meta.output_name() for e in past]])

    assert 0.3 < without_past < 0.7
    assert with_past > without_past + 0.05
