import pytest
import torch

from balancing.networks.dropout import ByteDropout


def test_the_share_asked_for_is_dropped_and_the_mean_kept():
    torch.manual_seed(0)

    out = ByteDropout(0.25)(torch.ones(8, 1000, 25))

    assert (out == 0).double().mean().item() == pytest.approx(0.25, abs=0.005)
    assert out.mean().item() == pytest.approx(1.0, abs=0.01)
    assert out.unique().tolist() == pytest.approx([0, 4 / 3])


def test_every_position_is_dropped_alike():
    """Eight bytes share a random word; none of them is special."""
    torch.manual_seed(0)

    dropped = (ByteDropout(0.5)(torch.ones(40_000, 8)) == 0).double().mean(0)

    assert dropped.tolist() == pytest.approx([0.5] * 8, abs=0.01)


def test_evaluation_and_a_share_of_zero_change_nothing():
    values = torch.randn(3, 5)

    assert torch.equal(ByteDropout(0.5).eval()(values), values)
    assert torch.equal(ByteDropout(0.0)(values), values)
