"""Rows of the real data sets, sent as requests, give the features that their tables give."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from features.contract import read_contract
from features.derived import derive
from features.feature_set import FeatureSet
from features.feature_table import input_types_of
from features.ingestion.conforming import conform
from features.ingestion.tables import read_table
from serving.request_json import parse_row
from serving.requests import RowReader, is_sendable, request_rows
from serving.row_encoder import RowEncoder
from serving.row_rules import RowRules

TABLES = {
    "creditcard": "creditcard.parquet",
    "card_stream": "card_stream.parquet",
    "credit_default": "credit_default.parquet",
    "loan_data": "loan_data.parquet",
    "lending_club": "lending_club_2018.parquet",
}


@pytest.mark.parametrize("name", TABLES)
def test_requests_and_tables_give_the_same_features_and_flags(data_root: Path, name: str) -> None:
    raw = read_table(data_root / TABLES[name]).sample(2000, seed=0)
    # What a request holds: features over time come from elsewhere.
    whole = read_contract(name).resolve(raw.columns)
    contract = whole.model_copy(update={"velocity": (), "label_rate": ()})
    types = input_types_of(raw.schema, contract)
    frame = conform(raw, contract)
    feature_set = FeatureSet.fit(contract, frame, input_types=types)
    sent = frame.filter(is_sendable(frame, contract, types)).head(300)
    reader, rules = RowReader(contract, types), RowRules(contract)

    rows = [msgspec.json.encode(row) for row in request_rows(sent, contract, types)]
    typed = [reader.read(parse_row(row)) for row in rows]
    arrived = reader.frame(typed)

    table, request = feature_set.transform(sent), feature_set.transform(arrived)
    assert sent.height == 300
    assert np.array_equal(request.numeric, table.numeric, equal_nan=True)
    assert np.array_equal(request.categorical, table.categorical)
    in_table, in_rows = (
        rules.broken(derive(sent, contract)),
        rules.broken(derive(arrived, contract)),
    )
    assert {k: v.tolist() for k, v in in_rows.items()} == {
        k: v.tolist() for k, v in in_table.items()
    }
    if not contract.derived:
        alone = RowEncoder(feature_set).encode(typed)
        assert np.array_equal(alone.numeric, table.numeric, equal_nan=True)
        assert np.array_equal(alone.categorical, table.categorical)
        assert {k: v.tolist() for k, v in rules.broken_by(typed).items()} == {
            k: v.tolist() for k, v in in_table.items()
        }
