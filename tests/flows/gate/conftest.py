"""A till whose models are written by hand, so that which one is better is known.

A row's SIGNAL is normal with mean 2 for fraud and 0 else, so its log-odds are the base rate's plus
2 SIGNAL - 2: with these weights a model is calibrated and cannot be better. MLflow is away, which
no verdict minds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from onnx import TensorProto, helper, numpy_helper

from balancing.calibration.policy import Policy
from balancing.inference import OnnxModel
from features.contract import Contract, parse_contract
from features.feature_set import FeatureSet
from flows.gate.judging import JudgeRequest, judge_challenger
from flows.gate.rule import GateRule
from flows.gate.verdict import Verdict
from flows.kept_rows import CALIBRATION_FILE
from flows.policy_release import POLICY_CREATED
from infra.ledger import Ledger
from infra.settings import Settings
from infra.storage import sha256_file, sha256_json
from serving.bundle import BundleManifest, write_bundle
from serving.golden import GoldenRows
from serving.live import CHALLENGER, CHAMPION, LiveRecord
from serving.model_store import ModelStore
from serving.requests import request_rows

START = datetime(2026, 1, 1, tzinfo=UTC)
FITTED_UNTIL = START + timedelta(days=20)
CALIBRATED_UNTIL = START + timedelta(days=30)
BASE_RATE = 0.05
BEST = {"SIGNAL": 2.0}
BEST_INTERCEPT = float(np.log(BASE_RATE / (1 - BASE_RATE))) - 2.0

TILL: dict[str, Any] = {
    "name": "till",
    "columns": {
        "id": "ORDER",
        "event_time": "AT",
        "amount": {"column": "AMOUNT", "currency": "EUR"},
        "numeric": ["SIGNAL", "NOISE"],
        "categorical": ["WAY"],
        "groups": ["REGION"],
    },
    "label": {"column": "FRAUD", "delay": "7d"},
    "policy": {"segments": ["WAY"]},
}
INPUT_TYPES = {
    "ORDER": "integer", "CARD": "integer", "AT": "timestamp", "AMOUNT": "number",
    "SIGNAL": "number", "NOISE": "number", "WAY": "text",
}  # fmt: skip


def till_rows(n_rows: int = 6_000, *, seed: int = 0, days: float = 90.0) -> pl.DataFrame:
    """Rows of the till from its start on, evenly in time, one in twenty of them fraud."""
    random = np.random.default_rng(seed)
    label = (random.random(n_rows) < BASE_RATE).astype(int)
    seconds = np.sort(random.uniform(0, 86_400 * days, n_rows)).astype(int)
    return pl.DataFrame(
        {
            "ORDER": np.arange(n_rows),
            "CARD": random.integers(1, 500, n_rows),
            "AT": [START + timedelta(seconds=int(each)) for each in seconds],
            "AMOUNT": np.round(random.lognormal(4.0, 0.5, n_rows), 2),
            "SIGNAL": random.normal(2.0 * label, 1.0),
            "NOISE": random.normal(0.0, 1.0, n_rows),
            "WAY": random.choice(["chip", "web"], n_rows),
            "REGION": random.choice(["north", "south"], n_rows),
            "FRAUD": label,
        },
        schema_overrides={"AT": pl.Datetime("us", "UTC")},
    )


def linear_network(
    feature_set: FeatureSet, weights: Mapping[str, float], intercept: float
) -> bytes:
    """A network whose log-odds are a weighted sum of numbers; categories add nothing."""
    column = np.array([[weights.get(name, 0.0)] for name in feature_set.numeric], np.float32)
    constants = [
        numpy_helper.from_array(column, "weights"),
        numpy_helper.from_array(np.float32(intercept), "intercept"),
        numpy_helper.from_array(np.array([[-0.5, 0.5]], np.float32), "halves"),
    ]
    nodes = [
        helper.make_node("MatMul", ["numeric", "weights"], ["sum"]),
        helper.make_node("Add", ["sum", "intercept"], ["log_odds"]),
        helper.make_node("MatMul", ["log_odds", "halves"], ["logits"]),
    ]
    inputs = [
        helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["n", len(column)]),
        helper.make_tensor_value_info("categorical", TensorProto.INT64, ["n", 1]),
    ]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph(nodes, "till", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    content: bytes = model.SerializeToString()
    return content


def till_policy(
    model_sha256: str,
    logits: np.ndarray,
    *,
    fingerprint: str,
    review: float | None = 0.2,
    decline: float | None = 0.8,
    objective: Mapping[str, Any] | None = None,
) -> Policy:
    """A policy that takes the network's word for the probability."""
    score = 1 / (1 + np.exp(-(logits[:, 1].astype(np.float64) - logits[:, 0])))
    ends = [np.inf if each is None else each for each in (review, decline)]
    decision = (score >= ends[0]).astype(int) + (score >= ends[1])
    wanted = dict(objective or {"objective": "max_fpr", "max_fpr": 0.05})

    def threshold(value: float | None) -> dict[str, Any]:
        return {
            "objective": wanted,
            "threshold": value,
            "interval": {"value": value, "low": value, "high": value},
            "feasible_share": 1.0,
            "achieved": {
                "n_alerts": 1, "alert_rate": 0.1, "false_positive_rate": 0.1, "recall": 0.5,
                "precision": 0.5,
            },
            "reason": "tests",
        }  # fmt: skip

    return Policy.seal(
        created_at=CALIBRATED_UNTIL,
        model_sha256=model_sha256,
        post_processing={"kind": "temperature"},
        calibrator={"kind": "identity"},
        thresholds={"review": threshold(review), "decline": threshold(decline)},
        score_map={
            "risk_score": (0.0, 1.0),
            "false_positive_rate": (1.0, 0.0),
            "alert_rate": (1.0, 0.0),
            "rows_per_day": 100.0,
        },
        golden={
            "logits": [tuple(map(float, row)) for row in logits],
            "risk_score": score.tolist(),
            "decision": decision.tolist(),
        },
        calibration_data={"fingerprint": fingerprint, "n_rows": 10, "class_counts": (9, 1)},
        actor="tests",
        reason="tests",
    )


