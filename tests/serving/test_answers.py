"""Answers and their ids."""

import uuid

import pytest

from serving.answers import answer, answers, encode, new_decision_id, new_decision_ids
from serving.scored import ScoredRow
from serving.scorer import Scorer


def test_an_id_is_a_uuid_of_version_7_of_its_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    milliseconds = 0x0123_4567_89AB
    monkeypatch.setattr("serving.answers.time.time_ns", lambda: milliseconds * 1_000_000 + 999)

    ids = [uuid.UUID(each) for each in (new_decision_id(), *new_decision_ids(500))]

    assert {(each.version, each.variant, each.int >> 80) for each in ids} == {
        (7, uuid.RFC_4122, milliseconds)
    }
    assert len(set(ids)) == len(ids)
    # Every other bit is drawn: each was 1 in one of them and 0 in another.
    fixed = 0xF << 76 | 0b11 << 62
    drawn = (1 << 80) - 1 & ~fixed
    ones, zeros = 0, 0
    for each in ids:
        ones, zeros = ones | each.int, zeros | ~each.int
    assert (ones & drawn, zeros & drawn) == (drawn, drawn)


def test_an_id_is_written_as_uuids_are() -> None:
    (one,) = new_decision_ids(1)

    assert str(uuid.UUID(one)) == one
    assert new_decision_ids(0) == []


def test_rows_answered_together_get_the_answers_they_would_get_alone(
    scorer: Scorer, shop_row
) -> None:
    rows = scorer.score_rows([shop_row(AMOUNT=amount) for amount in (1.0, 300.0, -1.0)])
    scored = [row for row in rows if isinstance(row, ScoredRow)]

    together = answers(scored, scorer)

    assert together == [
        answer(row, scorer, decision_id=each.decision_id)
        for row, each in zip(scored, together, strict=True)
    ]
    assert len({each.decision_id for each in together}) == 3
    assert encode(together[0].model) == b'{"name":"shop","version":"1","policy_version":"1"}'
