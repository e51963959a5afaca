"""The losses of VS, LDAM, focal and class-balanced training, against the papers' formulas.

What stays as it is in plain training is compared to the last bit, on logits and after training.
"""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, softplus

from balancing.batches import ResidentRows
from balancing.losses import cross_entropies, reweighted
from balancing.strategies.end_to_end import effective_number_weights
from balancing.strategies.focal import focal_losses
from balancing.strategies.ldam import class_margins, ldam_losses
from balancing.strategies.vs_loss import VsLoss, VsLossConfig, vs_losses

SIZES = (900, 100)
LOGITS = torch.linspace(-12, 12, 202, dtype=torch.float64).reshape(2, 101)
LABEL = (torch.arange(202) % 3 == 0).double().reshape(2, 101)
SIGN = 2 * LABEL - 1

PLAIN_LOSSES = {
    "vs": vs_losses(SIZES, gamma=0, tau=0),
    "vs with an additive part alone": vs_losses(SIZES, gamma=0, tau=1.3),
    "vs of equal classes": vs_losses((50, 50), gamma=0.3, tau=1),
    "ldam without margins": ldam_losses(class_margins(SIZES, max_margin=0), scale=1),
    "focal without focus": focal_losses(0),
    "equal weights": reweighted(focal_losses(0), *effective_number_weights(SIZES, 0)),
}


@pytest.mark.parametrize("name", PLAIN_LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_neutral_settings_are_cross_entropy_to_the_last_bit(name: str, dtype):
    logits, label = LOGITS.to(dtype), LABEL.to(dtype)

    assert torch.equal(PLAIN_LOSSES[name](logits, label), cross_entropies(logits, label))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("vs_loss", {"gamma": 0, "tau": 0}),
        ("vs_loss", {"gamma": 0, "tau": 1.3}),
        ("vs_loss", {"warm_up_epochs": 2}),
        ("ldam", {"max_margin": 0, "scale": 1}),
        ("focal", {"gamma": 0, "alpha": 0.5}),
        ("class_balanced", {"beta": 0}),
        ("logit_adjustment", {"tau": 1}),
        ("major_feature_weakening", {"weakening": 0}),
        ("sam_a", {"rho": 0}),
    ],
)
def test_neutral_settings_are_plain_training_to_the_last_bit(kind: str, settings, two_epochs):
    assert np.array_equal(two_epochs(kind, **settings), two_epochs("erm"))


@pytest.mark.parametrize("sampling", ["undersampled", "balanced_batches"])
def test_neutral_settings_are_plain_training_on_a_sample_too(sampling: str, two_epochs):
    sample = {"sampling": {"kind": sampling, "prevalence": 0.3}}

    assert np.array_equal(two_epochs("vs_loss", gamma=0, **sample), two_epochs("erm", **sample))


def test_class_weights_from_the_start_are_deferred_ones_that_do_not_wait(two_epochs):
    early = two_epochs("class_balanced", beta=0.99)

    assert np.array_equal(early, two_epochs("erm", deferred={"beta": 0.99, "start_epoch": 0}))
    assert not np.array_equal(early, two_epochs("erm"))


def test_the_vs_loss_is_the_formula_of_the_paper():
    """``log(1 + exp(iota_y) exp(-Delta_y y f))``, f the natural logit less its additive part."""
    gamma, tau = 0.3, 1.2
    f = LOGITS - tau * math.log(100 / 900)
    iota = SIGN * tau * math.log(900 / 100)
    delta = torch.where(LABEL == 1, (100 / 900) ** gamma, 1.0)

    found = vs_losses(SIZES, gamma=gamma, tau=tau)(LOGITS, LABEL)

    torch.testing.assert_close(found, torch.log1p(torch.exp(iota) * torch.exp(-delta * SIGN * f)))


