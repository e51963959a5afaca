"""Losses of single rows, before any weight or mean; plain cross-entropy and what goes around it."""

import math
from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

RowLosses: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Logits of the positive class and labels (0 or 1), of one shape -> each row's loss, same shape."""


def cross_entropies(logits: Tensor, label: Tensor) -> Tensor:
    """Return each row's cross-entropy.

    Equals the softmax cross-entropy of the antisymmetric logits ``(-l/2, +l/2)``.

    Shape:
        ``(n_members, n_rows)`` twice -> ``(n_members, n_rows)``.
    """
    return binary_cross_entropy_with_logits(logits, label, reduction="none")


def shifted(losses: RowLosses, log_odds_shift: float) -> RowLosses:
    """Return losses that see the logits as they are in a sample with shifted odds.

    The network's own logits stay those of the unshifted data. A shift of 0 changes no bit.
    """
    if not log_odds_shift:
        return losses
    return lambda logits, label: losses(logits + log_odds_shift, label)


def weighted(losses: RowLosses, negative: float, positive: float) -> RowLosses:
    """Return losses times the weight of each row's class. Weights of 1 change no bit."""
    if negative == positive == 1:
        return losses
    return lambda logits, label: losses(logits, label) * (negative + (positive - negative) * label)


def reweighted(losses: RowLosses, negative: float, positive: float) -> RowLosses:
    """Return losses with class weights whose own shift of the odds is taken out.

    NOTE[DIFF] Class weights alone raise the log odds that a network learns by
    ``log(positive / negative)``. Here the loss sees the logits that much higher, and the
    network's own logits stay those of the unweighted data. Weights of 1 change no bit.
    """
    return weighted(shifted(losses, math.log(positive / negative)), negative, positive)
