"""Marks never claim what a state may lack."""

from serving.decisions.applied import SETTLING_SECONDS, AppliedMarks


def test_a_mark_stops_before_the_first_decision_that_is_not_applied() -> None:
    moment = [0.0]
    marks = AppliedMarks("shop", now=lambda: moment[0])
    marks.begin("w", [1, 2, 3], 4)
    marks.done([1, 3])

    assert marks.settled() == {}
    moment[0] = SETTLING_SECONDS
    assert marks.settled() == {"w": 1}
    marks.done([2])
    moment[0] *= 3
    marks.settled()
    moment[0] *= 2
    assert marks.settled() == {"w": 4}


def test_what_waits_in_memory_is_not_applied_until_it_is() -> None:
    marks = AppliedMarks("shop", now=lambda: 0.0)
    marks.begin("w", [1], 1)
    marks.keep([1])

    marks.settle()
    assert marks.settled() == {"w": 0}
    marks.kept_are_applied()
    marks.settle()
    assert marks.settled() == {"w": 1}


def test_what_was_replayed_for_others_settles_too() -> None:
    moment = [0.0]
    marks = AppliedMarks("shop", now=lambda: moment[0])
    marks.adopt({"gone": 7})

    assert marks.settled() == {}
    moment[0] = SETTLING_SECONDS
    assert marks.settled() == {"gone": 7}
