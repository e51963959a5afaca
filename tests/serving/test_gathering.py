"""Rows of different requests, decided together: who goes with whom, and what nobody waits for."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from serving.answers import encode
from serving.gathering import MOST_TOGETHER, RowGatherer
from serving.refusals import RequestRefused
from serving.request_context import RequestContext
from serving.request_trace import RequestTrace, finish_stage, share_stages
from serving.row_request import RowRequest
from serving.served_model import ServedModel
from serving.verification import load_scorer


class Groups:
    """Decides rows by their place in the group, and keeps the groups."""

    def __init__(self, *, pause: float = 0.0) -> None:
        self.rows: list[list[Any]] = []
        self.n_done = 0
        self._pause = pause

    async def decide(self, requests: Sequence[RowRequest]) -> list[Any]:
        self.rows.append([request.row["at"] for request in requests])
        finish_stage("model")
        await asyncio.sleep(self._pause)
        share_stages()
        return [(request.row["at"], len(requests)) for request in requests]

    def done(self) -> None:
        self.n_done += 1


def row(at: int, **context: Any) -> RowRequest:
    return RowRequest({"at": at}, RequestContext(**context))


def test_rows_at_hand_in_one_turn_go_together() -> None:
    groups = Groups()

    async def main() -> list[Any]:
        gatherer = RowGatherer(groups.decide)
        first = await asyncio.gather(*(gatherer.outcome(row(at), groups.done) for at in range(5)))
        return [*first, await gatherer.outcome(row(5), groups.done)]

    outcomes = asyncio.run(main())

    assert outcomes == [(0, 5), (1, 5), (2, 5), (3, 5), (4, 5), (5, 1)]
    assert groups.rows == [[0, 1, 2, 3, 4], [5]]
    assert groups.n_done == 6


def test_a_group_has_an_end() -> None:
    groups = Groups()

    async def main() -> list[Any]:
        gatherer = RowGatherer(groups.decide)
        n_rows = 2 * MOST_TOGETHER + 3
        return await asyncio.gather(
            *(gatherer.outcome(row(at), groups.done) for at in range(n_rows))
        )

    outcomes = asyncio.run(main())

    assert [len(each) for each in groups.rows] == [MOST_TOGETHER, MOST_TOGETHER, 3]
    assert [at for at, _ in outcomes] == list(range(2 * MOST_TOGETHER + 3))


def test_what_comes_while_a_group_is_under_way_goes_together_after_it() -> None:
    groups = Groups(pause=0.05)

    async def main() -> None:
        gatherer = RowGatherer(groups.decide)
        asked = [asyncio.create_task(gatherer.outcome(row(0), groups.done))]
        for at in (1, 2):
            await asyncio.sleep(0.01)
            asked.append(asyncio.create_task(gatherer.outcome(row(at), groups.done)))
        await asyncio.sleep(0.01)
        assert gatherer.n_waiting == 2
        await asyncio.gather(*asked)

    asyncio.run(main())

    assert groups.rows == [[0], [1, 2]]


def test_nothing_becomes_of_a_row_that_is_given_up_before_its_group_begins() -> None:
    groups = Groups(pause=0.05)

    async def main() -> None:
        gatherer = RowGatherer(groups.decide)
        first = asyncio.create_task(gatherer.outcome(row(0), groups.done))
        await asyncio.sleep(0.01)
        given_up = asyncio.create_task(gatherer.outcome(row(1), groups.done))
        overdue = asyncio.create_task(
            gatherer.outcome(row(2, deadline=time.monotonic()), groups.done)
        )
        last = asyncio.create_task(gatherer.outcome(row(3), groups.done))
        await asyncio.sleep(0.01)
        given_up.cancel()
        assert groups.n_done == 0, "the work on the first has not ended"
        await asyncio.gather(first, last)
        overdue.cancel()

    asyncio.run(main())

    assert groups.rows == [[0], [3]]
    assert groups.n_done == 4


def test_a_row_is_refused_in_time_while_its_group_is_under_way() -> None:
    groups = Groups(pause=0.5)

    async def ask(gatherer: RowGatherer, at: int, seconds: float) -> float:
        begun = time.monotonic()
        with pytest.raises(RequestRefused, match="took too long"):
            await gatherer.outcome(row(at, deadline=begun + seconds), groups.done)
        return time.monotonic() - begun

    async def main() -> list[float]:
        gatherer = RowGatherer(groups.decide)
        return await asyncio.gather(*(ask(gatherer, at, 0.05 + 0.1 * at) for at in range(3)))

    waited = asyncio.run(main())

    assert groups.rows == [[0, 1, 2]]
    assert all(0.1 * at < each < 0.5 for at, each in enumerate(waited)), waited


def test_work_that_is_given_up_counts_until_it_has_ended() -> None:
    groups = Groups(pause=0.05)

    async def main() -> None:
        gatherer = RowGatherer(groups.decide)
        asked = asyncio.create_task(gatherer.outcome(row(0), groups.done))
        await asyncio.sleep(0.01)
        asked.cancel()
        await asyncio.sleep(0)
        assert groups.n_done == 0
        await asyncio.sleep(0.1)
        assert groups.n_done == 1

    asyncio.run(main())


def test_each_request_counts_the_stages_of_its_group_and_its_own_waiting() -> None:
    groups = Groups(pause=0.05)
    early, late = RequestTrace(), RequestTrace()

    async def main() -> None:
        gatherer = RowGatherer(groups.decide)
        asked = asyncio.create_task(gatherer.outcome(row(0, trace=early), groups.done))
        await asyncio.sleep(0.01)
        await gatherer.outcome(row(1, trace=late), groups.done)
        await asked

    asyncio.run(main())

    assert early.seconds["queue"] < 0.03 < late.seconds["queue"]
    assert set(early.seconds) == {"queue", "model"}
    assert late.total >= sum(late.seconds.values()) * 0.99


def test_what_breaks_one_row_breaks_no_other(
    new_home: Any, tmp_path: Path, shop_row: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ServedModel(load_scorer(new_home(tmp_path), "shop"))
    score_typed = model.scorer.score_typed

    def break_on_some(rows: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
        if any(each["ORDER_ID"] == "2" for each in rows):
            raise ZeroDivisionError
        return score_typed(rows, *args, **kwargs)

    monkeypatch.setattr(model.scorer, "score_typed", break_on_some)
    rows = [shop_row(ORDER_ID=number) for number in (1, 2, 3)]

    async def main() -> list[Any]:
        bodies = [encode(each) for each in rows]
        return await asyncio.gather(*(model.answer_body(b, RequestContext()) for b in bodies))

    for before, broken, after in (asyncio.run(main()), model.answer_rows(rows)):
        assert (before.id, after.id) == ("1", "3")
        assert isinstance(broken, ZeroDivisionError)
