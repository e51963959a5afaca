"""How fast the scorer is beside ONNX Runtime alone, on creditcard and the same graph.

Run it with ``python tests/benchmarks/bench_scoring.py [bundle folder of a creditcard model]``.
Without a bundle the graph is an ensemble of three 30-256-256-1 networks with random weights, which
costs the same as trained ones. The goal is a ratio of at least 0.7.
"""

import argparse
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
import polars as pl
from onnx import TensorProto, helper, numpy_helper

from balancing.calibration.policy import Policy
from features.contract import read_contract
from features.feature_set import FeatureSet
from features.feature_table import with_row_id
from features.ingestion.conforming import conform
from features.ingestion.tables import read_table
from flows.scoring import answers
from serving.bundle import BundleManifest, ModelBundle, read_bundle, write_bundle
from serving.golden import GoldenRows
from serving.requests import request_rows
from serving.scorer import Scorer

REPOSITORY = Path(__file__).resolve().parents[2]
N_MEMBERS, WIDTH = 3, 256
REPEATS = 3


def main() -> None:
    """Print rows a second of both, and the ratio, for each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", nargs="?", type=Path)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    root = Path(os.environ.get("WHITECROW_DATA_ROOT", REPOSITORY / "../shared/data"))
    raw = read_table(root / "creditcard.parquet")
    contract = read_contract("creditcard").resolve(raw.columns)
    frame = conform(raw, contract)
    with TemporaryDirectory() as folder:
        bundle = (
            read_bundle(arguments.bundle)
            if arguments.bundle
            else random_bundle(Path(folder), frame, contract)
        )
        for threads in arguments.threads:
            _report(bundle, frame, threads)
            _report_stages(bundle, root / "creditcard.parquet", frame, threads)


def _report(bundle: ModelBundle, frame: pl.DataFrame, threads: int) -> None:
    scorer = Scorer(
        bundle,
        stopping_policy(bundle, frame),
        model_version="1",
        policy_version="1",
        threads=threads,
    )
    arrays = scorer.score_frame(frame, with_reasons=False).arrays
    bare_rate, scorer_rate = 0.0, 0.0
    bare = _bare(bundle.model, arrays.numeric, arrays.categorical, threads)
    for _ in range(REPEATS):  # alternating, so that a busy machine slows both
        bare_rate = max(bare_rate, frame.height / _seconds(bare))
        scorer_rate = max(scorer_rate, frame.height / _seconds(lambda: scorer.score_frame(frame)))
    print(
        f"threads {threads}: ONNX Runtime alone {bare_rate:,.0f} rows/s, "
        f"score_frame {scorer_rate:,.0f} rows/s, ratio {scorer_rate / bare_rate:.2f}"
    )


def _report_stages(bundle: ModelBundle, source: Path, frame: pl.DataFrame, threads: int) -> None:
    """Print where the time of ``whitecrow score`` goes, from file to file."""
    scorer = Scorer(
        bundle,
        stopping_policy(bundle, frame),
        model_version="1",
        policy_version="1",
        threads=threads,
    )
    with TemporaryDirectory() as folder:
        moments = [time.perf_counter()]
        rows = conform(read_table(source), bundle.contract)
        moments.append(time.perf_counter())
        scored = scorer.score_frame(rows)
        moments.append(time.perf_counter())
        row_id = with_row_id(rows, bundle.contract)["row_id"]
        answers(row_id, scored, scorer).write_parquet(Path(folder) / "scores.parquet")
        moments.append(time.perf_counter())
    read, score, write = np.diff(moments)
    rate = rows.height / (read + score + write)
    print(
        f"  file to file {rate:,.0f} rows/s: "
        f"read {read:.2f} s, score {score:.2f} s, write {write:.2f} s"
    )


def _bare(
    model: bytes, numeric: np.ndarray, categorical: np.ndarray, threads: int
) -> Callable[[], Any]:
    """Return the fastest of some ways to run the bare session over all rows."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    inputs = {"numeric": numeric} | ({"categorical": categorical} if categorical.size else {})

    def run_in(chunk: int) -> Callable[[], None]:
        def run() -> None:
            for start in range(0, len(numeric), chunk):
                rows = slice(start, start + chunk)
                session.run(["logits"], {name: given[rows] for name, given in inputs.items()})

        return run

    return min((run_in(chunk) for chunk in (256, 1024, 8192, 1 << 30)), key=_seconds)


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def random_bundle(
    folder: Path,
    frame: pl.DataFrame,
    contract: Any,
    *,
    n_members: int = N_MEMBERS,
    width: int = WIDTH,
) -> ModelBundle:
    """Return the bundle of an ensemble with random weights, written to a folder."""
    types = dict.fromkeys(contract.request_columns, "number")
    feature_set = FeatureSet.fit(contract, frame, input_types=types)
    model = _ensemble(len(feature_set.numeric), n_members, width)
    golden_frame = frame.head(32)
    arrays = feature_set.transform(golden_frame)
    manifest = BundleManifest(
        name=contract.name, contract=contract, feature_set=feature_set.to_json(),
        feature_set_hash=feature_set.hash, strategy={}, training={}, metrics={}, data=(),
        code_revision="", mlflow_run_id=None, created_at=datetime.now(UTC), class_counts=(1, 1),
        mean_logits=(0.0, 0.0), benign=dict.fromkeys(feature_set.numeric, 0.0),
    )  # fmt: skip
    golden = GoldenRows.build(
        request_rows(golden_frame, contract, types),
        numeric=arrays.numeric,
        categorical=arrays.categorical,
        logits=np.zeros((32, 2), np.float32),
    )
    write_bundle(folder, model=model, manifest=manifest, golden=golden)
    return read_bundle(folder)


