"""Bad input: one clear line, the exit code, and nothing registered."""

import os
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

import features
from infra.ledger import Ledger
from serving.model_store import ModelStore

pytestmark = pytest.mark.xdist_group("refused")

CONTRACT = Path(features.__file__).parent / "contracts" / "simulated_stream.toml"
VELOCITY = """
[[velocity]]
entity = "CUSTOMER_ID"
windows = ["1d"]
aggregates = ["count"]
"""


@pytest.fixture(scope="module")
def small(frame) -> pl.DataFrame:
    """2,000 rows of the whole period, 60 of them fraud."""
    frauds, others = frame.filter(TX_FRAUD=1).head(60), frame.filter(TX_FRAUD=0)
    spread = others.gather_every(others.height // 1_940).head(1_940)
    return pl.concat([frauds, spread]).sort("TX_DATETIME")


@pytest.fixture
def refused(train, tmp_path):
    """Trains on something bad and returns the one line; nothing may have come of it."""
    home = tmp_path / "home"

    def run(data, *more, contract=CONTRACT, code: int = 2) -> str:
        done = train(home, data, *more, contract=contract)
        assert done.code == code, done.err
        assert done.json == {"error": {"message": done.error}}
        assert ModelStore(home).names() == []
        assert not (home / "models").exists()
        if (home / "whitecrow.db").exists():
            assert "registered" not in [e.event for e in Ledger(home / "whitecrow.db").entries()]
        if (home / "mlflow.db").exists():
            from mlflow import MlflowClient

            uri = f"sqlite:///{home / 'mlflow.db'}"
            assert not MlflowClient(uri, uri).search_model_versions()
        return done.error

    return run


@pytest.fixture
def written(tmp_path):
    """Writes a table as a Parquet file."""

    def write(frame: pl.DataFrame) -> Path:
        frame.write_parquet(tmp_path / "data.parquet")
        return tmp_path / "data.parquet"

    return write


@pytest.fixture
def contract(tmp_path):
    """Writes the contract with some text replaced."""

    def write(*changes: tuple[str, str]) -> Path:
        text = CONTRACT.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "contract.toml").write_text(text)
        return tmp_path / "contract.toml"

    return write


def test_a_missing_file(refused, tmp_path) -> None:
    assert "There is no file" in refused(tmp_path / "nope.parquet")


def test_a_folder(refused, tmp_path) -> None:
    assert "is a folder" in refused(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file(refused, written, small) -> None:
    path = written(small)
    path.chmod(0)

    assert "Permission denied" in refused(path)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"PK\x03\x04" + b"x" * 100])
def test_a_file_that_is_no_table(refused, tmp_path, content) -> None:
    path = tmp_path / "data.parquet"
    path.write_bytes(content)

    assert str(path) in refused(path)


def test_a_table_without_rows(refused, written, small) -> None:
    assert "no rows" in refused(written(small.clear()))


def test_a_truncated_parquet_file(refused, written, small) -> None:
    path = written(small)
    path.write_bytes(path.read_bytes()[:-100])

    assert "cut off or damaged" in refused(path)


def test_a_ragged_csv_file(refused, small, tmp_path) -> None:
    path = tmp_path / "data.csv"
    small.write_csv(path)
    lines = path.read_text().splitlines()
    lines[7] += ",1,2,3"
    path.write_text("\n".join(lines))

    assert "line 8" in refused(path)


def test_an_unknown_column(refused, written, small) -> None:
    assert "'EXTRA'" in refused(written(small.with_columns(EXTRA=1)))


def test_a_missing_column(refused, written, small) -> None:
    assert "TX_AMOUNT" in refused(written(small.drop("TX_AMOUNT")))


def test_a_misspelt_column(refused, written, small) -> None:
    error = refused(written(small.rename({"ENTRY_MODE": "ENTRY_MOD"})))

    assert "ENTRY_MODE" in error
    assert "ENTRY_MOD" in error


def test_a_label_with_three_values(refused, written, small) -> None:
    third = pl.when(pl.int_range(pl.len()) == 3).then(2).otherwise("TX_FRAUD")

    assert "TX_FRAUD" in refused(written(small.with_columns(TX_FRAUD=third)))


