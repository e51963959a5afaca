"""The service's own traffic trains the next version, on the very features that it served."""

import shutil
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from features.ingestion.conforming import conform
from features.online.events import microseconds_of
from features.served_table import DECISION_COLUMNS, description_of
from flows.datasets.building import BuiltDataset, build_dataset
from flows.datasets.request import DatasetRequest
from flows.featurization import read_features
from flows.run_folder import RunFolder, read_json
from infra.settings import Settings
from serving.answers import Answer
from serving.decisions.export import decisions_of
from serving.decisions.opening import open_recording, open_store
from serving.decisions.sealing import read_log_secret
from serving.model_store import ModelStore
from serving.outcomes import OutcomeBook
from serving.reported_labels import ReportedLabel
from serving.requests import request_rows
from serving.served_models import ModelSource

pytestmark = [pytest.mark.xdist_group("trained"), pytest.mark.slow, pytest.mark.timeout(900)]

AS_OF = datetime(2025, 9, 1, tzinfo=UTC)
_BATCH = 250


@dataclass(frozen=True)
class Traffic:
    """A state folder whose service has decided a stream, and the table that was built of it."""

    home: Path
    built: BuiltDataset
    stream: pl.DataFrame

    @property
    def settings(self) -> Settings:
        return Settings(home=self.home)


