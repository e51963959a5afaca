"""Random edits of all that is stored, as somebody with access to every byte of it could make."""

import hashlib
import json
import random
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from infra.storage import sha256_json

from .conftest import Site

LEDGER = {
    "ledger": (
        "sequence", "at", "event", "subject", "actor", "reason", "details", "previous_hash", "hash",
    ),
}  # fmt: skip
LOG = {
    "log_group": (
        "writer_id", "number", "first_sequence", "n_records", "segment", "committed_at", "records",
        "digest",
    ),
    "log_decision": ("decision_id", "writer_id", "number", "place"),
    "log_answered": ("key", "content", "decision_id", "until"),
    "log_closed": ("writer_id", "segment", "number", "last_sequence", "digest"),
    "log_writer": ("writer_id",),
    "log_subject_key": ("subject", "wrapped"),
}  # fmt: skip
STATE = {
    "live": ("name", "alias", "model_version", "policy_version", "ledger_sequence", "changed_at"),
    "api_keys": (
        "key_id", "name", "scopes", "secret_sha256", "requests_per_second", "rows_per_second",
        "created_at", "created_by", "expires_at", "revoked_at",
    ),
}  # fmt: skip
HARMLESS_VALUES = {("live", "changed_at"), ("log_subject_key", "wrapped")}
"""What no decision and no proof rests on; a changed wrapped key opens nothing (AES-GCM)."""

_TEXT = "abcdef0123456789:_ é"


class Unfit(Exception):
    """Raised by an edit that this site does not allow, or that changes nothing."""


