"""Where bundles and policies lie, and which of them a reference means.

``HOME/models/NAME/VERSION/`` and ``HOME/policies/NAME/VERSION.json``. Both are written once and
never changed; what changes is the live record (:mod:`serving.live`).
"""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from balancing.calibration.policy import Policy
from infra.errors import InputError
from infra.storage import immutable_folder
from serving.bundle import BundleMismatch, ModelBundle, read_bundle
from serving.live import CHALLENGER, CHAMPION, LiveRecords

_REFERENCE = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9_-]{0,62})(?:@(?P<alias>\w+)|:(?P<version>\d{1,9}))?"
)


class UnknownModel(InputError):
    """Raised when a reference names no model, version, alias or policy of the store."""


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """The version and policy that a reference means right now."""

    name: str
    model_version: str
    policy_version: str


class ModelStore:
    """The bundles, policies and live records of one state folder.

    Args:
        home: The state folder; see :attr:`infra.settings.Settings.root`.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self.live = LiveRecords(home / "whitecrow.db")

    def names(self) -> list[str]:
        """Return the names that have a version."""
        folder = self._home / "models"
        return sorted(path.name for path in folder.glob("*") if self.versions(path.name))

    def versions(self, name: str) -> list[str]:
        """Return the versions of a name, oldest first."""
        return _numbered(self._home / "models" / name)

    def bundle_folder(self, name: str, version: str) -> Path:
        """Return where that version's bundle lies."""
        return self._home / "models" / name / version

    @contextmanager
    def new_bundle(self, name: str, version: str) -> Iterator[Path]:
        """Yield an empty folder that becomes the bundle of that version when the block ends well.

        Raises:
            FileExistsError: If that version has a bundle already.
        """
        _checked(f"{name}:{version}")
        with immutable_folder(self.bundle_folder(name, version)) as staging:
            yield staging

    def bundle(self, name: str, version: str) -> ModelBundle:
        """Return a verified bundle.

        Raises:
            UnknownModel: If there is none.
            BundleMismatch: If it does not verify.
        """
        folder = self.bundle_folder(name, version)
        if not folder.is_dir():
            known = ", ".join(self.versions(name)) or "none"
            raise UnknownModel(f"{name} has no version {version} (there are: {known}).")
        return read_bundle(folder)

    def add_policy(self, name: str, policy: Policy) -> str:
        """Write a policy under the next free version of that name and return the version."""
        _checked(name)
        folder = self._home / "policies" / name
        version = int((self.policy_versions(name) or ["0"])[-1])
        while True:
            version += 1
            if _write_once(folder / f"{version}.json", _policy_bytes(policy)):
                return str(version)

    def policy_versions(self, name: str) -> list[str]:
        """Return the policy versions of a name, oldest first."""
        return _numbered(self._home / "policies" / name)

    def policy(self, name: str, version: str) -> Policy:
        """Return a verified policy.

        Raises:
            UnknownModel: If there is none.
            PolicyMismatch: If its content has changed.
            BundleMismatch: If its bytes have.
        """
        path = self._home / "policies" / name / f"{version}.json"
        if not path.is_file():
            known = ", ".join(self.policy_versions(name)) or "none"
            raise UnknownModel(f"{name} has no policy {version} (there are: {known}).")
        return _read_policy(path)

    def resolve(self, reference: str) -> ResolvedModel:
        """Return what ``NAME``, ``NAME@champion``, ``NAME@challenger`` or ``NAME:version`` means.

        A bare name means its champion. A version means that version with its newest policy.

        Raises:
            UnknownModel: If it means nothing here; the message says what there is.
        """
        match = _checked(reference)
        name, version = match["name"], match["version"]
        if name not in self.names():
            known = ", ".join(self.names()) or "none yet: whitecrow train makes one"
            raise UnknownModel(f"No model {name!r} in {self._home} (there are: {known}).")
        if version is not None:
            return ResolvedModel(name, version, self._newest_policy(name, version))
        return self._resolve_alias(name, match["alias"] or CHAMPION)

    def _resolve_alias(self, name: str, alias: str) -> ResolvedModel:
        if alias not in (CHAMPION, CHALLENGER):
            raise UnknownModel(
                f"{name}@{alias}: the aliases are {CHAMPION} and {CHALLENGER}; "
                f"or name a version, like {name}:1."
            )
        record = self.live.get(name, alias=alias)
        if record is None:
            versions = ", ".join(self.versions(name))
            raise UnknownModel(
                f"{name} has no {alias} (versions: {versions}). Promote one, or name a version."
            )
        return ResolvedModel(name, record.model_version, record.policy_version)

    def _newest_policy(self, name: str, model_version: str) -> str:
        model_sha256 = self.bundle(name, model_version).model_sha256
        for policy_version in reversed(self.policy_versions(name)):
            if self.policy(name, policy_version).model_sha256 == model_sha256:
                return policy_version
        raise UnknownModel(
            f"{name}:{model_version} has no policy. Make one: whitecrow recalibrate."
        )


def _checked(reference: str) -> re.Match[str]:
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise UnknownModel(
            f"A model is written NAME, NAME@champion, NAME@challenger or NAME:3. Got {reference!r}."
        )
    return match


def _numbered(folder: Path) -> list[str]:
    stems = (path.stem for path in folder.glob("*") if path.stem.isdecimal())
    return sorted(stems, key=int)


def _write_once(path: Path, content: bytes) -> bool:
    """Write a whole file unless it exists; say whether it was written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as staging:
        staging.write(content)
        staging.flush()
        os.fsync(staging.fileno())
        Path(staging.name).chmod(0o644)
        try:
            # A hard link fails where the name exists, even against another process.
            os.link(staging.name, path)
        except FileExistsError:
            return False
    return True


def _read_policy(path: Path) -> Policy:
    content = path.read_bytes()
    policy = Policy.from_json(content, source=f"Policy {path}")
    if content != _policy_bytes(policy):
        raise BundleMismatch(
            f"Policy {path} is damaged: it is not as it was written. "
            "Restore it from a backup, or recalibrate."
        )
    return policy


def _policy_bytes(policy: Policy) -> bytes:
    return (policy.to_json() + "\n").encode()