@pytest.fixture(scope="module")
def traffic(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Traffic:
    """10,000 rows, decided batch by batch; labels come as late as they did; one restart."""
    folder = tmp_path_factory.mktemp("traffic")
    home = folder / "home"
    shutil.copytree(trained.home, home)
    stream = pl.read_parquet(trained.stream).gather_every(2)
    settings = Settings(home=home)
    bundle = ModelStore(home).bundle("stream", "1")
    sent = request_rows(conform(stream, bundle.contract), bundle.contract,
                        bundle.feature_set.input_types)  # fmt: skip
    half = len(sent) // (2 * _BATCH) * _BATCH
    reports = _reports(stream)
    for first, last in ((0, half), (half, len(sent))):
        _serve(settings, list(zip(sent, stream["TX_DATETIME"], strict=True))[first:last], reports)
    asked = DatasetRequest(name="stream", out=folder / "d.parquet", as_of=AS_OF, actor="ann")
    return Traffic(home, build_dataset(settings, asked), stream)


def _serve(
    settings: Settings,
    rows: Sequence[tuple[dict[str, Any], datetime]],
    reports: deque[tuple[datetime, ReportedLabel]],
) -> None:
    """Decide some rows with a service of their own, each label reported before the next rows."""
    recording = open_recording(settings)
    models = ModelSource(settings.root, ["stream"], recording=recording).load_all()
    model, book = models.get(None), OutcomeBook(settings.root)
    contract, secret = model.scorer.bundle.contract, read_log_secret(settings.keys)
    now = microseconds_of(datetime.now(UTC))
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        known = []
        while reports and reports[0][0] < batch[0][1]:
            known.append(reports.popleft()[1])
        book.take(contract, secret, known, feed=model.report_labels, now=now)
        answers = model.answer_rows([row for row, _ in batch])
        assert all(isinstance(answer, Answer) for answer in answers)
    models.close()
    recording.log.close()


def _reports(stream: pl.DataFrame) -> deque[tuple[datetime, ReportedLabel]]:
    """Return the labels of the frauds in the order in which they became known."""
    known = stream.drop_nulls("REPORTED_AT").sort("REPORTED_AT")
    return deque(
        (moment, ReportedLabel(str(name), 1, microseconds_of(moment), "chargeback"))
        for name, moment in known.select("TRANSACTION_ID", "REPORTED_AT").iter_rows()
    )


@pytest.fixture(scope="module")
def second(traffic: Traffic, train: Callable[..., Any]) -> Any:
    """Version 2, trained from the table."""
    done = train(traffic.home, traffic.built.file, "--name", "stream")
    assert done.code == 0, done.err
    return done.json


def test_the_table_holds_what_came_in_with_the_labels_that_came_back(traffic: Traffic) -> None:
    table, stream = pl.read_parquet(traffic.built.file), traffic.stream
    fraud = dict(stream.select(pl.col("TRANSACTION_ID").cast(pl.String), "TX_FRAUD").iter_rows())

    assert table.height > 5_000
    assert table["TRANSACTION_ID"].n_unique() == table.height
    assert table["TX_DATETIME"].is_sorted()
    positive = table.filter(pl.col("TX_FRAUD") == 1)["TRANSACTION_ID"]
    assert all(fraud[name] for name in positive)
    assert len(positive) > 200
    assert table.filter(pl.col("TX_FRAUD") == 1)["REPORTED_AT"].null_count() == 0
    assert table["TERMINAL_ID_label_rate_30d"].max() > 0
    told = traffic.built.to_json()
    assert told["rows"] + sum(v for k, v in told.items() if k.startswith("left_out")) == len(stream)


def test_traffic_trains_the_next_version(traffic: Traffic, second: dict[str, Any]) -> None:
    store = ModelStore(traffic.home)

    assert (second["version"], second["champion"]) == ("2", False)
    manifest = store.bundle("stream", "2").manifest
    assert manifest.data[0]["sha256"] == traffic.built.sha256
    assert (
        manifest.feature_set["input_types"]
        == (store.bundle("stream", "1").manifest.feature_set["input_types"])
    )
    assert not {*DECISION_COLUMNS} & {*manifest.contract.source_columns}
    assert manifest.contract.expectations == store.bundle("stream", "1").contract.expectations


def test_what_was_trained_on_is_what_was_served_to_the_last_bit(
    traffic: Traffic, second: dict[str, Any]
) -> None:
    """Late labels, batches and a restart in the middle change nothing of that."""
    folder = max((traffic.home / "features").iterdir(), key=lambda each: each.stat().st_mtime)
    table, feature_set = read_features(folder)
    arrays = feature_set.encode(table)
    store = open_store(traffic.settings)
    served = {
        each.stored.transaction_id: each for each in decisions_of(store.groups(), {})
    }  # fmt: skip
    store.close()

    wanted = np.stack(
        [np.frombuffer(served[name].stored.numeric, dtype="<f4") for name in table["row_id"]]
    )
    assert table.height > 5_000
    assert ModelStore(traffic.home).bundle("stream", "1").feature_set.numeric == feature_set.numeric
    assert np.array_equal(arrays.numeric, wanted, equal_nan=True)


def test_the_gates_hold_and_say_that_features_came_as_served(second: dict[str, Any]) -> None:
    parity = read_json(RunFolder(Path(second["report"]).parent).parity)

    assert parity["passed"]
    assert parity["n_rows"] > 400
    assert parity["n_replayed"] > 100
    assert (parity["velocity"]["n_entities"], parity["velocity"]["n_different"]) == (0, 0)
    assert parity["velocity"]["n_values"] > 50_000
    assert parity["velocity"]["tolerance"] == 0


def test_the_version_answers_requests_as_the_first_one_does(
    traffic: Traffic, second: dict[str, Any]
) -> None:
    bundle = ModelStore(traffic.home).bundle("stream", "2")
    last = traffic.stream.tail(1)
    (row,) = request_rows(conform(last, bundle.contract), bundle.contract,
                          bundle.feature_set.input_types)  # fmt: skip
    models = ModelSource(traffic.home, ["stream:2"]).load_all()
    (answer,) = models.get(None).answer_rows([row | {"TRANSACTION_ID": 987_654_321}])
    models.close()

    assert isinstance(row["CUSTOMER_ID"], int)
    assert isinstance(answer, Answer)


def test_validation_judges_such_a_table(traffic: Traffic, whitecrow: Any) -> None:
    done = whitecrow(
        traffic.home, "validate", traffic.built.file, "-c", "simulated_stream", "--json"
    )

    assert done.code == 0, done.err
    passed = Path(done.json["passed_file"])
    assert done.json["passed"] == traffic.built.coverage.kept
    assert description_of(passed) == traffic.built.description.of_a_part
    assert not {*DECISION_COLUMNS} & {*pl.read_parquet_schema(passed)}


def test_features_of_such_a_table_are_written_as_they_were_served(
    traffic: Traffic, whitecrow: Any, tmp_path: Path
) -> None:
    out = tmp_path / "features.parquet"

    done = whitecrow(
        traffic.home, "featurize", traffic.built.file, "-c", "simulated_stream", "--out", out
    )

    assert done.code == 0, done.err
    names = [*traffic.built.description.served]
    table = pl.read_parquet(out).select("row_id", *names)
    source = pl.read_parquet(traffic.built.file).rename({"TRANSACTION_ID": "row_id"})
    assert table.equals(table.select("row_id").join(source.select("row_id", *names), on="row_id"))


def test_such_a_table_scores_with_what_was_served(
    traffic: Traffic, whitecrow: Any, tmp_path: Path
) -> None:
    out, source = tmp_path / "scores.parquet", pl.read_parquet(traffic.built.file)

    done = whitecrow(traffic.home, "score", traffic.built.file, "--model", "stream:1", "--out", out)
    refused = whitecrow(
        traffic.home, "score", traffic.built.file, "--model", "stream:1", "--out", out,
        "--history", traffic.built.file,
    )  # fmt: skip

    assert done.code == 0, done.err
    assert pl.read_parquet(out)["risk_score"].to_list() == pytest.approx(
        source["risk_score"].to_list(), abs=1e-6
    )
    assert refused.code == 2
    assert "--history is for rows whose features over time are yet to be computed" in refused.error


def test_newer_traffic_recalibrates_a_version(
    traffic: Traffic, second: dict[str, Any], tmp_path: Path, whitecrow: Any
) -> None:
    fitted_until = ModelStore(traffic.home).bundle("stream", "2").manifest.fitted_until
    assert fitted_until is not None
    newer = DatasetRequest(
        name="stream", out=tmp_path / "newer.parquet", since=fitted_until + timedelta(seconds=1),
        as_of=AS_OF, actor="ann",
    )  # fmt: skip
    built = build_dataset(traffic.settings, newer)
    assert 0 < built.coverage.kept < traffic.built.coverage.kept

    done = whitecrow(
        traffic.home, "recalibrate", "stream:2", built.file, "--reason", "newer traffic", "--json"
    )

    assert done.code == 0, done.err
    assert done.json["policy_version"]


def test_a_table_and_other_rows_are_not_trained_on_together(
    traffic: Traffic, trained: Any, train: Callable[..., Any]
) -> None:
    done = train(traffic.home, traffic.built.file, "--name", "stream", "--test", trained.stream)

    assert done.code == 2
    assert "cannot be used together" in done.error


def test_a_contract_with_other_features_over_time_is_refused(
    traffic: Traffic, train: Callable[..., Any], tmp_path: Path
) -> None:
    import features

    shipped = Path(str(features.__file__)).parent / "contracts" / "simulated_stream.toml"
    contract = tmp_path / "other.toml"
    contract.write_text(shipped.read_text().replace('delay = "14d"', 'delay = "10d"'))

    done = train(traffic.home, traffic.built.file, "--name", "stream", contract=contract)

    assert done.code == 2
    assert "holds features over time of feature set" in done.error
    assert "Train under the contract that was served" in done.error