class Tamperer:
    """Edits one site at random, and puts it back.

    Args:
        site: Of which a copy is kept.
        seed: Of the edits.
        scratch: Folder for the copy.
    """

    def __init__(self, site: Site, seed: int, scratch: Path) -> None:
        self._site = site
        self._random = random.Random(seed)
        self._copy = scratch / "kept"
        shutil.copytree(site.home, self._copy / "home")
        shutil.copytree(site.archive, self._copy / "archive")
        self._tables = {name: self._rows(name) for name in (LEDGER | LOG if site.on_server else {})}

    def edit(self) -> str:
        """Make one edit and return what it was."""
        kinds: list[Callable[[], str]] = [
            self.change_value, self.change_value, self.change_value, self.delete_row,
            self.insert_row, self.swap_values, self.cut_off_log, self.cut_off_ledger,
            self.rewrite_log, self.rewrite_ledger, self.change_file, self.change_file,
            self.lose_file, self.swap_policies,
        ]  # fmt: skip
        while True:
            try:
                return self._random.choice(kinds)()
            except (Unfit, sqlite3.IntegrityError, psycopg.IntegrityError):
                self.restore()

    def restore(self) -> None:
        """Put everything back."""
        shutil.rmtree(self._site.home)
        shutil.rmtree(self._site.archive)
        shutil.copytree(self._copy / "home", self._site.home)
        shutil.copytree(self._copy / "archive", self._site.archive)
        for table, rows in self._tables.items():
            self._run(table, f"DELETE FROM {table}")
            marks = ",".join("?" * len(rows[0])) if rows else ""
            for row in rows:
                self._run(table, f"INSERT INTO {table} VALUES ({marks})", *row)

    def change_value(self) -> str:
        table, row = self._some_row({**LEDGER, **LOG, **STATE})
        columns = [
            each
            for each in self._columns(table)
            if (table, each) not in HARMLESS_VALUES and row[each] is not None
        ]
        column = self._random.choice(columns)
        new = self._other(row[column])
        self._update(table, row, {column: new})
        return f"{table}.{column} of {self._shown(row)}: {row[column]!r:.60} to {new!r:.60}"

    def delete_row(self) -> str:
        table, row = self._some_row({**LEDGER, **LOG, "live": STATE["live"]})
        if row.get("alias") == "challenger":
            raise Unfit("it answers nothing")
        if table == "ledger" and row["sequence"] == len(self._rows("ledger")):
            raise Unfit("that is cutting off the end")
        self._run(table, f"DELETE FROM {table} WHERE {self._match(row)}", *self._values(row))
        return f"{table} without {self._shown(row)}"

    def insert_row(self) -> str:
        tables = {**LEDGER, **LOG, **STATE}
        del tables["log_subject_key"]  # a key of nobody opens nothing
        table, row = self._some_row(tables)
        new = dict(row)
        for column in list(new)[: self._random.randint(1, 2)]:
            new[column] = self._other(new[column])
        if table == "ledger":
            new["sequence"] = len(self._rows("ledger")) + 1
        names, marks = ", ".join(new), ",".join("?" * len(new))
        self._run(table, f"INSERT INTO {table} ({names}) VALUES ({marks})", *new.values())
        return f"{table} with {self._shown(new)}"

    def swap_values(self) -> str:
        table = self._random.choice(["ledger", "log_group", "log_decision", "log_answered"])
        column = {
            "ledger": ["details", "actor", "at"], "log_group": ["records", "digest"],
            "log_decision": ["place", "number"], "log_answered": ["content", "decision_id"],
        }[table]  # fmt: skip
        name = self._random.choice(column)
        first, second = self._random.sample(self._dicts(table), 2)
        if first[name] == second[name]:
            raise Unfit("nothing would change")
        self._update(table, first, {name: second[name]})
        self._update(table, second, {name: first[name]})
        return f"{table}.{name} of {self._shown(first)} and {self._shown(second)} exchanged"

    def cut_off_log(self) -> str:
        """Take the end of a chain out of every table, as if it had never been."""
        writer = self._random.choice(self._dicts("log_writer"))["writer_id"]
        numbers = [row["number"] for row in self._dicts("log_group") if row["writer_id"] == writer]
        if not numbers:
            raise Unfit("nothing is left of it")
        first = self._random.choice(numbers)
        ids = [
            row["decision_id"]
            for row in self._dicts("log_decision")
            if row["writer_id"] == writer and row["number"] >= first
        ]
        for decision_id in ids:
            self._run("log_answered", "DELETE FROM log_answered WHERE decision_id = ?", decision_id)
        for table in ("log_decision", "log_group"):
            statement = f"DELETE FROM {table} WHERE writer_id = ? AND number >= ?"
            self._run(table, statement, writer, first)
        if first == 1:
            self._run("log_writer", "DELETE FROM log_writer WHERE writer_id = ?", writer)
        return f"the log cut off before group {first} of {writer}"

    def cut_off_ledger(self) -> str:
        first = self._random.randint(1, len(self._rows("ledger")))
        self._run("ledger", "DELETE FROM ledger WHERE sequence >= ?", first)
        return f"the ledger cut off before entry {first}"

    def rewrite_log(self) -> str:
        """Change a group and make every digest behind it fit."""
        rows = sorted(self._dicts("log_group"), key=lambda row: (row["writer_id"], row["number"]))
        begin = self._random.randrange(len(rows))
        writer, committed_at = rows[begin]["writer_id"], rows[begin]["committed_at"]
        previous = (
            bytes(32)
            if begin == 0 or rows[begin - 1]["writer_id"] != writer
            else bytes(rows[begin - 1]["digest"])
        )
        for row in rows[begin:]:
            if row["writer_id"] != writer:
                break
            new = dict(row, committed_at=committed_at + 1 if row is rows[begin] else None)
            new["committed_at"] = new["committed_at"] or row["committed_at"]
            head = tuple(new[name] for name in LOG["log_group"][:6])
            content = previous + msgspec.msgpack.encode(head) + bytes(row["records"])
            previous = hashlib.sha256(content).digest()
            change = {"committed_at": new["committed_at"], "digest": previous}
            self._update("log_group", row, change)
        return f"the log written anew from group {rows[begin]['number']} of {writer}"

    def rewrite_ledger(self) -> str:
        """Change an entry and make every hash behind it fit."""
        rows = sorted(self._dicts("ledger"), key=lambda row: int(row["sequence"]))
        begin = self._random.randrange(len(rows))
        previous = rows[begin]["previous_hash"]
        for at, row in enumerate(rows[begin:]):
            new = dict(row, previous_hash=previous)
            if at == 0:
                new["actor"] = self._other(row["actor"])
            del new["hash"]
            previous = sha256_json(dict(new, details=json.loads(new["details"])))
            self._update("ledger", row, new | {"hash": previous})
        return f"the ledger written anew from entry {begin + 1}"

    def change_file(self) -> str:
        path = self._some_file()
        content = bytearray(path.read_bytes())
        at, kind = self._random.randrange(len(content)), self._random.randrange(4)
        if kind == 0:
            content[at] ^= 1 << self._random.randrange(8)
        elif kind == 1:
            del content[at]
        elif kind == 2:
            content.insert(at, self._random.randrange(256))
        else:
            del content[at:]
        if bytes(content) == path.read_bytes() or not _differs(path, content):
            raise Unfit("the same")
        path.write_bytes(bytes(content))
        return f"{path.name} of {path.parent.name}, kind {kind}, byte {at}"

    def lose_file(self) -> str:
        path = self._some_file()
        if path.suffix == ".pub":
            raise Unfit("a key that is not there is told in another way")
        path.unlink()
        return f"{path} is gone"

    def swap_policies(self) -> str:
        folder = self._site.home / "policies" / "shop"
        for suffix in ("", ".sig"):
            one, two = folder / f"1.json{suffix}", folder / f"2.json{suffix}"
            contents = one.read_bytes(), two.read_bytes()
            one.write_bytes(contents[1])
            two.write_bytes(contents[0])
        return "policies exchanged"

    def _some_file(self) -> Path:
        folders = [self._site.home / "models", self._site.home / "policies",
                   self._site.home / "keys", self._site.archive]  # fmt: skip
        files = [path for folder in folders for path in sorted(folder.rglob("*"))]
        return self._random.choice(
            [path for path in files if path.is_file() and path.suffix not in (".pem", ".key")]
        )

    def _some_row(self, tables: dict[str, Sequence[str]]) -> tuple[str, dict[str, Any]]:
        table = self._random.choice(list(tables))
        rows = self._dicts(table)
        if not rows:
            raise Unfit("no rows")
        return table, self._random.choice(rows)

    def _columns(self, table: str) -> Sequence[str]:
        return ({**LEDGER, **LOG, **STATE})[table]

    def _dicts(self, table: str) -> list[dict[str, Any]]:
        return [dict(zip(self._columns(table), row, strict=True)) for row in self._rows(table)]

    def _rows(self, table: str) -> list[Any]:
        columns = self._columns(table)
        statement = f"SELECT {', '.join(columns)} FROM {table} ORDER BY {columns[0]}"
        return [
            tuple(bytes(each) if isinstance(each, memoryview) else each for each in row)
            for row in self._run(table, statement)
        ]

    def _run(self, table: str, statement: str, *values: Any) -> list[Any]:
        if table in STATE:
            return self._site.run_file("whitecrow.db", statement, *values)
        return self._site.run(statement, *values, ledger=table in LEDGER)

    def _update(self, table: str, row: dict[str, Any], change: dict[str, Any]) -> None:
        assignments = ", ".join(f"{column} = ?" for column in change)
        statement = f"UPDATE {table} SET {assignments} WHERE {self._match(row)}"
        self._run(table, statement, *change.values(), *self._values(row))

    @staticmethod
    def _match(row: dict[str, Any]) -> str:
        return " AND ".join(
            f"{column} = ?" if value is not None else f"{column} IS NULL"
            for column, value in row.items()
        )

    @staticmethod
    def _values(row: dict[str, Any]) -> list[Any]:
        return [value for value in row.values() if value is not None]

    @staticmethod
    def _shown(row: dict[str, Any]) -> str:
        return " ".join(f"{value!r:.40}" for value in list(row.values())[:3])

    def _other(self, value: Any) -> Any:
        """Return a value of the same type that differs a little."""
        if isinstance(value, int):
            return value + self._random.choice([-1, 1]) * self._random.randint(1, 5)
        if isinstance(value, bytes):
            changed = bytearray(value)
            changed[self._random.randrange(len(changed))] ^= 1 << self._random.randrange(8)
            return bytes(changed)
        if value is None:
            return "2026-01-01T00:00:00+00:00"
        at = self._random.randrange(len(value) + 1)
        changed_text = value[:at] + self._random.choice(_TEXT) + value[at + 1 :]
        return changed_text if changed_text != value else value + "x"


def _differs(path: Path, content: bytes | bytearray) -> bool:
    """Return whether a public key's file says something else, not the same in other letters."""
    if path.suffix != ".pub":
        return True
    try:
        return bytes.fromhex(content.decode("ascii").strip()) != bytes.fromhex(path.read_text())
    except ValueError:
        return True
