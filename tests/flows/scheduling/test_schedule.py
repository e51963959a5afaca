"""What a schedule may say."""

from datetime import UTC, datetime

import pytest

from flows.moments import RequestError
from flows.scheduling.schedule import Kind, checked_key

MOMENT = datetime(2025, 6, 30, 3, tzinfo=UTC)


def test_the_window_ends_at_the_moment(make) -> None:
    assert datetime(2025, 5, 31, 3, tzinfo=UTC) == make(window="30d").first_row_at(MOMENT)
    assert make().first_row_at(MOMENT) is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"window": "0d"}, "--window: "),
        ({"window": "soon"}, "--window: "),
        ({"rest": "-1d"}, "--rest: "),
        ({"min_new_labels": -1}, "--min-new-labels: "),
        ({"pool": ""}, "--pool: "),
        ({"name": "Cards"}, "--name: "),
        ({"colour": "red"}, "--There is no key 'colour'."),
    ],
)
def test_a_bad_value_is_named_with_its_option(make, values, message) -> None:
    with pytest.raises(RequestError) as refused:
        make(**values)

    assert str(refused.value).startswith(message)


def test_a_name_that_no_model_has_is_refused() -> None:
    with pytest.raises(RequestError, match="NAME: 'Cards' is no name of a model"):
        checked_key("Cards", Kind.RETRAIN)


def test_retraining_and_monitoring_of_a_model_are_told_apart(make) -> None:
    assert (
        str(make().key),
        str(make(kind=Kind.MONITOR).key),
    ) == ("cards", "cards (monitor)")
