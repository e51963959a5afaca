import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from balancing.neighbours import nearest_neighbours


def _points(n_rows: int, width: int, *, seed: int = 0, device: str = "cpu") -> torch.Tensor:
    points = np.random.default_rng(seed).normal(size=(n_rows, width))
    return torch.from_numpy(points.astype(np.float32)).to(device)


def _expected(points: torch.Tensor, queries: torch.Tensor, k: int) -> np.ndarray:
    """scikit-learn's neighbours, brute force, without the row itself."""
    values = points.cpu().numpy().astype(np.float64)
    search = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(values)
    rows = search.kneighbors(values[queries.cpu().numpy()], return_distance=False)
    assert (rows[:, 0] == queries.cpu().numpy()).all()
    return rows[:, 1:]


@pytest.mark.parametrize("offset", [0.0, 1000.0], ids=["around zero", "far from zero"])
@pytest.mark.parametrize(("n_rows", "width", "k"), [(60, 3, 5), (9000, 16, 10)])
def test_they_are_those_of_scikit_learn(n_rows: int, width: int, k: int, offset: float, device):
    points = _points(n_rows, width, device=device) + offset
    queries = torch.arange(0, n_rows, 17, device=device)

    found = nearest_neighbours(points, queries, k=k)

    assert np.array_equal(found.cpu().numpy(), _expected(points, queries, k))


@pytest.mark.parametrize("decay", [0.5, 0.9, 1.0], ids=["few", "some", "all"])
def test_wide_points_are_found_whatever_directions_they_spread_along(decay: float, device):
    points = _points(9000, 64, device=device) * decay ** torch.arange(64, device=device)
    queries = torch.arange(0, 9000, 41, device=device)

    found = nearest_neighbours(points, queries, k=10, queries_at_once=100)

    assert np.array_equal(found.cpu().numpy(), _expected(points, queries, 10))


@pytest.mark.parametrize("blocks", [(1, 1), (7, 100), (64, 6000), (1000, 10_000)])
def test_blocks_change_nothing(blocks: tuple[int, int], device):
    points = _points(7000, 8, device=device)
    points[500:1000] = points[:500]
    queries = torch.arange(0, 7000, 700 if blocks == (1, 1) else 70, device=device)

    found = nearest_neighbours(
        points, queries, k=4, queries_at_once=blocks[0], points_at_once=blocks[1]
    )

    assert torch.equal(found, nearest_neighbours(points, queries, k=4))


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_equal_distances_come_by_row_number(value: float, device):
    """9,000 copies of one point: far more than the candidates that are kept."""
    points = torch.full((9000, 5), value, device=device)
    points[4] += 1.0
    queries = torch.tensor([0, 3, 8999], device=device)

    found = nearest_neighbours(points, queries, k=4)

    assert found.tolist() == [[1, 2, 3, 5], [0, 1, 2, 5], [0, 1, 2, 3]]


def test_points_that_differ_by_less_than_a_product_can_tell_are_told_apart(device):
    """At a distance of 1000 from the centre, squared norms round to a 16th."""
    points = torch.zeros(8000, 2, device=device)
    points[:4000, 0], points[4000:, 0] = 1000.0, -1000.0
    points[:4000, 1] = torch.arange(4000, device=device) / 1024

    found = nearest_neighbours(points, torch.tensor([3999, 10], device=device), k=3)

    assert found.tolist() == [[3998, 3997, 3996], [9, 11, 8]]


def test_a_row_is_not_its_own_neighbour_and_few_rows_give_few_neighbours(device):
    points = torch.tensor([[0.0], [1.0], [3.0]], device=device)

    found = nearest_neighbours(points, torch.tensor([1, 2], device=device), k=10)

    assert found.tolist() == [[0, 2], [1, 0]]


def test_nothing_to_ask_or_nobody_to_find_gives_nothing():
    points = _points(5, 2)

    assert nearest_neighbours(points, torch.empty(0, dtype=torch.int64), k=3).shape == (0, 3)
    assert nearest_neighbours(points[:1], torch.tensor([0]), k=3).shape == (1, 0)
    with pytest.raises(ValueError, match="k=0"):
        nearest_neighbours(points, torch.tensor([0]), k=0)
