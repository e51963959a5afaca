"""A state folder on a machine without whitecrow: its SQLite files, read and never written."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from infra.verifier.signatures import key_id_of, read_public_key


class Unreadable(Exception):
    """Raised for a file that cannot be read as what it should be."""


class SqliteRows:
    """A SQLite file as it was when it was first asked."""

    def __init__(self, connection: sqlite3.Connection | None) -> None:
        self._connection = connection
        self._tables: set[str] = set()
        if connection is not None:
            found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            self._tables = {name for (name,) in found}

    def rows(self, statement: str, *values: Any) -> Iterator[Sequence[Any]]:
        """Yield the rows of a statement (:meth:`Source.rows`)."""
        table = statement.split(" FROM ", 1)[1].split(maxsplit=1)[0]
        if self._connection is not None and table in self._tables:
            with closing(self._connection.execute(statement, values)) as found:
                yield from found


@contextmanager
def sqlite_rows(path: Path) -> Iterator[SqliteRows]:
    """Yield a file's rows, of one moment; nothing where there is no file.

    Raises:
        Unreadable: If it is no database, or its folder cannot be used.
    """
    if not path.is_file():
        yield SqliteRows(None)
        return
    try:
        with closing(_connected(path)) as connection:
            connection.execute("BEGIN")
            yield SqliteRows(connection)
    except (sqlite3.Error, UnicodeError) as error:
        raise Unreadable(f"{path} cannot be read: {error}.") from None


def _connected(path: Path) -> sqlite3.Connection:
    place = f"file:{quote(str(path.resolve()))}"
    connection = sqlite3.connect(f"{place}?mode=ro", uri=True, isolation_level=None, timeout=30)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        if path.with_name(f"{path.name}-wal").exists():
            raise
        # Nobody has it open, and its folder takes no writes: a copy on a read-only disk.
        return sqlite3.connect(f"{place}?immutable=1", uri=True, isolation_level=None)
    return connection


def keys_of(texts: Sequence[str], folder: Path) -> dict[str, bytes]:
    """Return public keys by id: the named ones, else those of a folder.

    Args:
        texts: 64 hexadecimal digits, or paths of files that hold them.
        folder: ``keys`` of a state folder.

    Raises:
        Unreadable: If one of them is no public key.
    """
    files = {} if texts else {str(path): path for path in sorted(folder.glob("*.pub"))}
    keys = {}
    for text in [*texts, *files]:
        key = read_public_key(text)
        if key is None:
            try:
                key = read_public_key(Path(text).read_text("ascii"))
            except (OSError, UnicodeError):
                key = None
        if key is None or (text in files and files[text].stem != key_id_of(key)):
            raise Unreadable(f"{text} is no public key, or not the one that its name says.")
        keys[key_id_of(key)] = key
    return keys