@pytest.mark.parametrize("value", [0, 1])
def test_a_label_with_one_class(refused, written, small, contract, value) -> None:
    loose = contract(("label_rate = {min = 0.0001, max = 0.5}", ""))
    one = small.with_columns(
        TX_FRAUD=pl.lit(value), REPORTED_AT=pl.col("TX_DATETIME") if value else "REPORTED_AT"
    )

    assert "positive" in refused(written(one), contract=loose)


def test_too_few_positives_says_how_many_are_needed(refused, written, small, contract) -> None:
    loose = contract(("label_rate = {min = 0.0001, max = 0.5}", ""))
    few = pl.concat([small.filter(TX_FRAUD=1).head(4), small.filter(TX_FRAUD=0)])

    error = refused(written(few), contract=loose)

    assert "2 positives" in error
    assert "bring about" in error or "need" in error


def test_a_table_shorter_than_the_windows_of_the_contract(refused, written, frame) -> None:
    """The contract looks 30 days back; these are 20 days."""
    early = frame.filter(pl.col("TX_DATETIME") < frame["TX_DATETIME"][0] + timedelta(days=20))

    assert "is 30d; the table spans 19 days" in refused(written(early))


def test_text_in_a_column_of_timestamps(refused, written, small) -> None:
    later = pl.col("TX_DATETIME").dt.to_string()
    worded = pl.when(pl.int_range(pl.len()) < 1_990).then(pl.lit("soon")).otherwise(later)

    assert refused(written(small.with_columns(TX_DATETIME=worded)), code=1)


def test_a_table_rule_that_stops(refused, written, small) -> None:
    assert "row_count is 500 rows" in refused(written(small.head(500)), code=1)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ([("categorical =", "categorial =")], "categorial"),
        ([("CARD_COUNTRY <> MERCHANT_COUNTRY", "CARD_COUNTRY <> <> 1")], "is_abroad"),
        ([("CARD_COUNTRY <> MERCHANT_COUNTRY", "CARD_COUNTRY <> MERCHANT_LAND")], "MERCHANT_LAND"),
        ([("[columns]", "[columns")], "not valid TOML"),
        (
            [
                ('event_time = "TX_DATETIME"\n', ""),
                ('entities = ["CUSTOMER_ID", "TERMINAL_ID"]', 'entities = ["CUSTOMER_ID"]'),
                (
                    "[expectations]\n",
                    VELOCITY + "[expectations]\n",
                ),
            ],
            "event_time",
        ),
    ],
    ids=["typo", "sql", "sql-column", "toml", "windows-without-time"],
)  # fmt: skip
def test_a_wrong_contract(refused, contract, stream, changes, named) -> None:
    assert named in refused(stream, contract=contract(*changes))


def test_a_contract_that_is_not_there(refused, stream) -> None:
    assert "nope" in refused(stream, contract="nope")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--device", "tpu"], "--device"),
        (["--device", "cuda"], "cuda"),
        (["--as-of", "yesterday"], "--as-of"),
        (["--name", "No Such Name"], "--name"),
        (["--seed", "-1"], "--seed"),
        (["--strategy", "magic"], "strategy"),
        (["--tset", "x"], "--tset"),
    ],
    ids=lambda value: "" if isinstance(value, str) else value[0],
)
def test_a_wrong_option(refused, stream, options, named) -> None:
    if options == ["--device", "cuda"]:
        torch = pytest.importorskip("torch")
        if torch.cuda.is_available():
            pytest.skip("there is a CUDA device")
    assert named in refused(stream, *options)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[strategy.training]\nmax_epoch = 3", "max_epoch"),
        ("sead = 1", "sead"),
        ("seed = ", "not valid TOML"),
        ('strategy = "erm"', "strategy"),
        ("[strategy.network]\nkind = 'cnn'", "cnn"),
    ],
)
def test_a_wrong_configuration(refused, stream, tmp_path, text, named) -> None:
    (tmp_path / "run.toml").write_text(text)

    assert named in refused(stream, "--config", tmp_path / "run.toml")


def test_a_file_in_place_of_the_state_folder(whitecrow, stream, tmp_path) -> None:
    (tmp_path / "file").touch()

    for home in (tmp_path / "file", tmp_path / "file" / "home"):
        done = whitecrow(home, "train", stream, "-c", "simulated_stream", "--json")

        assert done.code == 2
        assert "set WHITECROW_HOME" in done.error
        assert done.json == {"error": {"message": done.error}}


def _quarantine(home: Path) -> pl.DataFrame:
    (run,) = (home / "runs").iterdir()
    return pl.read_parquet(run / "data_quarantine.parquet")


