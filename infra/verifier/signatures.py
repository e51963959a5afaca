"""Signature files as whitecrow writes them: a statement about one object, signed by one key."""

import json
from collections.abc import Callable, Mapping

from infra.verifier.canonical import canonical_bytes, sha256_hex
from infra.verifier.ed25519 import is_signed_by

Check = Callable[[bytes, bytes, bytes], bool]
"""Whether public key, message and signature belong together."""


class Trust:
    """The keys whose signatures count.

    Args:
        public_keys: 32 bytes each.
        check: Verifies one signature.
    """

    def __init__(self, public_keys: Mapping[str, bytes], check: Check = is_signed_by) -> None:
        self.public_keys = dict(public_keys)
        self._check = check

    def problem(
        self, kind: str, name: str, version: str, content: bytes, signature_file: bytes | None
    ) -> str | None:
        """Return why an object does not count as signed; None where it does, or no key is trusted.

        Args:
            kind: ``bundle``, ``policy`` or ``anchor``.
            name: The object's.
            version: The object's.
            content: Its bytes.
            signature_file: What lies beside it; None where nothing does.
        """
        if not self.public_keys:
            return None
        if signature_file is None:
            return "it is not signed, and only signed ones count"
        told = {
            "algorithm": "ed25519", "kind": kind, "name": name, "version": version,
            "sha256": sha256_hex(content),
        }  # fmt: skip
        try:
            record = json.loads(signature_file)
            key_id, signature = str(record["key_id"]), record["signature"]
            written = canonical_bytes({**told, "key_id": key_id, "signature": signature}) + b"\n"
            raw = bytes.fromhex(signature)
        except (ValueError, KeyError, TypeError):
            return "its signature is damaged"
        if key_id not in self.public_keys:
            return f"it is signed by key {key_id!r}, which is not trusted"
        is_as_written = written == signature_file and raw.hex() == signature
        if is_as_written and self._check(self.public_keys[key_id], canonical_bytes(told), raw):
            return None
        return f"it is not what key {key_id} signed, or its signature was changed"


def key_id_of(public_key: bytes) -> str:
    """Return what names a public key."""
    return sha256_hex(public_key)[:16]


def read_public_key(text: str) -> bytes | None:
    """Return the 32 bytes of 64 hexadecimal digits; None where they are none."""
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        return None
    return key if len(key) == 32 and len(text.strip()) == 64 else None
