"""The gate: who a request comes from, and whether that key may ask this now."""

import base64
import binascii
import hashlib
import hmac
import logging
import math
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.access.exposure import AuthMode, check_exposure
from serving.access.keys import ApiKey, KeyStore, Scope, read_keys, split_key
from serving.access.rates import TokenBucket
from serving.polling import POLL_SECONDS, Poll
from serving.refusals import RequestRefused

logger = logging.getLogger(__name__)

_CLOSE = (b"connection", b"close")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        key_id: Of the key; None where keys are off.
        sees_details: Whether all of a model may be shown; so it is where keys are off.
    """

    key_id: str | None = None
    sees_details: bool = True
    _rows: TokenBucket | None = None

    def take_rows(self, n: int) -> None:
        """Count rows against the key's rate.

        Raises:
            RequestRefused: With 429 ``rate_limited``.
        """
        if self._rows is not None:
            _wait(self._rows.take(n), "rows")


ANYBODY = Caller()


class Gate:
    """What a running service knows of the keys; changes arrive within two seconds.

    Nothing is read from the database for a request: a thread looks once a second whether another
    process wrote there.

    Args:
        database: SQLite file of the state folder.
        address: The address that the service listens on; empty where it is not known.
        auth: Whether keys are wanted.
        seconds: Between two looks at the database.

    Raises:
        ServiceExposed: If strangers could ask without a key.
    """

    def __init__(
        self, database: Path, *, address: str, auth: bool = True, seconds: float = POLL_SECONDS
    ) -> None:
        self._store = KeyStore(database)
        self._database = database
        self._known: dict[str, _KnownKey] = {}
        self._connection: sqlite3.Connection | None = None
        self._seen: tuple[int, int] | None = None
        self._take(self._store.all())
        self.mode = check_exposure(address, auth=auth, has_keys=bool(self._known))
        self._say()
        is_watching = self.mode is not AuthMode.OFF
        self._poll = Poll(self._look, what="API keys", seconds=seconds) if is_watching else None

    def admit(
        self, headers: Mapping[bytes, bytes], scope: Scope | None, *, to_auditors: bool = False
    ) -> Caller:
        """Return who asks, where that is allowed, and count the request.

        Args:
            headers: Of the request, names in lower case.
            scope: That is needed; None where any key will do.
            to_auditors: Whether any key means those, too, that may audit and nothing else.

        Raises:
            RequestRefused: With 401 ``missing_key``, ``unknown_key`` or ``expired_key``, 403
                ``missing_scope`` or 429 ``rate_limited``.
        """
        if self.mode is not AuthMode.KEYS:
            return ANYBODY
        known = self._authenticated(headers.get(b"authorization", b""), is_page=scope is None)
        if scope is not None and scope not in known.scopes:
            raise _missing_scope(scope)
        if scope is None and not to_auditors and known.scopes == {Scope.AUDIT}:
            raise _missing_scope(Scope.SCORE)
        if known.requests is not None:
            _wait(known.requests.take(), "requests")
        return known.caller

    def close(self) -> None:
        """Stop looking for changes."""
        if self._poll is not None:
            self._poll.close()

    def _authenticated(self, header: bytes, *, is_page: bool) -> "_KnownKey":
        text = _key_text(header, is_page=is_page)
        if text is None:
            raise _unauthorised(
                "missing_key",
                "Send an API key as header Authorization: Bearer KEY.",
                is_page=is_page,
            )
        parts = split_key(text)
        known = self._known.get(parts[0]) if parts else None
        # Names are no secrets; the secret is compared in constant time.
        if parts is None or known is None or not known.matches(parts[1]):
            message = "This API key is unknown, or was revoked."
            raise _unauthorised("unknown_key", message, is_page=is_page)
        if known.has_expired():
            message = "This API key has expired. Ask for a new one."
            raise _unauthorised("expired_key", message, is_page=is_page)
        return known

    def _look(self) -> None:
        """Read the keys again if another process has written to the database."""
        identity = self._database.stat()
        seen = (identity.st_dev, identity.st_ino)
        if self._connection is None or seen != self._seen:
            # A restored backup is another file under the same name.
            if self._connection is not None:
                self._connection.close()
            self._connection, self._seen = self._store.connect(), seen
            self._version = -1
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            self._take(read_keys(self._connection))
            self._version = version
            if self._known and self.mode is AuthMode.OPEN:
                self.mode = AuthMode.KEYS
                self._say()

    def _take(self, keys: list[ApiKey]) -> None:
        before = self._known
        # What did not change keeps its buckets: a look at the database gives no new tokens.
        self._known = {
            key.key_id: before[key.key_id]
            if key.key_id in before and before[key.key_id].key == key
            else _KnownKey(key)
            for key in keys
        }

    def _say(self) -> None:
        if self.mode is AuthMode.OPEN:
            logger.warning(
                "open on loopback: no API key was made yet, so this machine may ask without one; "
                "make one with whitecrow keys create --scope score --reason TEXT"
            )
        elif self.mode is AuthMode.OFF:
            logger.warning("API keys are off (WHITECROW_AUTH=off): this machine may ask anything")
        else:
            logger.info("API keys are required", extra={"n_keys": len(self._known)})


class _KnownKey:
    """A key, ready to be compared, with its buckets."""

    __slots__ = ("_digest", "_expires", "_is_revoked", "caller", "key", "requests", "scopes")

    def __init__(self, key: ApiKey) -> None:
        self.key = key
        self._digest = bytes.fromhex(key.secret_sha256)
        self.scopes = frozenset(scope for scope in Scope if key.may(scope))
        self._is_revoked = key.revoked_at is not None
        self._expires = math.inf if key.expires_at is None else key.expires_at.timestamp()
        self.requests = None if key.rate is None else TokenBucket(key.rate)
        rows = None if key.row_rate is None else TokenBucket(key.row_rate)
        self.caller = Caller(key.key_id, key.may(Scope.AUDIT), rows)

    def matches(self, secret: str) -> bool:
        digest = hashlib.sha256(secret.encode()).digest()
        return hmac.compare_digest(digest, self._digest) and not self._is_revoked

    def has_expired(self) -> bool:
        return self._expires <= time.time()


def _key_text(header: bytes, *, is_page: bool) -> str | None:
    """Return the key in an Authorization header.

    A page may be opened in a browser, which asks for a name and a password: the password counts.
    """
    kind, _, value = header.partition(b" ")
    try:
        if kind.lower() == b"bearer":
            return value.strip().decode("ascii") or None
        if kind.lower() == b"basic" and is_page:
            pair = base64.b64decode(value, validate=True).decode("ascii")
            return pair.partition(":")[2]
    except (UnicodeDecodeError, binascii.Error):
        return ""
    return None


def _wait(seconds: float, what: str) -> None:
    if seconds > 0:
        raise RequestRefused(
            "rate_limited",
            f"This API key asks for more {what} a second than it may. Slow down.",
            status=429,
            retry=True,
            headers=((b"retry-after", str(math.ceil(seconds)).encode()),),
        )


def _unauthorised(code: str, message: str, *, is_page: bool) -> RequestRefused:
    error = b"" if code == "missing_key" else b', error="invalid_token"'
    headers = [
        (b"www-authenticate", b'Bearer realm="whitecrow"' + error),
        _CLOSE,  # whoever has no key shall not hold a connection
    ]
    if is_page:
        # Elsewhere a browser would ask for a password that does not count there.
        headers.append((b"www-authenticate", b'Basic realm="whitecrow"'))
    return RequestRefused(code, message, status=401, headers=tuple(headers))


def _missing_scope(scope: Scope) -> RequestRefused:
    challenge = f'Bearer realm="whitecrow", error="insufficient_scope", scope="{scope}"'
    return RequestRefused(
        "missing_scope",
        f"This API key has not the scope {scope}.",
        status=403,
        headers=((b"www-authenticate", challenge.encode()),),
    )
