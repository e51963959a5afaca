"""The logit-adjusted loss (LA: Menon et al., arXiv 2007.07314), for two classes.

``CE(f + tau log(N_1 / N_0))``: the adjustment is a known shift, so the network's natural logit is
the whole argument, ``l = f + tau log(N_1 / N_0)``, and of that the loss is plain cross-entropy,
whatever ``tau`` is. With ``tau`` 1 the strategy is plain training to the last bit; with another
``tau`` only the start differs: f starts around even odds, hence l at ``tau log(N_1 / N_0)``.

That is no weakness of the implementation. On two classes the method moves a threshold, which is
chosen apart from the network here; it cannot be expected to rank better than plain training. It is
there so that a table of methods can show it. The probabilities are those of plain training.
"""

import math
from typing import Literal

import torch
from pydantic import Field

from balancing.batches import ResidentRows
from balancing.networks.layer_stack import LayerStack
from balancing.networks.network import MemberBody
from balancing.sampling import class_sizes
from balancing.strategies.end_to_end import EndToEnd, EndToEndConfig
from balancing.training import TrainStep


class LogitAdjustmentConfig(EndToEndConfig):
    """Training with adjusted logits.

    Attributes:
        tau: Strength of the adjustment; 1 is plain training.
    """

    kind: Literal["logit_adjustment"] = "logit_adjustment"
    tau: float = Field(default=1.0, ge=0)


class LogitAdjustment(EndToEnd):
    """Minimise the cross-entropy of adjusted logits."""

    config: LogitAdjustmentConfig

    def step(self, rows: ResidentRows, body: MemberBody, *, seed: int) -> TrainStep:
        """Return a plain step, after putting the output where the adjusted loss starts."""
        negatives, positives = class_sizes(rows.label)
        assert isinstance(body, LayerStack)  # as every network's body is
        # It was built to start at the log odds, as with tau 1.
        with torch.no_grad():
            body.output.bias.add_((self.config.tau - 1) * math.log(positives / negatives))
        return super().step(rows, body, seed=seed)
