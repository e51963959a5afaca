"""Ed25519 verification after RFC 8032, section 5.1, in nothing but whole numbers.

Public data only: it takes no care to run in constant time, and can sign nothing.
"""

import hashlib
from functools import lru_cache

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_SQRT_MINUS_ONE = pow(2, (_P - 1) // 4, _P)

_Point = tuple[int, int, int, int]
"""Extended homogeneous coordinates (section 5.1.4): x = X/Z, y = Y/Z, x*y = T/Z."""

_NEUTRAL: _Point = (0, 1, 1, 0)
_WINDOW_BITS = 4


def is_signed_by(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether a signature of 64 bytes is that key's of that message."""
    if len(public_key) != 32 or len(signature) != 64:
        return False
    key = _decoded(public_key)
    s = int.from_bytes(signature[32:], "little")
    if key is None or s >= _L:
        return False
    digest = hashlib.sha512(signature[:32] + public_key + message).digest()
    k = int.from_bytes(digest, "little") % _L
    # S B = R + k A, as R = S B - k A, encoded.
    negated = (_P - key[0], key[1], key[2], _P - key[3])
    return _encoded(_sum(_multiple(_BASE, s), _multiple(negated, k))) == signature[:32]


def _sum(a: _Point, b: _Point) -> _Point:
    c = (a[1] - a[0]) * (b[1] - b[0]) % _P
    d = (a[1] + a[0]) * (b[1] + b[0]) % _P
    e = 2 * a[3] * b[3] * _D % _P
    f = 2 * a[2] * b[2] % _P
    g, h, i, j = d - c, f - e, f + e, d + c
    return (g * h % _P, i * j % _P, h * i % _P, g * j % _P)


def _multiple(point: _Point, factor: int) -> _Point:
    found, at = _NEUTRAL, 0
    table = _windows(point)
    while factor:
        digit = factor & (2**_WINDOW_BITS - 1)
        if digit:
            found = _sum(found, table[at][digit])
        factor >>= _WINDOW_BITS
        at += 1
    return found


@lru_cache(16)
def _windows(point: _Point) -> list[list[_Point]]:
    """Return the multiples of a point by each digit at each place; keys sign more than once."""
    table = []
    for _ in range(256 // _WINDOW_BITS):
        row = [_NEUTRAL]
        for _ in range(2**_WINDOW_BITS - 1):
            row.append(_sum(row[-1], point))
        table.append(row)
        point = _sum(row[-1], point)
    return table


@lru_cache(16)
def _decoded(content: bytes) -> _Point | None:
    """Return the point of 32 bytes; None where there is none (section 5.1.3)."""
    y = int.from_bytes(content, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    if y >= _P:
        return None
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = u * pow(v, 3, _P) * pow(u * pow(v, 7, _P), (_P - 5) // 8, _P) % _P
    if v * x * x % _P == (-u) % _P:
        x = x * _SQRT_MINUS_ONE % _P
    if v * x * x % _P != u or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return (x, y, 1, x * y % _P)


def _encoded(point: _Point) -> bytes:
    inverse = pow(point[2], -1, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


_BASE = _decoded((4 * pow(5, -1, _P) % _P).to_bytes(32, "little")) or _NEUTRAL
