"""Plain training on rows that imbalanced-learn has added or dropped before it starts.

The methods are those that MetaBalance is compared with in arXiv 2106.09643. They see what the
network sees: imputed, standardised, clipped numbers and, beside them, halved one-hot vectors of
the categorical columns with few codes, so that two categories differ by about as much as
imbalanced-learn's SMOTENC lets them. A made-up row has the categories of the nearest row of its
class, and where only one of its parents lacked a value, a part of the missing-value indicator.

The odds of a positive are shifted by a known factor, which is added between network and loss.
For ``random_over`` and ``random_under`` that is exact. The other methods also move where the rows
of a class lie, which no shift takes back: there the calibrator does the rest. Where few rows
are left, an epoch visits them several times (``repeated_batches``).
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from balancing.batches import ResidentRows
from balancing.dataset import FloatArray
from balancing.losses import RowLosses, cross_entropies, shifted
from balancing.networks.network import MemberBody
from balancing.repeated_batches import RepeatedBatches
from balancing.resampling import Method, Undersampler, resample
from balancing.sampling import PrevalenceSampling, class_sizes, epoch_sizes
from balancing.strategies.end_to_end import EndToEnd, EndToEndConfig
from balancing.training import Batches

MOST_CODES = 32
"""Categorical columns with more codes take no part in distances."""


class ResampledConfig(EndToEndConfig):
    """Plain training after re-sampling.

    Attributes:
        method: How rows are added or dropped.
        prevalence: Share of positives afterwards; never less than before. ``allknn`` ignores it,
            ``smoteenn`` has it before its cleaning.
    """

    kind: Literal["resampled"] = "resampled"
    method: Method = "random_over"
    prevalence: float = Field(default=0.5, gt=0, lt=1)


@dataclass(frozen=True, slots=True)
class ResampledRows(ResidentRows):
    """Rows after re-sampling.

    Attributes:
        log_odds_shift: How much higher the log odds of a positive are than they were before.
        n_before: Rows that there were.
    """

    log_odds_shift: float
    n_before: int


class Resampled(EndToEnd):
    """Re-sample once, on the CPU, then minimise the mean cross-entropy."""

    config: ResampledConfig

    def rows(self, rows: ResidentRows, *, seed: int) -> ResidentRows:
        """Return the re-sampled rows."""
        device = rows.label.device
        sample = resample(
            distance_space(rows),
            rows.label.long().cpu().numpy(),
            method=self.config.method,
            sizes=self._sizes(rows.label),
            seed=seed,
        )
        origin = torch.from_numpy(sample.origin).to(device)
        inputs = np.ascontiguousarray(sample.points[:, : rows.inputs.shape[1]])
        return ResampledRows(
            torch.from_numpy(inputs).to(device),
            rows.codes[origin],
            torch.from_numpy(sample.label).to(device, torch.float32),
            _log_odds(sample.sizes) - _log_odds(class_sizes(rows.label)),
            rows.n_rows,
        )

    def batches(self, rows: ResidentRows, body: MemberBody, *, seed: int) -> Batches:
        """Return batches of the re-sampled rows, repeated to make up for those dropped."""
        assert isinstance(rows, ResampledRows)
        batches = super().batches(rows, body, seed=seed)
        return RepeatedBatches(batches, n_sampled=rows.n_rows, n_rows=rows.n_before)

    def losses(self, rows: ResidentRows) -> RowLosses:
        """Return cross-entropies of logits with the shift that re-sampling brought."""
        assert isinstance(rows, ResampledRows)
        return shifted(cross_entropies, rows.log_odds_shift)

    def _sizes(self, label: Tensor) -> tuple[int, int]:
        drops = self.config.method in get_args(Undersampler)
        kind: Literal["undersampled", "oversampled"] = "undersampled" if drops else "oversampled"
        return epoch_sizes(PrevalenceSampling(kind=kind, prevalence=self.config.prevalence), label)


def distance_space(rows: ResidentRows) -> FloatArray:
    """Return where rows lie for the purpose of distances, ``(n_rows, at least 1)`` float32.

    The numeric inputs come first.
    """
    columns = [rows.inputs.cpu()]
    for codes in rows.codes.cpu().T:
        n_codes = int(codes.max()) + 1
        if n_codes <= MOST_CODES:
            columns.append(torch.nn.functional.one_hot(codes, n_codes).float() / 2)
    space = torch.cat(columns, dim=1)
    return space.numpy() if space.shape[1] else np.zeros((rows.n_rows, 1), dtype=np.float32)


def _log_odds(sizes: tuple[int, int]) -> float:
    return math.log(sizes[1] / sizes[0])
