"""Signatures: who vouches for an immutable object. Ed25519, detached, checked before use.

What is signed is a statement: the object's kind, name and version with the SHA-256 of its bytes.
So a signature fits one place only: an older policy copied under a newer number does not verify.

Private keys lie in one folder (mode 0600); whoever may only read verifies with the public keys
beside it, or with those that ``WHITECROW_VERIFY_KEY`` pins. Pin them wherever the machine that
serves must not trust the disk it reads from: who can replace an object there can replace the
public key beside it too.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.errors import InputError
from infra.storage import canonical_json, write_once

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

SIGNATURE_SUFFIX = ".sig"
_PRIVATE_NAME = "signing.pem"
_PUBLIC_SUFFIX = ".pub"
_ALGORITHM = "ed25519"
_KEY_BYTES = 32
_KEY_ID_CHARACTERS = 16


class SignatureRefused(InputError):
    """Raised when an object is not signed as it must be, or not by a trusted key."""


class KeyUnusable(InputError):
    """Raised when a key cannot be read, or others could read a private one."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a signature says: this object, in this place, has these bytes.

    Attributes:
        kind: ``policy`` or ``bundle``.
        name: The model's name.
        version: The object's own version under that name.
        sha256: Of its bytes, in hexadecimal.
    """

    kind: str
    name: str
    version: str
    sha256: str

    @classmethod
    def of(cls, kind: str, name: str, version: str, content: bytes) -> "Statement":
        """Return the statement about these bytes."""
        return cls(kind, name, version, hashlib.sha256(content).hexdigest())

    @property
    def message(self) -> bytes:
        """The bytes that are signed."""
        return canonical_json({"algorithm": _ALGORITHM, **asdict(self)}).encode()


class SigningKey:
    """A private key. Read one with :func:`read_signing_key`, make one with :meth:`generate`."""

    def __init__(self, key: "Ed25519PrivateKey") -> None:
        self._key = key

    @classmethod
    def generate(cls) -> "SigningKey":
        """Return a new key, kept nowhere yet."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.generate())

    @cached_property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return self._key.public_key().public_bytes_raw()

    @property
    def key_id(self) -> str:
        """What names the key: the head of the SHA-256 of its public half."""
        return key_id_of(self.public)

    def sign(self, statement: Statement) -> bytes:
        """Return the content of a signature file for a statement."""
        signature = self._key.sign(statement.message).hex()
        record = {"algorithm": _ALGORITHM, "key_id": self.key_id, **asdict(statement)}
        return (canonical_json({**record, "signature": signature}) + "\n").encode()

    def write_private(self, folder: Path) -> bool:
        """Keep the key in a folder, readable by its owner alone, unless one is there; say which."""
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        pem = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return write_once(folder / _PRIVATE_NAME, pem, mode=0o600)

    def public_path(self, folder: Path) -> Path:
        """Return where the public key lies in the folder of the private one."""
        return folder / f"{self.key_id}{_PUBLIC_SUFFIX}"

    def write_public(self, folder: Path) -> None:
        """Write the public key beside the private one."""
        write_once(self.public_path(folder), (self.public.hex() + "\n").encode())


