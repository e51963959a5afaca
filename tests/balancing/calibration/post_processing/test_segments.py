"""The segment form: each row by its segment's counts, small ones held to the whole, re-ranking."""

import numpy as np
import pytest

from balancing.calibration.post_processing.class_dependent import ClassDependentTemperatures
from balancing.calibration.post_processing.segments import SegmentTemperatures
from balancing.calibration.temperatures import log_odds

MEANS = (4.0, -4.0)


def rule(
    gamma: float = 0.5, strength: float = 1e-9, **segments: tuple[int, int]
) -> SegmentTemperatures:
    return SegmentTemperatures(
        gamma=gamma,
        class_counts=(900, 100),
        mean_logits=MEANS,
        segment_counts=segments or {"web": (400, 100), "shop": (1600, 100)},
        prior_strength=strength,
    )


def test_each_segment_has_the_temperatures_of_its_own_counts() -> None:
    """a = (400 / 100)^0.5 = 2 and (1600 / 100)^0.5 = 4; everywhere else (900 / 100)^0.5 = 3."""
    logits = np.array([[-1.0, 1.0]] * 4)

    applied = rule().apply(logits, ["web", "shop", None, "kiosk"])

    assert applied[:, 0].tolist() == [-1.0] * 4
    assert applied[:, 1] == pytest.approx([1 + 5, 1 + 3 * 5, 1 + 2 * 5, 1 + 2 * 5])


def test_a_small_segment_is_held_to_the_whole() -> None:
    """Ten pseudo-rows of the smallest class at 9 to 1: (5 + 90) / (0 + 10) = 9.5."""
    temperatures = rule(strength=10, tiny=(5, 0), large=(160_000, 10_000)).temperatures

    assert temperatures[0, 1] == pytest.approx(9.5**0.5)
    assert temperatures[1, 1] == pytest.approx(4.0, rel=1e-2)
    assert temperatures[2, 1] == pytest.approx(3.0)


def test_segments_of_the_same_composition_equal_the_global_form() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (50, 2))
    same = rule(a=(1800, 200), b=(450, 50))
    globally = ClassDependentTemperatures(gamma=0.5, class_counts=(900, 100), mean_logits=MEANS)

    applied = same.apply(logits, np.array(["a", "b"] * 25, dtype=object))

    np.testing.assert_allclose(applied, globally.apply(logits), rtol=1e-12)


def test_rows_of_different_segments_can_change_places() -> None:
    logits = np.array([[-1.0, 1.0], [-1.1, 1.1]])

    odds = log_odds(rule().apply(logits, ["shop", "web"]))

    assert odds[0] > odds[1]


def test_the_order_within_a_segment_stays() -> None:
    odds = np.linspace(-20, 20, 401)
    segment = np.array(["web", "shop"] * 201, dtype=object)[:401]
    applied = log_odds(rule().apply(np.stack([-odds / 2, odds / 2], axis=1), segment))

    for name in ("web", "shop"):
        assert (np.diff(applied[segment == name]) > 0).all()


@pytest.mark.parametrize(
    ("logits", "segment", "message"),
    [
        ([[0.0, 1.0]], None, "needs each row's segment. Got none"),
        ([[0.0, 1.0]], ["web", "shop"], r"logits \(1, 2\) and 2 segments"),
        ([[0.0, 1.0, 2.0]], ["web"], r"2 classes. Got logits \(1, 3\)"),
        ([[0.0, 1.0]], [["web"]], "one text per row"),
        ([[0.0, np.nan]], ["web"], "must not hold NaN"),
    ],
)
def test_unusable_rows_are_refused(logits: list[object], segment: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rule().apply(logits, segment)  # type: ignore[arg-type]
