"""Packing the service, with or without a released model, into a bento: BentoML's archive.

A bento holds our sources, the exact versions of the packages that the extra ``serve`` needs, and a
state folder with the model's bundle, its policy and the public keys that vouch for them. What
trains is not in it, nor is any secret.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra.errors import InputError, Refusal
from infra.settings import Settings
from serving.live import LiveRecord, LiveRecords
from serving.model_references import ResolvedModel
from serving.model_store import ModelStore
from serving.verification import load_resolved

_SOURCES = ("balancing", "features", "flows", "infra", "serving")
_NO_SOURCE = shutil.ignore_patterns("__pycache__", "*.png", "*.md", ".*")
_PROJECT = "whitecrow"


class PackagingFailed(Refusal):
    """Raised when BentoML does not build a bento; the message holds what it said."""


class PackageMissing(InputError):
    """Raised when a package that the service needs is not installed here."""


@dataclass(frozen=True, slots=True)
class Package:
    """A bento that was built.

    Attributes:
        tag: Its name in BentoML's store, such as ``whitecrow-shop:1.1``.
        path: The archive; None where it lies in BentoML's store only.
        n_packages: Packages that it pins.
    """

    tag: str
    path: Path | None
    n_packages: int


def package_service(
    settings: Settings,
    reference: str | None = None,
    *,
    out: Path | None = None,
    extras: Sequence[str] = (),
) -> Package:
    """Build a bento and return what it is called.

    Args:
        settings: Whose state folder holds the model.
        reference: The model, verified before it is packed; None packs the service alone, which
            then needs ``WHITECROW_HOME``.
        out: File to write, instead of BentoML's store; usually named ``….bento``.
        extras: Besides ``serve``: ``postgres``, ``redis``.

    Raises:
        UnknownModel: If the reference means nothing here.
        BundleMismatch: If the model does not verify.
        InputError: If the file exists, or a package of an extra is not installed.
        PackagingFailed: If BentoML refuses.
    """
    if out is not None and out.exists():
        raise InputError(f"{out} exists already. Remove it, or write another file: --out FILE.")
    requirements = pinned_requirements(("serve", *extras))
    with tempfile.TemporaryDirectory(prefix="whitecrow-package-") as scratch:
        stage = Path(scratch, "stage")
        _copy_sources(stage)
        name, version = _PROJECT, distribution(_PROJECT).version
        if reference is not None:
            resolved = _copy_release(settings, reference, stage / "state")
            name = f"{_PROJECT}-{re.sub('[^a-z0-9]+', '-', resolved.name.lower()).strip('-')}"
            version = f"{resolved.model_version}.{resolved.policy_version}"
        _write_recipe(stage, name, requirements)
        environment = dict(os.environ)
        if out is not None:
            # Built in a store of its own: the archive is all that stays.
            environment["BENTOML_HOME"] = str(Path(scratch, "store"))
        tag = f"{name}:{version}"
        _bentoml(["build", "--version", version], environment, stage)
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            _bentoml(["export", tag, str(out.resolve())], environment, stage)
    return Package(tag, out, len(requirements))


def pinned_requirements(extras: Sequence[str]) -> list[str]:
    """Return ``name==version`` of all that extras of this project need, as installed here.

    Raises:
        PackageMissing: If one of them is not installed.
    """
    pinned: dict[str, str] = {}
    waiting = [(_PROJECT, frozenset(extras))]
    seen = set(waiting)
    while waiting:
        name, wanted = waiting.pop()
        try:
            found = distribution(name)
        except PackageNotFoundError:
            raise PackageMissing(
                f"The package {name} is not installed here. Run: pip install "
                f"'{_PROJECT}[{','.join(extras)}]'"
            ) from None
        if name != _PROJECT:
            pinned[name] = f"{name}=={found.version}"
        for text in found.requires or ():
            requirement = Requirement(text)
            if _applies(requirement.marker, wanted):
                needed = (canonicalize_name(requirement.name), frozenset(requirement.extras))
                waiting += {needed} - seen
                seen.add(needed)
    return [pinned[name] for name in sorted(pinned)]


def _applies(marker: Marker | None, extras: frozenset[str]) -> bool:
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in (*extras, ""))


def _copy_sources(stage: Path) -> None:
    root = Path(__file__).resolve().parents[1]
    for package in _SOURCES:
        shutil.copytree(root / package, stage / package, ignore=_NO_SOURCE)


def _copy_release(settings: Settings, reference: str, home: Path) -> ResolvedModel:
    """Copy a verified model, its policy and the public keys; make it what is live there."""
    store = ModelStore.open(settings)
    resolved = store.resolve(reference)
    load_resolved(store, resolved)
    name, version, policy = resolved.name, resolved.model_version, resolved.policy_version
    shutil.copytree(store.bundle_folder(name, version), home / "models" / name / version)
    (home / "policies" / name).mkdir(parents=True)
    signature = store.policy_signature(name, policy)
    for path in (settings.root / "policies" / name / f"{policy}.json", signature):
        if path.exists():
            shutil.copy2(path, home / "policies" / name)
    (home / "keys").mkdir()
    for public in settings.keys.glob("*.pub"):
        shutil.copy2(public, home / "keys")
    LiveRecords(home / "whitecrow.db").compare_and_swap(
        name, None, LiveRecord(version, policy, _sequence(store, resolved))
    )
    return resolved


def _sequence(store: ModelStore, resolved: ResolvedModel) -> int:
    """Return the ledger entry that made a version live; 0 where none did."""
    live = store.live.get(resolved.name)
    versions = (resolved.model_version, resolved.policy_version)
    is_live = live is not None and (live.model_version, live.policy_version) == versions
    return live.ledger_sequence if live is not None and is_live else 0


def _write_recipe(stage: Path, name: str, requirements: Sequence[str]) -> None:
    recipe = {
        "service": "serving.packaged_service:ScoringService",
        "name": name,
        "include": [f"{folder}/**" for folder in (*_SOURCES, "state")],
        "python": {"packages": list(requirements), "lock_packages": False},
    }
    # JSON is YAML, too.
    (stage / "bentofile.yaml").write_text(json.dumps(recipe, indent=2), "utf-8")


def _bentoml(arguments: Sequence[str], environment: dict[str, str], folder: Path) -> None:
    # In a process of its own: BentoML imports the copy of the service, not this one.
    done = subprocess.run(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", "bentoml", *arguments],
        env={**environment, "BENTOML_DO_NOT_TRACK": "True"},
        cwd=folder,  # it reads no recipe from elsewhere
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise PackagingFailed(f"BentoML did not {arguments[0]} the bento: {(said or ['?'])[-1]}")
