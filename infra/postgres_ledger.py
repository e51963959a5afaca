"""The ledger in PostgreSQL, for several machines. Needs the extra ``postgres``."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from infra.database import StateUnavailable
from infra.ledger import TABLES, Ask, Ledger, LedgerLocationError

if TYPE_CHECKING:
    import psycopg

_CONNECT_SECONDS = 3
_OPTIONS = "-c synchronous_commit=on -c lock_timeout=30000"
# Held until the commit: two writers never fork the chain. Readers do not wait.
_LOCK = "SELECT pg_advisory_xact_lock(8603451922)"


class PostgresLedger(Ledger):
    """The chain in one table; safe for several processes and machines.

    Args:
        uri: ``postgresql://…``.

    Raises:
        LedgerLocationError: If the driver is not installed.
    """

    def __init__(self, uri: str) -> None:
        try:
            import psycopg
        except ImportError:
            raise LedgerLocationError(
                "A ledger on PostgreSQL needs the extra: pip install 'whitecrow[postgres]'."
            ) from None
        self._psycopg = psycopg
        self._uri = uri
        self._given = psycopg.conninfo.conninfo_to_dict(uri).get("options") or ""
        self._has_table = False
        parts = urlsplit(uri)
        port = f":{parts.port}" if parts.port else ""
        self.location = f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"

    @contextmanager
    def _writing(self) -> Iterator[Ask]:
        with self._connected() as connection, connection.transaction():
            connection.execute(_LOCK)
            yield _ask(connection)

    @contextmanager
    def _reading(self) -> Iterator[Ask]:
        with self._connected() as connection:
            yield _ask(connection)

    @contextmanager
    def _connected(self) -> Iterator["psycopg.Connection[Any]"]:
        try:
            with self._psycopg.connect(
                self._uri,
                connect_timeout=_CONNECT_SECONDS,
                options=f"{self._given} {_OPTIONS}".strip(),
                application_name="whitecrow ledger",
                autocommit=True,
            ) as connection:
                self._make_table(connection)
                yield connection
        except self._psycopg.Error as error:
            first = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise StateUnavailable(
                f"The ledger {self.location} does not answer: {first}. Start the server, or set "
                "WHITECROW_LEDGER_URI."
            ) from None

    def _make_table(self, connection: "psycopg.Connection[Any]") -> None:
        if self._has_table:
            return
        with connection.transaction():
            # Two processes that start at once must not both make it.
            connection.execute(_LOCK)
            for statement in TABLES.format(integer="BIGINT").split(";"):
                connection.execute(statement.encode())
        self._has_table = True


def _ask(connection: "psycopg.Connection[Any]") -> Ask:
    def ask(statement: str, values: Sequence[Any]) -> list[Any]:
        cursor = connection.execute(statement.replace("?", "%s").encode(), values)
        return cursor.fetchall() if cursor.description else []

    return ask
