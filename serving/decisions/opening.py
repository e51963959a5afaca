"""Opening the decision log that the settings name."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from infra.database import is_server
from infra.errors import InputError
from infra.settings import Settings
from serving.decisions.log import DecisionLog
from serving.decisions.recorder import Recorder
from serving.decisions.sealing import LogSecret, read_log_secret
from serving.decisions.store import DecisionStore
from serving.scorer import Scorer


class LogLocationError(InputError):
    """Raised for a log URI that names no kind of database."""


@dataclass(frozen=True, slots=True)
class Recording:
    """How a service writes its decisions down.

    Attributes:
        log: The process's log.
        on_stall: What becomes of rows while the log is away.
        requires_key: Whether a row needs an id, or its request an ``Idempotency-Key``.
    """

    log: DecisionLog
    on_stall: Literal["refuse", "degrade"] = "refuse"
    requires_key: bool = False

    def of(self, scorer: Scorer) -> Recorder:
        """Return what writes down the decisions of one version of a model."""
        return Recorder(
            self.log,
            scorer,
            degrades=self.on_stall == "degrade",
            requires_key=self.requires_key,
        )


def open_recording(settings: Settings) -> Recording:
    """Return the log of a service and its ways.

    Raises:
        LogMismatch: If what is there is no decision log, a damaged one, or another secret's.
        LogLocationError: If the URI names no kind of database.
        LogSecretUnusable: If the secret cannot be read, or others could.
    """
    secret = read_log_secret(settings.keys, settings.log_secret)
    log = DecisionLog(
        partial(open_store, settings, secret),
        secret,
        retention_seconds=settings.idempotency_days * 86_400.0,
    )
    return Recording(log, settings.log_on_stall, settings.require_idempotency_key)


def open_store(settings: Settings, secret: LogSecret | None = None) -> DecisionStore:
    """Return the database that the settings name, made where there is none yet.

    Raises:
        LogMismatch: If what is there is no decision log, a damaged one, or another secret's.
        LogUnreachable: If it does not answer.
        LogLocationError: If the URI names no kind of database.
    """
    secret = secret or read_log_secret(settings.keys, settings.log_secret)
    uri = settings.log_uri
    if is_server(uri):
        # Imported here: needs the extra ``postgres``.
        from serving.decisions.postgres_store import PostgresStore

        return PostgresStore(uri, secret.fingerprint)
    if uri is not None and "://" in uri:
        raise LogLocationError(
            f"The decision log must be a postgresql:// URI or a file. Got {uri.partition('://')[0]}"
            "://…"
        )
    from serving.decisions.sqlite_store import SqliteStore

    path = settings.root / "decisions.db" if uri is None else Path(uri)
    return SqliteStore(path, secret.fingerprint)
