"""Exact nearest neighbours on the device that holds the points, in blocks on both sides.

Candidates come from one matrix product a block, which is fast but rounds: ``q.q - 2 q.p + p.p``
loses digits where two points are close together and far from the rest. So a few more than wanted
are kept, their distances taken again from differences in double precision, and a query whose
answer the rounding could have changed is answered by differences alone. What comes back depends
on neither the blocks nor the device, and rows at the same distance come in the order of their
numbers.
"""

import torch
from torch import Tensor

QUERIES_AT_ONCE = 512
POINTS_AT_ONCE = 65_536

_SPARE = 32
"""Candidates beyond those wanted; more of them mean fewer queries answered twice."""

_GROUP = 64
"""Columns whose least distance stands for all of them in the first choice."""

_DIFFERENCES_AT_ONCE = 1 << 22
"""Double-precision numbers in a block of differences: 32 MiB."""

_UNIT_ROUNDOFF = {"highest": 2.0**-24, "high": 2.0**-11, "medium": 2.0**-8}
"""Of a product of float32 matrices, by PyTorch's setting; TF32 and bfloat16 keep fewer digits."""


@torch.no_grad()
def nearest_neighbours(
    points: Tensor,
    queries: Tensor,
    *,
    k: int,
    queries_at_once: int = QUERIES_AT_ONCE,
    points_at_once: int = POINTS_AT_ONCE,
) -> Tensor:
    """Return the nearest other rows of some rows, the nearest first.

    Beside the points it holds about ``4 (1.1 q p + 2 p d)`` bytes and 100 MiB for differences,
    with ``q`` and ``p`` the rows of a block of queries and of points and ``d`` the width: under
    400 MiB for the default blocks and a width of 256, whatever the number of points.

    Args:
        points: Where the rows lie.
        queries: Row numbers of those whose neighbours are wanted.
        k: Neighbours a row; all the others where there are fewer.
        queries_at_once: Most queries a block.
        points_at_once: Most points a block.

    Shape:
        ``(n_rows, d)`` float32, ``(n_queries,)`` int64 -> ``(n_queries, min(k, n_rows - 1))``
        int64, row numbers.

    Raises:
        ValueError: If ``k`` is below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1. Got k={k}.")
    k = min(k, len(points) - 1)
    if k < 1 or len(queries) == 0:
        return queries.new_empty((len(queries), max(k, 0)))
    centre = points.mean(dim=0)
    parts = [
        _of_block(points, centre, block, k=k, points_at_once=points_at_once)
        for block in torch.split(queries, queries_at_once)
    ]
    return torch.cat(parts)


def _of_block(
    points: Tensor, centre: Tensor, queries: Tensor, *, k: int, points_at_once: int
) -> Tensor:
    n_kept = min(k + _SPARE, len(points) - 1)
    distances, rows, largest = _candidates(
        points, centre, queries, n_kept=n_kept, points_at_once=points_at_once
    )
    exact, rows = _in_order(_squared_distances(points, queries, rows), rows)
    if n_kept < len(points) - 1:
        # Whoever was left out lies, up to rounding, no nearer than the farthest candidate.
        roundoff = _UNIT_ROUNDOFF[torch.get_float32_matmul_precision()]
        reach = (points[queries] - centre).norm(dim=1).double() + largest.double().sqrt()
        slack = (points.shape[1] + 8) * roundoff * reach**2
        is_certain = exact[:, k - 1] + slack < distances[:, -1].double()
        unsure = torch.nonzero(~is_certain).flatten()
        for number in unsure.tolist():
            rows[number, :k] = _by_differences(points, queries[number], k=k)
    return rows[:, :k]


def _candidates(
    points: Tensor, centre: Tensor, queries: Tensor, *, n_kept: int, points_at_once: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the least rounded distances, ascending, their rows, and the largest squared norm."""
    at = points[queries] - centre
    # One product gives p.p - 2 q.p; q.q is the same for all points.
    asked = torch.cat([-2 * at, torch.ones_like(at[:, :1])], dim=1)
    distances = at.new_full((len(queries), n_kept), torch.inf)
    rows = queries.new_full((len(queries), n_kept), 0)
    own_norm = at.square().sum(dim=1, keepdim=True)
    largest = own_norm.max()
    position = torch.arange(len(queries), device=queries.device)
    for start in range(0, len(points), points_at_once):
        block = points[start : start + points_at_once] - centre
        norm = block.square().sum(dim=1, keepdim=True)
        largest = torch.maximum(largest, norm.max())
        found = asked @ torch.cat([block, norm], dim=1).T
        own = queries - start
        is_here = (own >= 0) & (own < len(block))
        found[position[is_here], own[is_here]] = torch.inf
        near, column = _least(found, n_kept)
        distances, order = torch.topk(
            torch.cat([distances, near], dim=1), n_kept, dim=1, largest=False
        )
        rows = torch.cat([rows, column + start], dim=1).gather(1, order)
    return distances + own_norm, rows, largest


def _least(values: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return the ``n`` least of each row, or all, and their columns.

    They stand in the ``n`` groups of columns with the least minimum, so that one pass over all
    values and a sort of few replaces a sort of all.
    """
    n_rows, n_columns = values.shape
    n_groups = n_columns // _GROUP
    if n_groups <= 2 * n:
        least: tuple[Tensor, Tensor] = torch.topk(values, min(n, n_columns), dim=1, largest=False)
        return least
    grouped = values[:, : n_groups * _GROUP].view(n_rows, n_groups, _GROUP)
    group = torch.topk(grouped.amin(dim=2), n, dim=1, largest=False)[1]
    within = torch.arange(_GROUP, device=values.device)
    columns = (group.unsqueeze(2) * _GROUP + within).flatten(1)
    rest = torch.arange(n_groups * _GROUP, n_columns, device=values.device)
    columns = torch.cat([columns, rest.expand(n_rows, -1)], dim=1)
    near, order = torch.topk(values.gather(1, columns), n, dim=1, largest=False)
    return near, columns.gather(1, order)


def _squared_distances(points: Tensor, queries: Tensor, rows: Tensor) -> Tensor:
    """Return float64 distances from each query to its rows, ``(n, m)`` -> ``(n, m)``."""
    at_once = max(1, _DIFFERENCES_AT_ONCE // max(1, rows.shape[1] * points.shape[1]))
    parts = [
        (points[theirs].double() - points[own].double().unsqueeze(1)).square().sum(dim=2)
        for own, theirs in zip(
            torch.split(queries, at_once), torch.split(rows, at_once), strict=True
        )
    ]
    return torch.cat(parts)


def _by_differences(points: Tensor, query: Tensor, *, k: int) -> Tensor:
    """Return the neighbours of one row from all its distances in double precision, ``(k,)``."""
    at = points[query].double()
    at_once = max(1, _DIFFERENCES_AT_ONCE // max(1, points.shape[1]))
    distances = torch.cat(
        [(part.double() - at).square().sum(dim=1) for part in torch.split(points, at_once)]
    )
    distances[query] = torch.inf
    # The k nearest and whoever is level with the last of them; then by number.
    limit = torch.kthvalue(distances, k).values
    rows = torch.nonzero(distances <= limit).flatten()
    return _in_order(distances[rows].unsqueeze(0), rows.unsqueeze(0))[1][0, :k]


def _in_order(distances: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return both by distance and, where distances are equal, by row number."""
    by_number = torch.argsort(rows, dim=1)
    distances, rows = distances.gather(1, by_number), rows.gather(1, by_number)
    distances, order = torch.sort(distances, dim=1, stable=True)
    return distances, rows.gather(1, order)
