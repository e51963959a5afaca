"""What the entities of a row did before decides with it, once and in order."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.online.events import Event, LabelReport, microseconds_of
from features.online.opening import open_state
from features.online.past import Past
from features.online.state import Applied, StateUnreachable
from serving.answers import Answer
from serving.online_path import OnlinePath
from serving.refusals import RequestRefused
from serving.served_model import ServedModel
from serving.state_link import StateLink
from serving.verification import load_scorer

NOON = "2026-03-01T12:00:00Z"

Serve = Callable[..., ServedModel]


class Fragile:
    """A real state that can be cut off, for all calls or for one kind of them."""

    folder: Path

    def __init__(self, state: Any) -> None:
        self.state = state
        self.broken: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        if name in self.broken:
            raise StateUnreachable("cut off")
        return getattr(self.state, name)


@pytest.fixture
def serve(new_home, corner_contract, tmp_path: Path) -> Iterator[Serve]:
    """Serves the corner shop from a SQLite state of its own."""
    opened = []

    def build(*, now: Callable[[], float] | None = None, **policy: Any) -> ServedModel:
        home = tmp_path / f"home-{len(opened)}"
        contract = corner_contract | {"policy": policy}
        scorer = load_scorer(new_home(home, contract=contract), "corner")
        state = Fragile(open_state(scorer.bundle.contract, folder=home / "state"))
        state.folder = home / "state"
        link = StateLink(lambda: state, now=now or (lambda: 0.0), pause=0.0)
        model = ServedModel(scorer, OnlinePath(scorer, link))
        model.state = state  # type: ignore[attr-defined]
        opened.append(model)
        return model

    yield build
    for model in opened:
        model.state.broken.clear()  # type: ignore[attr-defined]
        model.close()


def logit(answer: Answer | RequestRefused) -> float:
    assert isinstance(answer, Answer), answer
    return float(np.log(answer.risk_score / (1 - answer.risk_score)))


def at(hour: int, minute: int = 0, day: int = 1) -> str:
    return f"2026-03-{day:02d}T{hour:02d}:{minute:02d}:00Z"


def test_a_row_sees_the_rows_before_it(serve: Serve, shop_row) -> None:
    model = serve()
    send = lambda **row: logit(model.answer_rows([shop_row(**row)])[0])  # noqa: E731

    assert send(ORDER_ID=1, PLACED_AT=at(12)) == pytest.approx(-1.5, abs=1e-5)
    # One row of 100 before it: 0.5 * 1 + 0.001 * 100.
    assert send(ORDER_ID=2, PLACED_AT=at(13)) == pytest.approx(-0.9, abs=1e-5)
    assert send(ORDER_ID=3, PLACED_AT=at(13)) == pytest.approx(-0.9, abs=1e-5), "same instant"
    assert send(ORDER_ID=4, PLACED_AT=at(14)) == pytest.approx(0.3, abs=1e-5)
    assert send(ORDER_ID=5, PLACED_AT=at(12, 30)) == pytest.approx(-0.9, abs=1e-5), "late"
    assert send(ORDER_ID=6, CUSTOMER=8, PLACED_AT=at(15)) == pytest.approx(-1.5, abs=1e-5)


@pytest.mark.parametrize(("count_declined", "reused"), [(True, [7, 7, 8]), (False, [])])
def test_a_batch_is_what_its_rows_are_one_by_one(
    serve: Serve, shop_row, *, count_declined: bool, reused: list[int]
) -> None:
    random = np.random.default_rng(3)
    rows = [
        shop_row(
            ORDER_ID=int(number),
            CUSTOMER=int(random.integers(1, 6)),
            AMOUNT=float(random.integers(1, 400)),
            PLACED_AT=at(9 + int(random.integers(0, 3)), int(random.integers(0, 60))),
        )
        for number in [*range(60), *reused]
    ]
    alone, together = (serve(count_declined=count_declined) for _ in range(2))

    expected = [alone.answer_rows([row])[0] for row in rows]
    found = together.answer_rows(rows)
    again = together.answer_rows(rows)

    for one, other in zip(expected, found, strict=True):
        assert _content(one) == _content(other)
    assert {outcome.decision for outcome in found if isinstance(outcome, Answer)} == {
        "approve", "review", "decline",
    }  # fmt: skip
    assert [type(outcome) for outcome in again] == [type(outcome) for outcome in found]
    assert together.state.describe().n_events <= 60


def test_a_retry_counts_once_and_another_content_is_refused(serve: Serve, shop_row) -> None:
    model = serve()
    for _ in range(3):
        assert logit(model.answer_rows([shop_row(ORDER_ID=1)])[0]) == pytest.approx(-1.5, abs=1e-5)

    (other,) = model.answer_rows([shop_row(ORDER_ID=1, AMOUNT=7.0)])
    (later,) = model.answer_rows([shop_row(ORDER_ID=2, PLACED_AT=at(13))])

    assert isinstance(other, RequestRefused)
    assert (other.code, other.status, other.field, other.retry) == (
        "id_reused", 409, "ORDER_ID", False,
    )  # fmt: skip
    assert logit(later) == pytest.approx(-0.9, abs=1e-5)


def test_an_id_reused_within_a_batch_is_refused_in_its_place(serve: Serve, shop_row) -> None:
    rows = [shop_row(ORDER_ID=1), shop_row(ORDER_ID=1, AMOUNT=7.0), shop_row(ORDER_ID=1),
            shop_row(ORDER_ID=2, PLACED_AT=at(13))]  # fmt: skip

    first, reused, repeated, last = serve().answer_rows(rows)

    assert reused.code == "id_reused"
    assert first.risk_score == repeated.risk_score
    assert logit(last) == pytest.approx(-0.9, abs=1e-5)


def test_a_row_from_the_future_is_refused_and_leaves_no_trace(serve: Serve, shop_row) -> None:
    model = serve()

    ahead, sound = model.answer_rows([shop_row(PLACED_AT="2999-01-01T00:00:00Z"), shop_row()])

    assert (ahead.code, ahead.status, ahead.field) == ("clock_skew", 400, "PLACED_AT")
    assert "Check the sender's clock" in str(ahead)
    assert isinstance(sound, Answer)
    assert model.state.describe().newest_event_time == _microseconds(NOON)


def test_declined_rows_count_unless_the_contract_says_otherwise(serve: Serve, shop_row) -> None:
    rows = [shop_row(ORDER_ID=1, AMOUNT=900.0), shop_row(ORDER_ID=2, PLACED_AT=at(13))]

    counted, after_counted = serve().answer_rows(rows)
    skipped, after_skipped = serve(count_declined=False).answer_rows(rows)

    assert counted.decision == skipped.decision == "decline"
    assert logit(after_counted) == pytest.approx(-1.5 + 0.5 + 0.9, abs=1e-5)
    assert logit(after_skipped) == pytest.approx(-1.5, abs=1e-5)


def test_labels_feed_the_label_rates(serve: Serve, shop_row) -> None:
    model = serve()
    model.answer_rows([shop_row(ORDER_ID=1, PLACED_AT=at(12)),
                       shop_row(ORDER_ID=2, PLACED_AT=at(13))])  # fmt: skip
    asked = shop_row(ORDER_ID=9, PLACED_AT=at(14, day=3))

    (before,) = model.answer_rows([asked])
    counts = model.report_labels(
        [LabelReport("1", 1, _microseconds(at(14, day=2))), LabelReport("77", 1, 5)]
    )
    again = model.report_labels([LabelReport("1", 1, _microseconds(at(14, day=2)))])
    (after,) = model.answer_rows([asked])

    assert (counts.accepted, counts.duplicates, counts.unknown) == (1, 0, 1)
    assert (again.accepted, again.duplicates) == (0, 1)
    assert logit(before) == pytest.approx(-1.5, abs=1e-5), "no report yet: two negatives"
    assert logit(after) == pytest.approx(-1.5 + 2 * 0.5, abs=1e-5)


@pytest.mark.parametrize("when", ["past", "seen", "apply"])
def test_a_state_that_goes_away_is_refused_with_a_word_to_come_back(
    serve: Serve, shop_row, when: str
) -> None:
    model = serve(on_stall="refuse")
    rows = [shop_row(ORDER_ID=1), shop_row(ORDER_ID=2, PLACED_AT=at(13)), {}]
    model.state.broken.add(when)

    *away, malformed = model.answer_rows(rows)
    model.state.broken.clear()
    *back, _ = model.answer_rows(rows)

    for refusal in away:
        assert (refusal.code, refusal.status, refusal.retry) == ("state_unavailable", 503, True)
    assert malformed.code == "missing_field"
    assert [logit(answer) for answer in back] == pytest.approx([-1.5, -0.9], abs=1e-5)


@pytest.mark.parametrize("when", ["past", "seen"])
def test_a_state_that_is_away_degrades_to_review_without_its_features(
    serve: Serve, shop_row, when: str
) -> None:
    model = serve(on_stall="degrade")
    model.answer_rows([shop_row(ORDER_ID=1)])
    model.state.broken.add(when)
    rows = [shop_row(ORDER_ID=2, PLACED_AT=at(13)), shop_row(ORDER_ID=3, AMOUNT=700.0)]

    quiet, loud = model.answer_rows(rows)

    assert (quiet.decision, quiet.degraded) == ("review", True)
    assert logit(quiet) == pytest.approx(-1.5, abs=1e-5), "what is missing adds nothing"
    assert (loud.decision, loud.degraded) == ("decline", True)


@pytest.mark.parametrize("when", [{"past", "apply"}, {"apply"}])
def test_nothing_acknowledged_is_lost_while_the_state_is_away(
    serve: Serve, shop_row, when: set[str]
) -> None:
    model = serve(on_stall="degrade")
    model.state.broken |= when
    answers = [model.answer_rows([shop_row(ORDER_ID=number)])[0] for number in range(3)]
    assert [answer.degraded for answer in answers] == ["past" in when, True, True]
    assert (model.path.link.n_kept, model.path.link.is_reachable) == (3, False)

    model.state.broken.clear()
    (later,) = model.answer_rows([shop_row(ORDER_ID=9, PLACED_AT=at(13))])

    assert logit(later) == pytest.approx(-1.5 + 3 * 0.6, abs=1e-5)
    assert (model.path.link.n_kept, model.path.link.is_reachable) == (0, True)


def test_labels_are_refused_while_the_state_is_away(serve: Serve) -> None:
    model = serve(on_stall="degrade")
    model.state.broken.add("report_labels")

    with pytest.raises(RequestRefused) as caught:
        model.report_labels([LabelReport("1", 1, 5)])

    assert (caught.value.code, caught.value.retry) == ("state_unavailable", True)


def test_a_label_from_the_future_is_refused(serve: Serve) -> None:
    with pytest.raises(RequestRefused) as caught:
        serve().report_labels([LabelReport("1", 1, _microseconds("2999-01-01T00:00:00Z"))])

    assert (caught.value.code, caught.value.status) == ("clock_skew", 400)


def test_a_row_that_comes_too_late_says_so(serve: Serve, shop_row) -> None:
    model = serve()
    model.answer_rows([shop_row(ORDER_ID=1, PLACED_AT=at(12, day=30))])

    (late,) = model.answer_rows([shop_row(ORDER_ID=2, PLACED_AT=at(12, day=1))])

    assert late.flags == ("too_late:PLACED_AT",)


def test_rows_without_an_id_are_told_apart_by_their_decisions(
    serve: Serve, shop_row, new_home, corner_contract, tmp_path: Path
) -> None:
    columns = {key: value for key, value in corner_contract["columns"].items() if key != "id"}
    contract = corner_contract | {"columns": columns, "expectations": {}}
    scorer = load_scorer(new_home(tmp_path, contract=contract), "corner")
    state = open_state(scorer.bundle.contract, folder=tmp_path)
    model = ServedModel(scorer, OnlinePath(scorer, StateLink(lambda: state)))

    answers = model.answer_rows([shop_row(ORDER_ID=...), shop_row(ORDER_ID=...)])
    later = model.answer_rows([shop_row(ORDER_ID=..., PLACED_AT=at(13))])

    assert {answer.id for answer in answers} == {None}
    assert logit(later[0]) == pytest.approx(-1.5 + 2 * 0.6, abs=1e-5)
    model.close()


def test_a_state_that_is_away_is_not_asked_again_at_once() -> None:
    calls = []

    class Away:
        def past(self, events: Sequence[Event]) -> list[Past]:
            calls.append(len(events))
            raise StateUnreachable("cut off")

    moment = [0.0]
    link = StateLink(Away, pause=1.0, now=lambda: moment[0])  # type: ignore[arg-type]
    for moment[0] in (0.0, 0.5, 0.99, 1.0, 1.5):
        with pytest.raises(StateUnreachable, match="cut off"):
            link.ask(lambda state: state.past([]))

    assert len(calls) == 2


def test_events_beyond_the_bound_are_given_up_aloud(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("serving.state_link.MOST_KEPT", 3)
    applied = []

    class Back:
        def apply(self, events: Sequence[Event]) -> list[Applied]:
            applied.extend(event.id for event in events)
            return [Applied.APPLIED] * len(events)

    link = StateLink(Back)  # type: ignore[arg-type]
    link.keep([Event(str(number), number, None, (), ()) for number in range(5)])
    link.ask(lambda state: None)

    assert applied == ["2", "3", "4"]
    assert "events given up" in caplog.text


def test_what_waits_is_applied_when_the_link_is_closed(serve: Serve, shop_row) -> None:
    model = serve(on_stall="degrade")
    model.state.broken.add("apply")
    for number in range(3):
        model.answer_rows([shop_row(ORDER_ID=number)])
    model.state.broken.clear()
    contract, folder = model.scorer.bundle.contract, model.state.folder

    model.path.link.close()

    assert model.path.link.n_kept == 0
    reopened = open_state(contract, folder=folder)
    assert reopened.describe().n_events == 3
    reopened.close()


def test_requests_do_not_wait_for_a_long_queue_and_say_so() -> None:
    applied: list[str] = []
    moment = [0.0]

    class Slow:
        def apply(self, events: Sequence[Event]) -> list[Applied]:
            moment[0] += 0.25
            applied.extend(event.id for event in events)
            return [Applied.APPLIED] * len(events)

    link = StateLink(Slow, now=lambda: moment[0])  # type: ignore[arg-type]
    link.keep([Event(str(number), number, None, (), ()) for number in range(2_000)])

    with pytest.raises(StateUnreachable, match="1000 events wait"):
        link.ask(lambda state: "answered")

    assert link.is_reachable
    assert link.ask(lambda state: "answered") == "answered"
    assert applied == [str(number) for number in range(2_000)]


def _content(outcome: Answer | RequestRefused) -> Any:
    if isinstance(outcome, RequestRefused):
        return outcome.code
    return (outcome.id, outcome.risk_score, outcome.decision, outcome.reasons, outcome.flags)


def _microseconds(text: str) -> int:
    from datetime import datetime

    return microseconds_of(datetime.fromisoformat(text))