def test_the_vs_loss_is_plain_until_the_warm_up_is_over_and_not_judged_before():
    strategy = VsLoss(VsLossConfig(warm_up_epochs=5, deferred={"start_epoch": 3}))
    nothing = torch.empty(LABEL.numel(), 0)
    rows = ResidentRows(inputs=nothing, codes=nothing.long(), label=LABEL.flatten())
    objective = strategy.objective(rows)
    plain, scaled = objective(2.9), objective(5.0)

    assert torch.equal(plain(LOGITS, LABEL), cross_entropies(LOGITS, LABEL))
    assert not torch.allclose(scaled(LOGITS, LABEL), objective(4.9)(LOGITS, LABEL))
    assert strategy.judge_from == 5
    assert VsLoss(VsLossConfig(deferred={"start_epoch": 3})).judge_from == 3


def test_margins_go_with_the_fourth_root_and_the_rarest_class_has_the_largest():
    # (1 / 16) ** (1/4) = 1/2
    assert class_margins((1600, 100), max_margin=0.5) == pytest.approx((0.25, 0.5))
    assert class_margins((100, 1600), max_margin=0.5) == pytest.approx((0.5, 0.25))


def test_the_ldam_loss_is_the_formula_of_the_paper():
    """``CE(s (z - Delta_y onehot(y)), y)``, the natural logit being s (z_1 - z_0)."""
    scale, margins = 4.0, torch.tensor([0.2, 0.5], dtype=torch.float64)
    z = torch.stack([-LOGITS, LOGITS], dim=-1) / (2 * scale)
    onehot = torch.stack([1 - LABEL, LABEL], dim=-1)
    stretched = scale * (z - margins * onehot)

    found = ldam_losses(tuple(margins.tolist()), scale=scale)(LOGITS, LABEL)

    expected = cross_entropy(stretched.movedim(2, 1), LABEL.long(), reduction="none")
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_the_focal_loss_is_the_formula_of_the_paper(gamma: float):
    own = torch.sigmoid(SIGN * LOGITS)

    found = focal_losses(gamma)(LOGITS, LABEL)

    torch.testing.assert_close(found, -((1 - own) ** gamma) * torch.log(own))


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_the_focal_loss_has_a_slope_where_probabilities_round_to_one(gamma: float):
    logits = torch.tensor([[-200.0, 0.0, 200.0]]).requires_grad_()

    for label in (0.0, 1.0):
        losses = focal_losses(gamma)(logits, torch.full_like(logits, label))
        (slopes,) = torch.autograd.grad(losses.sum(), logits)
        assert slopes.isfinite().all()


def test_class_weights_keep_the_optimum_at_the_natural_odds():
    """With 9 negatives and 1 positive it is log(1/9), weighted or not."""
    losses = reweighted(cross_entropies, 0.2, 1.8)
    logit = torch.tensor(math.log(1 / 9), dtype=torch.float64).requires_grad_()
    label = torch.tensor([0.0] * 9 + [1.0], dtype=torch.float64)

    losses(logit.expand(10), label).mean().backward()

    assert logit.grad is not None
    assert logit.grad.abs() < 1e-15


def test_logit_adjustment_is_cross_entropy_of_the_natural_logit():
    """``CE(f + tau log pi)``, with f the network's logit once tau 1's shift is taken out."""
    share = torch.tensor([0.9, 0.1], dtype=torch.float64)
    f = LOGITS - math.log(0.1 / 0.9)
    adjusted = torch.stack([torch.zeros_like(f), f], dim=-1) + torch.log(share)

    found = cross_entropy(adjusted.movedim(2, 1), LABEL.long(), reduction="none")

    torch.testing.assert_close(found, cross_entropies(LOGITS, LABEL))
    torch.testing.assert_close(found, softplus(-SIGN * LOGITS))


def test_logit_adjustment_starts_at_even_odds_before_the_adjustment(two_epochs):
    """One tiny step: with tau 0 nothing is adjusted, and the output starts around 0."""
    still = {"training": {"batch_size": 600, "learning_rate": 1e-12}}
    prior = math.log(60 / 540)

    unadjusted = two_epochs("logit_adjustment", tau=0, **still)
    plain = two_epochs("erm", **still)

    difference = (unadjusted - plain)[:, 1] * 2
    assert difference == pytest.approx(-prior, abs=0.05)
