"""Where EOS's new rows lie, on points whose neighbours can be counted on a line."""

import pytest
import torch

from balancing.strategies.expansion import find_partners, rows_to_add

LINE = torch.tensor([[0.0], [1.0], [2.5], [10.0], [11.0], [30.0]])
LABEL = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0, 0.0])
RARE = torch.tensor([0, 3, 4])


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _pairs(partners) -> dict[int, list[int]]:
    return {
        int(row): others[:n].tolist()
        for row, others, n in zip(
            partners.base, partners.partners, partners.n_partners, strict=True
        )
    }


def test_enemies_are_rows_of_the_other_class_among_the_neighbours():
    partners = find_partners(LINE, LABEL, RARE, k=2)

    assert _pairs(partners) == {0: [1, 2], 3: [2], 4: [2]}
    assert partners.how == "enemies among 2 neighbours"
    assert not partners.is_fallback


def test_rows_without_an_enemy_near_by_are_no_base():
    assert _pairs(find_partners(LINE, LABEL, RARE, k=1)) == {0: [1]}


def test_the_released_shift_takes_the_neighbour_one_rank_nearer():
    """Row 0's neighbours are 1, 2; those of 3 are 4, 2; those of 4 are 3, 2."""
    partners = find_partners(LINE, LABEL, RARE, k=2, replicate_released_shift=True)

    assert _pairs(partners) == {0: [0, 1], 3: [4], 4: [3]}


def test_without_enemies_near_by_more_neighbours_are_searched():
    points = torch.arange(40.0).unsqueeze(1)
    label = (points[:, 0] < 14).float()

    partners = find_partners(points, label, torch.arange(5), k=2)

    assert _pairs(partners) == {row: [14, 15, 16] for row in range(5)}
    assert partners.how == "no enemy among 2 neighbours, so enemies among 16 neighbours"
    assert partners.is_fallback


def test_without_any_enemy_rows_go_towards_their_own_class():
    points = torch.cat([torch.arange(200.0), torch.tensor([1e6])]).unsqueeze(1)
    label = torch.ones(201)
    label[200] = 0

    partners = find_partners(points, label, torch.arange(3), k=1)

    assert _pairs(partners) == {0: [1], 1: [0], 2: [1]}
    assert "neighbours of the same class" in partners.how
    assert partners.is_fallback


def test_smote_combines_rows_of_one_class_and_a_lone_row_repeats():
    partners = find_partners(LINE, LABEL, RARE, k=1, towards="own_class")
    lone = find_partners(LINE, LABEL, RARE[:1], k=1, towards="own_class")

    assert _pairs(partners) == {0: [3], 3: [4], 4: [3]}
    assert _pairs(lone) == {0: [0]}
    assert lone.how == "repeats of the only row"


@pytest.mark.parametrize("r_max", [1.0, 0.5])
def test_draws_reach_every_pair_and_stay_within_the_range(r_max: float):
    new = find_partners(LINE, LABEL, RARE, k=2).draw(
        2000, r_max=r_max, label=1, generator=_seeded()
    )

    pairs = set(zip(new.start[0].tolist(), new.end[0].tolist(), strict=True))
    assert pairs == {(0, 1), (0, 2), (3, 2), (4, 2)}
    assert 0 <= new.reach.min() < 0.01
    assert 0.99 * r_max < new.reach.max() < r_max
    # Base rows have equal chances, whatever their enemies.
    assert torch.bincount(new.start[0])[RARE].tolist() == pytest.approx([667] * 3, abs=80)


def test_draws_repeat_with_their_seed():
    partners = find_partners(LINE, LABEL, RARE, k=2)
    draws = [
        partners.draw(50, r_max=1, label=1, generator=_seeded(seed)).reach for seed in (0, 0, 1)
    ]

    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize(
    ("negatives", "positives", "prevalence", "expected"),
    [
        (90, 10, 0.5, (1, 80)),
        (90, 10, 0.25, (1, 20)),
        (90, 10, 0.05, (1, 0)),
        (10, 90, 0.5, (0, 80)),
        (5, 5, 0.5, (1, 0)),
    ],
)
def test_the_rarer_class_ends_exactly_at_its_share(negatives, positives, prevalence, expected):
    label = torch.tensor([0.0] * negatives + [1.0] * positives)

    assert rows_to_add(label, prevalence=prevalence) == expected
