from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from balancing.devices import DeviceUnavailable, choose_device, seeded
from balancing.training import TrainingConfig, average_precision, run_epochs
from balancing.training_trace import EpochRecord, TrainingTrace
from balancing.weight_average import WeightAverage


class _Counter(nn.Module):
    """One weight that counts the steps."""

    def __init__(self) -> None:
        super().__init__()
        self.count = nn.Parameter(torch.zeros(1))

    @torch.no_grad()
    def step(self, rows: Tensor, epochs_done: float) -> Tensor:
        self.count += 1
        return self.count.detach().clone().squeeze()


class _Batches:
    def __init__(self, n_batches: int) -> None:
        self.n_batches = n_batches

    def epoch(self) -> Iterator[Tensor]:
        return iter(torch.zeros(self.n_batches, 1, 1, dtype=torch.int64))


def _train(
    scores: list[float] | None, *, n_batches: int = 4, **arguments
) -> tuple[_Counter, TrainingTrace]:
    counter, left = _Counter(), iter(scores or [])
    judge = None if scores is None else lambda: (next(left), counter.count.detach().clone())
    config = arguments.pop(
        "config", TrainingConfig(evaluations_per_epoch=2, patience=2, average_decay=0.0)
    )
    trace = run_epochs(
        counter, _Batches(n_batches), counter.step, config=config, judge=judge, **arguments
    )
    return counter, trace


def test_the_best_weights_are_kept_and_patience_ends_the_training():
    counter, trace = _train([0.1, 0.5, 0.4, 0.5, 0.9])

    assert [e.average_precision for e in trace.evaluations] == [0.1, 0.5, 0.4, 0.5]
    assert counter.count.item() == 4
    assert trace.epochs == 1.0


def test_evaluations_fall_within_epochs():
    _, trace = _train([0.3, 0.2, 0.1], n_batches=10)

    assert [e.epochs for e in trace.evaluations] == [0.5, 1.0, 1.5]
    assert trace.epochs == 0.5


def test_training_ends_at_the_largest_number_of_epochs():
    config = TrainingConfig(evaluations_per_epoch=1, patience=2, max_epochs=3, average_decay=0.0)

    counter, trace = _train([0.1, 0.2, 0.3], config=config)

    assert trace.epochs == 3.0
    assert counter.count.item() == 12


@pytest.mark.parametrize(("n_epochs", "n_steps"), [(2.0, 8), (0.5, 2), (1.25, 5), (0.01, 1)])
def test_a_fixed_length_is_exact_and_keeps_the_last_weights(n_epochs: float, n_steps: int):
    counter, trace = _train(None, n_epochs=n_epochs)

    assert counter.count.item() == n_steps
    assert trace.epochs == n_steps / 4
    assert trace.evaluations == ()


def test_a_fixed_length_only_watches_the_validation_rows():
    counter, trace = _train([0.9, 0.1, 0.1, 0.1], n_epochs=2.0)

    assert counter.count.item() == 8
    assert trace.epochs == 2.0


def test_records_tell_loss_score_and_time_left():
    records: list[EpochRecord] = []

    _train([0.1, 0.5, 0.4, 0.3], on_epoch=records.append)

    assert [r.epoch for r in records] == [1, 2]
    assert records[0].train_loss == pytest.approx((1 + 2 + 3 + 4) / 4)
    assert [r.validation_average_precision for r in records] == [0.5, 0.3]
    assert [r.best_average_precision for r in records] == [0.5, 0.5]
    assert records[0].seconds_left > 0
    assert records[1].seconds_left == 0


def test_logits_are_kept_on_request():
    _, trace = _train([0.3, 0.2, 0.1], keep_logits=True)

    assert [e.logits.item() for e in trace.evaluations if e.logits is not None] == [2, 4, 6]


def test_without_judge_or_length_training_is_refused():
    with pytest.raises(ValueError, match="validation rows or n_epochs"):
        _train(None)


def test_an_interrupt_passes_through():
    def interrupt(record: EpochRecord) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _train([0.1, 0.2], on_epoch=interrupt)


def test_the_weight_average_is_the_mean_at_first_and_leaves_the_weights_alone():
    counter = _Counter()
    average = WeightAverage(counter, decay=0.999)
    for _ in range(3):
        counter.step(torch.zeros(1), 0.0)
        average.update()

    with average.in_place():
        inside = counter.count.item()

    assert 0 < inside < 3
    assert counter.count.item() == 3


@pytest.mark.parametrize("n_levels", [3, 1000])
def test_average_precision_equals_scikit_learn_with_and_without_ties(n_levels: int):
    rng = np.random.default_rng(n_levels)
    label, score = rng.integers(0, 2, 200), rng.integers(0, n_levels, 200).astype(np.float32)

    ours = average_precision(torch.from_numpy(score), torch.from_numpy(label).float())

    assert ours.item() == pytest.approx(average_precision_score(label, score))


def test_seeded_draws_repeat_and_leave_the_caller_alone():
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    draws = []
    for _ in range(2):
        with seeded(5, device=torch.device("cpu")):
            draws.append(torch.rand(3))

    assert torch.equal(*draws)
    assert torch.equal(torch.rand(2), expected)


def test_a_missing_device_is_refused_and_auto_takes_what_is_there(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert choose_device("auto").type == "cpu"
    with pytest.raises(DeviceUnavailable, match="Use 'cpu' or 'auto'"):
        choose_device("cuda")
