"""Reading where a score stands."""

import numpy as np
import pytest
from pydantic import ValidationError

from balancing.calibration.score_map import ScoreMap

MAP = ScoreMap(
    risk_score=(0.1, 0.2, 0.6),
    false_positive_rate=(1.0, 0.5, 0.0),
    alert_rate=(1.0, 0.6, 0.2),
    rows_per_day=1000,
)


def test_points_are_read_exactly_and_between_them_straight_lines() -> None:
    scores = np.array([0.1, 0.2, 0.4, 0.6])

    np.testing.assert_allclose(MAP.false_positive_rate_at(scores), [1, 0.5, 0.25, 0])
    np.testing.assert_allclose(MAP.alerts_per_day_at(scores), [1000, 600, 400, 200])


def test_below_all_rows_everything_alerts_and_above_all_nothing_does() -> None:
    assert MAP.alerts_per_day_at(np.array([0.0, 0.99])).tolist() == [1000, 0]


def test_without_traffic_alerts_a_day_are_unknown() -> None:
    unknown = MAP.model_copy(update={"rows_per_day": None})

    assert unknown.alerts_per_day_at(np.array([0.5])) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"risk_score": (0.1, 0.1, 0.6)}, "risk_score of a score map must rise"),
        ({"alert_rate": (0.2, 0.6, 1.0)}, "must fall within"),
        ({"false_positive_rate": (1.5, 0.5, 0.0)}, "must fall within"),
        ({"alert_rate": (1.0,)}, "must have one length"),
    ],
)
def test_an_impossible_map_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ScoreMap(**(MAP.model_dump() | change))
