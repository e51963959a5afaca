import numpy as np
import pytest

from balancing.cross_fitting import best_length, cross_fit, refit
from balancing.dataset import OneClassOnly
from balancing.networks.mlp import MlpConfig
from balancing.strategies.erm import Erm, ErmConfig
from balancing.training import TrainingConfig
from balancing.training_trace import Evaluation

TRAINING = TrainingConfig(batch_size=64, learning_rate=5e-3, patience=4, max_epochs=6)
ERM = Erm(ErmConfig(network=MlpConfig(n_members=2, width=8), training=TRAINING))

ROWS = np.arange(600)
CHAIN = [(ROWS[:200], ROWS[200:400]), (ROWS[:400], ROWS[400:])]


def _trace(*scores: float) -> list[Evaluation]:
    return [Evaluation(epochs=0.5 * (i + 1), average_precision=s) for i, s in enumerate(scores)]


def test_the_best_length_is_that_of_the_weighted_mean():
    traces = [_trace(0.2, 0.4, 0.3), _trace(0.5, 0.1, 0.4)]

    assert best_length(traces, weights=np.array([1.0, 1.0])) == 0.5
    assert best_length(traces, weights=np.array([9.0, 1.0])) == 1.0


def test_a_fold_that_stopped_counts_with_its_last_evaluation():
    traces = [_trace(0.2, 0.3, 0.4, 0.5), _trace(0.4, 0.3)]

    assert best_length(traces, weights=np.array([1.0, 1.0])) == 2.0


def test_every_held_out_row_gets_logits_from_a_network_that_did_not_see_it(make_toy, cardinalities):
    toy = make_toy()
    calls: list[tuple[int, int]] = []

    crossed = cross_fit(
        ERM,
        toy,
        CHAIN[::-1],
        cardinalities=cardinalities,
        on_epoch=lambda fold, record: calls.append((fold, record.epoch)),
    )

    assert crossed.holdout_index.tolist() == list(range(200, 600))
    assert crossed.oof_logits.shape == (400, 2)
    assert crossed.oof_logits.dtype == np.float32
    assert {fold for fold, _ in calls} == {0, 1}
    alone = ERM.fit(
        toy.take(CHAIN[0][0]), cardinalities=cardinalities, n_epochs=crossed.n_epochs, seed=1
    ).logits(toy.take(CHAIN[0][1]))
    np.testing.assert_allclose(crossed.oof_logits[:200], alone, atol=1e-5)


def test_refitting_sees_all_rows_for_the_chosen_length(make_toy, cardinalities):
    toy = make_toy()
    crossed = cross_fit(ERM, toy, CHAIN, cardinalities=cardinalities)

    fitted = refit(ERM, toy, crossed, cardinalities=cardinalities)

    assert fitted.trace.epochs == pytest.approx(crossed.n_epochs, abs=0.1)
    assert len(crossed.average_precisions) == 2


@pytest.mark.parametrize(
    ("folds", "error", "message"),
    [
        ([], ValueError, "at least one fold"),
        ([CHAIN[0], CHAIN[0]], ValueError, "overlapping"),
        ([(ROWS[:0], ROWS[:10])], OneClassOnly, "fold's training rows"),
        ([(ROWS, ROWS[:1])], OneClassOnly, "fold's held-out rows"),
    ],
)
def test_folds_that_cannot_judge_are_refused(folds, error, message, make_toy, cardinalities):
    with pytest.raises(error, match=message):
        cross_fit(ERM, make_toy(), folds, cardinalities=cardinalities)
