"""Rows of one batch see each other as if they had been sent one by one."""

import numpy as np

from features.online.evaluator import VelocityEvaluator
from features.online.overlay import BatchOverlay
from features.velocity import velocity_plan


def _one_by_one(state, evaluator, events) -> list[list[float]]:
    found = []
    for event in events:
        found.append(evaluator.evaluate(event, state.past([event])[0]))
        state.apply([event])
    return found


def _in_batches(state, plan, events, size) -> list[list[float]]:
    evaluator = VelocityEvaluator(plan)
    found = []
    for at in range(0, len(events), size):
        batch = events[at : at + size]
        overlay = BatchOverlay(plan)
        for event, past in zip(batch, state.past(batch), strict=True):
            found.append(evaluator.evaluate(event, overlay.extend(event, past)))
            overlay.add(event)
        state.apply(batch)
    return found


def test_a_batch_gives_what_its_rows_give_one_by_one(sqlite_store, watched, stream) -> None:
    plan = velocity_plan(watched)
    events = stream(150, seed=5).events
    late = events[::3] + events[1::3] + events[2::3]
    apart = sqlite_store.open(watched)
    sqlite_store.folder = sqlite_store.folder / "other"
    together = sqlite_store.open(watched)

    one_by_one = _one_by_one(apart, VelocityEvaluator(plan), late)
    in_batches = _in_batches(together, plan, late, 23)

    np.testing.assert_array_equal(np.array(one_by_one), np.array(in_batches))


def test_a_row_laid_over_leaves_the_past_of_others_alone(state, watched, event) -> None:
    overlay = BatchOverlay(velocity_plan(watched))
    state.apply([event(1)])
    past = state.past([event(3)])[0]

    overlay.add(event(2))
    extended = overlay.extend(event(3), past)

    assert [len(each.times) for each in past] == [1, 1, 1]
    assert [len(each.times) for each in extended] == [2, 2, 2]


def test_a_row_without_an_entity_stays_without_its_past(state, watched, event) -> None:
    overlay = BatchOverlay(velocity_plan(watched))
    overlay.add(event(1, card=None))
    row = event(2, card=None)

    extended = overlay.extend(row, state.past([row])[0])

    assert [past if past is None else len(past.times) for past in extended] == [None, None, 1]
