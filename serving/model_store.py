"""Where bundles and policies lie, and which of them a reference means.

``HOME/models/NAME/VERSION/`` and ``HOME/policies/NAME/VERSION.json``, each with a signature beside
it where a key is at hand, and ``HOME/calibration/NAME/VERSION/``: what later policies of that
version are made from, which no service needs. All are written once and never changed; what
changes is the live record (:mod:`serving.live`).
"""

import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from infra.settings import Settings
from infra.signing import SigningKey, Statement
from infra.storage import immutable_folder, sha256_file, write_once
from serving.bundle import SEAL_FILE, BundleMismatch, ModelBundle, read_bundle
from serving.live import CHALLENGER, CHAMPION, LiveRecords
from serving.model_references import ModelReference, ResolvedModel, UnknownModel
from serving.policy_store import PolicyStore, bytes_or_none, numbered, signature_of


class ModelStore(PolicyStore):
    """The bundles, policies and live records of one state folder.

    Args:
        home: The state folder; see :attr:`infra.settings.Settings.root`.
        verify_key: Public keys whose signatures count; default: those of the state folder, and
            where there are none, nothing is verified.

    Raises:
        KeyUnusable: If one of these is no public key.
    """

    def __init__(self, home: Path, *, verify_key: str | None = None) -> None:
        super().__init__(home, verify_key=verify_key)
        self.live = LiveRecords(home / "whitecrow.db")

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Return the store that the settings name, with the keys that they trust."""
        return cls(settings.root, verify_key=settings.verify_key)

    def names(self) -> list[str]:
        """Return the names that have a version."""
        folder = self._home / "models"
        return sorted(path.name for path in folder.glob("*") if self.versions(path.name))

    def versions(self, name: str) -> list[str]:
        """Return the versions of a name, oldest first."""
        return numbered(self._home / "models" / name)

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
        ModelReference.parse(f"{name}:{version}")
        with immutable_folder(self.bundle_folder(name, version)) as staging:
            yield staging
            if key is not None:
                seal = staging / SEAL_FILE
                statement = Statement.of("bundle", name, version, seal.read_bytes())
                signature_of(seal).write_bytes(key.sign(statement))

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
            bytes_or_none(signature_of(seal)),
            what=f"Bundle {folder}",
        )
        return bundle

    def bundle_sha256(self, name: str, version: str) -> str:
        """Return the SHA-256 of a bundle's seal, which its signature is over; it seals the rest."""
        return sha256_file(self.bundle_folder(name, version) / SEAL_FILE)

    def keep(self, name: str, version: str, files: Iterable[Path]) -> None:
        """Keep the files that later policies of a version are made from, under their names.

        Raises:
            FileExistsError: If that version has kept files already.
        """
        ModelReference.parse(f"{name}:{version}")
        with immutable_folder(self._kept_folder(name, version)) as staging:
            for file in files:
                shutil.copyfile(file, staging / file.name)

    def withdraw(self, name: str, version: str) -> None:
        """Take back a version that nobody has heard of yet: its bundle and what was kept with it.

        What a killed process was about to put there goes, too.
        """
        ModelReference.parse(f"{name}:{version}")
        for folder in (self.bundle_folder(name, version), self._kept_folder(name, version)):
            if folder.is_dir():
                # First out of sight as a whole: no reader meets half a bundle.
                folder.rename(folder.with_name(f".{version}.{secrets.token_hex(4)}"))
            for left in folder.parent.glob(f".{version}.*"):
                shutil.rmtree(left, ignore_errors=True)

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

    def sign_unsigned(self, key: SigningKey) -> list[str]:
        """Sign every bundle and policy that has no signature yet and return their paths.

        For the moment when a state folder gets its first key: what could be loaded until then
        can be loaded after it. Their hashes are verified at every load, signed or not.
        """
        signed = []
        for path, statement in (*self._bundle_statements(), *self._policy_statements()):
            if write_once(signature_of(path), key.sign(statement)):
                signed.append(str(path.relative_to(self._home)))
        return signed

    def _bundle_statements(self) -> Iterator[tuple[Path, Statement]]:
        """Yield the seal of each bundle with what its signature says."""
        for name in self.names():
            for version in self.versions(name):
                seal = self.bundle_folder(name, version) / SEAL_FILE
                yield seal, Statement.of("bundle", name, version, seal.read_bytes())

    def resolve(self, reference: str) -> ResolvedModel:
        """Return what ``NAME``, ``NAME@champion``, ``NAME@challenger`` or ``NAME:version`` means.

        A bare name means its champion. A version means that version with its newest policy.

        Raises:
            UnknownModel: If it means nothing here; the message says what there is.
        """
        known = self._known(reference)
        if known.version is None:
            return self._resolve_alias(known.name, known.alias or CHAMPION)
        policy_version = self._newest_policy(known.name, known.version)
        return ResolvedModel(known.name, known.version, policy_version)

    def resolve_version(self, reference: str) -> tuple[str, str]:
        """Return the name and model version that a reference means, whatever its policies are.

        Raises:
            UnknownModel: If it means nothing here; the message says what there is.
        """
        known = self._known(reference)
        if known.version is not None:
            return known.name, known.version
        found = self._resolve_alias(known.name, known.alias or CHAMPION)
        return found.name, found.model_version

    def _known(self, reference: str) -> ModelReference:
        parsed, names = ModelReference.parse(reference), self.names()
        if parsed.name not in names:
            known = ", ".join(names) or "none yet: whitecrow train makes one"
            raise UnknownModel(f"No model {parsed.name!r} in {self._home} (there are: {known}).")
        return parsed

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
