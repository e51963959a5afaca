"""What of the log nobody can read without a key: pseudonyms, and a key for each data subject.

All keys come from one secret, each for one purpose. Entities go by keyed pseudonyms, so that the
log can be searched by who knows the secret and by nobody else. What is personal is encrypted with
a key of its data subject; the keys lie in the log's database, wrapped by the secret. Destroying
one key makes one subject unreadable, and changes no stored byte that a digest covers.
"""

import hashlib
import hmac
import os
import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from infra.errors import InputError
from infra.storage import write_once

SECRET_NAME = "decisions.key"  # noqa: S105 - a file's name
DIGEST_BYTES = 16

_SECRET_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
WRAPPED_BYTES = _NONCE_BYTES + 32 + _TAG_BYTES
"""Of a subject's key, as the database holds it."""


class LogSecretUnusable(InputError):
    """Raised when the log's secret cannot be read, is none, or others could read it."""


class Unreadable(InputError):
    """Raised when sealed content cannot be opened: its key was destroyed, or it was changed."""


@dataclass(frozen=True)
class LogSecret:
    """The one secret of a decision log.

    Attributes:
        secret: 32 bytes.
    """

    secret: bytes

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that tell secrets apart and nothing of them."""
        return self._derived("fingerprint").hex()[:16]

    def pseudonym(self, column: str, value: str) -> bytes:
        """Return 16 bytes that stand for an entity: equal for equal columns and values."""
        digest = self._pseudonyms.copy()
        digest.update(f"{column}\0{value}".encode("utf-8", "surrogatepass"))
        return digest.digest()

    def content_digest(self, begin: bytes) -> "hashlib.blake2b":
        """Return what makes 16 bytes that stand for a content: nobody can guess them.

        Args:
            begin: Of the content; copies of what is returned take the rest of it.
        """
        digest = self._contents.copy()
        digest.update(begin)
        return digest

    def draw(self, about: str, content: bytes) -> float:
        """Return a number in [0, 1) that is always the same, and that nobody can foresee.

        Args:
            about: What is drawn; for something else the same content gives another number.
            content: What the number belongs to.
        """
        digest = self._draws.copy()
        digest.update(f"{about}\0".encode("utf-8", "surrogatepass") + content)
        # As many bits as a float holds exactly.
        return (int.from_bytes(digest.digest()[:8]) >> 11) / (1 << 53)

    def new_key(self, subject: bytes) -> tuple[AESGCM, bytes]:
        """Return a new key for a subject, and the same wrapped for the database."""
        key = AESGCM.generate_key(256)
        return AESGCM(key), encrypt(self._wrapping, key, subject)

    def unwrapped(self, subject: bytes, wrapped: bytes) -> AESGCM:
        """Return a subject's key from the database.

        Raises:
            Unreadable: If it was wrapped by another secret, or changed.
        """
        return AESGCM(decrypt(self._wrapping, wrapped, subject))

    @cached_property
    def _pseudonyms(self) -> hashlib.blake2b:
        return self._keyed("pseudonyms")

    @cached_property
    def _contents(self) -> hashlib.blake2b:
        return self._keyed("contents")

    @cached_property
    def _draws(self) -> hashlib.blake2b:
        return self._keyed("draws")

    @cached_property
    def _wrapping(self) -> AESGCM:
        return AESGCM(self._derived("wrapping"))

    def _keyed(self, purpose: str) -> hashlib.blake2b:
        # A keyed BLAKE2b is a pseudorandom function as HMAC is, at a quarter of its price; copies
        # go on from its key.
        return hashlib.blake2b(key=self._derived(purpose), digest_size=DIGEST_BYTES)

    def _derived(self, purpose: str) -> bytes:
        return hmac.digest(self.secret, f"whitecrow decision log {purpose}".encode(), "sha256")


def new_nonces(n: int) -> list[bytes]:
    """Return as many new nonces, each to be used once."""
    random = os.urandom(n * _NONCE_BYTES)
    return [random[at : at + _NONCE_BYTES] for at in range(0, len(random), _NONCE_BYTES)]


def encrypt(key: AESGCM, content: bytes, about: bytes, *, nonce: bytes | None = None) -> bytes:
    """Return a nonce and the content, encrypted and bound to what it is about (AES-256-GCM).

    Args:
        key: Of the subject.
        content: What nobody else may read.
        about: What it is bound to.
        nonce: One of :func:`new_nonces`; default: a new one.
    """
    nonce = nonce or os.urandom(_NONCE_BYTES)
    return nonce + key.encrypt(nonce, content, about)


def decrypt(key: AESGCM, sealed: bytes, about: bytes) -> bytes:
    """Return what :func:`encrypt` sealed.

    Raises:
        Unreadable: If it was sealed with another key, about something else, or changed.
    """
    try:
        return key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], about)
    except (InvalidTag, ValueError):
        raise Unreadable(
            "Sealed content of the decision log does not open with its key: it was changed, or "
            "the key belongs to another log."
        ) from None


def read_log_secret(folder: Path, setting: str | None = None) -> LogSecret:
    """Return the secret of a decision log; a new one where the folder has none.

    Args:
        folder: Where ``decisions.key`` lies (``settings.keys``).
        setting: 64 hexadecimal digits, in place of the file.

    Raises:
        LogSecretUnusable: If it is none, or others than the owner could read the file.
    """
    if setting is not None:
        return LogSecret(_parsed(setting, "WHITECROW_LOG_SECRET"))
    path = folder / SECRET_NAME
    try:
        if not path.exists():
            # Another process may make it at the same moment: what lies there then counts.
            write_once(path, os.urandom(_SECRET_BYTES).hex().encode() + b"\n", mode=0o600)
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise LogSecretUnusable(
                f"{path} can be read by others than its owner. Run: chmod 600 {path}"
            )
        text = path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise LogSecretUnusable(
            f"Cannot use the decision log's secret {path}: {error}. Restore it from a backup, or "
            "set WHITECROW_LOG_SECRET."
        ) from None
    return LogSecret(_parsed(text.strip(), str(path)))


def _parsed(text: str, source: str) -> bytes:
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = b""
    if len(secret) != _SECRET_BYTES:
        raise LogSecretUnusable(
            f"{source} must hold {2 * _SECRET_BYTES} hexadecimal digits. Got {len(text)} "
            "characters. Restore it from a backup: what it sealed opens with no other."
        )
    return secret
