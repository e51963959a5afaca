"""Class-dependent temperatures in training (CDT: Ye et al., arXiv 2001.01385), for C classes.

There is no strategy of two classes here, because there CDT is plain training in other words. A
softmax loss of two logits gives its two arguments opposite gradients, so the only thing that is
fitted is their difference, ``z_1 / a_1 - z_0 / a_0``: the logit that plain training fits. What
does change training with two classes are temperatures that depend on the label: ``vs_loss``.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from balancing.calibration.temperatures import class_dependent_temperatures


def cdt_cross_entropies(
    logits: Tensor, label: Tensor, *, class_counts: Sequence[int], gamma: float
) -> Tensor:
    """Return each row's cross-entropy of logits divided by their class's temperature.

    ``-log softmax(z / a)_y`` with ``a_c = (N_max / N_c) ** gamma``. The temperatures are dropped
    when rows are scored: the class is the argmax of the logits as they are.

    Args:
        logits: One a class, of any float type.
        label: Class numbers, int64.
        class_counts: Training rows per class, all positive.
        gamma: Strength, at least 0; 0 is plain cross-entropy to the last bit.

    Shape:
        ``(..., C)``, ``(...)`` -> ``(...)``, of the logits' type.

    Raises:
        ValueError: If a class is empty, gamma is negative, or the classes do not fit the logits.
    """
    if logits.shape[-1] != len(class_counts):
        raise ValueError(
            "logits and class_counts must agree on the classes. Got "
            f"{logits.shape[-1]} and {len(class_counts)}."
        )
    temperatures = class_dependent_temperatures(class_counts, gamma)
    scaled = logits / torch.as_tensor(temperatures, dtype=logits.dtype, device=logits.device)
    losses = cross_entropy(scaled.reshape(-1, len(class_counts)), label.flatten(), reduction="none")
    return losses.view_as(label)
