"""A tiny shop: a linear network written by hand, so that every score can be added up.

Log-odds = -2 + 0.01 AMOUNT + 1.5 IS_NIGHT - 0.002 AGE_DAYS + 0.5 DISTANCE
           + {DE 0, FR 0.5, XX 2} + {device 1: 0, device 2: 1}; anything missing or unknown adds 0.

The corner shop looks back in time, too:
           + 0.5 CUSTOMER_count_1d + 0.001 CUSTOMER_amount_sum_1d + 2 CUSTOMER_label_rate_7d
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper, numpy_helper

from balancing.calibration.policy import Policy
from balancing.inference import OnnxModel
from features.contract import Contract, parse_contract
from features.feature_set import FeatureSet
from infra.storage import sha256_json
from serving.bundle import BundleManifest, write_bundle
from serving.golden import GoldenRows
from serving.launch import free_port, running_service, wait_until_ready
from serving.live import LiveRecord
from serving.model_store import ModelStore
from serving.prepared_rows import velocity_of
from serving.requests import request_rows
from serving.scorer import Scorer
from serving.verification import load_scorer

SHOP: dict[str, Any] = {
    "name": "shop",
    "columns": {
        "id": "ORDER_ID",
        "event_time": "PLACED_AT",
        "amount": {"column": "AMOUNT", "currency": "EUR"},
        "entities": ["CUSTOMER"],
        "numeric": ["AGE_DAYS", "DISTANCE"],
        "categorical": ["COUNTRY", "DEVICE"],
        "optional": ["DISTANCE", "DEVICE"],
    },
    "label": {"column": "IS_FRAUD"},
    "derived": {"IS_NIGHT": "CASE WHEN EXTRACT(hour FROM PLACED_AT) <= 6 THEN 1 ELSE 0 END"},
    "expectations": {
        "AMOUNT": {"min": 0, "max": 10000},
        "AGE_DAYS": {"null": False},
        "ORDER_ID": {"pattern": "^[0-9]+$"},
        "DEVICE": {"values": [1, 2]},
    },
    "reasons": {"deny": ["AGE_DAYS"], "text": {"AMOUNT": "Amount unusual for this customer"}},
}
CORNER: dict[str, Any] = SHOP | {
    "name": "corner",
    "label": {"column": "IS_FRAUD", "delay": "1d", "absent_means": "negative"},
    "velocity": [
        {"entity": "CUSTOMER", "windows": ["1d"], "aggregates": ["count", "amount_sum"]},
    ],
    "label_rate": [{"entity": "CUSTOMER", "windows": ["7d"]}],
}
WEIGHTS = {
    "AMOUNT": 0.01, "AGE_DAYS": -0.002, "DISTANCE": 0.5, "IS_NIGHT": 1.5,
    "CUSTOMER_count_1d": 0.5, "CUSTOMER_amount_sum_1d": 0.001,
    "CUSTOMER_label_rate_7d": 2.0, "CUSTOMER_label_count_7d": 0.0,
}  # fmt: skip
CATEGORY_WEIGHTS = {"COUNTRY": {"DE": 0.0, "FR": 0.5, "XX": 2.0}, "DEVICE": {"1": 0.0, "2": 1.0}}
INTERCEPT = -2.0
BENIGN = {
    "AMOUNT": 20.0, "AGE_DAYS": 400.0, "DISTANCE": 0.0, "IS_NIGHT": 0.0, "COUNTRY": "DE",
    "DEVICE": "1", "CUSTOMER_count_1d": 0.0, "CUSTOMER_label_rate_7d": 0.0,
}  # fmt: skip
INPUT_TYPES = {
    "ORDER_ID": "integer", "PLACED_AT": "timestamp", "AMOUNT": "number", "CUSTOMER": "integer",
    "AGE_DAYS": "integer", "DISTANCE": "number", "COUNTRY": "text", "DEVICE": "integer",
}  # fmt: skip
ROW: dict[str, Any] = {
    "ORDER_ID": 17, "PLACED_AT": "2026-03-01T12:00:00Z", "AMOUNT": 100.0, "CUSTOMER": 5,
    "AGE_DAYS": 500, "DISTANCE": 1.0, "COUNTRY": "DE", "DEVICE": 1,
}  # fmt: skip


def shop_frame(n_rows: int = 200, *, seed: int = 0) -> pl.DataFrame:
    """A conformed table of the shop."""
    random = np.random.default_rng(seed)
    minutes = np.sort(random.integers(0, 60 * 24 * 30, n_rows))
    start = datetime(2026, 3, 1, tzinfo=UTC)
    distance = random.exponential(1.0, n_rows)
    device = random.choice(["1", "2"], n_rows).tolist()
    return pl.DataFrame(
        {
            "ORDER_ID": [str(number) for number in range(n_rows)],
            "PLACED_AT": pl.Series([start] * n_rows).dt.offset_by(
                pl.Series([f"{m}m" for m in minutes])
            ),
            "AMOUNT": np.round(random.lognormal(4.0, 1.0, n_rows), 2),
            "CUSTOMER": random.integers(1, 50, n_rows).astype(str),
            "AGE_DAYS": random.integers(0, 1000, n_rows).astype(np.float64),
            "DISTANCE": [None if at % 7 == 0 else float(distance[at]) for at in range(n_rows)],
            "COUNTRY": random.choice(["DE", "DE", "FR", "XX"], n_rows),
            "DEVICE": [None if at % 11 == 0 else device[at] for at in range(n_rows)],
        },
        schema_overrides={"PLACED_AT": pl.Datetime("us", "UTC")},
    )


def linear_onnx(feature_set: FeatureSet, *, intercept: float = INTERCEPT) -> bytes:
    """The network of the module's docstring, for the feature set's order and codes."""
    weights = np.array([[WEIGHTS[name]] for name in feature_set.numeric], dtype=np.float32)
    node, constants = helper.make_node, []

    def constant(name: str, value: Any, dtype: type = np.float32) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    inputs = [helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["n", len(weights)])]
    nodes = [
        node("IsNaN", ["numeric"], ["missing"]),
        node("Where", ["missing", constant("zero", 0), "numeric"], ["known"]),
        node("MatMul", ["known", constant("weights", weights)], ["from_numbers"]),
        node("Add", ["from_numbers", constant("intercept", intercept)], ["sum0"]),
    ]
    total = "sum0"
    for at, name in enumerate(feature_set.categorical):
        known = feature_set.vocabularies[name].values
        table = [[0.0], [0.0], *([CATEGORY_WEIGHTS[name][value]] for value in known)]
        nodes += [
            node("Gather", ["categorical", constant(f"at{at}", at, np.int64)], [f"c{at}"], axis=1),
            node("Gather", [constant(f"table{at}", table), f"c{at}"], [f"v{at}"], axis=0),
            node("Add", [total, f"v{at}"], [f"sum{at + 1}"]),
        ]
        total = f"sum{at + 1}"
    if feature_set.categorical:
        shape = ["n", len(feature_set.categorical)]
        inputs.append(helper.make_tensor_value_info("categorical", TensorProto.INT64, shape))
    halves = constant("halves", [[-0.5, 0.5]])
    nodes.append(node("MatMul", [total, halves], ["logits"]))
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph(nodes, "linear", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def make_policy(
    model_sha256: str,
    logits: np.ndarray,
    *,
    review: float = 0.3,
    decline: float = 0.8,
    exploration: dict[str, Any] | None = None,
) -> Policy:
    """A policy without calibration that reviews from 0.3 and declines from 0.8."""
    log_odds = logits[:, 1].astype(np.float64) - logits[:, 0]
    risk_score = 1 / (1 + np.exp(-log_odds))
    decision = (risk_score >= review).astype(int) + (risk_score >= decline)
    return Policy.seal(
        created_at=datetime(2026, 4, 1, tzinfo=UTC),
        model_sha256=model_sha256,
        post_processing={
            "kind": "class_dependent",
            "class_counts": (190, 10),
            "mean_logits": (0.0, 0.0),
        },
        calibrator={"kind": "identity"},
        thresholds={"review": _threshold(review), "decline": _threshold(decline)},
        score_map={
            "risk_score": (0.0, 1.0),
            "false_positive_rate": (1.0, 0.0),
            "alert_rate": (1.0, 0.0),
            "rows_per_day": 100.0,
        },
        golden={
            "logits": [tuple(map(float, row)) for row in logits],
            "risk_score": risk_score.tolist(),
            "decision": decision.tolist(),
        },
        calibration_data={"fingerprint": "0", "n_rows": 200, "class_counts": (190, 10)},
        exploration=exploration,
        actor="tests",
        reason="tests",
    )


def _threshold(value: float) -> dict[str, Any]:
    return {
        "objective": {"objective": "max_fpr", "max_fpr": 0.1},
        "threshold": value,
        "interval": {"value": value, "low": value, "high": value},
        "feasible_share": 1.0,
        "achieved": {
            "n_alerts": 1, "alert_rate": 0.1, "false_positive_rate": 0.1, "recall": 0.5,
            "precision": 0.5,
        },
        "reason": "tests",
    }  # fmt: skip


def make_home(
    home: Path,
    *,
    contract: dict[str, Any] | None = None,
    version: str = "1",
    intercept: float = INTERCEPT,
    live: bool = True,
    exploration: dict[str, Any] | None = None,
) -> ModelStore:
    """A state folder with one model, released as champion unless told otherwise."""
    store = ModelStore(home)
    resolved = parse_contract(contract or SHOP, source="tests")
    frame = shop_frame()
    feature_set = FeatureSet.fit(resolved, frame, input_types=INPUT_TYPES)
    model = linear_onnx(feature_set, intercept=intercept)
    golden_frame = with_some_past(frame.head(16), resolved)
    arrays = feature_set.transform(golden_frame)
    logits = OnnxModel(model).logits(arrays.numeric, arrays.categorical)
    golden = GoldenRows.build(
        request_rows(golden_frame, resolved, INPUT_TYPES),
        numeric=arrays.numeric,
        categorical=arrays.categorical,
        logits=logits,
        velocity=velocity_of(golden_frame, resolved),
    )
    with store.new_bundle(resolved.name, version) as folder:
        manifest = write_bundle(
            folder, model=model, manifest=make_manifest(resolved, feature_set), golden=golden
        )
    policy = make_policy(manifest.files["model.onnx"], logits, exploration=exploration)
    policy_version = store.add_policy(resolved.name, policy)
    if live:
        record = LiveRecord(version, policy_version, 1)
        store.live.compare_and_swap(resolved.name, store.live.get(resolved.name), record)
    return store


def with_some_past(frame: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """The table with numbers in place of its features over time, every fifth one missing."""
    values = pl.Series([None if at % 5 == 4 else at / 8 for at in range(frame.height)])
    return frame.with_columns(values.alias(name) for name in contract.velocity_features)


def make_manifest(contract: Contract, feature_set: FeatureSet) -> BundleManifest:
    """What a training run would say of itself."""
    return BundleManifest(
        name=contract.name,
        contract=contract,
        feature_set=feature_set.to_json(),
        feature_set_hash=feature_set.hash,
        strategy={"kind": "erm"},
        training={"seed": 0},
        metrics={"average_precision": {"value": 0.5, "low": 0.4, "high": 0.6}},
        data=({"name": "shop.parquet", "sha256": sha256_json("shop"), "rows": 200},),
        code_revision="0" * 40,
        mlflow_run_id=None,
        created_at=datetime(2026, 4, 1, tzinfo=UTC),
        class_counts=(190, 10),
        mean_logits=(0.0, 0.0),
        benign=dict(BENIGN),
    )


@pytest.fixture(scope="session")
def shop_row() -> Callable[..., dict[str, Any]]:
    """A row of the shop with some fields changed; ``...`` leaves a field out."""

    def build(**changes: Any) -> dict[str, Any]:
        return {key: value for key, value in (ROW | changes).items() if value is not ...}

    return build


@pytest.fixture(scope="session")
def new_home() -> Callable[..., ModelStore]:
    """Makes state folders with a model."""
    return make_home


@pytest.fixture(scope="session")
def new_policy() -> Callable[..., Policy]:
    """Makes policies for a model's hash and golden logits."""
    return make_policy


