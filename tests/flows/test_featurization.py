"""Features are computed once for the same data, contract and moment."""

import json
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from features import large_feature_table
from features.contract import read_contract
from features.ingestion.tables import fingerprint, scan_table
from flows.featurization import featurize, read_counts, read_features

pytestmark = pytest.mark.xdist_group("trained")


@pytest.fixture(scope="module")
def contract_text() -> str:
    import features

    return (Path(features.__file__).parent / "contracts" / "simulated_stream.toml").read_text()


@pytest.fixture
def make(whitecrow, trained, tmp_path):
    """Runs featurize in a state folder of its own and returns the folders of feature tables."""

    def run(*more: str, data: Path = trained.stream, contract: str = "simulated_stream") -> set:
        out = tmp_path / "features.parquet"
        done = whitecrow(
            tmp_path / "home", "featurize", data, "-c", contract, "-o", out, "--json", *more
        )
        assert done.code == 0, done.err
        return {path.name for path in (tmp_path / "home" / "features").iterdir()}

    return run


def test_the_same_data_contract_and_moment_make_one_table(make, trained) -> None:
    assert make() == make() == {path.name for path in (trained.home / "features").iterdir()}


def test_another_contract_makes_another_table(make, contract_text, tmp_path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(contract_text.replace("<= 6", "<= 5"))

    assert len(make()) == 1
    assert len(make(contract=str(other))) == 2


def test_a_comment_or_another_policy_makes_no_other_table(make, contract_text, tmp_path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(
        "# mine\n" + contract_text.replace("alerts_per_day = 25", "alerts_per_day = 9")
    )

    assert make() == make(contract=str(other))


def test_another_moment_makes_another_table_with_fewer_rows(make, frame, tmp_path) -> None:
    earlier = frame["TX_DATETIME"].max() - timedelta(days=7)

    make()
    newest = pl.read_parquet(tmp_path / "features.parquet")
    assert len(make("--as-of", earlier.isoformat())) == 2

    table = pl.read_parquet(tmp_path / "features.parquet")
    assert table.height < newest.height
    assert table["event_time"].max() + timedelta(days=14) <= earlier.replace(
        tzinfo=table["event_time"].max().tzinfo
    )


def test_another_row_makes_another_table(make, frame, tmp_path) -> None:
    frame.head(frame.height - 1).write_parquet(tmp_path / "shorter.parquet")

    assert len(make()) == 1
    assert len(make(data=tmp_path / "shorter.parquet")) == 2


def test_corrected_rows_make_another_table(trained, tmp_path) -> None:
    contract = read_contract("simulated_stream")
    schema = scan_table(trained.stream).collect_schema()
    resolved = contract.resolve(schema.names())
    rows = pl.read_parquet(trained.run / "data_passed.parquet")
    folders = set()
    for amount in (1.0, 2.0):
        passed = tmp_path / "passed.parquet"
        changed = pl.when(pl.int_range(pl.len()) == 0).then(amount).otherwise("TX_AMOUNT")
        rows.with_columns(changed.alias("TX_AMOUNT")).write_parquet(passed)
        folders.add(
            featurize(
                passed,
                resolved,
                input_types=dict.fromkeys(resolved.request_columns, "text"),
                fingerprints=[fingerprint(trained.stream).sha256],
                root=tmp_path / "features",
            )
        )

    assert len(folders) == 2


def test_a_file_too_large_for_memory_makes_the_same_table(trained, tmp_path, monkeypatch) -> None:
    schema = scan_table(trained.stream).collect_schema()
    contract = read_contract("simulated_stream").resolve(schema.names())
    made = []
    for most_values, name in ((10**9, "memory"), (1, "disk")):
        monkeypatch.setattr(large_feature_table, "_MOST_VALUES_IN_MEMORY", most_values)
        folder = featurize(
            trained.run / "data_passed.parquet",
            contract,
            input_types=dict.fromkeys(contract.request_columns, "text"),
            fingerprints=[fingerprint(trained.stream).sha256],
            root=tmp_path / name,
        )
        assert list((tmp_path / name).iterdir()) == [folder]
        made.append((folder.name, read_features(folder), read_counts(folder)))

    assert made[0][0] == made[1][0]
    assert_frame_equal(made[0][1][0], made[1][1][0], check_exact=True)
    assert made[0][1][1] == made[1][1][1]
    assert made[0][2] == made[1][2]


def test_a_separate_test_file_is_only_tested_on(train, frame, tmp_path) -> None:
    ordered = frame.sort("TX_DATETIME", maintain_order=True)
    ordered.head(15_000).write_parquet(tmp_path / "data.parquet")
    ordered.tail(5_000).write_parquet(tmp_path / "later.parquet")

    done = train(tmp_path / "home", tmp_path / "data.parquet", "--test", tmp_path / "later.parquet")

    assert done.code == 0, done.err
    (folder,) = (tmp_path / "home" / "features").iterdir()
    table = pl.read_parquet(folder / "table.parquet")
    first_of_test = ordered["TX_DATETIME"][15_000].replace(tzinfo=None)
    is_later = pl.col("event_time").dt.replace_time_zone(None) >= first_of_test
    assert set(table.filter(is_later)["part"]) == {"test"}
    assert "test" not in set(table.filter(~is_later)["part"])
    report = json.loads((Path(done.json["report"]).parent / "evaluation.json").read_text())
    counts = json.loads((folder / "counts.json").read_text())
    assert report["report"]["n_rows"] == counts["test_rows"]
    assert counts["test_rows"] + counts["immature_rows"] >= 5_000
