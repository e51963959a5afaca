"""What every rival must do; the tree libraries are tested where they are installed."""

import math
import sys

import numpy as np
import pytest

from balancing.dataset import LabelledArrays, OneClassOnly
from balancing.extras import MissingExtra
from balancing.metrics.ranking import average_precision
from balancing.rivals.registry import RIVALS, SEARCH_SPACES, build_rival, read_rival

LIBRARIES = {"lightgbm": "lightgbm", "xgboost": "xgboost", "catboost": "catboost"}
LIBRARIES |= {"balanced_forest": "imblearn", "logistic": "sklearn"}
BOOSTING = ["lightgbm", "xgboost", "catboost"]
SMALL = {
    "lightgbm": {"min_child_rows": 5, "n_leaves": 7, "max_rounds": 120, "patience": 15},
    "xgboost": {"min_child_weight": 1.0, "depth": 3, "max_rounds": 120, "patience": 15},
    "catboost": {"depth": 4, "max_rounds": 120, "patience": 15},
    "balanced_forest": {"n_trees": 40, "min_child_rows": 3},
    "logistic": {},
}


def _rival(kind: str, **settings):
    pytest.importorskip(LIBRARIES[kind])
    return build_rival(read_rival({"kind": kind, **SMALL[kind], **settings}))


def _noisy(make_toy, seed: int, n_rows: int = 2000) -> LabelledArrays:
    """Toy rows whose labels are drawn, so that there is a probability to be right about."""
    toy = make_toy(n_rows, seed=seed)
    chance = 1 / (1 + np.exp(4 - 2 * toy.numeric[:, 0] - 2 * (toy.categorical[:, 0] == 3)))
    drawn = np.random.default_rng(seed).random(n_rows) < chance
    return LabelledArrays(toy.numeric, toy.categorical, drawn.astype(np.int8))


@pytest.mark.parametrize("kind", SMALL)
def test_learns_the_toy_from_numbers_and_categories(kind, make_toy):
    fresh = make_toy(seed=1)

    fitted = _rival(kind).fit(make_toy(), validation=make_toy(seed=2), n_threads=1)

    log_odds = fitted.log_odds(fresh)
    assert log_odds.shape == (600,)
    assert log_odds.dtype == np.float64
    assert average_precision(fresh.label, log_odds) > 0.8


@pytest.mark.parametrize("kind", SMALL)
def test_a_seed_fixes_every_bit(kind, make_toy):
    toy = make_toy()

    first, again = (
        _rival(kind).fit(toy, n_rounds=10, seed=3, n_threads=1).log_odds(toy) for _ in range(2)
    )

    assert np.array_equal(first, again)


@pytest.mark.parametrize("kind", SMALL)
def test_one_positive_gaps_infinities_and_unknown_codes_are_survived(kind, make_toy):
    toy = make_toy(n_positives=1)
    toy.numeric[::7, 2] = np.inf
    fresh = make_toy(seed=1)
    fresh.numeric[:5] = np.nan
    fresh.numeric[5:9] = -np.inf
    fresh.categorical[:9] = 1

    fitted = _rival(kind).fit(toy, n_rounds=5, n_threads=1)

    assert np.isfinite(fitted.log_odds(fresh)).all()


@pytest.mark.parametrize("kind", SMALL)
def test_a_table_of_numbers_alone_and_of_categories_alone_is_enough(kind, make_toy):
    toy = make_toy()
    numbers = LabelledArrays(toy.numeric, toy.categorical[:, :0], toy.label)
    categories = LabelledArrays(toy.numeric[:, :0], toy.categorical, toy.label)

    for arrays in (numbers, categories):
        fitted = _rival(kind).fit(arrays, n_rounds=20, n_threads=1)
        assert average_precision(toy.label, fitted.log_odds(arrays)) > 0.15  # 0.1 is chance


WEIGHTED = [(kind, {"positive_weight": 5.0}) for kind in [*BOOSTING, "logistic"]]


@pytest.mark.parametrize(
    ("kind", "setting"),
    [
        *WEIGHTED,
        ("balanced_forest", {"prevalence": 0.5, "min_child_rows": 40}),
        ("balanced_forest", {"prevalence": 0.2, "min_child_rows": 40}),
    ],
)
def test_weights_and_samples_leave_the_odds_natural(kind, setting, make_toy):
    train, fresh = _noisy(make_toy, 0), _noisy(make_toy, 1, n_rows=5000)

    fitted = _rival(kind, **setting).fit(train, n_rounds=40, n_threads=1)

    probability = 1 / (1 + np.exp(-fitted.log_odds(fresh)))
    assert probability.mean() == pytest.approx(fresh.label.mean(), rel=0.3)
    left_in = 1 / (1 + np.exp(-fitted.log_odds(fresh) - math.log(5)))
    assert left_in.mean() > 1.5 * fresh.label.mean()


@pytest.mark.parametrize("kind", BOOSTING)
def test_validation_rows_stop_boosting_and_rounds_are_exact(kind, make_toy):
    train, validation = _noisy(make_toy, 0), _noisy(make_toy, 1)

    stopped = _rival(kind, learning_rate=0.3).fit(train, validation=validation, n_threads=1)
    exact = _rival(kind, learning_rate=0.3).fit(train, n_rounds=stopped.n_rounds, n_threads=1)

    assert stopped.n_rounds < 120
    assert exact.n_rounds == stopped.n_rounds
    np.testing.assert_allclose(
        stopped.log_odds(validation), exact.log_odds(validation), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("kind", BOOSTING)
def test_boosting_must_be_told_when_to_stop(kind, make_toy):
    with pytest.raises(ValueError, match="needs validation rows or n_rounds"):
        _rival(kind).fit(make_toy())


@pytest.mark.parametrize("kind", SMALL)
def test_one_class_is_refused(kind, make_toy):
    with pytest.raises(OneClassOnly, match="The training rows must hold both classes"):
        _rival(kind).fit(make_toy(n_positives=0), n_rounds=2)


@pytest.mark.parametrize("kind", BOOSTING)
def test_validation_rows_of_one_class_are_refused(kind, make_toy):
    with pytest.raises(OneClassOnly, match="The validation rows must hold both classes"):
        _rival(kind).fit(make_toy(), validation=make_toy(n_positives=0))


@pytest.mark.parametrize("kind", [*BOOSTING, "balanced_forest"])
def test_a_missing_library_is_named_with_its_extra(kind, make_toy, monkeypatch):
    rival = _rival(kind)
    name = "imblearn.ensemble" if kind == "balanced_forest" else LIBRARIES[kind]
    monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(MissingExtra, match=r"as a rival needs .*whitecrow\[(trees|resampling)\]"):
        rival.fit(make_toy(), n_rounds=2)


def test_every_setting_of_a_search_space_is_one_and_the_default_is_among_them():
    assert {config.model_fields["kind"].default for config in RIVALS} == set(SEARCH_SPACES)
    for kind, space in SEARCH_SPACES.items():
        default = read_rival({"kind": kind}).model_dump()
        for name, values in space.items():
            assert default[name] in values, (kind, name)
            for value in values:
                assert read_rival({"kind": kind, name: value}).model_dump()[name] == value
