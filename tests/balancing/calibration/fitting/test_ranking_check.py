"""A recalibration that ranks worse beyond doubt is refused, unless forced."""

import numpy as np
import pytest

from balancing.calibration.fitting.ranking_check import RankingLowered, check_ranking
from balancing.calibration.post_processing.class_dependent import ClassDependentTemperatures
from balancing.calibration.post_processing.segments import SegmentTemperatures
from infra.errors import Refusal


def rows(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two segments whose logits are right as they are."""
    rng = np.random.default_rng(seed)
    label = (np.arange(4000) < 300).astype(np.int64)
    odds = rng.normal(-4, 2, 4000) + 5 * label
    segment = np.where(rng.random(4000) < 0.5, "web", "shop").astype(object)
    return label, np.stack([-odds / 2, odds / 2], axis=1), segment


def segmented(gamma: float) -> SegmentTemperatures:
    return SegmentTemperatures(
        gamma=gamma,
        class_counts=(3700, 300),
        mean_logits=(2.0, -2.0),
        segment_counts={"web": (200, 200), "shop": (3500, 20)},
    )


def test_a_certain_loss_is_refused_with_both_figures() -> None:
    label, logits, segment = rows()

    with pytest.raises(
        RankingLowered, match=r"lowers average precision .* from 0\.7\d+ to 0\."
    ) as caught:
        check_ranking(label, logits, segmented(1.0), segment=segment)

    assert isinstance(caught.value, Refusal)
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)


def test_a_forced_loss_is_told() -> None:
    label, logits, segment = rows()

    change = check_ranking(label, logits, segmented(1.0), segment=segment, force=True)

    assert change is not None
    assert change.forced
    assert change.after < change.before
    assert change.difference.high < 0
    assert change.difference.value == pytest.approx(change.after - change.before)


def test_no_strength_is_no_change() -> None:
    label, logits, segment = rows()

    change = check_ranking(label, logits, segmented(0.0), segment=segment, force=True)

    assert change is not None
    assert not change.forced
    assert (change.difference.low, change.difference.value, change.difference.high) == (0, 0, 0)


def test_what_keeps_ranks_is_not_checked() -> None:
    label, logits, _ = rows()
    rule = ClassDependentTemperatures(gamma=0.5, class_counts=(9, 1), mean_logits=(1.0, -1.0))

    assert check_ranking(label, logits, rule) is None
