import numpy as np
import pytest
import torch

from balancing.batches import ShuffledBatches, place_rows
from balancing.networks.build import build_network
from balancing.networks.mlp import MlpConfig


def _batches(n_rows: int, *, batch_size: int, n_orders: int = 1, seed: int = 0):
    device = torch.device("cpu")
    return ShuffledBatches(
        n_rows, batch_size=batch_size, n_orders=n_orders, seed=seed, device=device
    )


@pytest.mark.parametrize(("n_rows", "sizes"), [(10, [4, 3, 3]), (8, [4, 4]), (3, [3]), (1, [1])])
def test_an_epoch_visits_every_row_once_in_nearly_equal_batches(n_rows: int, sizes: list[int]):
    batches = list(_batches(n_rows, batch_size=4).epoch())

    assert [rows.shape[1] for rows in batches] == sizes
    assert torch.cat(batches, dim=1).sort().values.tolist() == [list(range(n_rows))]


def test_orders_differ_between_members_and_between_epochs():
    batches = _batches(50, batch_size=50, n_orders=2)
    (first,), (second,) = batches.epoch(), batches.epoch()

    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, second)


def test_a_seed_fixes_the_orders():
    one, other = _batches(50, batch_size=7, seed=3), _batches(50, batch_size=7, seed=3)

    for left, right in zip(one.epoch(), other.epoch(), strict=True):
        assert torch.equal(left, right)


def test_resident_rows_are_preprocessed_once_and_gathered_by_number(make_toy, cardinalities):
    toy = make_toy()
    network = build_network(MlpConfig(width=4), toy, cardinalities=cardinalities)
    rows = place_rows(toy, network, device=torch.device("cpu"))

    batch = rows.batch(torch.tensor([[5, 2], [0, 1]]))

    assert batch.inputs.shape == (2, 2, 5)
    assert not torch.isnan(batch.inputs).any()
    assert batch.codes[0].tolist() == toy.categorical[[5, 2]].tolist()
    assert batch.label[1].tolist() == toy.label[:2].astype(np.float32).tolist()
