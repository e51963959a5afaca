"""A released version trained once more, from what is recorded of it: is it the same network?

Everything happens in a scratch folder that goes away again. Nothing is registered, and MLflow hears
nothing. The ledger hears of test rows, if they have to be read.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from balancing.calibration.temperatures import log_odds
from balancing.inference import OnnxModel
from balancing.metrics.intervals import Interval, Statistic, paired_difference
from balancing.metrics.operating_point import recall_at_fpr_of
from balancing.metrics.ranking import average_precision_of, roc_auc_of
from features.splits import TEST
from flows import lineage, pipeline
from flows.featurization import read_features
from flows.fitting import as_arrays, rows_of
from flows.pipeline import PICKED_FROM
from flows.progress import say
from flows.registration.config import RegisteredConfig
from flows.request import TrainRequest
from flows.run_config import RunConfig
from flows.run_folder import RunFolder
from flows.run_record import NothingToResume, RunRecord, read_record
from flows.workspace import Workspace
from infra.errors import InputError, Refusal
from infra.ledger import open_ledger
from infra.revision import code_revision
from infra.settings import Settings
from infra.storage import sha256_file
from serving.bundle import BundleManifest, ModelBundle
from serving.model_store import ModelStore

_METRICS: dict[str, Statistic] = {
    "average_precision": average_precision_of,
    "roc_auc": roc_auc_of,
    "recall_at_fpr_0.01": partial(recall_at_fpr_of, max_fpr=0.01),
}
_CHANGED = "+changes"


class CannotReproduce(InputError):
    """Raised when what a version was made by is not recorded any more."""


class DataChanged(Refusal):
    """Raised when a table is not the one that the version was trained on; names it."""


class OtherCode(Refusal):
    """Raised when other code is here than trained the version; says how to get there."""


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What came of training a version again.

    Attributes:
        name: The model.
        version: Its version.
        recorded_sha256: Of the released network.
        found_sha256: Of the one that was trained now.
        recorded_code: Revision of the code that trained it.
        here_code: Revision of this code.
        recorded_seed: It was trained with.
        seed: It was trained with now.
        same_features: Whether the feature table is the same; None where that was not recorded.
        differences: New less released, on the same test rows; None where the networks are one.
        ledger_sequence: Of the entry for the test rows; None where none were read.
    """

    name: str
    version: str
    recorded_sha256: str
    found_sha256: str
    recorded_code: str
    here_code: str
    recorded_seed: int
    seed: int
    same_features: bool | None
    differences: Mapping[str, Interval] | None = None
    ledger_sequence: int | None = None

    @property
    def is_identical(self) -> bool:
        """Whether both networks are the same to the bit."""
        return self.recorded_sha256 == self.found_sha256

    def to_json(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        differences = None
        if self.differences is not None:
            differences = {
                name: {"value": each.value, "low": each.low, "high": each.high}
                for name, each in self.differences.items()
            }
        return {
            "name": self.name,
            "version": self.version,
            "identical": self.is_identical,
            "model_sha256": {"recorded": self.recorded_sha256, "found": self.found_sha256},
            "code_revision": {"recorded": self.recorded_code, "here": self.here_code},
            "seed": {"recorded": self.recorded_seed, "here": self.seed},
            "same_features": self.same_features,
            "differences": differences,
            "ledger_sequence": self.ledger_sequence,
        }


def reproduce(
    settings: Settings,
    reference: str,
    *,
    actor: str,
    reason: str,
    other_code: bool = False,
    seed: int | None = None,
) -> Reproduction:
    """Train a version again and compare what comes of it.

    Args:
        settings: Where the state is.
        reference: The version.
        actor: Who asks; goes to the ledger if test rows are read.
        reason: Why; likewise.
        other_code: Whether to go on with other code than trained it.
        seed: Another seed than the recorded one, to see what seeds do.

    Raises:
        UnknownModel: If there is no such version.
        CannotReproduce: If it was not trained here, or its run's folder is gone.
        DataChanged: If a table is not the recorded one.
        OtherCode: If this is other code, unless ``other_code``.
        DataError: If a table cannot be read.
    """
    store = ModelStore.open(settings)
    name, version = store.resolve_version(reference)
    bundle = store.bundle(name, version)
    config = _config(bundle.manifest, f"{name}:{version}")
    if not other_code:
        _require_same_code(bundle.manifest.code_revision)
    run, record = _run_of(settings, bundle.manifest, f"{name}:{version}")
    changes: dict[str, Any] = {"config": config}
    if seed is not None:
        changes["config"] = config.model_copy(update={"seed": seed})
    with TemporaryDirectory(prefix=".reproduce-", dir=settings.root) as scratch:
        home = Path(scratch)
        again = RunFolder(home / "runs" / run.root.name)
        again.root.mkdir(parents=True)
        # The contract as it was resolved then: its file may say something else by now.
        again.contract.write_text(json.dumps(_contract(bundle.manifest)), "utf-8")
        request = record.request.model_copy(update=changes | {"contract": str(again.contract)})
        sources = _checked_sources(request, bundle.manifest.data)
        features = _trained(settings, request, again, sources)
        found = Reproduction(
            name=name,
            version=version,
            recorded_sha256=bundle.model_sha256,
            found_sha256=sha256_file(again.onnx),
            recorded_code=bundle.manifest.code_revision,
            here_code=code_revision(),
            recorded_seed=config.seed,
            seed=request.config.seed,
            same_features=_same_features(run, features),
        )
        if found.is_identical:
            return found
        details = {"version": version, "feature_table": features.name, "purpose": "reproduction"}
        entry = open_ledger(settings).append(
            "test_rows.read", name, actor=actor, reason=reason, details=details
        )
        return _with_differences(found, bundle, again, features, entry.sequence)


def _config(manifest: BundleManifest, what: str) -> RunConfig:
    config = RunConfig.model_validate(manifest.training["config"])
    if isinstance(config.strategy, RegisteredConfig):
        raise CannotReproduce(
            f"{what} was made elsewhere and registered: there is no training to repeat. Its file "
            f"was {config.strategy.sha256[:12]} (SHA-256)."
        )
    # What a search found is trained; it is not searched for again within a budget of time.
    return config.model_copy(update={"search": None})


def _contract(manifest: BundleManifest) -> dict[str, Any]:
    """Return the contract with its derived columns in their order, which is that of features.

    A manifest is canonical JSON, whose keys are sorted; the feature set's names are a list.
    """
    contract = manifest.contract.model_dump(mode="json")
    names = [*manifest.feature_set["numeric"], *manifest.feature_set["categorical"]]
    derived = contract["derived"]
    contract["derived"] = {name: derived[name] for name in names if name in derived} | derived
    return contract


def _require_same_code(recorded: str) -> None:
    here = code_revision()
    if recorded == here:
        if recorded.endswith(_CHANGED):
            say("careful", "the code had changes that no commit holds, and has some now")
        return
    commit = recorded.removesuffix(_CHANGED)
    way = f"git worktree add ../whitecrow-{commit[:12]} {commit}"
    if recorded.startswith("whitecrow "):
        way = f"pip install {recorded.replace(' ', '==')}"
    unsaved = " It had changes that no commit holds." if recorded.endswith(_CHANGED) else ""
    raise OtherCode(
        f"Trained by {recorded[:20]}, and this is {here[:20]}.{unsaved} To get there: {way}. To go "
        "on with this code: --other-code."
    )


def _run_of(settings: Settings, manifest: BundleManifest, what: str) -> tuple[RunFolder, RunRecord]:
    """Return the run that made a version."""
    for path in sorted(Workspace(settings).runs.glob("*/run.json"), reverse=True):
        try:
            record = read_record(RunFolder(path.parent))
        except NothingToResume:
            continue  # written by another release
        if record.mlflow_run_id == manifest.mlflow_run_id:
            return RunFolder(path.parent), record
    raise CannotReproduce(
        f"No run in {Workspace(settings).runs} made {what} (MLflow run {manifest.mlflow_run_id}): "
        "what was asked for is not recorded any more. Restore the run's folder from a backup."
    )


def _checked_sources(
    request: TrainRequest, recorded: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the fingerprints of the tables, which are those of then."""
    found = lineage.fingerprints(request)
    known = {source["role"]: source for source in recorded if source["role"] != PICKED_FROM}
    for source in found:
        then = known.get(source["role"])
        if then is None or then["sha256"] != source["sha256"]:
            expected = "none" if then is None else f"{then['sha256'][:12]} ({then['rows']:,} rows)"
            raise DataChanged(
                f"{source['path']} is not the {source['role']} table that the version was trained "
                f"on: its SHA-256 is {source['sha256'][:12]} ({source['rows']:,} rows), recorded "
                f"was {expected}. Restore the file."
            )
    return found


def _trained(
    settings: Settings, request: TrainRequest, again: RunFolder, sources: list[dict[str, Any]]
) -> Path:
    """Validate, featurize and train in the scratch folder; return the feature table's folder."""
    home = Settings(home=again.root.parents[1])
    name = request.read_contract().name
    corrected = Workspace(settings).corrections(name)
    if corrected.is_file():
        to = Workspace(home).corrections(name)
        to.parent.mkdir(parents=True)
        to.write_bytes(corrected.read_bytes())
    # The flow's own steps, one after the other, without Prefect.
    validated = pipeline.validate.fn(request, again.root)
    address = pipeline.featurize.fn(request, again.root, validated, sources)
    features = Workspace(home).feature_tables / address
    pipeline.train.fn(request, again.root, features)
    return features


def _same_features(run: RunFolder, features: Path) -> bool | None:
    """Return whether a run made the same feature table, by its address."""
    try:
        recorded = json.loads((run.steps / "featurize.json").read_text("utf-8"))["result"]
    except (OSError, ValueError, KeyError):
        return None
    return bool(recorded == features.name)


def _with_differences(
    found: Reproduction, bundle: ModelBundle, again: RunFolder, features: Path, sequence: int
) -> Reproduction:
    table, feature_set = read_features(features)
    arrays = as_arrays(table[rows_of(table, TEST)], feature_set)
    new, released = (
        log_odds(OnnxModel(model, threads=2).logits(arrays.numeric, arrays.categorical))
        for model in (again.onnx, bundle.model)
    )
    label = np.asarray(arrays.label)
    differences = {
        name: paired_difference(label, new, released, statistic)
        for name, statistic in _METRICS.items()
    }
    values = {field: getattr(found, field) for field in Reproduction.__dataclass_fields__}
    return Reproduction(**values | {"differences": differences, "ledger_sequence": sequence})
