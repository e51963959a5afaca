"""API keys: made, listed and revoked in the state database, each change told to the ledger.

A key is ``wc_<key id>_<secret>`` with 32 random bytes as secret, shown once. Only its SHA-256 is
kept. A slow hash protects what people choose and others can guess; nobody guesses 256 random bits,
and a slow hash would cost each request more than its score does.
"""

import hashlib
import secrets
import sqlite3
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from infra.database import connect
from infra.errors import InputError
from infra.ledger import Ledger
from serving.access.rates import Rate

_PREFIX = "wc"
_ID_BYTES = 5
_SECRET_BYTES = 32
_LONGEST_NAME = 64
_SCHEMA = """
CREATE TABLE IF NOT EXISTS api_keys (
    key_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    secret_sha256 TEXT NOT NULL,
    requests_per_second REAL,
    rows_per_second REAL,
    created_at TEXT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at TEXT,
    revoked_at TEXT
)
"""
_COLUMNS = (
    "key_id, name, scopes, secret_sha256, requests_per_second, rows_per_second, created_at, "
    "created_by, expires_at, revoked_at"
)


class KeyRefused(InputError):
    """Raised when a key cannot be made as asked, or the key named does not exist."""


class Scope(StrEnum):
    """What a key may do."""

    SCORE = "score"
    LABEL = "label"
    AUDIT = "audit"
    """Reads stored decisions and the details of models, and nothing else."""
    ADMIN = "admin"
    """Everything."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is kept.

    Attributes:
        key_id: Names it in logs, decisions and the ledger; no secret.
        name: For people.
        scopes: What it may do; :attr:`Scope.ADMIN` stands for all.
        secret_sha256: Of its secret, in hexadecimal.
        rate: Requests a second; None for no limit.
        row_rate: Rows a second; None for no limit.
        created_at: When it was made.
        created_by: Who made it.
        expires_at: The moment from which it is refused; None for never.
        revoked_at: When it was revoked; None where it was not.
    """

    key_id: str
    name: str
    scopes: frozenset[Scope]
    secret_sha256: str
    rate: Rate | None
    row_rate: Rate | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None

    def may(self, scope: Scope) -> bool:
        """Return whether the key has a scope."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def state(self, now: datetime) -> str:
        """Return ``active``, ``expired`` or ``revoked``."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


class KeyStore:
    """The keys of one state folder; safe for several processes.

    Args:
        database: SQLite file of the state folder.
        ledger: Where making and revoking are written down; default: in the same file.
    """

    def __init__(self, database: Path, ledger: Ledger | None = None) -> None:
        self._database = database
        self._ledger = ledger or Ledger(database)

    def create(
        self,
        scopes: Collection[Scope],
        *,
        name: str = "",
        rate: Rate | None = None,
        row_rate: Rate | None = None,
        lifetime: timedelta | None = None,
        actor: str,
        reason: str,
    ) -> tuple[ApiKey, str]:
        """Make a key; return it, and its text, which is kept nowhere.

        Args:
            scopes: What it may do; at least one.
            name: For people, up to 64 characters.
            rate: Requests a second.
            row_rate: Rows a second.
            lifetime: How long it is valid; default: for ever.
            actor: Who makes it; goes to the ledger.
            reason: Why; goes to the ledger.

        Raises:
            KeyRefused: If there is no scope, the name is too long, or the lifetime is not positive.
        """
        _check(scopes, name)
        now = datetime.now(UTC)
        expires_at = _expiry(now, lifetime)
        key_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
        key = ApiKey(
            key_id=key_id,
            name=name,
            scopes=frozenset(scopes),
            secret_sha256=hashed(secret),
            rate=rate,
            row_rate=row_rate,
            created_at=now,
            created_by=actor,
            expires_at=expires_at,
            revoked_at=None,
        )
        # The ledger first: a key that nobody wrote down must never open a door.
        self._ledger.append(
            "api_key_created", key_id, actor=actor, reason=reason, details=_details(key)
        )
        with closing(connect(self._database, _SCHEMA)) as connection:
            connection.execute(
                f"INSERT INTO api_keys ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - our columns
                _to_row(key),
            )
        return key, f"{_PREFIX}_{key_id}_{secret}"

    def all(self) -> list[ApiKey]:
        """Return every key ever made, the revoked ones too, oldest first."""
        if not self._database.exists():
            return []
        with closing(self.connect()) as connection:
            return read_keys(connection)

    def revoke(self, name: str, *, actor: str, reason: str) -> ApiKey:
        """Make a key worthless; running services hear of it within seconds.

        Args:
            name: Its key id, or its whole text.
            actor: Who revokes it; goes to the ledger.
            reason: Why; goes to the ledger.

        Raises:
            KeyRefused: If there is no such key, or it is revoked already; never says a secret.
        """
        parts = split_key(name.strip())
        key_id = name.strip() if parts is None else parts[0]
        known = {key.key_id: key for key in self.all()}
        if key_id not in known:
            # What is longer than an id may be a secret.
            shown = f"key {key_id!r}" if len(key_id) <= 2 * _ID_BYTES else "such key"
            raise KeyRefused(f"There is no {shown}. See: whitecrow keys list.")
        key = known[key_id]
        if key.revoked_at is not None:
            raise KeyRefused(f"Key {key_id} was revoked at {key.revoked_at:%Y-%m-%d %H:%M} UTC.")
        revoked_at = _text(datetime.now(UTC))
        details = {"name": key.name, "revoked_at": revoked_at}
        self._ledger.append("api_key_revoked", key_id, actor=actor, reason=reason, details=details)
        with closing(connect(self._database, _SCHEMA)) as connection:
            connection.execute(
                "UPDATE api_keys SET revoked_at = ? WHERE key_id = ? AND revoked_at IS NULL",
                (revoked_at, key_id),
            )
        return next(key for key in self.all() if key.key_id == key_id)

    def connect(self) -> sqlite3.Connection:
        """Return a connection for :func:`read_keys`; the table exists."""
        return connect(self._database, _SCHEMA)


