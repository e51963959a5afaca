"""The bytes that hashes and signatures are over, written as they were when they were made."""

import hashlib
import json
from typing import Any


def canonical_bytes(value: Any) -> bytes:
    """Return the JSON of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def sha256_hex(content: bytes) -> str:
    """Return the SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def packed_array(values: tuple[Any, ...]) -> bytes:
    """Return texts and whole numbers as MessagePack, as the decision log's digests have them."""
    assert len(values) < 16, "a short array"
    return bytes([0x90 | len(values)]) + b"".join(map(_packed, values))


def _packed(value: Any) -> bytes:
    if isinstance(value, str):
        content = value.encode()
        if len(content) < 32:
            return bytes([0xA0 | len(content)]) + content
        if len(content) < 256:
            return bytes([0xD9, len(content)]) + content
        return b"\xda" + len(content).to_bytes(2, "big") + content
    if value < 0:
        raise ValueError("No number here is negative.")
    if value < 0x80:
        return bytes([value])
    size, mark = next(
        (size, mark)
        for size, mark in ((1, 0xCC), (2, 0xCD), (4, 0xCE), (8, 0xCF))
        if value < 1 << 8 * size
    )
    return bytes([mark]) + int(value).to_bytes(size, "big")
