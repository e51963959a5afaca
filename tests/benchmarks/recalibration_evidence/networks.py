"""One trained network per data set and kind, with its logits on calibration and test rows.

Everything is made by the project's own functions and kept under its content address, so a second
run reads what the first one made.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from balancing.calibration.temperatures import log_odds
from balancing.inference import OnnxModel
from balancing.networks.mlp import MlpConfig
from balancing.strategies.erm import ErmConfig
from features.contract import Contract, read_contract
from features.ingestion.tables import fingerprint
from features.money import minor_units_per_major
from flows.featurization import TABLE_FILE, featurize, read_features
from flows.fitting import as_arrays, rows_of
from flows.run_config import RunConfig
from flows.run_folder import RunFolder, read_json
from flows.training import train_model
from flows.validation import DATA, validate_sources
from flows.workspace import Workspace
from infra.settings import Settings
from infra.storage import sha256_file

FILES = {
    "creditcard": "creditcard.parquet",
    "credit_default": "credit_default.parquet",
    "card_stream": "card_stream.parquet",
    "card_stream_alone": "card_stream.parquet",
}
"""File of each set; ``card_stream_alone`` has the features of the row and none over time."""

CONFIGS = {
    "default": RunConfig(),
    "single head": RunConfig(strategy=ErmConfig(network=MlpConfig(n_members=1))),
}
_LOGITS = ["logit_negative", "logit_positive"]


@dataclass(frozen=True)
class Part:
    """Rows with their logits, from networks that were not fitted on them."""

    frame: pl.DataFrame

    @property
    def logits(self) -> np.ndarray:
        """As the network gave them, ``(n_rows, 2)`` float32."""
        return self.frame.select(_LOGITS).to_numpy()

    @property
    def log_odds(self) -> np.ndarray:
        """Positive's logit minus the negative's."""
        return log_odds(self.logits)

    @property
    def label(self) -> np.ndarray:
        """0 or 1."""
        return self.frame["label"].to_numpy().astype(np.int64)

    def column(self, name: str) -> np.ndarray | None:
        """A column's values, or nothing where no row has one."""
        values = self.frame[name]
        return None if values.null_count() == len(values) else values.to_numpy()

    def take(self, index: np.ndarray) -> "Part":
        """Some of the rows."""
        return Part(self.frame[index])


@dataclass(frozen=True)
class TrainedNetwork:
    """A network's logits on both parts, and its training record."""

    name: str
    contract: Contract
    training: dict[str, Any]
    train: pl.DataFrame
    calibration: Part
    test: Part

    @property
    def minor_units(self) -> int:
        """Minor units in one unit of the contract's currency."""
        amount = self.contract.columns.amount
        return 100 if amount is None else minor_units_per_major(amount.currency)


def trained_network(name: str, kind: str, *, data_root: Path, home: Path) -> TrainedNetwork:
    """Train a network on a data set, or find the one trained before."""
    features = feature_folder(name, data_root, home)
    config = CONFIGS[kind]
    key = _key(sha256_file(features / TABLE_FILE), config.model_dump_json())
    run = RunFolder(home / "evidence" / f"{name}-{kind.replace(' ', '_')}-{key}")
    run.root.mkdir(parents=True, exist_ok=True)
    if not run.training.is_file():
        train_model(features, config, run, device="cpu")
    table, feature_set = read_features(features)
    logits_path = run.root / f"logits-{sha256_file(run.onnx)[:16]}.parquet"
    if not logits_path.is_file():
        arrays = as_arrays(table, feature_set)
        logits = OnnxModel(run.onnx, threads=2).logits(arrays.numeric, arrays.categorical)
        table.select("row_id").with_columns(
            logit_negative=logits[:, 0], logit_positive=logits[:, 1]
        ).write_parquet(logits_path)
    scored = table.with_columns(pl.read_parquet(logits_path).select(_LOGITS))
    calibrated = pl.read_parquet(run.calibration).select("row_id", *_LOGITS)
    training = read_json(run.training)
    return TrainedNetwork(
        name=name.removesuffix("_alone"),
        contract=feature_set.contract,
        training=training,
        train=_fitted_on(scored, training),
        calibration=Part(
            calibrated.join(table, on="row_id", how="left", maintain_order="left", validate="1:1")
        ),
        test=Part(scored[rows_of(table, "test")]),
    )


def _fitted_on(scored: pl.DataFrame, training: dict[str, Any]) -> pl.DataFrame:
    """Return the rows that the network was fitted on, recognised by their class counts."""
    for parts in (("train",), ("train", "validation", "calibration")):
        rows = scored.filter(pl.col("part").is_in(parts))
        positives = int(rows["label"].sum())
        if [rows.height - positives, positives] == training["class_counts"]:
            return rows
    raise ValueError("The training record fits neither the train part nor all but the test part.")


def feature_folder(name: str, data_root: Path, home: Path) -> Path:
    """Validate and featurize, unless the same file and contract were before."""
    workspace, file = Workspace.open(Settings(home=home)), data_root / FILES[name]
    contract = read_contract(name.removesuffix("_alone"))
    if name.endswith("_alone"):
        contract = contract.model_copy(update={"velocity": (), "label_rate": ()})
    sha256 = fingerprint(str(file)).sha256
    # Code changes make another feature table; only the validated rows are taken from before.
    stem = _key(sha256, contract.model_dump_json())
    run = RunFolder(workspace.root / "evidence" / f"{name}-validated-{stem}")
    types_path = run.root / "input_types.json"
    if not types_path.is_file():
        run.root.mkdir(parents=True, exist_ok=True)
        validated = validate_sources(
            {DATA: str(file)}, contract, run, workspace, contract_reference=contract.name
        )
        types_path.write_text(json.dumps(validated.input_types), "utf-8")
    names = pl.read_parquet_schema(run.passed_of(DATA)).keys()
    return featurize(
        run.passed_of(DATA),
        contract.resolve(list(names)),
        input_types=json.loads(types_path.read_text("utf-8")),
        fingerprints=[sha256],
        root=workspace.feature_tables,
    )


def _key(*parts: str) -> str:
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]
