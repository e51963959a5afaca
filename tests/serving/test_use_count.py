"""Letting go after the last user."""

import threading

import pytest

from serving.use_count import UseCount


def test_it_is_over_when_it_is_retired_and_its_last_user_is_done() -> None:
    users = UseCount()
    taken = [users.take(), users.take()]
    users.retire()
    still_there = users.take()
    for _ in range(3):
        over_before = users.is_over
        users.give_back()

    assert [*taken, still_there] == [True, True, True]
    assert not over_before
    assert users.is_over
    assert not users.take()
    with pytest.raises(RuntimeError), users:
        pytest.fail("nobody gets in any more")
    assert users.is_over


def test_it_is_not_over_while_it_is_not_retired() -> None:
    users = UseCount()
    with users:
        pass

    assert not users.is_over
    assert users.take()


def test_threads_do_not_lose_count() -> None:
    users = UseCount()

    def use() -> None:
        for _ in range(2_000):
            with users:
                pass

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    users.retire()

    assert users.is_over
