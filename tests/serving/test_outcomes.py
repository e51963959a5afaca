"""Reports on rows: each is kept, one counts, and in whatever order they come it is the same."""

import itertools
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.contract import Contract, parse_contract
from features.online.events import Event, LabelReport
from features.online.opening import open_state
from features.online.past import MISSING
from features.online.state import ClockSkewRefused, LabelCounts, StateUnreachable
from serving.decisions.sealing import LogSecret
from serving.outcomes import OutcomeBook
from serving.reported_labels import KeptReport, Outcome, ReportedLabel, TakenLabels

SECRET = LogSecret(bytes(32))
DAY = 86_400_000_000
NOW = 20_000 * DAY


def nobody(_: Sequence[LabelReport]) -> None:
    """Stands for a model without features over time."""


@pytest.fixture
def contract(corner_contract: dict[str, Any]) -> Contract:
    return parse_contract(corner_contract, source="tests")


@pytest.fixture
def book(tmp_path: Path) -> OutcomeBook:
    return OutcomeBook(tmp_path)


def take(book: OutcomeBook, contract: Contract, *labels: ReportedLabel, now: int = NOW) -> Any:
    return book.take(contract, SECRET, labels, feed=nobody, now=now)


def dated(label: int, day: int, source: str | None = None) -> ReportedLabel:
    return ReportedLabel("17", label, day * DAY, source)


def undated(label: int, now: int) -> ReportedLabel:
    return ReportedLabel("17", label, now, is_dated=False)


def test_a_report_that_is_repeated_is_a_duplicate(book, contract) -> None:
    first, again = (take(book, contract, dated(1, 3)) for _ in range(2))

    assert first == TakenLabels(accepted=1, duplicates=0, unknown=0)
    assert again == TakenLabels(accepted=0, duplicates=1, unknown=0)
    assert len(book.history("corner")) == 1


def test_a_label_said_again_without_a_moment_is_a_duplicate(book, contract) -> None:
    counts = [take(book, contract, undated(1, NOW + n), now=NOW + n).accepted for n in range(3)]

    assert counts == [1, 0, 0]
    assert book.outcomes("corner") == {"17": Outcome("17", 1, NOW)}
    assert take(book, contract, undated(0, NOW + 9), now=NOW + 9).accepted == 1
    assert book.outcomes("corner") == {"17": Outcome("17", 0, NOW + 9)}