def read_keys(connection: sqlite3.Connection) -> list[ApiKey]:
    """Return every key that a connection's database holds, oldest first."""
    query = f"SELECT {_COLUMNS} FROM api_keys ORDER BY created_at, key_id"  # noqa: S608 - ours
    return [_from_row(row) for row in connection.execute(query)]


def hashed(secret: str) -> str:
    """Return what is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def split_key(text: str) -> tuple[str, str] | None:
    """Return id and secret of a key's text; None where it is no key."""
    parts = text.split("_", 2)
    return (parts[1], parts[2]) if len(parts) == 3 and parts[0] == _PREFIX else None


def _check(scopes: Collection[Scope], name: str) -> None:
    if not scopes:
        raise KeyRefused(f"A key needs a scope: {', '.join(Scope)}.")
    if len(name) > _LONGEST_NAME:
        raise KeyRefused(f"A name has at most {_LONGEST_NAME} characters. Got {len(name)}.")


def _expiry(now: datetime, lifetime: timedelta | None) -> datetime | None:
    if lifetime is None:
        return None
    if lifetime <= timedelta(0):
        raise KeyRefused("A key must be valid for some time. Leave --expires out for ever.")
    try:
        return now + lifetime
    except OverflowError:
        raise KeyRefused("No calendar goes that far. Leave --expires out for ever.") from None


def _details(key: ApiKey) -> dict[str, object]:
    return {
        "name": key.name,
        "scopes": sorted(key.scopes),
        "requests_per_second": key.rate and key.rate.per_second,
        "rows_per_second": key.row_rate and key.row_rate.per_second,
        "expires_at": key.expires_at and _text(key.expires_at),
        "created_at": _text(key.created_at),
        # Of 256 random bits: it tells what was put in the key's place, and nothing of the key.
        "secret_sha256": key.secret_sha256,
    }


def _to_row(key: ApiKey) -> tuple[object, ...]:
    return (
        key.key_id,
        key.name,
        " ".join(sorted(key.scopes)),
        key.secret_sha256,
        key.rate and key.rate.per_second,
        key.row_rate and key.row_rate.per_second,
        _text(key.created_at),
        key.created_by,
        key.expires_at and _text(key.expires_at),
        key.revoked_at and _text(key.revoked_at),
    )


def _from_row(row: tuple[object, ...]) -> ApiKey:
    key_id, name, scopes, digest, rate, row_rate, created_at, created_by, expires, revoked = row
    return ApiKey(
        key_id=str(key_id),
        name=str(name),
        scopes=frozenset(Scope(scope) for scope in str(scopes).split()),
        secret_sha256=str(digest),
        rate=_rate(rate),
        row_rate=_rate(row_rate),
        created_at=datetime.fromisoformat(str(created_at)),
        created_by=str(created_by),
        expires_at=_moment(expires),
        revoked_at=_moment(revoked),
    )


def _rate(value: object) -> Rate | None:
    return Rate(value) if isinstance(value, float) else None


def _moment(value: object) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else None


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")
