"""MLflow tracking, against a real store."""

from pathlib import Path

from infra.tracking import Tracking


def test_a_column_name_that_mlflow_refuses_is_logged_all_the_same(tmp_path) -> None:
    tracking = Tracking(f"sqlite:///{tmp_path / 'mlflow.db'}", artifact_root=tmp_path / "artifacts")
    run_id = tracking.start_run("cards", run_name="first", tags={})

    tracking.log_config(run_id, {"columns": {"Amount (EUR)": {"min": 0}, "is new?": {"min": 1}}})

    params = tracking.client.get_run(run_id).data.params
    assert params == {"columns.Amount _EUR_.min": "0", "columns.is new_.min": "1"}
    config = tracking.client.download_artifacts(run_id, "config.json", str(tmp_path))
    assert "Amount (EUR)" in Path(config).read_text()