def test_what_is_said_without_a_moment_reaches_the_state_as_old_as_it_was(book, contract) -> None:
    fed: list[LabelReport] = []

    def feed(reports: Sequence[LabelReport]) -> LabelCounts:
        fed.extend(reports)
        return LabelCounts(accepted=0, duplicates=1, unknown=0)

    take(book, contract, dated(1, 3))
    counts = book.take(contract, SECRET, [undated(1, NOW)], feed=feed, now=NOW)

    assert fed == [LabelReport("17", 1, 3 * DAY)]
    assert counts == TakenLabels(accepted=0, duplicates=1, unknown=0)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_the_last_report_counts_and_of_two_at_once_the_positive_one(
    book, contract, order: tuple[int, ...]
) -> None:
    reports = [dated(0, 3), dated(1, 3), dated(0, 2), dated(0, 3)]

    taken = [take(book, contract, reports[at]) for at in order]

    assert book.outcomes("corner") == {"17": Outcome("17", 1, 3 * DAY)}
    assert [(kept.label, kept.reported_at // DAY) for kept in book.history("corner", "17")] == [
        (0, 2), (0, 3), (1, 3),
    ]  # fmt: skip
    assert sum(each.contradictory for each in taken) >= 1


def test_contradictions_are_counted_among_the_others(book, contract) -> None:
    counts = take(book, contract, dated(0, 3), dated(1, 3), dated(0, 3), dated(1, 4))

    assert counts == TakenLabels(accepted=3, duplicates=1, unknown=0, contradictory=2)


def test_the_history_says_who_reported_what_and_when_it_came_in(book, contract) -> None:
    take(book, contract, dated(1, 3, "chargeback"), now=NOW)
    take(book, contract, dated(1, 3, "bank"), now=NOW + 1)
    take(book, contract, dated(0, 2), now=NOW + 2)

    assert book.history("corner", "17") == [
        KeptReport("17", 0, 2 * DAY, None, NOW + 2),
        KeptReport("17", 1, 3 * DAY, "bank", NOW + 1),
        KeptReport("17", 1, 3 * DAY, "chargeback", NOW),
    ]
    assert book.history("corner", "18") == []


def test_what_was_known_at_a_moment_is_found_again(book, contract) -> None:
    take(book, contract, dated(1, 3), dated(0, 5), dated(1, 9))

    def label_at(day: int) -> int | None:
        found = book.outcomes_at("corner", ["17", "18"], day * DAY)
        return found["17"].label if found else None

    assert [label_at(day) for day in (2, 3, 4, 5, 8, 9)] == [None, 1, 1, 0, 0, 1]
    assert book.outcomes_at("corner", ["17"])["17"].label == 1
    assert book.outcomes_at("shop", ["17"]) == {}


def test_many_rows_are_asked_for_at_once(book, contract) -> None:
    names = [str(number) for number in range(1_201)]
    take(book, contract, *(ReportedLabel(name, 1, DAY) for name in names))

    assert len(book.outcomes_at("corner", [*names, "other"])) == 1_201


def test_a_label_of_the_future_is_refused_also_without_a_state(book, contract) -> None:
    ahead = NOW + 6 * 60_000_000

    with pytest.raises(ClockSkewRefused, match="lies 0:06:00 in the future"):
        take(book, contract, ReportedLabel("17", 1, NOW), ReportedLabel("18", 1, ahead))
    assert book.outcomes("corner") == {}


def test_what_the_state_refuses_is_no_outcome(book, contract) -> None:
    def away(_: Sequence[LabelReport]) -> LabelCounts:
        raise StateUnreachable("cut off")

    with pytest.raises(StateUnreachable):
        book.take(contract, SECRET, [dated(1, 3)], feed=away, now=NOW)
    assert book.history("corner") == []


def test_a_file_from_before_reports_were_kept_goes_on_in_place(tmp_path, contract) -> None:
    with closing(sqlite3.connect(tmp_path / "outcomes.db")) as connection, connection:
        connection.execute(
            "CREATE TABLE outcome (model TEXT NOT NULL, id TEXT NOT NULL, label INTEGER NOT NULL, "
            "reported_at INTEGER NOT NULL, PRIMARY KEY (model, id)) WITHOUT ROWID"
        )
        connection.execute("INSERT INTO outcome VALUES ('corner', '17', 1, ?)", (3 * DAY,))
    book = OutcomeBook(tmp_path)

    assert book.history("corner") == [KeptReport("17", 1, 3 * DAY, None, None)]
    assert take(book, contract, dated(1, 3)).duplicates == 1
    assert take(book, contract, dated(0, 4)).accepted == 1
    assert OutcomeBook(tmp_path).outcomes_at("corner", ["17"], 3 * DAY)["17"].label == 1


_REPORT = st.tuples(st.sampled_from("abc"), st.sampled_from([0, 1]), st.integers(1, 3))


@given(reports=st.lists(_REPORT, min_size=1, max_size=12), data=st.data())
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
def test_the_state_and_the_book_agree_whatever_the_order(
    tmp_path_factory: pytest.TempPathFactory,
    corner_contract: dict[str, Any],
    reports: list[tuple[str, int, int]],
    data: st.DataObject,
) -> None:
    """Any order and any repeats leave the same current labels, in both and in each other."""
    contract = parse_contract(corner_contract, source="tests")
    again = data.draw(st.lists(st.sampled_from(reports), max_size=4))
    orders = [reports, data.draw(st.permutations([*reports, *again]))]

    assert _labels(tmp_path_factory, contract, orders[0]) == _labels(
        tmp_path_factory, contract, orders[1]
    )


def _labels(
    folders: pytest.TempPathFactory, contract: Contract, reports: Sequence[tuple[str, int, int]]
) -> dict[str, tuple[int, int]]:
    """Return label and moment of each row by state and book, which must be the same."""
    folder = folders.mktemp("labels")
    book = OutcomeBook(folder)
    state = open_state(contract, folder=folder, clock=lambda: NOW)
    try:
        events = [Event(name, DAY, 100, (name,), ()) for name in "abc"]
        state.apply(events)
        for name, label, day in reports:
            given = [ReportedLabel(name, label, day * DAY)]
            book.take(contract, SECRET, given, feed=state.report_labels, now=NOW)
        probes = [Event("probe", DAY + 1, 100, (name,), ()) for name in "abc"]
        codes = {
            name: past[0].reports[0]
            for name, past in zip("abc", state.past(probes), strict=True)
            if past[0] is not None and past[0].reports and past[0].reports[0] != MISSING
        }
    finally:
        state.close()
    by_state = {name: (code & 1, code >> 1) for name, code in codes.items()}
    by_book = {each.id: (each.label, each.reported_at) for each in book.outcomes("corner").values()}
    assert by_state == by_book
    return by_book