def _ensemble(n_inputs: int, n_members: int, hidden: int) -> bytes:
    """Return the mean logit of some multilayer perceptrons over scaled inputs."""
    random = np.random.default_rng(0)
    nodes, constants, outputs = [], [], []

    def weights(name: str, *shape: int) -> str:
        scale = 0.01 if shape[0] == n_inputs else 1 / np.sqrt(shape[0])  # amounts are large
        values = random.normal(0, scale, shape).astype(np.float32)
        constants.append(numpy_helper.from_array(values, name))
        return name

    shapes = [(n_inputs, hidden), (hidden, hidden), (hidden, 2)]
    for member in range(n_members):
        flow = "numeric"
        for layer, (width_in, width) in enumerate(shapes):
            key = f"{member}_{layer}"
            names = [flow, weights(f"w{key}", width_in, width), weights(f"b{key}", width)]
            nodes.append(helper.make_node("Gemm", names, [f"linear{key}"]))
            flow = f"linear{key}"
            if layer < 2:
                nodes.append(helper.make_node("Relu", [flow], [f"relu{key}"]))
                flow = f"relu{key}"
        outputs.append(flow)
    nodes.append(helper.make_node("Mean", outputs, ["logits"]))
    graph = helper.make_graph(
        nodes, "ensemble",
        [helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["n", n_inputs])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])],
        constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def stopping_policy(bundle: ModelBundle, frame: pl.DataFrame) -> Policy:
    """Return a policy that stops 0.2 % of the rows, as the positives' share suggests."""
    session = onnxruntime.InferenceSession(bundle.model, providers=["CPUExecutionProvider"])
    arrays = bundle.feature_set.transform(frame)
    inputs = {"numeric": arrays.numeric, "categorical": arrays.categorical}
    wanted = {given.name: inputs[given.name] for given in session.get_inputs()}
    logits = session.run(["logits"], wanted)[0].astype(np.float64)
    risk_score = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    review = float(np.quantile(risk_score, 0.998))
    point = {"n_alerts": 1, "alert_rate": 0.002, "false_positive_rate": 0.002, "recall": 0.5,
             "precision": 0.5}  # fmt: skip
    threshold = {
        "objective": {"objective": "max_fpr", "max_fpr": 0.002}, "threshold": review,
        "interval": {"value": review, "low": review, "high": review}, "feasible_share": 1.0,
        "achieved": point, "reason": "benchmark",
    }  # fmt: skip
    grid = np.linspace(0, 1, 200)
    return Policy.seal(
        created_at=datetime.now(UTC), model_sha256=bundle.model_sha256,
        post_processing={
            "kind": "class_dependent", "class_counts": (284315, 492), "mean_logits": (0.0, 0.0),
        },
        calibrator={"kind": "identity"},
        thresholds={"review": threshold, "decline": threshold | {"threshold": None}},
        score_map={"risk_score": tuple(grid), "false_positive_rate": tuple(1 - grid),
                   "alert_rate": tuple(1 - grid), "rows_per_day": 142_000.0},
        golden={"logits": (), "risk_score": (), "decision": ()},
        calibration_data={"fingerprint": "0", "n_rows": 1, "class_counts": (1, 1)},
        actor="benchmark", reason="benchmark",
    )  # fmt: skip


if __name__ == "__main__":
    main()