@pytest.fixture(scope="session")
def table() -> Callable[..., pl.DataFrame]:
    """Makes conformed tables of the shop."""
    return shop_frame


@pytest.fixture(scope="session")
def shop_contract() -> dict[str, Any]:
    """The shop's contract, to be changed in copies only."""
    return SHOP


@pytest.fixture(scope="session")
def corner_contract() -> dict[str, Any]:
    """The corner shop's contract, to be changed in copies only."""
    return CORNER


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    """A state folder whose champion is the shop's model; not to be changed."""
    return make_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def scorer(store: ModelStore) -> Scorer:
    """The shop's verified scorer."""
    return load_scorer(store, "shop")


@pytest.fixture(scope="session")
def service_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real BentoML server for two models, the shop as default."""
    home = tmp_path_factory.mktemp("served")
    make_home(home)
    make_home(home, contract=SHOP | {"name": "outlet"}, intercept=0.0)
    port = free_port()
    with (
        (home / "service.log").open("w") as log,
        running_service(["shop", "outlet"], port=port, home=home, log=log.fileno()),
    ):
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, timeout=60)
        yield url


@pytest.fixture(scope="session")
def client(service_url: str) -> Iterator[httpx.Client]:
    """A client of the real server."""
    with httpx.Client(base_url=service_url, timeout=10) as client:
        yield client
