"""The real data sets, from the file to a registered version, with the default configuration."""

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.xdist_group("real")]


@pytest.mark.parametrize(
    ("file", "contract", "least"),
    [
        ("creditcard.parquet", "creditcard", 0.81),
        ("credit_default.parquet", "credit_default", 0.0),
        ("loan_data.parquet", "loan_data", 0.0),
        ("lending_club_2018.parquet", "lending_club", 0.0),
        ("card_stream.parquet", "card_stream", 0.0),
    ],
)
def test_a_real_table_becomes_a_champion(
    whitecrow, data_root, tmp_path, *, file, contract, least
) -> None:
    done = whitecrow(tmp_path, "train", data_root / file, "-c", contract, "--json")

    assert done.code == 0, done.err
    assert (done.json["version"], done.json["champion"]) == ("1", True)
    assert done.json["metrics"]["average_precision"]["value"] >= least
