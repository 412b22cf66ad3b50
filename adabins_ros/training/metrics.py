# SPDX-License-Identifier: Apache-2.0
"""What validation measures, as torchmetrics Metrics: right with any number of processes."""

from __future__ import annotations

from dataclasses import astuple
import math

from adabins_ros.evaluation.depth_errors import depth_errors, NAMES
from adabins_ros.evaluation.scale_factor import frame_factor, scale_factor
from adabins_ros.evaluation.uncertainty import ONE_STD_SHARE
import numpy as np
import torch
from torchmetrics import Metric

# Bins for errors in standard deviations, 1 % a step.
_LOWEST, _HIGHEST, _STEPS = -4.0, 4.0, 1851
_SMALLEST_STD_M = 1e-9
# Bins for the logarithm of factors, to both sides of 1.
_FACTOR_STEP, _FACTOR_STEPS = 0.002, 2000


class _DepthMetric(Metric):
    """
    Compares depth with the truth in a range.

    Parameters
    ----------
    min_depth, max_depth : float
        Truth outside does not count, m.
    zeros : torch.Tensor
        The states by name; those of the processes of a run are added up.

    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    def __init__(self, min_depth: float, max_depth: float, **zeros: torch.Tensor) -> None:
        super().__init__()
        self.min_depth, self.max_depth = min_depth, max_depth
        for name, zero in zeros.items():
            # A Metric's state keeps its dtype when the module around it is cast.
            self.add_state(name, zero, dist_reduce_fx='sum')


class DepthErrorMetric(_DepthMetric):
    """
    The errors of `adabins_ros.evaluation.depth_errors` per image, averaged over images.

    The state is the sum over images and their number, so the processes of a run add up to what
    one process would say. Images without valid truth do not count.
    """

    sums: torch.Tensor
    images: torch.Tensor

    def __init__(self, min_depth: float, max_depth: float) -> None:
        sums = torch.zeros(len(NAMES), dtype=torch.float64)
        images = torch.zeros((), dtype=torch.int64)
        super().__init__(min_depth, max_depth, sums=sums, images=images)

    def update(self, prediction: torch.Tensor, truth: torch.Tensor) -> None:
        """
        Add a batch.

        Parameters
        ----------
        prediction, truth : torch.Tensor
            (B, 1, H, W), m; truth 0 or NaN where unknown. Predictions are clipped to the range,
            and NaN counts as min_depth.

        Raises
        ------
        ValueError
            If the shapes differ.

        """
        for predicted, true in zip(prediction.cpu().numpy(), truth.cpu().numpy(), strict=True):
            errors = depth_errors(predicted, true, self.min_depth, self.max_depth)
            if errors.images:
                self.sums += self.sums.new_tensor(astuple(errors)[: len(NAMES)])
                self.images += 1

    def compute(self) -> dict[str, torch.Tensor]:
        """Return the means over all images by name; NaN if no image had valid truth."""
        means = torch.where(self.images > 0, self.sums / self.images, torch.nan)
        return dict(zip(NAMES, means.unbind(), strict=True))


class ScaleFactorMetric(_DepthMetric):
    """
    Find the factor on depth that the images ask for, as `adabins_ros.evaluation.scale_factor`.

    The state is a histogram of the images' factors, so the processes of a run add up.
    """

    histogram: torch.Tensor

    def __init__(self, min_depth: float, max_depth: float) -> None:
        histogram = torch.zeros(2 * _FACTOR_STEPS + 1, dtype=torch.int64)
        super().__init__(min_depth, max_depth, histogram=histogram)

    def update(self, prediction: torch.Tensor, truth: torch.Tensor) -> None:
        """Add a batch; (B, 1, H, W), m, truth 0 or NaN where unknown."""
        for predicted, true in zip(prediction.cpu().numpy(), truth.cpu().numpy(), strict=True):
            known = (true > self.min_depth) & (true < self.max_depth)
            factor = frame_factor(predicted[known], true[known])
            if factor > 0:
                place = round(math.log(factor) / _FACTOR_STEP) + _FACTOR_STEPS
                self.histogram[min(max(place, 0), 2 * _FACTOR_STEPS)] += 1

    def compute(self) -> dict[str, torch.Tensor]:
        """Return ``scale_factor`` and ``scale_spread``; NaN without any truth."""
        counts = self.histogram.cpu().numpy()
        logs = np.repeat(_FACTOR_STEP * (np.arange(counts.size) - _FACTOR_STEPS), counts)
        found = scale_factor(np.exp(logs))
        values = {'scale_factor': found.factor, 'scale_spread': found.spread}
        return {
            name: torch.tensor(value, dtype=torch.float64, device=self.histogram.device)
            for name, value in values.items()
        }


class StdCalibration(_DepthMetric):
    """
    Find the factor on the standard deviation that has 68.3 % of the truth within one.

    As for a normal distribution. The state is a histogram of errors in standard deviations, to
    which each image adds one in all, so the processes of a run add up to one answer.
    """

    histogram: torch.Tensor

    def __init__(self, min_depth: float, max_depth: float) -> None:
        histogram = torch.zeros(_STEPS, dtype=torch.float64)
        super().__init__(min_depth, max_depth, histogram=histogram)

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
        reached = torch.searchsorted(self.histogram.cumsum(0), ONE_STD_SHARE * total)
        exponent = _LOWEST + reached / (_STEPS - 1) * (_HIGHEST - _LOWEST)
        return torch.where(total > 0, 10**exponent, torch.nan)
