"""The evaluator of single rows equals the one over tables, whatever a row holds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.prepared_rows import RowPreparer
from serving.refusals import RequestRefused
from serving.requests import RowReader
from serving.row_encoder import RowEncoder
from serving.row_rules import RowRules
from serving.scored import UnscorableRow
from serving.scorer import Scorer
from serving.verification import load_scorer

_numbers = st.none() | st.integers(-(2**70), 2**70) | st.floats(-3.4e38, 3.4e38, width=64)
_rows = st.fixed_dictionaries(
    {
        "ORDER_ID": st.integers(0, 99) | st.text("0123456789ab", max_size=3),
        "PLACED_AT": st.just("2026-03-01T03:00:00Z"),
        "CUSTOMER": st.integers(1, 5),
        "AMOUNT": _numbers | st.sampled_from([0, 10000, 10000.000001]),
        "AGE_DAYS": _numbers,
        "COUNTRY": st.none() | st.sampled_from(["DE", "FR", "XX", "ZZ", "", "de"]),
    },
    optional={"DISTANCE": _numbers, "DEVICE": st.none() | st.integers(-1, 4)},
)


@pytest.fixture(scope="module")
def plain(new_home, shop_contract, tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    """The shop without its derived column: rows need no table."""
    contract = {key: value for key, value in shop_contract.items() if key != "derived"}
    home: Path = tmp_path_factory.mktemp("plain")
    return load_scorer(new_home(home, contract=contract), "shop")


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_rows, min_size=1, max_size=6))
def test_features_and_broken_rules_are_the_same_both_ways(
    plain: Scorer, rows: list[dict[str, Any]]
) -> None:
    contract, feature_set = plain.bundle.contract, plain.bundle.feature_set
    reader, rules = RowReader(contract, feature_set.input_types), RowRules(contract)
    typed = [reader.read(row) for row in rows]
    frame = reader.frame(typed)

    alone, table = RowEncoder(feature_set).encode(typed), feature_set.encode(frame)

    assert alone.numeric.tobytes() == np.ascontiguousarray(table.numeric).tobytes()
    assert np.array_equal(alone.categorical, table.categorical)
    by_row, by_table = rules.broken_by(typed), rules.broken(frame)
    assert {flag: mask.tolist() for flag, mask in by_row.items()} == {
        flag: mask.tolist() for flag, mask in by_table.items()
    }


def test_a_request_and_a_table_get_the_same_bits(plain: Scorer, table) -> None:
    from serving.requests import request_rows

    frame = table(200)
    requests = request_rows(frame, plain.bundle.contract, plain.bundle.feature_set.input_types)

    whole = plain.score_frame(frame)
    alone = [plain.score_rows([request])[0] for request in requests]

    assert [row.risk_score for row in alone] == whole.risk_score.tolist()
    assert [row.reasons for row in alone] == [whole.reasons.get(at, ()) for at in range(len(alone))]
    assert [row.flags for row in alone] == [whole.flags.get(at, ()) for at in range(len(alone))]
    assert np.array_equal(plain.score_requests(requests).logits, whole.logits)


def test_a_row_whose_score_overflows_is_refused_and_spoils_no_other(
    plain: Scorer, shop_row, table, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = plain.model.logits

    def overflowing(numeric: Any, categorical: Any) -> Any:
        logits = network(numeric, categorical)
        logits[numeric[:, 0] > 1e30] = np.nan
        return logits

    monkeypatch.setattr(plain.model, "logits", overflowing)
    results = plain.score_rows([shop_row(), shop_row(AMOUNT=1e31), shop_row()])

    assert results[0] == results[2]
    assert isinstance(results[1], RequestRefused)
    assert results[1].code == "out_of_range"


def test_a_derived_number_beyond_32_bits_is_refused_both_ways(
    new_home, shop_contract, shop_row, tmp_path: Path
) -> None:
    contract = {**shop_contract, "derived": {"IS_NIGHT": "AMOUNT * AMOUNT"}}
    scorer = load_scorer(new_home(tmp_path, contract=contract), "shop")
    feature_set = scorer.bundle.feature_set
    reader = RowReader(scorer.bundle.contract, feature_set.input_types)
    preparer = RowPreparer(feature_set, reader, scorer.policy)
    rows = [shop_row(AMOUNT=2.0), shop_row(AMOUNT=3e38)]
    typed = [reader.read(row) for row in rows]

    fine, beyond = scorer.score_rows(rows)

    assert not isinstance(fine, RequestRefused)
    assert isinstance(beyond, RequestRefused)
    assert beyond.code == "out_of_range"
    # Not left to the network, which may clip what it is given.
    with pytest.raises(UnscorableRow, match="IS_NIGHT"):
        preparer.of_rows(typed, None)
    with pytest.raises(UnscorableRow, match="IS_NIGHT"):
        preparer.of_table(reader.frame(typed))
