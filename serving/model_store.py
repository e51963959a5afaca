"""Where bundles and policies lie, and which of them a reference means.

``HOME/models/NAME/VERSION/`` and ``HOME/policies/NAME/VERSION.json``, each with a signature beside
it where a key is at hand, and ``HOME/calibration/NAME/VERSION/``: what later policies of that
version are made from, which no service needs. All are written once and never changed; what
changes is the live record (:mod:`serving.live`).
"""

import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from balancing.calibration.policy import Policy
from infra.errors import InputError
from infra.settings import Settings
from infra.signing import SIGNATURE_SUFFIX, SigningKey, Statement, TrustedKeys, trusted_keys
from infra.storage import immutable_folder, sha256_file, write_once
from serving.bundle import SEAL_FILE, BundleMismatch, ModelBundle, read_bundle
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
        verify_key: Public keys whose signatures count; default: those of the state folder, and
            where there are none, nothing is verified.

    Raises:
        KeyUnusable: If one of these is no public key.
    """

    def __init__(self, home: Path, *, verify_key: str | None = None) -> None:
        self._home = home
        self._verify_key = verify_key
        self.live = LiveRecords(home / "whitecrow.db")

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Return the store that the settings name, with the keys that they trust."""
        return cls(settings.root, verify_key=settings.verify_key)

    @property
    def trusted(self) -> TrustedKeys:
        """The keys whose signatures count right now."""
        return trusted_keys(self._home / "keys", self._verify_key)

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
    def new_bundle(
        self, name: str, version: str, *, key: SigningKey | None = None
    ) -> Iterator[Path]:
        """Yield an empty folder that becomes the bundle of that version when the block ends well.

        With a key, the bundle is signed before it appears.

        Raises:
            FileExistsError: If that version has a bundle already.
        """
        _checked(f"{name}:{version}")
        with immutable_folder(self.bundle_folder(name, version)) as staging:
            yield staging
            if key is not None:
                seal = staging / SEAL_FILE
                statement = Statement.of("bundle", name, version, seal.read_bytes())
                _signature_of(seal).write_bytes(key.sign(statement))

    def bundle(self, name: str, version: str) -> ModelBundle:
        """Return a verified bundle.

        Raises:
            UnknownModel: If there is none.
            BundleMismatch: If it does not verify.
            SignatureRefused: If it must be signed and is not, or was changed since.
        """
        folder = self.bundle_folder(name, version)
        if not folder.is_dir():
            known = ", ".join(self.versions(name)) or "none"
            raise UnknownModel(f"{name} has no version {version} (there are: {known}).")
        bundle, seal = read_bundle(folder), folder / SEAL_FILE
        self.trusted.verify(
            Statement.of("bundle", name, version, seal.read_bytes()),
            _bytes_or_none(_signature_of(seal)),
            what=f"Bundle {folder}",
        )
        return bundle

    def keep(self, name: str, version: str, files: Iterable[Path]) -> None:
        """Keep the files that later policies of a version are made from, under their names.

        Raises:
            FileExistsError: If that version has kept files already.
        """
        _checked(f"{name}:{version}")
        with immutable_folder(self._kept_folder(name, version)) as staging:
            for file in files:
                shutil.copyfile(file, staging / file.name)

    def kept(self, name: str, version: str, file_name: str) -> Path | None:
        """Return the verified path of a kept file; None where the version kept no such file.

        Raises:
            BundleMismatch: If the file is missing, or not the one that the version came with.
        """
        sha256 = self.bundle(name, version).manifest.kept_files.get(file_name)
        path = self._kept_folder(name, version) / file_name
        if sha256 is None:
            return None
        if not path.is_file() or sha256_file(path) != sha256:
            raise BundleMismatch(
                f"{path} is missing or not as it was written (SHA-256 differs). "
                "Restore it from a backup, or bring rows newer than the training."
            )
        return path

    def _kept_folder(self, name: str, version: str) -> Path:
        return self._home / "calibration" / name / version

    def add_policy(self, name: str, policy: Policy, *, key: SigningKey | None = None) -> str:
        """Write a policy under the next free version of that name and return the version.

        With a key, its signature is there before it is: nobody ever reads it unsigned.
        """
        _checked(name)
        version = int((self.policy_versions(name) or ["0"])[-1])
        while True:
            version += 1
            path, content = self._policy_path(name, str(version)), _policy_bytes(policy)
            signature_path = _signature_of(path)
            if key is None:
                is_free = not signature_path.exists()
            else:
                statement = Statement.of("policy", name, str(version), content)
                is_free = write_once(signature_path, key.sign(statement))
            # Otherwise another process has taken the number, or died with it.
            if is_free and write_once(path, content):
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
            SignatureRefused: If it must be signed and is not, or was changed since.
        """
        return self.signed_policy(name, version)[0]

    def signed_policy(self, name: str, version: str) -> tuple[Policy, str | None]:
        """Return a verified policy, and the id of the trusted key that signed it.

        The id is None where no key is trusted, so that nothing was verified.

        Raises:
            UnknownModel: If there is none.
            PolicyMismatch: If its content has changed.
            BundleMismatch: If its bytes have.
            SignatureRefused: If it must be signed and is not, or was changed since.
        """
        path = self._policy_path(name, version)
        if not path.is_file():
            known = ", ".join(self.policy_versions(name)) or "none"
            raise UnknownModel(f"{name} has no policy {version} (there are: {known}).")
        content = path.read_bytes()
        policy = _parse_policy(path, content)
        key_id = self.trusted.verify(
            Statement.of("policy", name, version, content),
            _bytes_or_none(_signature_of(path)),
            what=f"Policy {path}",
        )
        return policy, key_id

    def sign_unsigned(self, key: SigningKey) -> list[str]:
        """Sign every bundle and policy that has no signature yet and return their paths.

        For the moment when a state folder gets its first key: what could be loaded until then
        can be loaded after it. Their hashes are verified at every load, signed or not.
        """
        signed = []
        for name in self.names():
            for version in self.versions(name):
                seal = self.bundle_folder(name, version) / SEAL_FILE
                signed += self._sign("bundle", name, version, seal, key)
        for folder in sorted((self._home / "policies").glob("*")):
            for version in self.policy_versions(folder.name):
                path = self._policy_path(folder.name, version)
                signed += self._sign("policy", folder.name, version, path, key)
        return signed

    def _sign(self, kind: str, name: str, version: str, path: Path, key: SigningKey) -> list[str]:
        statement = Statement.of(kind, name, version, path.read_bytes())
        is_new = write_once(_signature_of(path), key.sign(statement))
        return [str(path.relative_to(self._home))] if is_new else []

    def _policy_path(self, name: str, version: str) -> Path:
        return self._home / "policies" / name / f"{version}.json"

    def policy_signature(self, name: str, version: str) -> Path:
        """Return where the signature of a policy lies, if it has one."""
        return _signature_of(self._policy_path(name, version))

    def withdraw_policy(self, name: str, version: str) -> None:
        """Take back a policy that nobody has heard of yet; its number stays taken."""
        self._policy_path(name, version).unlink(missing_ok=True)

    def resolve(self, reference: str) -> ResolvedModel:
        """Return what ``NAME``, ``NAME@champion``, ``NAME@challenger`` or ``NAME:version`` means.

        A bare name means its champion. A version means that version with its newest policy.

        Raises:
            UnknownModel: If it means nothing here; the message says what there is.
        """
        match = self._known(reference)
        name, version = match["name"], match["version"]
        if version is not None:
            return ResolvedModel(name, version, self._newest_policy(name, version))
        return self._resolve_alias(name, match["alias"] or CHAMPION)

    def resolve_version(self, reference: str) -> tuple[str, str]:
        """Return the name and model version that a reference means, whatever its policies are.

        Raises:
            UnknownModel: If it means nothing here; the message says what there is.
        """
        match = self._known(reference)
        if match["version"] is not None:
            return match["name"], match["version"]
        found = self._resolve_alias(match["name"], match["alias"] or CHAMPION)
        return found.name, found.model_version

    def _known(self, reference: str) -> re.Match[str]:
        match = _checked(reference)
        if match["name"] not in self.names():
            known = ", ".join(self.names()) or "none yet: whitecrow train makes one"
            raise UnknownModel(f"No model {match['name']!r} in {self._home} (there are: {known}).")
        return match

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


def _signature_of(path: Path) -> Path:
    return path.with_name(path.name + SIGNATURE_SUFFIX)


def _bytes_or_none(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _parse_policy(path: Path, content: bytes) -> Policy:
    policy = Policy.from_json(content, source=f"Policy {path}")
    if content != _policy_bytes(policy):
        raise BundleMismatch(
            f"Policy {path} is damaged: it is not as it was written. "
            "Restore it from a backup, or recalibrate."
        )
    return policy


def _policy_bytes(policy: Policy) -> bytes:
    return (policy.to_json() + "\n").encode()
