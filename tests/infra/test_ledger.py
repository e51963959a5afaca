"""The ledger: in order, durable, and broken by any change; in a file and on a server."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.database import StateUnavailable
from infra.ledger import (
    Ledger,
    LedgerBroken,
    LedgerHead,
    LedgerLocationError,
    LedgerMoved,
    open_ledger,
)
from infra.settings import Settings


def test_entries_come_back_as_written(ledger: Ledger) -> None:
    entries = ledger.entries("cards")

    assert [entry.sequence for entry in entries] == [1, 2, 3]
    assert entries[1].details == {"version": "2"}
    assert entries[1].previous_hash == entries[0].hash
    assert ledger.head() == LedgerHead(3, entries[2].hash)
    assert ledger.verify() == 3
    assert ledger.entries("loans") == []


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE ledger SET actor = 'eve' WHERE sequence = 2",
        'UPDATE ledger SET details = \'{"version":"9"}\' WHERE sequence = 2',
        # The same value, written otherwise.
        'UPDATE ledger SET details = \'{"version": "2"}\' WHERE sequence = 2',
        'UPDATE ledger SET details = \'{"version":"9","version":"2"}\' WHERE sequence = 2',
        "UPDATE ledger SET details = 'no JSON' WHERE sequence = 2",
        "UPDATE ledger SET hash = previous_hash WHERE sequence = 2",
        "DELETE FROM ledger WHERE sequence = 2",
        "UPDATE ledger SET sequence = 9 WHERE sequence = 2",
    ],
)
def test_tampering_is_found_at_its_place(
    ledger: Ledger, tamper: Callable[[str], None], tampering: str
) -> None:
    tamper(tampering)

    with pytest.raises(LedgerBroken, match="broken at entry [239]"):
        ledger.verify()


def test_writers_at_the_same_time_never_fork_the_chain(place: Settings) -> None:
    def write(number: int) -> None:
        open_ledger(place).append("x", "cards", actor="a", reason="r", details={"n": number})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))

    ledger = open_ledger(place)
    assert ledger.verify() == 40
    assert sorted(e.details["n"] for e in ledger.entries()) == list(range(40))


def test_an_entry_that_must_follow_another_is_not_written_elsewhere(ledger: Ledger) -> None:
    head = ledger.head()
    entry = {"actor": "a", "reason": "r", "details": {}}

    ledger.append("x", "cards", follows=head, **entry)
    with pytest.raises(LedgerMoved, match="at entry 4 by now, not at 3"):
        ledger.append("x", "cards", follows=head, **entry)

    assert ledger.verify() == 4


def test_entries_are_found_by_subject_and_event_over_many_pages(place: Settings) -> None:
    ledger = open_ledger(place)
    with ledger._writing() as ask:
        # What 1,100 appends would leave, but for the hashes, in less time.
        for number in range(1, 1_101):
            subject = "cards" if number % 2 else "loans"
            row = (number, "t", "x.y", subject, "a", "r", json.dumps({"n": number}), "", "")
            ask("INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    found = [entry.details["n"] for entry in ledger.stream(subject="cards", event="x.y")]
    back = [entry.sequence for entry in ledger.stream(newest_first=True)]

    assert found == list(range(1, 1_101, 2))
    assert back == list(range(1_100, 0, -1))
    assert ledger.entries(event="x") == []


def test_what_older_releases_called_otherwise_is_found(place: Settings) -> None:
    ledger = open_ledger(place)
    ledger.append("decisions.retired", "2026-03-01", actor="a", reason="r", details={})
    with ledger._writing() as ask:
        ask("UPDATE ledger SET event = ?", ["decisions retired"])

    assert [e.subject for e in ledger.entries(event="decisions.retired")] == ["2026-03-01"]


@pytest.mark.parametrize("event", ["decisions retired", "Promoted", "a.b.c", "", "promoted."])
def test_an_event_has_a_name_of_the_scheme(place: Settings, event: str) -> None:
    with pytest.raises(ValueError, match="named in small letters"):
        open_ledger(place).append(event, "cards", actor="a", reason="r", details={})


def test_a_state_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")

    with pytest.raises(StateUnavailable, match="set WHITECROW_HOME") as refused:
        Ledger(tmp_path / "file" / "whitecrow.db").entries()

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("uri", "error", "message"), [
    ("mysql://host/db", LedgerLocationError, "must be a postgresql:// URI or a file. Got mysql://"),
    ("postgresql://127.0.0.1:1/none", StateUnavailable, "does not answer: .* WHITECROW_LEDGER_URI"),
])  # fmt: skip
def test_a_ledger_that_is_not_there_is_one_line(uri: str, error: type, message: str) -> None:
    with pytest.raises(error, match=message) as refused:
        open_ledger(Settings(ledger_uri=uri)).entries()

    assert "\n" not in str(refused.value)


def test_a_ledger_may_lie_in_a_file_of_its_own(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", ledger_uri=str(tmp_path / "ledger.db"))

    open_ledger(settings).append("x", "cards", actor="a", reason="r", details={})

    assert Ledger(tmp_path / "ledger.db").verify() == 1
    assert not settings.database.exists()
