"""Tables that are the answer to a database query.

A query is named by one URI: the database's own URI, then ``query=`` as the last parameter,
then SQL up to the end (as typed, or percent-encoded; a literal ``%`` before two hexadecimal
digits is written ``%25``)::

    sqlite:///payments.db?query=SELECT * FROM transactions
    sqlite:////var/lib/payments.db?query=SELECT * FROM transactions
    postgresql://reader@db.example/payments?sslmode=require&query=SELECT * FROM transactions

Three slashes after ``sqlite:`` are a relative path, four an absolute one. SQLite is read with
the standard library, PostgreSQL with psycopg, anything else with connectorx where installed.
Connections are read-only.
"""

import importlib.util
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import polars as pl

from features.ingestion.data_error import DataError, first_line

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")
_PASSWORD = re.compile(r"(?<=://)([^:/@?]*):[^@/?]*@")
_PASSWORD_PARAMETER = re.compile(r"(?<=[?&])(?:ssl)?password=[^&]*&?")
_QUERY = re.compile(r"[?&]query=")
_STORES = ("file", "http", "https", "s3", "gs", "gcs", "az", "abfs", "abfss", "hf")
_POSTGRESQL = ("postgresql", "postgres")


@dataclass(frozen=True, slots=True)
class DatabaseQuery:
    """A database's URI and the SQL to run there.

    Attributes:
        scheme: ``sqlite``, ``postgresql``, ...
        uri: The database's own URI, with its password.
        sql: One query.
    """

    scheme: str
    uri: str
    sql: str

    @property
    def name(self) -> str:
        """The URI without its password: what may stand in messages and logs."""
        return without_password(self.uri)


def is_database_uri(source: str) -> bool:
    """Return whether ``source`` is a URI and not a path."""
    return _SCHEME.match(source) is not None


def without_password(uri: str) -> str:
    """Return a URI with its password left out.

    Example:
        >>> without_password("postgresql://ana:secret@db/payments?query=SELECT 1")
        'postgresql://ana@db/payments?query=SELECT 1'
    """
    return _PASSWORD_PARAMETER.sub("", _PASSWORD.sub(r"\1@", uri))


def parse_uri(source: str) -> DatabaseQuery:
    """Split a URI into the database and the query.

    Raises:
        DataError: If no query is given, or the URI is not a database's.
    """
    parts = _QUERY.split(source, maxsplit=1)
    scheme = source.split("://", 1)[0].lower()
    if scheme in _STORES:
        raise DataError(
            f"{without_password(source)} is no local file: {scheme}:// is not read. "
            "Download it and name its path."
        )
    if len(parts) < 2 or not parts[1].strip():
        raise DataError(
            f"{without_password(source)} names a database but no query. "
            "Write ?query= and the SQL after it."
        )
    return DatabaseQuery(scheme, parts[0], unquote(parts[1]).strip())


def read_query(source: str) -> pl.DataFrame:
    """Return the rows that the query of a URI selects; typed by all of its rows.

    Raises:
        DataError: If the driver is missing (the package is named), the database cannot be
            reached, the query is wrong or it selects nothing.
    """
    query = parse_uri(source)
    try:
        frame = _run(query)
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - every driver has exceptions of its own
        reason = without_password(first_line(error))
        raise DataError(f"Cannot read from {query.name}: {reason}.") from None
    if frame.is_empty():
        raise DataError(f"The query on {query.name} selects no rows.")
    return frame


def _run(query: DatabaseQuery) -> pl.DataFrame:
    if query.scheme == "sqlite":
        return _run_sqlite(query)
    if importlib.util.find_spec("connectorx"):
        return pl.read_database_uri(query.sql, query.uri)
    if query.scheme in _POSTGRESQL:
        return _run_psycopg(query)
    raise DataError(f"Reading {query.scheme}:// needs a driver: pip install connectorx.")


def _run_sqlite(query: DatabaseQuery) -> pl.DataFrame:
    path = Path(unquote(query.uri.split("://", 1)[1].removeprefix("/")))
    if not path.is_file():
        raise DataError(f"There is no SQLite file {path}. Four slashes begin an absolute path.")
    location = f"file:{quote(str(path.resolve()))}?mode=ro"
    with closing(sqlite3.connect(location, uri=True)) as connection:
        return pl.read_database(query.sql, connection, infer_schema_length=None)


def _run_psycopg(query: DatabaseQuery) -> pl.DataFrame:
    if importlib.util.find_spec("psycopg") is None:
        raise DataError("Reading postgresql:// needs a driver: pip install 'psycopg[binary]'.")
    psycopg = importlib.import_module("psycopg")
    with psycopg.connect(query.uri) as connection:
        connection.read_only = True
        return pl.read_database(query.sql, connection, infer_schema_length=None)
