"""What is live changes only for who knows what was live."""

import threading
from pathlib import Path

import pytest

from flows.policy_release import _point_challenger
from flows.promotion import Change, promote
from infra.settings import Settings
from serving.live import CHALLENGER, LiveRecord, LiveRecordChanged, LiveRecords
from serving.model_references import ResolvedModel
from serving.model_store import ModelStore

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


@pytest.fixture
def shop(new_home, new_policy, tmp_path: Path) -> ModelStore:
    """Champion 1 with policy 1; version 2 with policies 2 and 3."""
    new_home(tmp_path)
    store: ModelStore = new_home(tmp_path, version="2", intercept=0.0, live=False)
    bundle = store.bundle("shop", "2")
    store.add_policy("shop", new_policy(bundle.model_sha256, bundle.golden.logits, review=0.2))
    return store


@pytest.mark.parametrize(
    ("waiting", "promoted", "waits_after"),
    [
        (("2", "3"), "3", None),
        (("2", "2"), "3", None),  # an older policy of what answers now
        (("2", "3"), "2", ("2", "3")),  # a newer one
        (("1", "1"), "3", ("1", "1")),  # another version
        (None, "3", None),
    ],
)
def test_what_was_promoted_waits_no_longer(
    shop: ModelStore, tmp_path: Path, waiting, promoted: str, waits_after
) -> None:
    if waiting is not None:
        shop.live.compare_and_swap("shop", None, LiveRecord(*waiting, 7), alias=CHALLENGER)
    mirrored: list[Change] = []

    change = promote(
        Settings(home=tmp_path), "shop:2", policy=promoted, actor="ada", reason="tests",
        mirror=mirrored.append,
    )  # fmt: skip

    after = shop.live.get("shop", alias=CHALLENGER)
    assert (after and (after.model_version, after.policy_version)) == waits_after
    assert change.is_challenger_gone == (waiting is not None and waits_after is None)
    assert mirrored == [change]
    assert shop.resolve("shop") == ResolvedModel("shop", "2", promoted)


@pytest.mark.parametrize(
    ("waiting", "version", "waits_after"),
    [
        (None, "1", ("1", "9")),  # of the champion, and nothing waits
        (("1", "1"), "1", ("1", "9")),
        (("2", "2"), "2", ("2", "9")),
        (("2", "2"), "1", ("2", "2")),  # a version that waits comes before a policy
        (None, "2", None),  # of what neither answers nor waits
    ],
)
def test_a_new_policy_waits_with_the_model_that_it_is_of(
    shop: ModelStore, waiting, version: str, waits_after
) -> None:
    if waiting is not None:
        shop.live.compare_and_swap("shop", None, LiveRecord(*waiting, 7), alias=CHALLENGER)

    _point_challenger(shop, ResolvedModel("shop", version, "9"), 8)

    after = shop.live.get("shop", alias=CHALLENGER)
    assert (after and (after.model_version, after.policy_version)) == waits_after