def read_signing_key(folder: Path) -> SigningKey | None:
    """Return the private key of a folder, or None where there is none.

    Raises:
        KeyUnusable: If it is damaged, or readable by others than its owner.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path = folder / _PRIVATE_NAME
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077 and os.name == "posix":
            raise KeyUnusable(
                f"The signing key {path} can be read by others than its owner. "
                f"If nobody else had it: chmod 600 {path}. Otherwise make a new one."
            )
        key = load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeyUnusable(
            f"Cannot read the signing key {path}: {error.strerror}. Run this as its owner."
        ) from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyUnusable(
            f"The signing key {path} is damaged or of another kind. Restore it from a backup, or "
            "move it away: a new one is made at the next use."
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnusable(f"The signing key {path} is no Ed25519 key. Move it away.")
    return SigningKey(key)


class TrustedKeys:
    """The public keys whose signatures count.

    Args:
        public_keys: 32 bytes each. Without any, nothing is verified and nothing refused.
    """

    def __init__(self, public_keys: Iterable[bytes] = ()) -> None:
        self._keys = {key_id_of(key): key for key in public_keys}

    @property
    def by_id(self) -> dict[str, bytes]:
        """The keys by their names."""
        return dict(self._keys)

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The names of the keys."""
        return tuple(self._keys)

    @property
    def as_setting(self) -> str:
        """The keys as ``WHITECROW_VERIFY_KEY`` takes them, without paths."""
        return ",".join(key.hex() for key in self._keys.values())

    def verify(
        self, statement: Statement, signature_file: bytes | None, *, what: str
    ) -> str | None:
        """Return the id of the trusted key that signed a statement; None where none is trusted.

        Args:
            statement: What the object at hand is.
            signature_file: Content of the file beside it; None where there is no such file.
            what: What to call the object in an error.

        Raises:
            SignatureRefused: If a key is trusted and the object is unsigned, signed by another
                key, or not what was signed.
        """
        if not self._keys:
            return None
        if signature_file is None:
            raise SignatureRefused(
                f"{what} is not signed, and only signed ones count here (trusted: "
                f"{', '.join(self._keys)}). Restore its {SIGNATURE_SUFFIX} file, or make it again."
            )
        record = _parse(signature_file, what)
        key_id = record["key_id"]
        if key_id not in self._keys:
            raise SignatureRefused(
                f"{what} is signed by key {key_id}, which is not trusted here (trusted: "
                f"{', '.join(self._keys)}). Set WHITECROW_VERIFY_KEY to the right public key, or "
                "make it again."
            )
        if not _is_genuine(self._keys[key_id], record["signature"], statement):
            raise SignatureRefused(
                f"{what} is not what key {key_id} signed: it, its place or its signature was "
                "changed afterwards. Restore both files from a backup, or make it again."
            )
        return key_id


def trusted_keys(folder: Path, pinned: str | None = None) -> TrustedKeys:
    """Return the keys to trust: the pinned ones, else the public keys of a folder.

    Args:
        folder: Where the signing key lies.
        pinned: Public keys in hexadecimal or paths of such files, comma separated.

    Raises:
        KeyUnusable: If one of them is no public key.
    """
    if pinned is not None and pinned.strip():
        return TrustedKeys(_pinned_key(text.strip()) for text in pinned.split(","))
    return TrustedKeys(_read_public(path) for path in sorted(folder.glob(f"*{_PUBLIC_SUFFIX}")))


def key_id_of(public_key: bytes) -> str:
    """Return what names a public key."""
    return hashlib.sha256(public_key).hexdigest()[:_KEY_ID_CHARACTERS]


def _pinned_key(text: str) -> bytes:
    is_hex = len(text) == 2 * _KEY_BYTES and set(text.lower()) <= set("0123456789abcdef")
    return bytes.fromhex(text) if is_hex else _read_public(Path(text))


def _read_public(path: Path) -> bytes:
    try:
        key = bytes.fromhex(path.read_text("ascii").strip())
    except (OSError, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise KeyUnusable(
            f"{path} is no public key: a file of {2 * _KEY_BYTES} hexadecimal digits is expected. "
            "Restore it from a backup, or set WHITECROW_VERIFY_KEY."
        )
    return key


def _parse(signature_file: bytes, what: str) -> Mapping[str, str]:
    try:
        record: Any = json.loads(signature_file)
        if all(isinstance(record[name], str) for name in ("key_id", "signature")):
            return {name: record[name] for name in ("key_id", "signature")}
    except (ValueError, KeyError, TypeError):
        pass
    raise SignatureRefused(
        f"{what} has a damaged signature. Restore its {SIGNATURE_SUFFIX} file from a backup, "
        "or make it again."
    )


def _is_genuine(public_key: bytes, signature: str, statement: Statement) -> bool:
    try:
        return is_signed_by(public_key, statement.message, bytes.fromhex(signature))
    except ValueError:
        return False


def is_signed_by(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether a signature is that key's of that message."""
    from cryptography.exceptions import InvalidSignature

    try:
        _public(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _public(public_key: bytes) -> "Ed25519PublicKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(public_key)