@pytest.fixture(scope="module")
def spoilt(frame, tmp_path_factory):
    """The stream with text, infinities, a repeated id and odd times; rows 10 to 49."""
    at = pl.int_range(pl.len())
    text = pl.col("TX_AMOUNT").cast(pl.String)
    time = pl.col("TX_DATETIME").dt.to_string("%Y-%m-%dT%H:%M:%S")
    path = tmp_path_factory.mktemp("spoilt") / "spoilt.csv"
    frame.with_columns(
        TX_AMOUNT=pl.when(at.is_between(10, 19))
        .then(pl.lit("much"))
        .when(at.is_between(20, 29))
        .then(pl.lit("inf"))
        .otherwise(text),
        TX_DATETIME=pl.when(at.is_between(30, 39)).then(pl.lit("soon")).otherwise(time),
        TRANSACTION_ID=pl.when(at == 49)
        .then(pl.col("TRANSACTION_ID").shift(1))
        .otherwise("TRANSACTION_ID"),
    ).write_csv(path)
    return path


def test_rows_that_cannot_be_used_go_to_quarantine_and_the_rest_goes_on(
    whitecrow, train, spoilt, tmp_path
) -> None:
    done = train(tmp_path / "home", spoilt)

    assert done.code == 0, done.err
    failed = _quarantine(tmp_path / "home")
    assert set(range(10, 40)) <= set(failed["_row"]) <= set(range(10, 50))
    assert {48, 49} & set(failed["_row"])
    assert "19,9" in done.err


def test_corrected_rows_come_back_and_the_counts_add_up(whitecrow, spoilt, frame, tmp_path) -> None:
    home = tmp_path / "home"
    first = whitecrow(home, "validate", spoilt, "-c", "simulated_stream", "--json").json
    failed = pl.read_parquet(first["quarantine_file"])
    assert first["read"] == first["passed"] + first["quarantined"] == 20_000
    assert first["quarantined"] == failed.height

    amounts = pl.col("TX_AMOUNT").is_in(["much", "inf"])
    failed.filter(pl.col("_row") < 40).with_columns(
        TX_AMOUNT=pl.when(amounts).then(pl.lit("12.50")).otherwise("TX_AMOUNT")
    ).write_parquet(tmp_path / "corrected.parquet")
    corrected = (
        "validate", tmp_path / "corrected.parquet", "-c", "simulated_stream", "--requeue", "--json",
    )  # fmt: skip
    back = whitecrow(home, *corrected)

    assert back.code == 0, back.err
    assert (back.json["read"], back.json["passed"]) == (30, 20)
    again = whitecrow(home, "validate", spoilt, "-c", "simulated_stream", "--json").json
    assert again["passed"] == first["passed"] + 20
    assert again["quarantined"] == first["quarantined"] - 20
    assert whitecrow(home, *corrected).json["passed"] == 0


def test_a_broken_table_rule_stops_with_a_report(whitecrow, small, written, tmp_path) -> None:
    done = whitecrow(
        tmp_path / "home", "validate", written(small.head(500)), "-c", "simulated_stream", "--json"
    )

    assert done.code == 1
    assert "expected" in done.error
    report = Path(done.error.split("Report: ")[1].rstrip("."))
    assert report.is_file()
    assert done.json == {"error": {"message": done.error}}


def test_a_time_without_a_zone_among_times_with_one_goes_to_quarantine(
    whitecrow, small, tmp_path
) -> None:
    time = pl.col("TX_DATETIME").dt.to_string("%Y-%m-%dT%H:%M:%S")
    zone = pl.when(pl.int_range(pl.len()) < 1_995).then(pl.lit("+02:00")).otherwise(pl.lit(""))
    small.with_columns(TX_DATETIME=time + zone).write_csv(tmp_path / "mixed.csv")

    done = whitecrow(
        tmp_path / "home", "validate", tmp_path / "mixed.csv", "-c", "simulated_stream", "--json"
    )

    assert done.code == 0, done.err
    assert pl.read_parquet(done.json["quarantine_file"])["_row"].to_list() == [
        1995, 1996, 1997, 1998, 1999,
    ]  # fmt: skip


def test_no_release_without_a_moment_of_knowledge(refused, stream, frame) -> None:
    before = frame["TX_DATETIME"].min() - timedelta(days=30)

    assert refused(stream, "--as-of", before.isoformat())
