"""What is live changes only for who knows what was live."""

import threading
from pathlib import Path

import pytest

from serving.live import LiveRecord, LiveRecordChanged, LiveRecords

FIRST, SECOND = LiveRecord("1", "1", 1), LiveRecord("2", "3", 5)


def test_nothing_is_live_before_the_first_release(tmp_path: Path) -> None:
    records = LiveRecords(tmp_path / "whitecrow.db")

    assert records.get("shop") is None
    assert records.all() == {}
    assert not (tmp_path / "whitecrow.db").exists(), "looking must write nothing"


def test_swapping_replaces_the_expected_record(tmp_path: Path) -> None:
    records = LiveRecords(tmp_path / "whitecrow.db")

    records.compare_and_swap("shop", None, FIRST)
    records.compare_and_swap("shop", FIRST, SECOND)
    records.compare_and_swap("outlet", None, FIRST)

    assert records.get("shop") == SECOND
    assert records.all() == {"outlet": FIRST, "shop": SECOND}
    assert records.get("shop", alias="challenger") is None


def test_swapping_to_none_removes_the_record(tmp_path: Path) -> None:
    records = LiveRecords(tmp_path / "whitecrow.db")
    records.compare_and_swap("shop", None, FIRST)

    records.compare_and_swap("shop", FIRST, None)

    assert records.get("shop") is None


@pytest.mark.parametrize("expected", [None, SECOND])
def test_a_stale_expectation_changes_nothing(tmp_path: Path, expected: LiveRecord | None) -> None:
    records = LiveRecords(tmp_path / "whitecrow.db")
    records.compare_and_swap("shop", None, FIRST)

    with pytest.raises(LiveRecordChanged, match="shop@champion is version 1 with policy 1 by now"):
        records.compare_and_swap("shop", expected, SECOND)

    assert records.get("shop") == FIRST


def test_of_many_who_swap_at_once_one_wins(tmp_path: Path) -> None:
    records = LiveRecords(tmp_path / "whitecrow.db")
    records.compare_and_swap("shop", None, FIRST)
    won: list[str] = []

    def attempt(version: str) -> None:
        try:
            records.compare_and_swap("shop", FIRST, LiveRecord(version, "1", 2))
        except LiveRecordChanged:
            return
        won.append(version)

    threads = [threading.Thread(target=attempt, args=(str(v),)) for v in range(2, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(won) == 1
    assert records.get("shop") == LiveRecord(won[0], "1", 2)


def test_every_alias_is_read_as_of_one_moment(tmp_path: Path) -> None:
    live = LiveRecords(tmp_path / "whitecrow.db")
    empty = live.by_alias()
    live.compare_and_swap("b", None, LiveRecord("2", "2", 1))
    live.compare_and_swap("a", None, LiveRecord("1", "1", 1))
    live.compare_and_swap("a", None, LiveRecord("3", "3", 2), alias="challenger")

    assert empty == {"champion": {}, "challenger": {}}
    assert live.by_alias() == {
        "champion": {"a": LiveRecord("1", "1", 1), "b": LiveRecord("2", "2", 1)},
        "challenger": {"a": LiveRecord("3", "3", 2)},
    }
    assert list(live.all()) == ["a", "b"]
