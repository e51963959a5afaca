import numpy as np
import pytest
import torch

from balancing.batches import place_rows
from balancing.networks.build import build_network
from balancing.networks.categories import CategoryConfig, CategoryLayer
from balancing.networks.layer_stack import LayerStack
from balancing.networks.mlp import MlpConfig
from balancing.networks.numeric import NumericLayer
from balancing.networks.piecewise_linear import PiecewiseLinearEmbedding
from balancing.preprocessing import PiecewiseLinearConfig, fit_numeric

GAP = float("nan")


def _numeric_layer(rows: list[list[float]], *, clip: float = 20.0) -> NumericLayer:
    return NumericLayer(fit_numeric(np.array(rows, dtype=np.float32), clip=clip))


def test_a_gap_known_from_training_becomes_the_median_and_a_flag():
    layer = _numeric_layer([[-1.0], [1.0], [GAP]])

    out = layer(torch.tensor([[GAP], [1.0]]))

    assert out.tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_a_gap_first_seen_in_serving_becomes_the_median_alone():
    layer = _numeric_layer([[-1.0], [1.0]])

    assert layer(torch.tensor([[GAP]])).tolist() == [[0.0]]


def test_values_and_infinities_are_clipped():
    layer = _numeric_layer([[-1.0], [1.0]], clip=3.0)

    out = layer(torch.tensor([[1e30], [float("inf")], [float("-inf")]]))

    assert out[:, 0].tolist() == [3.0, 3.0, -3.0]


def test_a_column_constant_in_training_is_ignored_in_serving():
    layer = _numeric_layer([[7.0], [7.0]])

    assert layer(torch.tensor([[7.0], [1e9], [GAP]]))[:, 0].tolist() == [0.0, 0.0, 0.0]


def test_piecewise_linear_fills_the_bins_in_turn():
    layer = PiecewiseLinearEmbedding(
        [np.array([0.0, 1.0, 3.0]), np.empty(0)], d_extra=1, d_embedding=2, n_members=1
    )
    with torch.no_grad():
        layer.weight.copy_(torch.eye(2).expand(1, 2, 2, 2))

    out = layer(torch.tensor([[[2.0, 5.0, 1.0], [-4.0, 5.0, 0.0], [9.0, 5.0, 0.0]]]))

    expected = [[1.0, 0.5, 0.0, 0.0, 1.0], [0.0] * 5, [1.0, 1.0, 0.0, 0.0, 0.0]]
    assert out[0].tolist() == expected


def test_one_hot_of_a_code_never_trained_is_the_average_row():
    layer = CategoryLayer([np.array([0.0, 0.0, 0.75, 0.25])], CategoryConfig(), n_members=1)

    out = layer(torch.tensor([[[2], [1], [0]]]))

    assert out[0].tolist() == [[0, 0, 1, 0], [0, 0, 0.75, 0.25], [0, 0, 0.75, 0.25]]


def test_embedding_of_a_code_never_trained_is_the_average_embedding():
    config = CategoryConfig(max_one_hot=0, d_embedding=3)
    layer = CategoryLayer([np.array([0.0, 0.0, 0.75, 0.25])], config, n_members=2)

    seen = layer(torch.tensor([[[2], [3]]]))
    unseen = layer(torch.tensor([[[1]]]))

    assert seen.shape == (2, 2, 3)
    torch.testing.assert_close(unseen[:, 0], 0.75 * seen[:, 0] + 0.25 * seen[:, 1])


@pytest.mark.parametrize("n_codes_rows", [1, 2])
def test_members_look_up_their_own_embeddings(n_codes_rows: int):
    config = CategoryConfig(max_one_hot=0, d_embedding=3)
    layer = CategoryLayer([np.full(4, 0.25)], config, n_members=2)
    codes = torch.full((n_codes_rows, 5, 1), 3)

    out = layer(codes)

    table = next(layer.parameters())
    assert torch.equal(out, table[:, 3:4].expand(2, 5, 3))


def test_the_product_is_that_of_the_layer_behind_the_embedding(make_toy, cardinalities):
    toy = make_toy()
    config = MlpConfig(n_members=3, width=8, numeric=PiecewiseLinearConfig())
    torch.manual_seed(0)
    network = build_network(config, toy, cardinalities=cardinalities)
    body, rows = network.body, place_rows(toy, network, device=torch.device("cpu"))
    batch = rows.batch(torch.randint(0, 600, (3, 50)))
    codes = batch.codes

    found = body.first_layer(batch.inputs, codes)

    expected = LayerStack.first_layer(body, batch.inputs, codes)
    torch.testing.assert_close(found, expected)
    gradients = []
    for each in (found, expected):
        body.zero_grad()
        each.square().sum().backward()
        gradients.append(body.inputs.embedding.weight.grad.clone())
    torch.testing.assert_close(*gradients)
