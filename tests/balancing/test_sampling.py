import math

import pytest
import torch

from balancing.sampling import (
    NaturalSampling,
    PrevalenceSampling,
    epoch_sizes,
    log_odds_shift,
    sample_batches,
)

LABEL = torch.zeros(1000)
LABEL[::50] = 1  # 20 positives
KINDS = ("undersampled", "oversampled", "balanced_batches")


def _epoch(kind: str, *, prevalence: float = 0.2, seed: int = 0, n_orders: int = 1):
    config = PrevalenceSampling(kind=kind, prevalence=prevalence)
    batches = sample_batches(config, LABEL, batch_size=64, n_orders=n_orders, seed=seed)
    return list(batches.epoch())


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_has_the_prevalence_asked_for(kind: str):
    rows = torch.cat(_epoch(kind), dim=1)

    assert LABEL[rows].mean().item() == pytest.approx(0.2, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_of_one_class_is_visited_once(kind: str):
    rows = torch.cat(_epoch(kind), dim=1).flatten()
    whole = 1 if kind == "undersampled" else 0

    visited = rows[LABEL[rows] == whole]

    assert torch.equal(visited.sort().values, torch.nonzero(whole == LABEL).flatten())


def test_repeated_positives_differ_in_frequency_by_one_at_most():
    rows = torch.cat(_epoch("oversampled", prevalence=0.3), dim=1).flatten()

    counts = torch.bincount(rows, minlength=1000)[LABEL == 1]

    assert counts.max() - counts.min() <= 1


def test_every_balanced_batch_has_the_same_number_of_positives():
    counts = [int(LABEL[rows].sum()) for rows in _epoch("balanced_batches")]

    assert max(counts) - min(counts) <= 1
    assert min(counts) >= 1


def test_a_balanced_batch_has_a_positive_however_few_are_asked_for():
    config = PrevalenceSampling(kind="balanced_batches", prevalence=0.0201)
    batches = sample_batches(config, LABEL, batch_size=8, n_orders=2, seed=0)

    assert all((LABEL[rows].sum(dim=1) >= 1).all() for rows in batches.epoch())


@pytest.mark.parametrize("kind", KINDS)
def test_members_and_seeds_draw_on_their_own(kind: str):
    first, again, other = (torch.cat(_epoch(kind, seed=s, n_orders=2), dim=1) for s in (0, 0, 1))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


def test_negatives_are_drawn_anew_each_epoch():
    config = PrevalenceSampling(kind="undersampled", prevalence=0.2)
    batches = sample_batches(config, LABEL, batch_size=64, n_orders=1, seed=0)

    first, second = (set(torch.cat(list(batches.epoch()), 1).flatten().tolist()) for _ in range(2))

    assert first != second


@pytest.mark.parametrize("kind", KINDS)
def test_the_shift_is_that_of_the_rows_an_epoch_visits(kind: str):
    config = PrevalenceSampling(kind=kind, prevalence=0.2)
    negatives, positives = epoch_sizes(config, LABEL)

    shift = log_odds_shift(config, LABEL)

    assert shift == pytest.approx(math.log(positives / negatives) - math.log(20 / 980))
    assert shift == pytest.approx(math.log(0.2 / 0.8) - math.log(20 / 980), abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_prevalence_is_never_lowered(kind: str):
    config = PrevalenceSampling(kind=kind, prevalence=0.001)

    assert epoch_sizes(config, LABEL) == (980, 20)
    assert log_odds_shift(config, LABEL) == 0


def test_natural_rows_shift_nothing():
    assert log_odds_shift(NaturalSampling(), LABEL) == 0
