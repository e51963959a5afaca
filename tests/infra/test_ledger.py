"""The ledger: in order, durable, and broken by any change."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from infra.database import StateUnavailable
from infra.ledger import Ledger, LedgerBroken


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    ledger = Ledger(tmp_path / "whitecrow.db")
    for version in ("1", "2", "3"):
        ledger.append(
            "promoted", "cards", actor="ana", reason="better", details={"version": version}
        )
    return ledger


def test_entries_come_back_as_written(ledger) -> None:
    entries = ledger.entries("cards")

    assert [entry.sequence for entry in entries] == [1, 2, 3]
    assert entries[1].details == {"version": "2"}
    assert entries[1].previous_hash == entries[0].hash
    assert ledger.verify() == 3
    assert ledger.entries("loans") == []


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE ledger SET actor = 'eve' WHERE sequence = 2",
        'UPDATE ledger SET details = \'{"version":"9"}\' WHERE sequence = 2',
        "UPDATE ledger SET hash = previous_hash WHERE sequence = 2",
        "DELETE FROM ledger WHERE sequence = 2",
        "UPDATE ledger SET sequence = 9 WHERE sequence = 2",
    ],
)
def test_tampering_is_found_at_its_place(ledger, tmp_path, tampering) -> None:
    with closing(sqlite3.connect(tmp_path / "whitecrow.db")) as connection, connection:
        connection.execute(tampering)

    with pytest.raises(LedgerBroken, match="broken at entry [239]"):
        ledger.verify()


def test_writers_at_the_same_time_never_fork_the_chain(tmp_path) -> None:
    path = tmp_path / "whitecrow.db"

    def write(number: int) -> None:
        Ledger(path).append("x", "cards", actor="a", reason="r", details={"n": number})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))

    assert Ledger(path).verify() == 40
    assert sorted(e.details["n"] for e in Ledger(path).entries()) == list(range(40))


def test_a_state_folder_that_cannot_be_written_is_one_line(tmp_path) -> None:
    (tmp_path / "file").write_text("not a folder")

    with pytest.raises(StateUnavailable, match="set WHITECROW_HOME") as refused:
        Ledger(tmp_path / "file" / "whitecrow.db").entries()

    assert "\n" not in str(refused.value)
