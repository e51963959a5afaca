"""Bundles and policies: bytes against seal, signature, and what the ledger recorded of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.verifier.canonical import canonical_bytes, sha256_hex
from infra.verifier.findings import Findings
from infra.verifier.signatures import Trust
from infra.verifier.told import Told

_SEALED = ("model.onnx", "golden.parquet")
_MANIFEST, _SEAL, _SIGNATURE = "manifest.json", "bundle.sha256", ".sig"


def check_objects(home: Path, told: Told, trust: Trust, findings: Findings) -> None:
    """Check every bundle and policy of a state folder, and the files beside them.

    Args:
        home: The state folder.
        told: By the ledger.
        trust: Whose signatures count.
        findings: What does not hold goes there.
    """
    if not trust.public_keys:
        findings.note("No public key is at hand: signatures are not checked.")
    found = {(name, version): path for name, version, path in _numbered(home / "models")}
    for (name, version), folder in found.items():
        _check_bundle(home, folder, told.bundles.get((name, version)), trust, findings)
    for name, version in told.bundles.keys() - found.keys():
        findings.broken("bundle", f"{name}:{version}", "the ledger registered it, and it is gone")
    findings.count("bundles", len(found))
    policies = {(name, version): path for name, version, path in _numbered(home / "policies")}
    for (name, version), path in policies.items():
        _check_policy(path, told.policies.get((name, version)), trust, findings)
    for name, version in told.policies.keys() - policies.keys():
        what = "the ledger tells of it, and it is gone"
        findings.broken("policy", f"{name} policy {version}", what)
    findings.count("policies", len(policies))
    for name, digest in told.rules.items():
        content = _bytes(home / "gates" / f"{name}.toml")
        if content is None or sha256_hex(content) != digest:
            what = "it is not the gate's rule that the ledger tells of"
            findings.broken("rule", f"gates/{name}.toml", what)


def _numbered(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield name, version and place of what lies under its number."""
    for path in sorted(folder.glob("*/*")):
        if path.stem.isdecimal() and (path.suffix == ".json" or path.is_dir()):
            yield path.parent.name, path.stem, path


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _check_bundle(
    home: Path, folder: Path, told: dict[str, Any] | None, trust: Trust, findings: Findings
) -> None:
    name, version = folder.parent.name, folder.name
    where = f"{name}:{version}"
    seal, manifest = _bytes(folder / _SEAL), _bytes(folder / _MANIFEST)
    if seal is None or manifest is None:
        missing = _SEAL if seal is None else _MANIFEST
        findings.broken("bundle", where, f"{missing} is missing")
        return
    if seal != f"{sha256_hex(manifest)}  {_MANIFEST}\n".encode():
        what = f"{_MANIFEST} or {_SEAL} was changed after it was written"
        findings.broken("bundle", where, what)
        return
    try:
        sealed = json.loads(manifest)
        files, kept = dict(sealed["files"]), dict(sealed.get("kept_files") or {})
    except (ValueError, KeyError, TypeError):
        findings.broken("bundle", where, f"{_MANIFEST} cannot be read")
        return
    signature = _bytes(folder / f"{_SEAL}{_SIGNATURE}")
    problem = trust.problem("bundle", name, version, seal, signature)
    if problem is not None:
        findings.broken("bundle", where, problem)
    beside = home / "calibration" / name / version
    if kept and not beside.is_dir():
        # A package has none: later policies are not made there.
        findings.note(f"What later policies of {where} are made from is not here.")
        kept = {}
    paths = {file: folder / file for file in _SEALED} | {file: beside / file for file in kept}
    for file, path in paths.items():
        content = _bytes(path)
        if content is None or sha256_hex(content) != {**kept, **files}.get(file):
            what = "is missing" if content is None else "was changed after it was written"
            findings.broken("bundle", where, f"{file} {what}")
    _hold_bundle(where, seal, files, told, findings)


def _hold_bundle(
    where: str, seal: bytes, files: dict[str, str], told: dict[str, Any] | None, findings: Findings
) -> None:
    if told is None:
        findings.note(f"The ledger does not tell of bundle {where}.")
    elif told.get("bundle_sha256", sha256_hex(seal)) != sha256_hex(seal):
        findings.broken("bundle", where, "it is not the one that the ledger registered")
    elif told.get("model_sha256") != files.get("model.onnx"):
        findings.broken("bundle", where, "its network is not the one that the ledger registered")


def _check_policy(
    path: Path, told: dict[str, Any] | None, trust: Trust, findings: Findings
) -> None:
    name, version = path.parent.name, path.stem
    where, content = f"{name} policy {version}", _bytes(path)
    try:
        policy = json.loads(content or b"")
        own_id = policy.pop("policy_id")
        is_as_written = canonical_bytes({**policy, "policy_id": own_id}) + b"\n" == content
        is_as_written = is_as_written and sha256_hex(canonical_bytes(policy)) == own_id
    except (ValueError, KeyError, TypeError, AttributeError):
        own_id, is_as_written = None, False
    if not is_as_written or content is None:
        findings.broken("policy", where, "it was changed after it was written")
        return
    signature = _bytes(path.with_name(path.name + _SIGNATURE))
    problem = trust.problem("policy", name, version, content, signature)
    if problem is not None:
        findings.broken("policy", where, problem)
    if told is None:
        findings.note(f"The ledger does not tell of {where}.")
    elif (
        told.get("policy_sha256", sha256_hex(content)) != sha256_hex(content)
        or told.get("policy_id", own_id) != own_id
    ):
        findings.broken("policy", where, "it is not the one that the ledger tells of")
