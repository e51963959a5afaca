"""New rows of a rare class in embedding space, towards its nearest enemies (EOS, phase 2).

Dablain et al., arXiv 2207.06080: a row ``b`` of the class with at least one row of another class
among its nearest neighbours, one such enemy ``e``, and a point ``b + r (e - b)``. It widens the
range of the class; SMOTE, which goes towards rows of the same class, fills it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from balancing.neighbours import nearest_neighbours
from balancing.sampling import class_sizes
from balancing.strategies.head_fitting import NewRows

Towards = Literal["enemies", "own_class"]

MOST_NEIGHBOURS = 160
"""Searched for enemies, where a class has none among the ``k`` asked for."""


@dataclass(frozen=True, slots=True)
class Partners:
    """Whom a row may be combined with.

    Attributes:
        base: Row numbers of those with at least one partner.
        partners: Their partners' row numbers, in front; what follows is no partner.
        n_partners: How many there are.
        how: How they were found, for the record.
        is_fallback: Whether that is not what was asked for.

    Shape:
        ``(n_base,)``, ``(n_base, k)``, ``(n_base,)``; all int64.
    """

    base: Tensor
    partners: Tensor
    n_partners: Tensor
    how: str
    is_fallback: bool = False

    def draw(self, n: int, *, r_max: float, label: int, generator: torch.Generator) -> NewRows:
        """Return new rows, base and partner drawn with equal chances, with replacement.

        Args:
            n: How many.
            r_max: How far on the way to the partner they may lie.
            label: Of the class, 0 or 1.
            generator: Of the draws.

        Shape:
            New rows of ``(1, n)``.
        """
        device = self.base.device
        which = torch.randint(len(self.base), (n,), generator=generator, device=device)
        share = torch.rand(n, generator=generator, device=device, dtype=torch.float64)
        partner = (share * self.n_partners[which]).long()
        reach = torch.rand(n, generator=generator, device=device) * r_max
        end = self.partners[which, partner]
        return NewRows(label, self.base[which][None], end[None], reach[None])


def repeats(rare: Tensor, *, how: str = "repeats") -> Partners:
    """Return each row as its own and only partner."""
    return Partners(rare, rare.unsqueeze(1), torch.ones_like(rare), how)


def side_by_side(members: Sequence[NewRows]) -> NewRows:
    """Return the new rows of several members as one."""
    return NewRows(
        members[0].label,
        torch.cat([one.start for one in members]),
        torch.cat([one.end for one in members]),
        torch.cat([one.reach for one in members]),
    )


def rows_to_add(label: Tensor, *, prevalence: float) -> tuple[int, int]:
    """Return the rarer class, 0 or 1, and how many rows it lacks for its target share.

    For a share of one half that is ``N_max - N_c``; for one that it has already, 0.
    """
    sizes = class_sizes(label)
    value = int(sizes[1] <= sizes[0])
    wanted = round(sizes[1 - value] * prevalence / (1 - prevalence))
    return value, max(0, wanted - sizes[value])


def find_partners(
    points: Tensor,
    label: Tensor,
    rare: Tensor,
    *,
    k: int,
    towards: Towards = "enemies",
    replicate_released_shift: bool = False,
) -> Partners:
    """Return whom each row of a rare class may be combined with.

    Where no row has an enemy among ``k`` neighbours, more are searched; where even then none
    has, rows go towards their own class; and a class of one row repeats it.

    Args:
        points: Where the rows lie, ``(n_rows, width)`` float32.
        label: 0 or 1, ``(n_rows,)``.
        rare: Row numbers of the class, ``(n_rare,)``.
        k: Neighbours that are searched.
        towards: Enemies, or rows of the class itself (SMOTE in embedding space).
        replicate_released_shift: Take the neighbour one rank nearer than the enemy, as the
            released code does by an index that is off by one: the row itself, where the nearest
            neighbour is an enemy.
    """
    if towards == "own_class":
        return _within_class(points, rare, k=k)
    n_searched = k
    while True:
        neighbours = nearest_neighbours(points, rare, k=n_searched)
        is_enemy = label[neighbours] != label[rare].unsqueeze(1)
        if is_enemy.any() or n_searched >= min(MOST_NEIGHBOURS, len(points) - 1):
            break
        n_searched = min(2 * n_searched, MOST_NEIGHBOURS)
    if not is_enemy.any():
        within = _within_class(points, rare, k=k)
        how = f"no enemy among {n_searched} neighbours, so {within.how}"
        return replace(within, how=how, is_fallback=True)
    if replicate_released_shift:
        neighbours = torch.cat([rare.unsqueeze(1), neighbours[:, :-1]], dim=1)
    found = _where(is_enemy, rare, neighbours, how=f"enemies among {n_searched} neighbours")
    if n_searched == k:
        return found
    return replace(found, how=f"no enemy among {k} neighbours, so {found.how}", is_fallback=True)


def _within_class(points: Tensor, rare: Tensor, *, k: int) -> Partners:
    if len(rare) == 1:
        return repeats(rare, how="repeats of the only row")
    own = torch.arange(len(rare), device=rare.device)
    neighbours = rare[nearest_neighbours(points[rare], own, k=k)]
    n_neighbours = torch.full_like(rare, neighbours.shape[1])
    return Partners(rare, neighbours, n_neighbours, "neighbours of the same class")


def _where(is_partner: Tensor, rows: Tensor, neighbours: Tensor, *, how: str) -> Partners:
    has_any = is_partner.any(dim=1)
    # Stable: partners come in front, the nearest first.
    order = torch.argsort((~is_partner).byte(), dim=1, stable=True)
    partners = neighbours.gather(1, order)[has_any]
    return Partners(rows[has_any], partners, is_partner.sum(dim=1)[has_any], how)
