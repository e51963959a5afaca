"""The model bundle: one immutable folder with all that scoring a row needs.

``model.onnx``, ``manifest.json``, ``golden.parquet``, and ``bundle.sha256``, which seals the
manifest; the manifest seals the other two. Every byte is hashed before it is used, and the bytes
that were hashed are the ones used.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from features.contract import Contract, ContractError
from features.feature_set import FeatureSet
from infra.errors import InputError
from infra.storage import canonical_json
from serving.golden import GoldenRows

MODEL_FILE = "model.onnx"
GOLDEN_FILE = "golden.parquet"
MANIFEST_FILE = "manifest.json"
SEAL_FILE = "bundle.sha256"
BUNDLE_FILES = (MODEL_FILE, GOLDEN_FILE, MANIFEST_FILE, SEAL_FILE)


class BundleMismatch(InputError):
    """Raised when a bundle or policy is damaged, incomplete, or does not fit its counterpart."""


class BundleManifest(BaseModel):
    """What a bundle says of itself: from which rows, by which method, with what result.

    Attributes:
        contract: The contract with its patterns resolved.
        feature_set: :meth:`features.feature_set.FeatureSet.to_json` of the fitted feature set.
        class_counts: Training rows per class, negative then positive.
        mean_logits: Mean of the training rows' logits per class.
        head: Weight norm and bias of each class, where the network has a single linear head.
        benign: Reference value of each feature: a number, a category, or None for missing.
        profile: Of the rows the model was trained from; later data is held against it.
        fitted_until: Newest event time among the rows that the network, or the length of its
            training, was chosen on; None where rows carry no time.
        test_from: Oldest event time of the test rows; None where rows carry no time.
        kept_files: SHA-256 of the files kept beside the bundle for later policies, by name.
        files: SHA-256 of every other file of the bundle, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    name: str
    contract: Contract
    feature_set: dict[str, Any]
    feature_set_hash: str
    strategy: dict[str, Any]
    training: dict[str, Any]
    metrics: dict[str, Any]
    data: tuple[dict[str, Any], ...]
    code_revision: str
    mlflow_run_id: str | None
    created_at: datetime
    class_counts: tuple[int, ...]
    mean_logits: tuple[float, ...]
    head: dict[str, tuple[float, ...]] | None = None
    benign: dict[str, float | str | None]
    profile: dict[str, Any] | None = None
    fitted_until: datetime | None = None
    test_from: datetime | None = None
    kept_files: dict[str, str] = {}
    files: dict[str, str] = {}


@dataclass(frozen=True)
class ModelBundle:
    """A bundle that was read and verified."""

    folder: Path
    manifest: BundleManifest
    feature_set: FeatureSet
    model: bytes
    golden: GoldenRows

    @property
    def contract(self) -> Contract:
        """The resolved contract that the model was trained under."""
        return self.manifest.contract

    @cached_property
    def model_sha256(self) -> str:
        """SHA-256 of the ONNX file: what a policy names as its model."""
        return self.manifest.files[MODEL_FILE]

    @property
    def benign(self) -> dict[str, float | str | None]:
        """Reference values by feature; the contract's own come before the trained ones."""
        return {**self.manifest.benign, **self.contract.reasons.benign}


def write_bundle(
    folder: Path, *, model: bytes, manifest: BundleManifest, golden: GoldenRows
) -> BundleManifest:
    """Write the four files into an empty folder and return the manifest as written.

    Stage the folder with :func:`infra.storage.immutable_folder`, so that it appears whole.
    """
    contents = {MODEL_FILE: model, GOLDEN_FILE: golden.to_parquet()}
    sealed = manifest.model_copy(
        update={"files": {name: _sha256(content) for name, content in contents.items()}}
    )
    contents[MANIFEST_FILE] = (canonical_json(sealed.model_dump(mode="json")) + "\n").encode()
    contents[SEAL_FILE] = _seal(contents[MANIFEST_FILE])
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return sealed


def read_bundle(folder: Path) -> ModelBundle:
    """Return the bundle in a folder, every byte verified.

    Raises:
        BundleMismatch: If a file is missing or changed, or was written by other code than this.
    """
    contents = {name: _read(folder, name) for name in BUNDLE_FILES}
    if contents[SEAL_FILE] != _seal(contents[MANIFEST_FILE]):
        raise _damaged(folder, _broken_end(contents[SEAL_FILE]))
    manifest = _parse_manifest(folder, contents[MANIFEST_FILE])
    for name in (MODEL_FILE, GOLDEN_FILE):
        if _sha256(contents[name]) != manifest.files.get(name):
            raise _damaged(folder, name)
    return ModelBundle(
        folder=folder,
        manifest=manifest,
        feature_set=_feature_set(folder, manifest),
        model=contents[MODEL_FILE],
        golden=GoldenRows.from_parquet(contents[GOLDEN_FILE]),
    )


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise BundleMismatch(
            f"Bundle {folder} has no readable {name} ({error.strerror}). "
            "Restore it from a backup, or train again."
        ) from None


def _parse_manifest(folder: Path, content: bytes) -> BundleManifest:
    try:
        return BundleManifest.model_validate_json(content)
    except (ValidationError, ContractError) as error:
        first = str(error).splitlines()[0]
        raise BundleMismatch(
            f"Bundle {folder}: this build cannot read its {MANIFEST_FILE} ({first}). "
            "Deploy the release that wrote it, or train again."
        ) from None


def _feature_set(folder: Path, manifest: BundleManifest) -> FeatureSet:
    feature_set = FeatureSet.from_json(manifest.feature_set)
    if feature_set.hash != manifest.feature_set_hash:
        raise BundleMismatch(
            f"Bundle {folder} expects feature set {manifest.feature_set_hash[:6]}, this build "
            f"computes {feature_set.hash[:6]}. Deploy the matching release, or train again."
        )
    return feature_set


def _damaged(folder: Path, name: str) -> BundleMismatch:
    return BundleMismatch(
        f"Bundle {folder} is damaged: {name} is not as it was written (SHA-256 differs). "
        "Restore it from a backup, or train again."
    )


def _broken_end(seal: bytes) -> str:
    """Return which of the two files that disagree is at fault, where that can be told."""
    digest, _, rest = seal.partition(b" ")
    whole = len(digest) == 64 and set(digest) <= set(b"0123456789abcdef")
    if not whole or rest != f" {MANIFEST_FILE}\n".encode():
        return SEAL_FILE
    return f"{MANIFEST_FILE} (or {SEAL_FILE})"


def _seal(manifest: bytes) -> bytes:
    """Return the seal in the format of sha256sum, so that ``sha256sum -c`` checks it too."""
    return f"{_sha256(manifest)}  {MANIFEST_FILE}\n".encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