@dataclass(frozen=True)
class Till:
    """A state folder in which versions of the till are released by hand."""

    home: Path
    contract: Contract

    @property
    def store(self) -> ModelStore:
        return ModelStore(self.home)

    @property
    def settings(self) -> Settings:
        """MLflow refuses this kind of store: it is away."""
        return Settings(home=self.home, tracking_uri="file:/nowhere")

    def release(
        self,
        alias: str,
        weights: Mapping[str, float] = BEST,
        *,
        intercept: float = BEST_INTERCEPT,
        fitted_until: datetime | None = FITTED_UNTIL,
        calibrated_until: datetime = CALIBRATED_UNTIL,
        **policy: Any,
    ) -> str:
        """Release a version under an alias and return its number."""
        store, name = self.store, self.contract.name
        version = str(len(store.versions(name)) + 1)
        frame = till_rows(40).with_columns(pl.col("ORDER", "CARD").cast(pl.String))
        feature_set = FeatureSet.fit(self.contract, frame, input_types=INPUT_TYPES, min_count=1)
        model = linear_network(feature_set, weights, intercept)
        arrays = feature_set.transform(frame)
        logits = OnnxModel(model).logits(arrays.numeric, arrays.categorical)
        kept = self.home / CALIBRATION_FILE
        pl.DataFrame({"event_time": [START, calibrated_until]}).write_parquet(kept)
        store.keep(name, version, [kept])
        manifest = BundleManifest(
            name=name,
            contract=self.contract,
            feature_set=feature_set.to_json(),
            feature_set_hash=feature_set.hash,
            strategy={"kind": "erm"},
            training={"seed": 0},
            metrics={},
            data=({"name": "till.parquet", "sha256": sha256_json("till"), "rows": 40},),
            code_revision="0" * 40,
            mlflow_run_id=None,
            created_at=CALIBRATED_UNTIL,
            class_counts=(38, 2),
            mean_logits=(0.0, 0.0),
            benign={"AMOUNT": 50.0, "SIGNAL": 0.0, "NOISE": 0.0, "WAY": "chip"},
            fitted_until=fitted_until,
            kept_files={CALIBRATION_FILE: sha256_file(kept)},
        )
        with store.new_bundle(name, version) as folder:
            golden = GoldenRows.build(
                request_rows(frame, self.contract, INPUT_TYPES),
                numeric=arrays.numeric,
                categorical=arrays.categorical,
                logits=logits,
            )
            sealed = write_bundle(folder, model=model, manifest=manifest, golden=golden)
        made = till_policy(
            sealed.files["model.onnx"], logits, fingerprint=sha256_file(kept), **policy
        )
        record = LiveRecord(version, store.add_policy(name, made), 1)
        store.live.compare_and_swap(name, store.live.get(name, alias=alias), record, alias=alias)
        return version

    def judge(self, *data: Path, rule: GateRule | None = None, **request: Any) -> Verdict:
        """Judge what waits as challenger."""
        asked = JudgeRequest(
            name=self.contract.name,
            data=tuple(map(str, data)),
            actor="ana",
            reason="tests",
            rule=rule,
            **request,
        )
        return judge_challenger(self.settings, asked)


@pytest.fixture(scope="session")
def new_till(tmp_path_factory) -> Callable[..., Till]:
    """Makes state folders without a model."""

    def make(**changes: Any) -> Till:
        home = tmp_path_factory.mktemp("till")
        return Till(home, parse_contract(TILL | changes, source="tests"))

    return make


@pytest.fixture
def till(new_till) -> Till:
    """A till whose champion is as good as can be."""
    made: Till = new_till()
    made.release(CHAMPION)
    return made


@pytest.fixture(scope="session")
def rows(tmp_path_factory) -> Path:
    """90 days of the till, labels and all."""
    path = tmp_path_factory.mktemp("till") / "till.parquet"
    till_rows().write_parquet(path)
    return path


@pytest.fixture(scope="session")
def start() -> datetime:
    """When the till's first row happened."""
    return START


@pytest.fixture
def later_policy(till) -> Callable[..., str]:
    """Makes a policy of other rows for the champion; it waits as challenger."""

    def make(*, calibration: Mapping[str, Any] | None) -> str:
        store = till.store
        bundle = store.bundle("till", "1")
        made = till_policy(
            bundle.model_sha256, bundle.golden.logits, fingerprint="another file", review=0.3
        )
        version = store.add_policy("till", made)
        if calibration is not None:
            Ledger(till.settings.database).append(
                POLICY_CREATED,
                "till",
                actor="tests",
                reason="tests",
                details={"policy_version": version, "calibration": dict(calibration)},
            )
        record = LiveRecord("1", version, 1)
        store.live.compare_and_swap("till", None, record, alias=CHALLENGER)
        return version

    return make
