"""The policies of one state folder: ``HOME/policies/NAME/VERSION.json``, each written once.

A policy's signature lies beside it, where a key was at hand.
"""

from collections.abc import Iterator
from pathlib import Path

from balancing.calibration.policy import Policy
from infra.signing import SIGNATURE_SUFFIX, SigningKey, Statement, TrustedKeys, trusted_keys
from infra.storage import sha256_file, write_once
from serving.bundle import BundleMismatch
from serving.model_references import ModelReference, UnknownModel


class PolicyStore:
    """Policies by name and version, verified when they are read.

    Args:
        home: The state folder.
        verify_key: Public keys whose signatures count; default: those of the state folder, and
            where there are none, nothing is verified.

    Raises:
        KeyUnusable: If one of these is no public key.
    """

    def __init__(self, home: Path, *, verify_key: str | None = None) -> None:
        self._home = home
        self._verify_key = verify_key

    @property
    def trusted(self) -> TrustedKeys:
        """The keys whose signatures count right now."""
        return trusted_keys(self._home / "keys", self._verify_key)

    def add_policy(self, name: str, policy: Policy, *, key: SigningKey | None = None) -> str:
        """Write a policy under the next free version of that name and return the version.

        With a key, its signature is there before it is: nobody ever reads it unsigned.
        """
        ModelReference.parse(name)
        version = int((self.policy_versions(name) or ["0"])[-1])
        while True:
            version += 1
            path, content = self._policy_path(name, str(version)), _policy_bytes(policy)
            signature_path = signature_of(path)
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
        return numbered(self._home / "policies" / name)

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
            bytes_or_none(signature_of(path)),
            what=f"Policy {path}",
        )
        return policy, key_id

    def policy_sha256(self, name: str, version: str) -> str:
        """Return the SHA-256 of a policy's bytes, in hexadecimal: what its signature is over."""
        return sha256_file(self._policy_path(name, version))

    def policy_signature(self, name: str, version: str) -> Path:
        """Return where the signature of a policy lies, if it has one."""
        return signature_of(self._policy_path(name, version))

    def withdraw_policy(self, name: str, version: str) -> None:
        """Take back a policy that nobody has heard of yet; its number stays taken."""
        self._policy_path(name, version).unlink(missing_ok=True)

    def _policy_statements(self) -> Iterator[tuple[Path, Statement]]:
        """Yield each policy with what its signature says."""
        for folder in sorted((self._home / "policies").glob("*")):
            for version in self.policy_versions(folder.name):
                path = self._policy_path(folder.name, version)
                yield path, Statement.of("policy", folder.name, version, path.read_bytes())

    def _policy_path(self, name: str, version: str) -> Path:
        return self._home / "policies" / name / f"{version}.json"


def numbered(folder: Path) -> list[str]:
    """Return the versions that a folder holds as files or folders, oldest first."""
    stems = (path.stem for path in folder.glob("*") if path.stem.isdecimal())
    return sorted(stems, key=int)


def signature_of(path: Path) -> Path:
    """Return where the signature of a file lies, if it has one."""
    return path.with_name(path.name + SIGNATURE_SUFFIX)


def bytes_or_none(path: Path) -> bytes | None:
    """Return what a file holds; None where there is none."""
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
