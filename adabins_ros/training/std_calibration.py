# SPDX-License-Identifier: Apache-2.0
"""The factor that makes the standard deviation as large as the errors are."""

from __future__ import annotations

import math
from typing import Any

import torch
from torchmetrics import Metric

_ONE_STD_SHARE = math.erf(1 / math.sqrt(2))
# Bins for errors in standard deviations, 1 % a step.
_LOWEST, _HIGHEST, _STEPS = -4.0, 4.0, 1851
_SMALLEST_STD_M = 1e-9


class StdCalibration(Metric):
    """
    Find the factor on the standard deviation that has 68.3 % of the truth within one.

    As for a normal distribution. The state is a histogram of errors in standard deviations, to
    which each image adds one in all, so the processes of a run add up to one answer.

    Parameters
    ----------
    min_depth, max_depth : float
        Truth outside does not count, m.

    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    histogram: torch.Tensor

    def __init__(self, min_depth: float, max_depth: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.min_depth, self.max_depth = min_depth, max_depth
        histogram = torch.zeros(_STEPS, dtype=torch.float64)
        self.add_state('histogram', histogram, dist_reduce_fx='sum')

    def update(self, prediction: torch.Tensor, std: torch.Tensor, truth: torch.Tensor) -> None:
        """
        Add a batch.

        Parameters
        ----------
        prediction, std, truth : torch.Tensor
            (B, 1, H, W), m; truth 0 where unknown. Pixels whose std is NaN do not count.

        """
        errors = (prediction - truth).abs() / std.clamp_min(_SMALLEST_STD_M)
        valid = (truth > self.min_depth) & (truth < self.max_depth) & errors.isfinite()
        for error, counts in zip(errors, valid, strict=True):
            off = error[counts].float().clamp_min(10**_LOWEST).log10()
            if len(off):
                place = (off - _LOWEST) / (_HIGHEST - _LOWEST) * (_STEPS - 1)
                steps = place.round().long().clamp(0, _STEPS - 1)
                counted = torch.bincount(steps, minlength=_STEPS).to(self.histogram.dtype)
                self.histogram += counted / len(off)

    def compute(self) -> torch.Tensor:
        """Return the factor, a scalar; NaN if no pixel had truth and a standard deviation."""
        total = self.histogram.sum()
        reached = torch.searchsorted(self.histogram.cumsum(0), _ONE_STD_SHARE * total)
        exponent = _LOWEST + reached / (_STEPS - 1) * (_HIGHEST - _LOWEST)
        return torch.where(total > 0, 10**exponent, torch.nan)
