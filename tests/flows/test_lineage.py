"""What an auditor reads in MLflow two years later, through its own client."""

import json
from pathlib import Path

import mlflow
import numpy as np
import polars as pl
import pytest
from mlflow import MlflowClient

from balancing.inference import OnnxModel
from flows.featurization import read_features
from flows.fitting import as_arrays, rows_of
from infra.revision import code_revision
from infra.storage import sha256_file

pytestmark = pytest.mark.xdist_group("trained")


@pytest.fixture(scope="module")
def client(trained) -> MlflowClient:
    uri = trained.settings.mlflow_uri
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@pytest.fixture(autouse=True)
def _this_store(trained) -> None:
    mlflow.set_tracking_uri(trained.settings.mlflow_uri)
    mlflow.set_registry_uri(trained.settings.mlflow_uri)


@pytest.fixture(scope="module")
def run(client, trained):
    return client.get_run(trained.answer["run_id"])


@pytest.fixture(scope="module")
def artifacts(client, run, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    return Path(client.download_artifacts(run.info.run_id, "", str(folder)))


@pytest.fixture(scope="module")
def version(client):
    return client.get_model_version_by_alias("stream", "champion")


def test_the_run_ended_well_and_says_who_asked_and_why(run, client) -> None:
    assert run.info.status == "FINISHED"
    assert client.get_experiment(run.info.experiment_id).name == "stream"
    assert run.data.tags["whitecrow.actor"] == "ana"
    assert run.data.tags["whitecrow.reason"] == "first"


def test_the_whole_configuration_is_there_twice(run, artifacts) -> None:
    config = json.loads((artifacts / "config.json").read_text())
    strategy = config["request"]["config"]["strategy"]

    assert run.data.params["request.config.strategy.network.width"] == "16"
    assert run.data.params["request.config.seed"] == "0"
    assert run.data.params["contract.label.column"] == "TX_FRAUD"
    assert (strategy["network"]["n_members"], strategy["training"]["max_epochs"]) == (2, 3)
    assert set(run.data.params) >= {
        f"request.config.strategy.training.{key}" for key in strategy["training"]
    }


def test_the_data_are_known_by_their_bytes(run, stream) -> None:
    (data,) = run.inputs.dataset_inputs
    tags = {tag.key: tag.value for tag in data.tags}

    assert tags == {"mlflow.data.context": "data", "sha256": sha256_file(stream)}
    assert data.dataset.name == "stream.parquet"
    assert json.loads(data.dataset.source) == {"uri": str(stream)}
    assert json.loads(data.dataset.profile) == {"rows": "20000", "columns": "12"}


def test_every_row_is_accounted_for(run, trained) -> None:
    counts = {k: int(v) for k, v in run.data.metrics.items() if k.startswith("rows_")}
    parts = ("train", "validation", "calibration", "test")
    left_out = ("gap_rows", "immature_rows", "unlabelled_rows")

    assert sum(counts[f"rows_{name}_rows"] for name in parts) + sum(
        counts[f"rows_{name}"] for name in left_out
    ) == 20_000  # fmt: skip
    assert all(counts[f"rows_{name}_positives"] > 0 for name in parts)


def test_metrics_stand_with_the_ends_of_their_intervals(run, trained) -> None:
    for name, found in trained.answer["metrics"].items():
        assert run.data.metrics[f"test_{name}"] == found["value"]
        assert run.data.metrics[f"test_{name}_low"] == found["low"]
        assert run.data.metrics[f"test_{name}_high"] == found["high"]
    assert {"average_precision", "roc_auc", "recall_at_fpr_0.001", "brier_score"} <= set(
        trained.answer["metrics"]
    )


def test_the_history_has_a_point_an_epoch(client, run) -> None:
    assert len(client.get_metric_history(run.info.run_id, "train_loss")) == 3


def test_memorisation_is_there_an_evaluation_as_metrics_and_as_a_picture(
    client, run, artifacts, trained
) -> None:
    record = json.loads((trained.run / "training.json").read_text())["memorisation"]

    for name in ("epochs", "generalisation_gap_positive", "validation_loss_negative"):
        history = client.get_metric_history(run.info.run_id, f"memorisation_{name}")
        logged = {point.step: point.value for point in history}
        assert [logged[step] for step in range(1, 7)] == [one[name] for one in record]
    assert (artifacts / "plots" / "memorisation.png").is_file()
    assert "learns its positives by heart" in (artifacts / "report.html").read_text()


def test_plots_reports_policy_and_environment_are_kept(artifacts) -> None:
    plots = {path.stem for path in (artifacts / "plots").iterdir()}
    environment = json.loads((artifacts / "environment.json").read_text())
    files = {path.name for path in artifacts.iterdir()}

    assert plots >= {"precision_recall", "roc", "reliability", "score_histogram", "costs"}
    assert files >= {"report.html", "validation.html", "policy.json", "parity.json"}
    assert environment["code_revision"] == code_revision()
    assert {"torch", "polars", "onnxruntime"} <= set(environment["packages"])


def test_the_registered_network_is_the_one_that_answers(version, trained, run) -> None:
    bundle = trained.store.bundle("stream", "1")
    model = mlflow.onnx.load_model(f"models:/stream/{version.version}")
    (features,) = (trained.home / "features").iterdir()
    table, feature_set = read_features(features)
    arrays = as_arrays(table[rows_of(table, "test")[:100]], feature_set)

    registered = OnnxModel(model.SerializeToString()).logits(arrays.numeric, arrays.categorical)

    released = OnnxModel(bundle.folder / "model.onnx")
    assert np.array_equal(registered, released.logits(arrays.numeric, arrays.categorical))
    assert version.tags["whitecrow.model_sha256"] == bundle.model_sha256
    assert (version.run_id, bundle.manifest.mlflow_run_id) == (run.info.run_id,) * 2


def test_the_version_has_a_signature_a_description_and_tags(version, trained) -> None:
    info = mlflow.models.get_model_info(f"models:/stream/{version.version}")
    precision = trained.answer["metrics"]["average_precision"]["value"]

    assert [spec.name for spec in info.signature.inputs.inputs] == ["numeric", "categorical"]
    assert [spec.name for spec in info.signature.outputs.inputs] == ["logits"]
    assert "Trained with **erm**" in version.description
    assert f"| average_precision | {precision:.4f} |" in version.description
    assert version.tags["whitecrow.state"] == "registered"
    assert version.tags["whitecrow.code_revision"] == code_revision()
    assert {"champion", "challenger"} <= set(version.aliases)


def test_the_registered_name_says_what_it_is(client) -> None:
    assert client.get_registered_model("stream").description


def test_the_policy_is_linked_to_its_version(version, artifacts, trained) -> None:
    released = trained.store.policy("stream", version.tags["whitecrow.policy_version"])

    assert json.loads((artifacts / "policy.json").read_text()) == json.loads(released.to_json())
    assert released.model_sha256 == version.tags["whitecrow.model_sha256"]


def test_the_report_holds_the_headline_figure(trained, artifacts) -> None:
    figure = f"{trained.answer['metrics']['average_precision']['value']:.4f}"

    assert figure in Path(trained.answer["report"]).read_text()
    assert figure in (artifacts / "report.html").read_text()
    assert "20,000" in (artifacts / "validation.html").read_text()


def test_reading_the_test_rows_is_in_the_ledger(trained) -> None:
    from infra.ledger import Ledger

    (entry,) = [e for e in Ledger(trained.settings.database).entries() if "test_rows" in e.event]
    (features,) = (trained.home / "features").iterdir()
    n_test = pl.read_parquet(features / "table.parquet").filter(part="test").height

    assert (entry.actor, entry.details["rows"]) == ("ana", n_test)


def test_a_training_records_what_an_audit_asks(trained, stream) -> None:
    from flows.provenance.gathering import lineage_of
    from flows.run_lineage import label_digest

    told = lineage_of(trained.settings, "stream")
    (features,) = (trained.home / "features").iterdir()
    table, _ = read_features(features)
    recorded = told.recorded

    assert recorded is not None
    assert [source["sha256"] for source in told.data] == [sha256_file(stream)]
    assert {part.part: part.rows for part in recorded.parts} == dict(
        table.drop_nulls("part")["part"].value_counts().iter_rows()
    )
    assert recorded.labels.sha256 == label_digest(table)
    assert recorded.labels.known == table.height
    assert recorded.labels.as_of == pl.read_parquet(stream)["TX_DATETIME"].max()
    assert (recorded.actor, recorded.reason) == ("ana", "first")
    assert (recorded.validation[0].read, recorded.validation[0].quarantined) == (20_000, 0)
    assert recorded.lock_sha256 is not None
    assert told.not_recorded == ()
    assert told.mlflow is not None
    assert told.mlflow["status"] == "FINISHED"
    assert "test rows.read" in [each.says for each in told.events]


def test_the_digest_of_labels_changes_with_a_label_an_id_or_a_time(trained) -> None:
    from flows.run_lineage import label_digest

    (features,) = (trained.home / "features").iterdir()
    table = read_features(features)[0].head(100)
    flipped = table.with_columns(label=(1 - pl.col("label")).cast(pl.Int8))
    renamed = table.with_columns(row_id=pl.col("row_id") + "x")
    later = table.with_columns(pl.col("event_time").dt.offset_by("1us"))

    digests = {label_digest(each) for each in (table, flipped, renamed, later)}

    assert len(digests) == 4
    assert label_digest(table) == label_digest(table.clone())


def test_a_file_leads_forward_to_the_version(trained, stream) -> None:
    from flows.provenance.tracing import trace

    found = trace(trained.settings, str(stream))

    assert [(one.name, one.version, one.policies) for one in found.versions] == [
        ("stream", "1", ("1",))
    ]
