"""Class-dependent temperatures re-rank three classes, and are plain training with two."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from balancing.strategies.cdt import cdt_cross_entropies

CENTRES = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
COUNTS = (900, 90, 20)


def _blobs(counts: tuple[int, ...], *, seed: int) -> tuple[Tensor, Tensor]:
    """Return points around three centres that overlap, and their classes."""
    label = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    noise = torch.randn(len(label), 2, generator=torch.Generator().manual_seed(seed))
    return CENTRES[label] + noise, label


def _recall_by_class(gamma: float) -> list[float]:
    points, label = _blobs(COUNTS, seed=0)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 3))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        losses = cdt_cross_entropies(network(points), label, class_counts=COUNTS, gamma=gamma)
        losses.mean().backward()
        optimizer.step()
    fresh, truth = _blobs((500, 500, 500), seed=1)
    decided = network(fresh).argmax(dim=1)
    return [(decided[truth == c] == c).double().mean().item() for c in range(3)]


def test_without_gamma_it_is_cross_entropy_to_the_last_bit():
    logits, label = torch.randn(2, 50, 3), torch.randint(0, 3, (2, 50))

    found = cdt_cross_entropies(logits, label, class_counts=COUNTS, gamma=0)

    expected = cross_entropy(logits.reshape(100, 3), label.flatten(), reduction="none")
    assert torch.equal(found, expected.reshape(2, 50))


def test_each_logit_is_divided_by_its_class_temperature():
    # (900 / 100) ** 0.5 = 3 and (900 / 225) ** 0.5 = 2
    logits, label = torch.tensor([[1.0, 6.0, 4.0]]), torch.tensor([1])

    found = cdt_cross_entropies(logits, label, class_counts=(900, 100, 225), gamma=0.5)

    expected = cross_entropy(torch.tensor([[1.0, 2.0, 2.0]]), label, reduction="none")
    torch.testing.assert_close(found, expected)


def test_rare_classes_are_recalled_oftener_with_temperatures_and_the_largest_less():
    plain, tempered = _recall_by_class(0.0), _recall_by_class(0.3)

    assert tempered[0] < plain[0]
    assert tempered[1] > plain[1] + 0.1
    assert tempered[2] > plain[2] + 0.1


@pytest.mark.parametrize("gamma", [0.0, 0.3])
def test_two_logits_keep_the_sum_that_temperatures_weigh(gamma: float):
    """Nothing is learned along it: the loss has no slope there."""
    torch.manual_seed(0)
    logits = (3 * torch.randn(100, 2, dtype=torch.float64)).requires_grad_()
    label = torch.randint(0, 2, (100,))
    temperatures = torch.tensor([1.0, 9.0**gamma], dtype=torch.float64)

    losses = cdt_cross_entropies(logits, label, class_counts=(900, 100), gamma=gamma)
    (slopes,) = torch.autograd.grad(losses.sum(), logits)

    assert slopes.abs().max() > 0.1
    assert (slopes * temperatures).sum(dim=1).abs().max() < 1e-14


@pytest.mark.parametrize("gamma", [0.1, 0.3, 1.0])
def test_with_two_classes_temperatures_fit_what_plain_training_fits(gamma: float):
    generator = torch.Generator().manual_seed(3)
    points = torch.randn(2000, 4, generator=generator, dtype=torch.float64)
    chance = torch.sigmoid(2 * points[:, 0] + points[:, 1] - 3)
    label = (torch.rand(2000, generator=generator) < chance).long()
    counts = tuple(torch.bincount(label).tolist())

    plain = _two_logits(points, label, counts, gamma=0.0)
    tempered = _two_logits(points, label, counts, gamma=gamma)

    temperature = (counts[0] / counts[1]) ** gamma
    fitted = tempered[:, 1] / temperature - tempered[:, 0]
    torch.testing.assert_close(fitted, plain[:, 1] - plain[:, 0], atol=1e-3, rtol=1e-3)
    scores = [z[:, 1] - z[:, 0] for z in (plain, tempered)]
    assert _rank_correlation(*scores) >= 0.999


@pytest.mark.parametrize("gamma", [0.1, 0.3])
def test_behind_a_hidden_layer_what_is_fitted_ranks_as_the_difference_of_logits(gamma: float):
    """From a random start the two logits' sum is not 0, but it hardly moves."""
    torch.manual_seed(0)
    points, fresh = torch.randn(2000, 4), torch.randn(2000, 4)
    chance = torch.sigmoid(2 * points[:, 0] + points[:, 1] * points[:, 2] - 3)
    label = (torch.rand(2000) < chance).long()
    counts = tuple(torch.bincount(label).tolist())
    network = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.005)
    for _ in range(300):
        optimizer.zero_grad()
        losses = cdt_cross_entropies(network(points), label, class_counts=counts, gamma=gamma)
        losses.mean().backward()
        optimizer.step()

    negative, positive = network(fresh).detach().T
    fitted = positive / (counts[0] / counts[1]) ** gamma - negative

    assert _rank_correlation(fitted, positive - negative) >= 0.999


def _rank_correlation(first: Tensor, second: Tensor) -> float:
    ranks = torch.stack([scores.argsort().argsort().double() for scores in (first, second)])
    return torch.corrcoef(ranks)[0, 1].item()


def _two_logits(points: Tensor, label: Tensor, counts: tuple[int, ...], *, gamma: float) -> Tensor:
    """Return the logits of two linear scores, trained until nothing moves."""
    weight = torch.zeros(5, 2, dtype=torch.float64, requires_grad=True)
    inputs = torch.cat([points, torch.ones(len(points), 1, dtype=torch.float64)], dim=1)
    optimizer = torch.optim.LBFGS(
        [weight], max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        losses = cdt_cross_entropies(inputs @ weight, label, class_counts=counts, gamma=gamma)
        losses.mean().backward()
        return losses.mean()

    optimizer.step(loss)
    return (inputs @ weight).detach()


def test_classes_that_do_not_fit_the_logits_are_refused():
    with pytest.raises(ValueError, match="must agree on the classes. Got 2 and 3"):
        cdt_cross_entropies(torch.zeros(1, 2), torch.tensor([0]), class_counts=COUNTS, gamma=0.1)
